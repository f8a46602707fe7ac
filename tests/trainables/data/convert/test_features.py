"""AV-MNIST, AVE, IEMOCAP of MMIN, Food-101 and BraTS from small files of exactly their layouts."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables.data import DataError
from trainables.data.convert import LAYOUTS, convert, options
from trainables.data.convert.brats import blocks, frequent

h5py = pytest.importorskip("h5py")
nibabel = pytest.importorskip("nibabel")


def test_every_layout_can_be_read_by_its_function() -> None:
    for layout in LAYOUTS:
        assert isinstance(options(layout), dict)


def test_av_mnist_validates_on_the_last_twelfth_of_training(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    kept = {}
    for part, count in (("train", 24), ("test", 5)):
        for modality, side in (("image", 28), ("audio", 112)):
            (tmp_path / modality).mkdir(exist_ok=True)
            array = random.integers(0, 256, (count, side * side) if modality == "image" else (count, side, side))
            kept[part, modality] = array
            np.save(
                tmp_path / modality / f"{part}_data.npy", array.astype(np.float64 if modality == "image" else np.uint8)
            )
        np.save(tmp_path / f"{part}_labels.npy", np.arange(count) % 10)
    found = convert("av-mnist", tmp_path, {})
    assert found.arrays["split"].tolist() == [0] * 22 + [1] * 2 + [2] * 5
    np.testing.assert_array_equal(found.arrays["label"], [*(np.arange(24) % 10), *range(5)])
    for modality, side in (("image", 28), ("audio", 112)):
        expected = np.concatenate(
            [kept["train", modality].reshape(24, side, side), kept["test", modality].reshape(5, side, side)]
        )
        np.testing.assert_array_equal(found.arrays[modality], expected)
        assert found.arrays[modality].dtype == np.uint8


def hdf5(file: Path, **arrays: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(file, "w") as held:
        for key, array in arrays.items():
            held[key] = array


def films(folder: Path) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    arrays = {
        "visual_feature": random.normal(size=(9, 10, 2, 2, 5)).astype(np.float32),
        "audio_feature": random.normal(size=(9, 10, 3)).astype(np.float32),
        "right_labels": np.eye(4)[random.integers(0, 4, (9, 10))],
    }
    for name, array in arrays.items():
        hdf5(folder / f"{name}.h5", avadataset=array)
    for name, order in (("train", [8, 0, 3, 1]), ("val", [2, 4]), ("test", [5, 7, 6])):
        hdf5(folder / f"{name}_order.h5", order=np.array(order))
    return arrays


def test_each_second_of_a_film_has_a_label(tmp_path: Path) -> None:
    stored, order = films(tmp_path), [8, 0, 3, 1, 2, 4, 5, 7, 6]
    found = convert("ave", tmp_path, {})
    assert (found.sheet["task"], found.sheet["classes"]) == ("segmentation", 4)
    assert found.arrays["split"].tolist() == [0] * 4 + [1] * 2 + [2] * 3
    np.testing.assert_array_equal(found.arrays["label"], stored["right_labels"].argmax(-1)[order])
    np.testing.assert_array_equal(found.arrays["audio"], stored["audio_feature"][order])
    np.testing.assert_allclose(found.arrays["image"], stored["visual_feature"].mean((2, 3))[order], rtol=1e-5)
    whole = convert("ave", tmp_path, {"pool": False}).arrays["image"]
    np.testing.assert_array_equal(whole, stored["visual_feature"].reshape(9, 10, 20)[order])


def test_an_order_beyond_the_films_and_another_key_are_refused(tmp_path: Path) -> None:
    films(tmp_path)
    hdf5(tmp_path / "val_order.h5", order=np.array([9]))
    with pytest.raises(DataError, match=r"val_order\.h5 names films beyond the 9 that there are"):
        convert("ave", tmp_path, {})
    hdf5(tmp_path / "val_order.h5", other=np.array([1]))
    with pytest.raises(DataError, match=r"has no `order` \(it has: other\)"):
        convert("ave", tmp_path, {})
    (tmp_path / "val_order.h5").write_bytes(b"none")
    with pytest.raises(DataError, match="cannot be read as HDF5"):
        convert("ave", tmp_path, {})


def utterances(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    names = [f"Ses01F_{place:03d}" for place in range(6)]
    stored = {
        path: {name: random.normal(size=(time(place), width)) for place, name in enumerate(names)}
        for path, time, width in (
            ("L/bert_large", lambda place: 4, 7), ("A/comparE", lambda place: 2 + place, 3), ("V/denseface", lambda p: 5, 2),
        )
    }  # fmt: skip
    for path, held in stored.items():
        hdf5(folder / f"{path}.h5", **held)
    for part, own in (("trn", [4, 0, 1]), ("val", [2]), ("tst", [5, 3])):
        place = folder / "target" / "2"
        place.mkdir(parents=True, exist_ok=True)
        np.save(place / f"{part}_label.npy", np.eye(4)[[one % 4 for one in own]])
        np.save(place / f"{part}_int2name.npy", np.array([[names[one].encode()] for one in own]))
    return stored


def test_utterances_end_in_zeros_up_to_the_longest(tmp_path: Path) -> None:
    stored, order = utterances(tmp_path), [4, 0, 1, 2, 5, 3]
    found = convert("iemocap-mmin", tmp_path, {"fold": 2, "longest": 6})
    assert found.arrays["label"].tolist() == [one % 4 for one in order]
    assert found.arrays["audio"].shape == (6, 6, 3)  # the longest has seven steps and is cut
    for place, one in enumerate(order):
        kept = stored["A/comparE"][f"Ses01F_{one:03d}"][:6]
        np.testing.assert_array_equal(found.arrays["audio"][place, : len(kept)], kept.astype(np.float32))
        assert not found.arrays["audio"][place, len(kept) :].any()
    assert found.arrays["split"].tolist() == [0, 0, 0, 1, 2, 2]


def test_an_utterance_without_features_is_named(tmp_path: Path) -> None:
    utterances(tmp_path)
    with h5py.File(tmp_path / "V" / "denseface.h5", "a") as held:
        del held["Ses01F_002"], held["Ses01F_005"]
    with pytest.raises(DataError, match=r"denseface\.h5 has no utterance `Ses01F_002`, and 1 are absent"):
        convert("iemocap-mmin", tmp_path, {"fold": 2})


def dish(file: Path, grey: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (9, 7), grey).save(file)


@pytest.mark.parametrize("header", [True, False])
def test_titles_are_weighed_by_the_words_of_training(tmp_path: Path, header: bool) -> None:
    (tmp_path / "texts").mkdir()
    for part, count in (("train", 8), ("test", 4)):
        lines = ["Image_path,text,label"] if header else []
        for place in range(count):
            label = ("pizza", "sushi")[place % 2]
            words = f"best {label} recipe" if part == "train" else f"unseen {label}"
            lines.append(f'{label}_{place}.png,"{words}, quick",{label}')
            dish(tmp_path / "images" / part / label / f"{label}_{place}.png", place)
        (tmp_path / "texts" / f"{part}_titles.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "images" / "test" / "sushi" / "sushi_3.png").unlink()
    found = convert("food-101", tmp_path, {"size": 8})
    assert found.sheet["classes"] == ["pizza", "sushi"]
    assert found.arrays["label"].tolist() == [0, 1] * 5 + [0]
    assert found.arrays["text"].shape == (11, 5)  # best, pizza, quick, recipe, sushi; `unseen` is not of training
    np.testing.assert_allclose(np.linalg.norm(found.arrays["text"].astype(float), axis=1), 1, atol=1e-3)
    assert found.arrays["image"][:, 0, 0, 0].tolist() == [*range(8), 0, 1, 2]
    assert np.bincount(found.arrays["split"]).tolist() == [6, 2, 3]
    assert found.notes == ["1 of 12 pages lack their photograph"]


def test_lists_of_json_may_have_a_validation_split(tmp_path: Path) -> None:
    for part in ("train", "dev", "test"):
        entries = []
        for place in range(4):
            dish(tmp_path / "img" / f"{part}{place}.png", place)
            tokens = ["fried", "rice"] if place % 2 else ["apple", "pie"]
            entries.append(
                {"id": place, "text_tokens": tokens, "img_path": f"img/{part}{place}.png", "label": "_".join(tokens)}
            )
        (tmp_path / f"{part}.json").write_text(json.dumps(entries))
    found = convert("food-101", tmp_path, {"size": 8})
    assert found.arrays["split"].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert found.sheet["splits"] == "as listed"
    (tmp_path / "dev.json").write_text('[{"id": 3}]')
    with pytest.raises(DataError, match=r"dev\.json must hold a list of"):
        convert("food-101", tmp_path, {})


def brain(seed: int, side: int = 12, depth: int = 8) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    image = random.normal(100, 20, (4, side, side, depth))
    image[:, :2] = 0  # outside the brain
    return image, random.choice([0, 1, 2, 4], (side, side, depth))


def test_slices_of_stored_brains_are_fixed_and_their_blocks_labelled(tmp_path: Path) -> None:
    for part, seeds in (("train", (0, 1)), ("valid", (2,)), ("test", (3,))):
        for seed in seeds:
            image, label = brain(seed)
            hdf5(tmp_path / part / f"case{seed}.h5", image=image, label=label)
    found = convert("brats", tmp_path, {"crop": 8, "block": 1})
    assert found.arrays["split"].tolist() == [0, 0, 1, 2]
    for seed in range(4):
        image, label = brain(seed)
        expected = np.where(label == 4, 3, label)[2:10, 2:10, 4].ravel()
        np.testing.assert_array_equal(found.arrays["label"][seed], expected)
        np.testing.assert_allclose(found.arrays["t1"][seed, :, 0], image[2, 2:10, 2:10, 4].ravel(), rtol=1e-3)
    several = convert("brats", tmp_path, {"crop": 16, "block": 4, "slices": 3}).arrays
    assert several["flair"].shape == (12, 16, 16)
    assert several["label"].shape == (12, 16)
    assert not several["flair"][0, 0, :2].any()  # what is beyond the slice counts as 0


def test_published_brains_are_standardised_and_dealt_by_case(tmp_path: Path) -> None:
    for seed in range(10):
        image, label = brain(seed)
        place = tmp_path / f"BraTS2021_{seed:05d}"
        place.mkdir()
        for name, array in zip(("flair", "t1ce", "t1", "t2", "seg"), (*image, label), strict=True):
            file = place / f"{place.name}_{name}.nii.gz"
            nibabel.save(nibabel.Nifti1Image(array.astype(np.int16), np.eye(4)), file)
    found = convert("brats", tmp_path, {"crop": 12, "block": 2, "slices": 2})
    assert np.bincount(found.arrays["split"]).tolist() == [14, 2, 4]
    assert not found.arrays["t2"][:, :6].any()  # what is outside the brain stays 0
    assert abs(float(found.arrays["t2"][:, 6:].astype(float).mean())) < 0.1
    assert set(np.unique(found.arrays["label"])) <= {0, 1, 2, 3}
    newer = tmp_path / "BraTS2021_00003"
    (newer / f"{newer.name}_t1.nii.gz").rename(newer / "BraTS-GLI-00003-000-t1n.nii.gz")
    again = convert("brats", tmp_path, {"crop": 12, "block": 2, "slices": 2})
    np.testing.assert_array_equal(again.arrays["t1"], found.arrays["t1"])
    (newer / f"{newer.name}_t2.nii.gz").unlink()
    with pytest.raises(DataError, match=r"BraTS2021_00003 has no volume \*_t2\.nii\.gz"):
        convert("brats", tmp_path, {})


def test_a_block_has_the_label_of_most_of_its_pixels() -> None:
    labels = np.array([[0, 0, 1, 2], [0, 3, 2, 1], [3, 3, 0, 0], [3, 1, 0, 0]])
    assert blocks(labels, 4, 2).tolist() == [[0, 0, 0, 3], [1, 2, 2, 1], [3, 3, 3, 1], [0, 0, 0, 0]]
    assert frequent(blocks(labels, 4, 2)).tolist() == [0, 1, 3, 0]


def test_options_are_checked(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"brats has no option 'slice' .it has: slices, crop, block.. Did you mean 'slices'"
    ):
        convert("brats", tmp_path, {"slice": 2})
    with pytest.raises(DataError, match="slices of brats must be like 1, got 'two'"):
        convert("brats", tmp_path, {"slices": "two"})
    with pytest.raises(DataError, match="crop of brats must be a multiple of block, got 10 and 4"):
        convert("brats", tmp_path, {"crop": 10})
    with pytest.raises(DataError, match=r"ablate has no layout 'mutl'.*Did you mean 'mult'"):
        convert("mutl", tmp_path, {})
    with pytest.raises(DataError, match="there is no file or folder"):
        convert("mult", tmp_path / "none.pkl", {})
