"""Facts of the data that come with the package."""

import json
import re

import numpy as np
import pytest

from trainables import data
from trainables.data.archive import EMBEDDED, open_archive
from trainables.data.recipes import DUPLICATES
from trainables.data.standardise import fit_scale

FILES = ["av-digits", "diabetes", "mfeat"]
SPLITS = {"train": (3500, 350, 210), "val": (500, 50, 30), "test": (1000, 100, 60)}


@pytest.fixture(scope="module")
def av() -> dict[str, np.ndarray]:
    with np.load(EMBEDDED / "av-digits.npz", allow_pickle=False) as file:
        return dict(file)


def test_all_files_together_are_under_six_megabytes() -> None:
    assert sum(path.stat().st_size for path in EMBEDDED.iterdir()) < 6e6


@pytest.mark.parametrize("name", FILES)
def test_the_sheet_carries_the_sha256_of_its_file(name: str) -> None:
    assert data.load_sheet(name).sha256 == json.loads((EMBEDDED / f"{name}.json").read_text())["sha256_file"]


@pytest.mark.parametrize("name", FILES)
def test_the_datasheet_says_licence_units_and_what_the_file_holds(name: str) -> None:
    archive = open_archive(EMBEDDED / f"{name}.npz")
    assert {"licence", "units", "sources", "splits", "preprocessing"} <= set(archive.description)
    for array in archive.arrays:
        stored, stated = archive.read(array), archive.description["arrays"][array]
        assert [list(stored.shape), str(stored.dtype)] == [stated["shape"], stated["dtype"]]
    assert f"`{name}`" in (EMBEDDED / "NOTICE.md").read_text()


@pytest.mark.parametrize("name", FILES)
def test_no_text_names_a_machine(name: str) -> None:
    text = (EMBEDDED / f"{name}.json").read_text() + (EMBEDDED / "NOTICE.md").read_text()
    assert not re.search(r"(?<!\w)/(work|home|tmp|root|usr|opt)/", text)


@pytest.mark.parametrize("split", SPLITS)
def test_each_split_of_av_digits_is_balanced_and_shows_every_image_once(av: dict[str, np.ndarray], split: str) -> None:
    count, images, clips = SPLITS[split]
    table = av[f"pairs_stratified_{split}"]
    assert table.shape == (count, 2)
    assert len(np.unique(table[:, 0])) == count
    assert set(np.bincount(av["image_label"][table[:, 0]])) == {images}
    assert set(np.bincount(av["audio_label"][np.unique(table[:, 1])])) == {clips}


@pytest.mark.parametrize("split", SPLITS)
def test_the_clips_of_a_class_are_used_equally_often_or_once_more(av: dict[str, np.ndarray], split: str) -> None:
    _, used = np.unique(av[f"pairs_stratified_{split}"][:, 1], return_counts=True)
    assert set(used) == {1, 2}


@pytest.mark.parametrize("column", [0, 1])
def test_no_image_and_no_clip_is_in_two_splits(av: dict[str, np.ndarray], column: int) -> None:
    members = [set(av[f"pairs_stratified_{split}"][:, column]) for split in SPLITS]
    assert len(set.union(*members)) == sum(map(len, members))


def test_a_pair_is_of_one_class_and_pairs_are_in_no_order(av: dict[str, np.ndarray]) -> None:
    table = av["pairs_stratified_train"]
    label = av["image_label"][table[:, 0]]
    np.testing.assert_array_equal(label, av["audio_label"][table[:, 1]])
    assert len(np.unique(label[:50])) == 10


def test_pca25_keeps_the_first_components_that_pass_a_quarter_of_the_training_variance(
    av: dict[str, np.ndarray],
) -> None:
    train = av["image"][av["pairs_stratified_train"][:, 0]].reshape(3500, -1) / 255 - av["pca_mean"]
    np.testing.assert_allclose(train.mean(0), 0, atol=1e-6)
    k = int(av["pca_k25"])
    kept = [((train @ av["pca_basis"][:n].T.astype(float)) ** 2).sum() / (train**2).sum() for n in (k - 1, k)]
    assert kept[0] < 0.25 < kept[1]


def test_pca25_images_lie_in_as_many_dimensions_as_components(av: dict[str, np.ndarray]) -> None:
    degraded = data.load({"name": "av-digits", "image": "pca25", "modalities": ["image"]})
    pixels = degraded.train.inputs["image"][:200].reshape(200, -1)
    assert pixels.shape[1] == 28 * 28
    assert np.linalg.matrix_rank(pixels - pixels.mean(0), tol=1e-2) == int(av["pca_k25"])


def test_av_digits_loads_as_three_splits() -> None:
    loaded = data.load("av-digits")
    assert {m: x.shape for m, x in loaded.train.inputs.items()} == {"image": (3500, 28, 28), "audio": (3500, 24, 13)}
    assert [len(s.target) for s in (loaded.validation, loaded.test)] == [500, 1000]
    assert (loaded.task, loaded.outputs) == ("classification", 10)
    assert loaded.truth is None


def test_a_subset_of_modalities_is_ordered_as_asked_and_otherwise_equal() -> None:
    whole, part = data.load("mfeat"), data.load({"name": "mfeat", "modalities": ["mor", "fou"]})
    assert list(part.train.inputs) == ["mor", "fou"]
    np.testing.assert_array_equal(part.test.inputs["mor"], whole.test.inputs["mor"])
    np.testing.assert_array_equal(part.test.target, whole.test.target)


def test_the_second_copies_in_mfeat_are_in_no_split_and_their_first_copies_are() -> None:
    with np.load(EMBEDDED / "mfeat.npz", allow_pickle=False) as file:
        split, label = file["split"], file["label"]
        views = np.hstack([file[view] for view in ("fou", "fac", "kar", "pix", "zer", "mor")])
    np.testing.assert_array_equal(np.flatnonzero(split == -1), DUPLICATES)
    for row in DUPLICATES:
        copies = np.flatnonzero((views == views[row]).all(axis=1))
        assert set(label[copies]) == {label[row]}
        assert (split[copies] >= 0).sum() == 1
    assert np.bincount(split[split >= 0]).tolist() == [998, 299, 697]


def test_diabetes_is_a_regression_of_unit_scale() -> None:
    loaded = data.load("diabetes")
    assert [len(s.target) for s in (loaded.train, loaded.validation, loaded.test)] == [300, 60, 82]
    assert {m: x.shape[1] for m, x in loaded.train.inputs.items()} == {"examination": 4, "serum": 6}
    assert loaded.train.target.mean() == pytest.approx(0, abs=1e-6)
    assert loaded.train.target.std() == pytest.approx(1, abs=1e-6)
    plain = data.load({"name": "diabetes", "standardise": False})
    progression = np.concatenate([s.target for s in (plain.train, plain.validation, plain.test)])
    assert (progression.shape, progression.min(), progression.max()) == ((442, 1), 25, 346)


def test_a_linear_model_learns_the_labels_so_inputs_and_targets_belong_together() -> None:
    """Ridge regression on one-hot labels reads more than 90 % of the test digits; guessing gives 10 %."""
    loaded = data.load("mfeat")
    train, test = (np.hstack(list(s.inputs.values())) for s in (loaded.train, loaded.test))
    penalty = 100 * np.eye(train.shape[1])
    weights = np.linalg.solve(train.T @ train + penalty, train.T @ np.eye(10)[loaded.train.target])
    assert ((test @ weights).argmax(1) == loaded.test.target).mean() > 0.9


def test_loading_twice_gives_the_same_arrays() -> None:
    one, two = data.load("diabetes"), data.load("diabetes")
    np.testing.assert_array_equal(one.test.inputs["serum"], two.test.inputs["serum"])
    assert fit_scale(one.train.inputs["serum"], np.ones(300, bool), "feature").std == pytest.approx(1, abs=1e-5)
