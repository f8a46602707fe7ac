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


def test_every_layout_has_a_converter() -> None:
    for layout in LAYOUTS:
        assert isinstance(layout_options(layout), dict)


def test_av_mnist_validates_on_the_last_twelfth_of_training(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    stored = {}
    for part, count in (("train", 24), ("test", 5)):
        for modality, side in (("image", 28), ("audio", 112)):
            (tmp_path / modality).mkdir(exist_ok=True)
            array = random.integers(0, 256, (count, side * side) if modality == "image" else (count, side, side))
            stored[part, modality] = array
            np.save(
                tmp_path / modality / f"{part}_data.npy", array.astype(np.float64 if modality == "image" else np.uint8)
            )
        np.save(tmp_path / f"{part}_labels.npy", np.arange(count) % 10)
    conversion = convert("av-mnist", tmp_path, {})
    assert conversion.arrays["split"].tolist() == [0] * 22 + [1] * 2 + [2] * 5
    np.testing.assert_array_equal(conversion.arrays["label"], [*(np.arange(24) % 10), *range(5)])
    for modality, side in (("image", 28), ("audio", 112)):
        expected = np.concatenate(
            [stored["train", modality].reshape(24, side, side), stored["test", modality].reshape(5, side, side)]
        )
        np.testing.assert_array_equal(conversion.arrays[modality], expected)
        assert conversion.arrays[modality].dtype == np.uint8


def write_av_mnist(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Store AV-MNIST whose training images are given."""
    random = np.random.default_rng(0)
    for part, count in (("train", 24), ("test", 5)):
        for modality, side in (("image", 28), ("audio", 112)):
            (folder / modality).mkdir(exist_ok=True)
            np.save(folder / modality / f"{part}_data.npy", random.integers(0, 256, (count, side, side)))
        np.save(folder / f"{part}_labels.npy", labels[:count])
    np.save(folder / "image" / "train_data.npy", images)


@pytest.mark.parametrize("images", [[-191.4, 340.2], [0.0, 0.5], [0.0, 256.0], [-1.0, 1.0]])
def test_pictures_that_are_not_bytes_keep_their_values(tmp_path: Path, images: list[float]) -> None:
    stored = np.resize(images, (24, 784))
    write_av_mnist(tmp_path, stored, np.arange(24)[:, None] % 10)
    conversion = convert("av-mnist", tmp_path, {})
    assert conversion.arrays["image"].dtype == np.float32
    np.testing.assert_array_equal(conversion.arrays["image"][:24].reshape(24, 784), stored.astype(np.float32))
    assert conversion.arrays["audio"].dtype == np.uint8
    assert conversion.datasheet["standardise"] == {"image": "all", "audio": "all"}  # pixels share a unit, not columns


def test_labels_and_pictures_of_other_shapes_are_refused(tmp_path: Path) -> None:
    write_av_mnist(tmp_path, np.zeros((24, 784)), np.arange(24) % 10 + 0.5)
    with pytest.raises(DataError, match=r"train_labels\.npy must hold integers only"):
        convert("av-mnist", tmp_path, {})
    write_av_mnist(tmp_path, np.zeros((24, 784)), np.eye(24))
    with pytest.raises(DataError, match=r"must hold one integer per sample, got float64 \(24, 24\)"):
        convert("av-mnist", tmp_path, {})
    write_av_mnist(tmp_path, np.zeros((0, 784)), np.arange(24) % 10)
    with pytest.raises(DataError, match=r"must hold 24 images of 28 x 28 numbers, got float64 \(0, 784\)"):
        convert("av-mnist", tmp_path, {})


def write_hdf5(file: Path, **arrays: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(file, "w") as root:
        for key, array in arrays.items():
            root[key] = array


def write_ave(folder: Path) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    arrays = {
        "visual_feature": random.normal(size=(9, 10, 2, 2, 5)).astype(np.float32),
        "audio_feature": random.normal(size=(9, 10, 3)).astype(np.float32),
        "right_labels": np.eye(4)[random.integers(0, 4, (9, 10))],
    }
    for name, array in arrays.items():
        write_hdf5(folder / f"{name}.h5", avadataset=array)
    for name, order in (("train", [8, 0, 3, 1]), ("val", [2, 4]), ("test", [5, 7, 6])):
        write_hdf5(folder / f"{name}_order.h5", order=np.array(order))
    return arrays


def test_each_second_of_a_film_has_a_label(tmp_path: Path) -> None:
    stored, order = write_ave(tmp_path), [8, 0, 3, 1, 2, 4, 5, 7, 6]
    conversion = convert("ave", tmp_path, {})
    assert (conversion.datasheet["task"], conversion.datasheet["classes"]) == ("segmentation", 4)
    assert conversion.arrays["split"].tolist() == [0] * 4 + [1] * 2 + [2] * 3
    np.testing.assert_array_equal(conversion.arrays["label"], stored["right_labels"].argmax(-1)[order])
    np.testing.assert_array_equal(conversion.arrays["audio"], stored["audio_feature"][order])
    np.testing.assert_allclose(conversion.arrays["image"], stored["visual_feature"].mean((2, 3))[order], rtol=1e-5)
    whole = convert("ave", tmp_path, {"pool": False}).arrays["image"]
    np.testing.assert_array_equal(whole, stored["visual_feature"].reshape(9, 10, 20)[order])


def test_an_order_beyond_the_films_and_another_key_are_refused(tmp_path: Path) -> None:
    write_ave(tmp_path)
    write_hdf5(tmp_path / "val_order.h5", order=np.array([9]))
    with pytest.raises(DataError, match=r"val_order\.h5 must hold indices of videos, from 0 to 8"):
        convert("ave", tmp_path, {})
    write_hdf5(tmp_path / "val_order.h5", other=np.array([1]))
    with pytest.raises(DataError, match=r"has no `order` \(it has: other\)"):
        convert("ave", tmp_path, {})
    (tmp_path / "val_order.h5").write_bytes(b"none")
    with pytest.raises(DataError, match="is not a readable HDF5"):
        convert("ave", tmp_path, {})


def test_arrays_stored_in_other_files_are_not_read(tmp_path: Path) -> None:
    write_ave(tmp_path)
    secret, file = tmp_path / "secret", tmp_path / "audio_feature.h5"
    secret.write_bytes(b"x" * 270)
    write_hdf5(tmp_path / "other.h5", x=np.ones((9, 10, 3)))
    inside, virtual = h5py.VirtualLayout((9, 10, 3), "f8"), h5py.VirtualSource(tmp_path / "other.h5", "x", (9, 10, 3))
    inside[...] = virtual
    with h5py.File(file, "w") as root:
        root.create_dataset("avadataset", (9, 10, 3), "u1", external=[(str(secret), 0, 270)])
    with pytest.raises(DataError, match=r"`avadataset` of .* is stored in other files, which are not read"):
        convert("ave", tmp_path, {})
    with h5py.File(file, "w") as root:
        root.create_virtual_dataset("avadataset", inside)
    with pytest.raises(DataError, match="is stored in other files, which are not read"):
        convert("ave", tmp_path, {})
    for link in (h5py.ExternalLink(str(tmp_path / "other.h5"), "/x"), h5py.SoftLink("/other")):
        with h5py.File(file, "w") as root:
            root["avadataset"] = link
        with pytest.raises(DataError, match="is a soft or external link"):
            convert("ave", tmp_path, {})
    write_hdf5(file, avadataset=np.array(b"text"))
    with pytest.raises(DataError, match="must be an array of numbers"):
        convert("ave", tmp_path, {})


def test_a_second_without_a_label_is_refused(tmp_path: Path) -> None:
    stored = write_ave(tmp_path)["right_labels"]
    stored[3, 4] = 0
    write_hdf5(tmp_path / "right_labels.h5", avadataset=stored)
    with pytest.raises(DataError, match="must be one-hot along the last axis"):
        convert("ave", tmp_path, {})


def write_iemocap(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    names = [f"Ses01F_{index:03d}" for index in range(6)]
    stored = {
        path: {name: random.normal(size=(time(index), width)) for index, name in enumerate(names)}
        for path, time, width in (
            ("L/bert_large", lambda index: 4, 7),
            ("A/comparE", lambda index: 2 + index, 3),
            ("V/denseface", lambda index: 5, 2),
        )
    }
    for path, utterances in stored.items():
        write_hdf5(folder / f"{path}.h5", **utterances)
    for part, own in (("trn", [4, 0, 1]), ("val", [2]), ("tst", [5, 3])):
        target = folder / "target" / "2"
        target.mkdir(parents=True, exist_ok=True)
        np.save(target / f"{part}_label.npy", np.eye(4)[[one % 4 for one in own]])
        np.save(target / f"{part}_int2name.npy", np.array([[names[one].encode()] for one in own]))
    return stored


def test_utterances_are_padded_with_zeros_to_the_longest(tmp_path: Path) -> None:
    stored, order = write_iemocap(tmp_path), [4, 0, 1, 2, 5, 3]
    conversion = convert("iemocap-mmin", tmp_path, {"fold": 2, "longest": 6})
    assert conversion.arrays["label"].tolist() == [one % 4 for one in order]
    assert conversion.arrays["audio"].shape == (6, 6, 3)  # the longest has seven steps and is cut
    steps = np.concatenate([stored["A/comparE"][f"Ses01F_{one:03d}"][:6] for one in order[:3]])
    for index, one in enumerate(order):
        expected = (stored["A/comparE"][f"Ses01F_{one:03d}"][:6] - steps.mean(0)) / steps.std(0)
        np.testing.assert_allclose(conversion.arrays["audio"][index, : len(expected)], expected, rtol=1e-4, atol=1e-5)
        assert not conversion.arrays["audio"][index, len(expected) :].any()
    assert conversion.arrays["split"].tolist() == [0, 0, 0, 1, 2, 2]


def test_sounds_are_standardised_by_the_statistics_in_a_file(tmp_path: Path) -> None:
    stored, mean, std = write_iemocap(tmp_path), np.array([1.0, 2, 3]), np.array([2.0, 0, 4])
    with h5py.File(tmp_path / "A" / "comparE_mean_std.h5", "w") as root:
        root["2/mean"], root["2/std"] = mean, std
    conversion = convert("iemocap-mmin", tmp_path, {"fold": 2})
    expected = (stored["A/comparE"]["Ses01F_004"] - mean) / [2, 1, 4]
    np.testing.assert_allclose(conversion.arrays["audio"][0, :6], expected, rtol=1e-5)
    assert conversion.datasheet["standardise"] == {"audio": "none"}
    with h5py.File(tmp_path / "A" / "comparE_mean_std.h5", "w") as root:
        root["2/mean"], root["2/std"] = mean[:2], std
    with pytest.raises(DataError, match="must hold 3 means and standard deviations, got 2, 3"):
        convert("iemocap-mmin", tmp_path, {"fold": 2})
    write_hdf5(tmp_path / "A" / "comparE_mean_std.h5", other=mean)
    with pytest.raises(DataError, match="has no `2/mean`"):
        convert("iemocap-mmin", tmp_path, {"fold": 2})


def test_ids_are_the_first_column_and_as_many_as_the_labels(tmp_path: Path) -> None:
    write_iemocap(tmp_path)
    target = tmp_path / "target" / "2"
    whole = convert("iemocap-mmin", tmp_path, {"fold": 2}).arrays
    names = np.load(target / "trn_int2name.npy")
    np.save(target / "trn_int2name.npy", np.concatenate([names, names[::-1]], axis=1))
    np.testing.assert_array_equal(convert("iemocap-mmin", tmp_path, {"fold": 2}).arrays["text"], whole["text"])
    np.save(target / "trn_label.npy", np.eye(4)[[0, 1]])
    with pytest.raises(DataError, match=r"text of train must have 2 rows, as label, .* got \(3, 4, 7\)"):
        convert("iemocap-mmin", tmp_path, {"fold": 2})
    np.save(target / "trn_label.npy", np.arange(3))
    with pytest.raises(DataError, match="must be one-hot"):
        convert("iemocap-mmin", tmp_path, {"fold": 2})
    np.save(target / "trn_label.npy", np.eye(4)[:3])
    with h5py.File(tmp_path / "V" / "denseface.h5", "a") as root:
        del root["Ses01F_001"]
        root["Ses01F_001"] = np.zeros((5, 9))
    with pytest.raises(DataError, match=r"`Ses01F_001` of .* has the shape \(5, 9\), and `Ses01F_004` \(5, 2\)"):
        convert("iemocap-mmin", tmp_path, {"fold": 2})


def test_an_utterance_without_features_is_named(tmp_path: Path) -> None:
    write_iemocap(tmp_path)
    with h5py.File(tmp_path / "V" / "denseface.h5", "a") as root:
        del root["Ses01F_002"], root["Ses01F_005"]
    with pytest.raises(DataError, match=r"denseface\.h5 has no utterance `Ses01F_002`; 1 are missing in total"):
        convert("iemocap-mmin", tmp_path, {"fold": 2})


def write_photograph(file: Path, grey: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (9, 7), grey).save(file)


@pytest.mark.parametrize("header", [True, False])
def test_titles_become_tfidf_weights_of_training_words(tmp_path: Path, header: bool) -> None:
    (tmp_path / "texts").mkdir()
    for part, count in (("train", 8), ("test", 4)):
        lines = ["Image_path,text,label"] if header else []
        for index in range(count):
            label = ("pizza", "sushi")[index % 2]
            words = f"best {label} recipe" if part == "train" else f"unseen {label}"
            lines.append(f'{label}_{index}.png,"{words}, quick",{label}')
            write_photograph(tmp_path / "images" / part / label / f"{label}_{index}.png", index)
        (tmp_path / "texts" / f"{part}_titles.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "images" / "test" / "sushi" / "sushi_3.png").unlink()
    conversion = convert("food-101", tmp_path, {"size": 8})
    assert conversion.datasheet["classes"] == ["pizza", "sushi"]
    assert conversion.arrays["label"].tolist() == [0, 1] * 5 + [0]
    assert conversion.arrays["text"].shape == (11, 5)  # best, pizza, quick, recipe, sushi; `unseen` is not of training
    np.testing.assert_allclose(np.linalg.norm(conversion.arrays["text"].astype(float), axis=1), 1, atol=1e-3)
    assert conversion.arrays["image"][:, 0, 0, 0].tolist() == [*range(8), 0, 1, 2]
    assert np.bincount(conversion.arrays["split"]).tolist() == [6, 2, 3]
    assert conversion.notes == ["1 of 12 pages lack their image and are left out"]


def test_json_lists_may_have_a_validation_split(tmp_path: Path) -> None:
    for part in ("train", "dev", "test"):
        entries = []
        for index in range(4):
            write_photograph(tmp_path / "img" / f"{part}{index}.png", index)
            tokens = ["fried", "rice"] if index % 2 else ["apple", "pie"]
            entries.append(
                {"id": index, "text_tokens": tokens, "img_path": f"img/{part}{index}.png", "label": "_".join(tokens)}
            )
        (tmp_path / f"{part}.json").write_text(json.dumps(entries))
    conversion = convert("food-101", tmp_path, {"size": 8})
    assert conversion.arrays["split"].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert conversion.datasheet["splits"] == "as listed"
    (tmp_path / "dev.json").write_text('[{"id": 3}]')
    with pytest.raises(DataError, match=r"dev\.json is not a readable list of"):
        convert("food-101", tmp_path, {})


def write_pages(folder: Path, *lines: str, encoding: str = "utf-8") -> None:
    """Store pages of two dishes for training and test, and further lines of training."""
    (folder / "texts").mkdir(exist_ok=True)
    for part in ("train", "test"):
        listed = [f"{index}.png,the cr\u00eape {index % 2},{index % 2}" for index in range(8)]
        for index in range(8):
            write_photograph(folder / "images" / part / str(index % 2) / f"{index}.png", index)
        text = "".join(f"{line}\n" for line in [*listed, *(lines if part == "train" else ())])
        (folder / "texts" / f"{part}_titles.csv").write_text(text, encoding=encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_titles_are_read_in_either_encoding(tmp_path: Path, encoding: str) -> None:
    write_pages(tmp_path, encoding=encoding)
    (line, *_) = read_csv(tmp_path / "texts" / "train_titles.csv")
    assert line == ["0.png", "the crêpe 0", "0"]
    assert len(convert("food-101", tmp_path, {"size": 8}).arrays["text"]) == 16


def test_a_line_that_is_shorter_than_its_header_is_left_out(tmp_path: Path) -> None:
    write_pages(tmp_path)
    for part in ("train", "test"):
        file = tmp_path / "texts" / f"{part}_titles.csv"
        lines = ["number,Image_path,text,label", *(f"7,{line}" for line in file.read_text().splitlines())]
        file.write_text("\n".join([*lines, "8,9.png,a title without its dish"]))
    assert len(convert("food-101", tmp_path, {"size": 8}).arrays["label"]) == 16


def test_an_unreadable_photograph_is_left_out_and_one_elsewhere_refused(tmp_path: Path) -> None:
    write_pages(tmp_path)
    (tmp_path / "images" / "train" / "0" / "2.png").write_bytes(b"none")
    conversion = convert("food-101", tmp_path, {"size": 8})
    assert len(conversion.arrays["label"]) == 15
    assert len(conversion.notes) == 1
    assert conversion.notes[0].startswith("1 unusable items are left out, the first: ")
    assert "2.png is not a readable picture" in conversion.notes[0]
    write_pages(tmp_path, "9.png,title,../../../..")
    with pytest.raises(DataError, match="must be a path inside"):
        convert("food-101", tmp_path, {})
    write_pages(tmp_path, f"9.png,{'x' * 140000},0")
    with pytest.raises(DataError, match=r"train_titles\.csv is not a readable table: field larger than"):
        convert("food-101", tmp_path, {})
    for path in ("/etc/x.png", "../x.png"):
        (tmp_path / "train.json").write_text(json.dumps([{"id": 1, "text_tokens": [], "img_path": path, "label": 1}]))
        with pytest.raises(DataError, match=f"{path} must be a path inside"):
            convert("food-101", tmp_path, {})


def random_brain(seed: int, side: int = 12, depth: int = 8) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    image = random.normal(100, 20, (4, side, side, depth))
    image[:, :2] = 0  # outside the brain
    return image, random.choice([0, 1, 2, 4], (side, side, depth))


def write_case(folder: Path, seed: int) -> None:
    """Write a brain as a published case."""
    folder.mkdir()
    image, label = random_brain(seed)
    for name, array in zip(("flair", "t1ce", "t1", "t2", "seg"), (*image, label), strict=True):
        nibabel.save(nibabel.Nifti1Image(array.astype(np.int16), np.eye(4)), folder / f"{folder.name}_{name}.nii.gz")


def test_slices_of_stored_brains_are_fixed_and_their_blocks_labelled(tmp_path: Path) -> None:
    for part, seeds in (("train", (0, 1)), ("valid", (2,)), ("test", (3,))):
        for seed in seeds:
            image, label = random_brain(seed)
            write_hdf5(tmp_path / part / f"case{seed}.h5", image=image, label=label)
    conversion = convert("brats", tmp_path, {"crop": 8, "block": 1})
    assert conversion.arrays["split"].tolist() == [0, 0, 1, 2]
    for seed in range(4):
        image, label = random_brain(seed)
        expected = np.where(label == 4, 3, label)[2:10, 2:10, 4].ravel()
        np.testing.assert_array_equal(conversion.arrays["label"][seed], expected)
        np.testing.assert_allclose(conversion.arrays["t1"][seed, :, 0], image[2, 2:10, 2:10, 4].ravel(), rtol=1e-3)
    several = convert("brats", tmp_path, {"crop": 16, "block": 4, "slices": 3}).arrays
    assert several["flair"].shape == (12, 16, 16)
    assert several["label"].shape == (12, 16)
    assert not several["flair"][0, 0, :2].any()  # what is beyond the slice counts as 0


def test_published_brains_are_standardised_and_split_by_case(tmp_path: Path) -> None:
    for seed in range(10):
        write_case(tmp_path / f"BraTS2021_{seed:05d}", seed)
    conversion = convert("brats", tmp_path, {"crop": 12, "block": 2, "slices": 2})
    assert np.bincount(conversion.arrays["split"]).tolist() == [14, 2, 4]
    assert (conversion.datasheet["groups"], conversion.arrays["case"].tolist()) == ("case", [i // 2 for i in range(20)])
    assert not conversion.arrays["t2"][:, :6].any()  # what is outside the brain stays 0
    assert abs(float(conversion.arrays["t2"][:, 6:].astype(float).mean())) < 0.1
    assert set(np.unique(conversion.arrays["label"])) <= {0, 1, 2, 3}
    newer = tmp_path / "BraTS2021_00003"
    (newer / f"{newer.name}_t1.nii.gz").rename(newer / "BraTS-GLI-00003-000-t1n.nii.gz")
    again = convert("brats", tmp_path, {"crop": 12, "block": 2, "slices": 2})
    np.testing.assert_array_equal(again.arrays["t1"], conversion.arrays["t1"])
    (newer / f"{newer.name}_seg.nii.gz").rename(newer / "W39_1998.09.19_Segm.nii.gz")
    again = convert("brats", tmp_path, {"crop": 12, "block": 2, "slices": 2})
    np.testing.assert_array_equal(again.arrays["label"], conversion.arrays["label"])
    assert again.notes == []


def test_a_case_without_a_usable_volume_is_left_out(tmp_path: Path) -> None:
    for seed in range(12):
        write_case(tmp_path / f"case{seed:02d}", seed)
    whole = convert("brats", tmp_path, {"crop": 12})
    (tmp_path / "case03" / "case03_seg.nii.gz").unlink()
    (tmp_path / "case05" / "case05_t2.nii.gz").write_bytes(b"none")
    conversion = convert("brats", tmp_path, {"crop": 12})
    left = [index for index in range(12) if index not in (3, 5)]
    np.testing.assert_array_equal(conversion.arrays["t1"], whole.arrays["t1"][left])
    np.testing.assert_array_equal(conversion.arrays["split"], whole.arrays["split"][left])
    assert len(conversion.notes) == 1
    assert conversion.notes[0].startswith("2 unusable items are left out, the first: ")
    assert conversion.notes[0].endswith("case03 has no volume *_seg.nii.gz")
    for file in tmp_path.glob("*/*_t1.nii.gz"):
        file.unlink()
    with pytest.raises(DataError, match=r"case00 has no volume \*_t1\.nii\.gz"):
        convert("brats", tmp_path, {"crop": 12})


@pytest.mark.parametrize("other", [[7], [3, 4], [0.5]])
def test_a_tumour_of_unknown_labels_is_left_out(tmp_path: Path, other: list[float]) -> None:
    for part, seeds in (("train", (0, 1)), ("valid", (2,)), ("test", (3,))):
        for seed in seeds:
            image, label = random_brain(seed)
            label = np.resize(other, label.shape) if seed == 1 else label
            write_hdf5(tmp_path / part / f"case{seed}.h5", image=image * 1e5, label=label)
    conversion = convert("brats", tmp_path, {"crop": 8})
    assert conversion.arrays["split"].tolist() == [0, 1, 2]
    assert "case1.h5 must be 0, 1, 2 and either 3 or 4, got" in conversion.notes[0]
    assert conversion.arrays["t1"].dtype == np.float32  # half precision ends at 65504
    assert np.isfinite(conversion.arrays["t1"]).all()


def test_folders_without_brains_and_more_slices_than_there_are(tmp_path: Path) -> None:
    for part in ("train", "valid", "test"):
        (tmp_path / part).mkdir()
    with pytest.raises(DataError, match=r"holds no \*\.h5 in train, valid, test"):
        convert("brats", tmp_path, {})
    for part in ("train", "valid", "test"):
        write_hdf5(tmp_path / part / "a.h5", **dict(zip(("image", "label"), random_brain(0), strict=True)))
    with pytest.raises(DataError, match=r"a\.h5 has 8 slices, too few to take 9 from its middle half"):
        convert("brats", tmp_path, {"slices": 9})


def test_a_block_has_the_majority_label_of_its_pixels() -> None:
    labels = np.array([[0, 0, 1, 2], [0, 3, 2, 1], [3, 3, 0, 0], [3, 1, 0, 0]])
    assert split_into_blocks(labels, 4, 2).tolist() == [[0, 0, 0, 3], [1, 2, 2, 1], [3, 3, 3, 1], [0, 0, 0, 0]]
    assert majority_labels(split_into_blocks(labels, 4, 2)).tolist() == [0, 1, 3, 0]


def test_options_are_checked(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"brats has no option 'slice' .it has: slices, crop, block.. Did you mean 'slices'"
    ):
        convert("brats", tmp_path, {"slice": 2})
    with pytest.raises(DataError, match="slices of brats must have the type of its default 1, got 'two'"):
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
def test_an_unexpected_error_names_source_and_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(source: Path) -> Conversion:
        raise error

    monkeypatch.setattr("trainables.data.convert.av_mnist.av_mnist", fails)
    with pytest.raises(DataError, match=f"{tmp_path} cannot be read as av-mnist: {type(error).__name__}: "):
        convert("av-mnist", tmp_path, {})
