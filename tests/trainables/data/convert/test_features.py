"""AV-MNIST, AVE, IEMOCAP of MMIN, Food-101 and BraTS from small files of exactly their layouts."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables.data import DataError
from trainables.data.convert import LAYOUTS, convert, layout_options
from trainables.data.convert.brats import majority_labels, split_into_blocks
from trainables.data.convert.conversion import Conversion
from trainables.data.convert.sources import read_csv

h5py = pytest.importorskip("h5py")
nibabel = pytest.importorskip("nibabel")


def test_every_layout_can_be_read_by_its_function() -> None:
    for layout in LAYOUTS:
        assert isinstance(layout_options(layout), dict)


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


def numbers(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Store AV-MNIST whose training images are given."""
    random = np.random.default_rng(0)
    for part, count in (("train", 24), ("test", 5)):
        for modality, side in (("image", 28), ("audio", 112)):
            (folder / modality).mkdir(exist_ok=True)
            np.save(folder / modality / f"{part}_data.npy", random.integers(0, 256, (count, side, side)))
        np.save(folder / f"{part}_labels.npy", labels[:count])
    np.save(folder / "image" / "train_data.npy", images)


@pytest.mark.parametrize("images", [[-191.4, 340.2], [0.0, 0.5], [0.0, 256.0], [-1.0, 1.0]])
def test_pictures_that_are_no_bytes_are_kept_as_they_are(tmp_path: Path, images: list[float]) -> None:
    stored = np.resize(images, (24, 784))
    numbers(tmp_path, stored, np.arange(24)[:, None] % 10)
    found = convert("av-mnist", tmp_path, {})
    assert found.arrays["image"].dtype == np.float32
    np.testing.assert_array_equal(found.arrays["image"][:24].reshape(24, 784), stored.astype(np.float32))
    assert found.arrays["audio"].dtype == np.uint8
    assert found.sheet["standardise"] == {"image": "all", "audio": "all"}  # pixels share a unit, not columns


def test_labels_and_pictures_of_other_shapes_are_refused(tmp_path: Path) -> None:
    numbers(tmp_path, np.zeros((24, 784)), np.arange(24) % 10 + 0.5)
    with pytest.raises(DataError, match=r"train_labels\.npy must hold whole numbers, and holds others"):
        convert("av-mnist", tmp_path, {})
    numbers(tmp_path, np.zeros((24, 784)), np.eye(24))
    with pytest.raises(DataError, match=r"must hold one whole number a sample, got float64 \(24, 24\)"):
        convert("av-mnist", tmp_path, {})
    numbers(tmp_path, np.zeros((0, 784)), np.arange(24) % 10)
    with pytest.raises(DataError, match=r"must hold 24 pictures of 28 x 28 numbers, got float64 \(0, 784\)"):
        convert("av-mnist", tmp_path, {})


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
    with pytest.raises(DataError, match="is no HDF5 that can be read"):
        convert("ave", tmp_path, {})


def test_numbers_that_lie_in_other_files_are_not_read(tmp_path: Path) -> None:
    films(tmp_path)
    secret, file = tmp_path / "secret", tmp_path / "audio_feature.h5"
    secret.write_bytes(b"x" * 270)
    hdf5(tmp_path / "other.h5", x=np.ones((9, 10, 3)))
    inside, virtual = h5py.VirtualLayout((9, 10, 3), "f8"), h5py.VirtualSource(tmp_path / "other.h5", "x", (9, 10, 3))
    inside[...] = virtual
    with h5py.File(file, "w") as held:
        held.create_dataset("avadataset", (9, 10, 3), "u1", external=[(str(secret), 0, 270)])
    with pytest.raises(DataError, match=r"`avadataset` of .* lies in other files, which are not read"):
        convert("ave", tmp_path, {})
    with h5py.File(file, "w") as held:
        held.create_virtual_dataset("avadataset", inside)
    with pytest.raises(DataError, match="lies in other files, which are not read"):
        convert("ave", tmp_path, {})
    for link in (h5py.ExternalLink(str(tmp_path / "other.h5"), "/x"), h5py.SoftLink("/other")):
        with h5py.File(file, "w") as held:
            held["avadataset"] = link
        with pytest.raises(DataError, match="is a link to elsewhere, which is not followed"):
            convert("ave", tmp_path, {})
    hdf5(file, avadataset=np.array(b"text"))
    with pytest.raises(DataError, match="must be an array of numbers"):
        convert("ave", tmp_path, {})


def test_a_second_without_a_label_is_no_class(tmp_path: Path) -> None:
    stored = films(tmp_path)["right_labels"]
    stored[3, 4] = 0
    hdf5(tmp_path / "right_labels.h5", avadataset=stored)
    with pytest.raises(DataError, match="must be one 1 among zeros each, along the last axis"):
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
    steps = np.concatenate([stored["A/comparE"][f"Ses01F_{one:03d}"][:6] for one in order[:3]])
    for place, one in enumerate(order):
        kept = (stored["A/comparE"][f"Ses01F_{one:03d}"][:6] - steps.mean(0)) / steps.std(0)
        np.testing.assert_allclose(found.arrays["audio"][place, : len(kept)], kept, rtol=1e-4, atol=1e-5)
        assert not found.arrays["audio"][place, len(kept) :].any()
    assert found.arrays["split"].tolist() == [0, 0, 0, 1, 2, 2]


def test_sounds_are_in_the_units_of_the_file_that_says_them(tmp_path: Path) -> None:
    stored, mean, std = utterances(tmp_path), np.array([1.0, 2, 3]), np.array([2.0, 0, 4])
    with h5py.File(tmp_path / "A" / "comparE_mean_std.h5", "w") as held:
        held["2/mean"], held["2/std"] = mean, std
    found = convert("iemocap-mmin", tmp_path, {"fold": 2})
    expected = (stored["A/comparE"]["Ses01F_004"] - mean) / [2, 1, 4]
    np.testing.assert_allclose(found.arrays["audio"][0, :6], expected, rtol=1e-5)
    assert found.sheet["standardise"] == {"audio": "none"}
    with h5py.File(tmp_path / "A" / "comparE_mean_std.h5", "w") as held:
        held["2/mean"], held["2/std"] = mean[:2], std
    with pytest.raises(DataError, match="must hold 3 means and deviations, got 2, 3"):
        convert("iemocap-mmin", tmp_path, {"fold": 2})
    hdf5(tmp_path / "A" / "comparE_mean_std.h5", other=mean)
    with pytest.raises(DataError, match="has no `2/mean`"):
        convert("iemocap-mmin", tmp_path, {"fold": 2})


def test_names_are_the_first_column_and_as_many_as_the_labels(tmp_path: Path) -> None:
    utterances(tmp_path)
    place = tmp_path / "target" / "2"
    whole = convert("iemocap-mmin", tmp_path, {"fold": 2}).arrays
    names = np.load(place / "trn_int2name.npy")
    np.save(place / "trn_int2name.npy", np.concatenate([names, names[::-1]], axis=1))
    np.testing.assert_array_equal(convert("iemocap-mmin", tmp_path, {"fold": 2}).arrays["text"], whole["text"])
    np.save(place / "trn_label.npy", np.eye(4)[[0, 1]])
    with pytest.raises(DataError, match=r"the rows of text of train must be as many as label, 2, .* got \(3, 4, 7\)"):
        convert("iemocap-mmin", tmp_path, {"fold": 2})
    np.save(place / "trn_label.npy", np.arange(3))
    with pytest.raises(DataError, match="must be one 1 among zeros each"):
        convert("iemocap-mmin", tmp_path, {"fold": 2})
    np.save(place / "trn_label.npy", np.eye(4)[:3])
    with h5py.File(tmp_path / "V" / "denseface.h5", "a") as held:
        del held["Ses01F_001"]
        held["Ses01F_001"] = np.zeros((5, 9))
    with pytest.raises(DataError, match=r"`Ses01F_001` of .* is \(5, 9\), and `Ses01F_004` \(5, 2\)"):
        convert("iemocap-mmin", tmp_path, {"fold": 2})


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
    with pytest.raises(DataError, match=r"dev\.json is no list of .* that can be read"):
        convert("food-101", tmp_path, {})


def pages(folder: Path, *lines: str, encoding: str = "utf-8") -> None:
    """Store pages of two dishes for training and test, and further lines of training."""
    (folder / "texts").mkdir(exist_ok=True)
    for part in ("train", "test"):
        listed = [f"{place}.png,the cr\u00eape {place % 2},{place % 2}" for place in range(8)]
        for place in range(8):
            dish(folder / "images" / part / str(place % 2) / f"{place}.png", place)
        text = "".join(f"{line}\n" for line in [*listed, *(lines if part == "train" else ())])
        (folder / "texts" / f"{part}_titles.csv").write_text(text, encoding=encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_titles_are_read_in_either_encoding(tmp_path: Path, encoding: str) -> None:
    pages(tmp_path, encoding=encoding)
    (line, *_) = read_csv(tmp_path / "texts" / "train_titles.csv")
    assert line == ["0.png", "the crêpe 0", "0"]
    assert len(convert("food-101", tmp_path, {"size": 8}).arrays["text"]) == 16


def test_a_line_that_is_shorter_than_its_header_is_left_out(tmp_path: Path) -> None:
    pages(tmp_path)
    for part in ("train", "test"):
        file = tmp_path / "texts" / f"{part}_titles.csv"
        lines = ["number,Image_path,text,label", *(f"7,{line}" for line in file.read_text().splitlines())]
        file.write_text("\n".join([*lines, "8,9.png,a title without its dish"]))
    assert len(convert("food-101", tmp_path, {"size": 8}).arrays["label"]) == 16


def test_a_photograph_that_cannot_be_read_or_lies_elsewhere(tmp_path: Path) -> None:
    pages(tmp_path)
    (tmp_path / "images" / "train" / "0" / "2.png").write_bytes(b"none")
    found = convert("food-101", tmp_path, {"size": 8})
    assert len(found.arrays["label"]) == 15
    assert len(found.notes) == 1
    assert found.notes[0].startswith("1 that cannot be used are left out, the first: ")
    assert "2.png is no picture that can be read" in found.notes[0]
    pages(tmp_path, "9.png,title,../../../..")
    with pytest.raises(DataError, match="is not within"):
        convert("food-101", tmp_path, {})
    pages(tmp_path, f"9.png,{'x' * 140000},0")
    with pytest.raises(DataError, match=r"train_titles\.csv is no table that can be read: field larger than"):
        convert("food-101", tmp_path, {})
    for path in ("/etc/x.png", "../x.png"):
        (tmp_path / "train.json").write_text(json.dumps([{"id": 1, "text_tokens": [], "img_path": path, "label": 1}]))
        with pytest.raises(DataError, match=f"{path} is not within"):
            convert("food-101", tmp_path, {})


def brain(seed: int, side: int = 12, depth: int = 8) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    image = random.normal(100, 20, (4, side, side, depth))
    image[:, :2] = 0  # outside the brain
    return image, random.choice([0, 1, 2, 4], (side, side, depth))


def publish(place: Path, seed: int) -> None:
    """Write a brain as a published case."""
    place.mkdir()
    image, label = brain(seed)
    for name, array in zip(("flair", "t1ce", "t1", "t2", "seg"), (*image, label), strict=True):
        nibabel.save(nibabel.Nifti1Image(array.astype(np.int16), np.eye(4)), place / f"{place.name}_{name}.nii.gz")


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
        publish(tmp_path / f"BraTS2021_{seed:05d}", seed)
    found = convert("brats", tmp_path, {"crop": 12, "block": 2, "slices": 2})
    assert np.bincount(found.arrays["split"]).tolist() == [14, 2, 4]
    assert (found.sheet["groups"], found.arrays["case"].tolist()) == ("case", [i // 2 for i in range(20)])
    assert not found.arrays["t2"][:, :6].any()  # what is outside the brain stays 0
    assert abs(float(found.arrays["t2"][:, 6:].astype(float).mean())) < 0.1
    assert set(np.unique(found.arrays["label"])) <= {0, 1, 2, 3}
    newer = tmp_path / "BraTS2021_00003"
    (newer / f"{newer.name}_t1.nii.gz").rename(newer / "BraTS-GLI-00003-000-t1n.nii.gz")
    again = convert("brats", tmp_path, {"crop": 12, "block": 2, "slices": 2})
    np.testing.assert_array_equal(again.arrays["t1"], found.arrays["t1"])
    (newer / f"{newer.name}_seg.nii.gz").rename(newer / "W39_1998.09.19_Segm.nii.gz")
    again = convert("brats", tmp_path, {"crop": 12, "block": 2, "slices": 2})
    np.testing.assert_array_equal(again.arrays["label"], found.arrays["label"])
    assert again.notes == []


def test_a_case_without_a_usable_volume_is_left_out(tmp_path: Path) -> None:
    for seed in range(12):
        publish(tmp_path / f"case{seed:02d}", seed)
    whole = convert("brats", tmp_path, {"crop": 12})
    (tmp_path / "case03" / "case03_seg.nii.gz").unlink()
    (tmp_path / "case05" / "case05_t2.nii.gz").write_bytes(b"none")
    found = convert("brats", tmp_path, {"crop": 12})
    left = [place for place in range(12) if place not in (3, 5)]
    np.testing.assert_array_equal(found.arrays["t1"], whole.arrays["t1"][left])
    np.testing.assert_array_equal(found.arrays["split"], whole.arrays["split"][left])
    assert len(found.notes) == 1
    assert found.notes[0].startswith("2 that cannot be used are left out, the first: ")
    assert found.notes[0].endswith("case03 has no volume *_seg.nii.gz")
    for file in tmp_path.glob("*/*_t1.nii.gz"):
        file.unlink()
    with pytest.raises(DataError, match=r"case00 has no volume \*_t1\.nii\.gz"):
        convert("brats", tmp_path, {"crop": 12})


@pytest.mark.parametrize("other", [[7], [3, 4], [0.5]])
def test_a_tumour_of_unknown_labels_is_left_out(tmp_path: Path, other: list[float]) -> None:
    for part, seeds in (("train", (0, 1)), ("valid", (2,)), ("test", (3,))):
        for seed in seeds:
            image, label = brain(seed)
            label = np.resize(other, label.shape) if seed == 1 else label
            hdf5(tmp_path / part / f"case{seed}.h5", image=image * 1e5, label=label)
    found = convert("brats", tmp_path, {"crop": 8})
    assert found.arrays["split"].tolist() == [0, 1, 2]
    assert "case1.h5 must be 0, 1, 2 and either 3 or 4, got" in found.notes[0]
    assert found.arrays["t1"].dtype == np.float32  # half precision ends at 65504
    assert np.isfinite(found.arrays["t1"]).all()


def test_folders_without_brains_and_more_slices_than_there_are(tmp_path: Path) -> None:
    for part in ("train", "valid", "test"):
        (tmp_path / part).mkdir()
    with pytest.raises(DataError, match=r"holds no \*\.h5 in train, valid, test"):
        convert("brats", tmp_path, {})
    for part in ("train", "valid", "test"):
        hdf5(tmp_path / part / "a.h5", **dict(zip(("image", "label"), brain(0), strict=True)))
    with pytest.raises(DataError, match=r"a\.h5 has too few slices, 8, for 9 in its middle half"):
        convert("brats", tmp_path, {"slices": 9})


def test_a_block_has_the_label_of_most_of_its_pixels() -> None:
    labels = np.array([[0, 0, 1, 2], [0, 3, 2, 1], [3, 3, 0, 0], [3, 1, 0, 0]])
    assert split_into_blocks(labels, 4, 2).tolist() == [[0, 0, 0, 3], [1, 2, 2, 1], [3, 3, 3, 1], [0, 0, 0, 0]]
    assert majority_labels(split_into_blocks(labels, 4, 2)).tolist() == [0, 1, 3, 0]


def test_options_are_checked(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"brats has no option 'slice' .it has: slices, crop, block.. Did you mean 'slices'"
    ):
        convert("brats", tmp_path, {"slice": 2})
    with pytest.raises(DataError, match="slices of brats must be like 1, got 'two'"):
        convert("brats", tmp_path, {"slices": "two"})
    for layout, option in (
        ("brats", "slices"), ("brats", "crop"), ("brats", "block"), ("crema-d", "frames"), ("crema-d", "size"),
        ("iemocap-mmin", "fold"), ("iemocap-mmin", "longest"), ("food-101", "words"),
    ):  # fmt: skip
        for value in (0, -3):
            with pytest.raises(DataError, match=f"{option} of {layout} must be 1 or more, got {value}"):
                convert(layout, tmp_path, {option: value})
    with pytest.raises(DataError, match="crop of brats must be a multiple of block, got 10 and 4"):
        convert("brats", tmp_path, {"crop": 10})
    with pytest.raises(DataError, match=r"ablate has no layout 'mutl'.*Did you mean 'mult'"):
        convert("mutl", tmp_path, {})
    with pytest.raises(DataError, match="there is no file or folder"):
        convert("mult", tmp_path / "none.pkl", {})


@pytest.mark.parametrize(
    "error", [KeyError("text"), ZeroDivisionError(), MemoryError(), OSError("gone"), RuntimeError("so")]
)
def test_what_nobody_foresaw_names_source_and_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(source: Path) -> Conversion:
        raise error

    monkeypatch.setattr("trainables.data.convert.av_mnist.av_mnist", fails)
    with pytest.raises(DataError, match=f"{tmp_path} cannot be read as av-mnist: {type(error).__name__}: "):
        convert("av-mnist", tmp_path, {})
