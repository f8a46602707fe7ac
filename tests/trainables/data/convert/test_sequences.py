"""MOSI, MOSEI, CH-SIMS, IEMOCAP and UR-Funny from pickles of exactly their layout."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainables.data import DataError
from trainables.data.convert import Conversion, convert
from trainables.data.convert.sequences import EMOTIONS, TARGETS

COUNTS = {"train": 5, "valid": 2, "test": 3}
SHAPES = {"vision": (4, 3), "audio": (4, 2), "text": (4, 5)}  # time, features
SENTIMENT = np.array([-3, -0.6, 0, 0.4, 2.6])


def random_features(count: int, seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {m: random.normal(size=(count, *shape)) for m, shape in SHAPES.items()}


def convert_pickle(folder: Path, layout: str, splits: dict[str, dict[str, Any]], **options: Any) -> Conversion:
    file = folder / "data.pkl"
    file.write_bytes(pickle.dumps(splits, 2))
    return convert(layout, file, options)


@pytest.fixture
def mosi() -> dict[str, dict[str, Any]]:
    """Return labels [N, 1, 1] and ids of bytes, as MOSI of MulT has them."""
    return {
        name: random_features(count, seed)
        | {"labels": np.resize(SENTIMENT, count).reshape(count, 1, 1), "id": np.array([[b"a", b"b", b"c"]] * count)}
        for seed, (name, count) in enumerate(COUNTS.items())
    }


def test_the_splits_and_their_order_are_those_of_the_file(tmp_path: Path, mosi: dict[str, dict[str, Any]]) -> None:
    conversion = convert_pickle(tmp_path, "mult", mosi)
    assert conversion.datasheet["task"] == "regression"
    assert conversion.arrays["split"].tolist() == [0] * 5 + [1] * 2 + [2] * 3
    for code, name in enumerate(COUNTS):
        part = conversion.arrays["split"] == code
        for modality in SHAPES:
            np.testing.assert_array_equal(conversion.arrays[modality][part], mosi[name][modality].astype(np.float32))
        np.testing.assert_allclose(conversion.arrays["sentiment"][part], mosi[name]["labels"].ravel(), rtol=1e-6)
    assert conversion.notes == []


def test_what_is_not_finite_becomes_zero_and_is_counted(tmp_path: Path, mosi: dict[str, dict[str, Any]]) -> None:
    mosi["train"]["audio"][0, 1] = -np.inf
    mosi["test"]["audio"][2, 0, 0] = np.nan
    mosi["test"]["audio"][2, 0, 1] = 1e300  # beyond single precision
    conversion = convert_pickle(tmp_path, "mult", mosi)
    assert not conversion.arrays["audio"][0, 1].any()
    assert np.isfinite(conversion.arrays["audio"]).all()
    assert conversion.notes == ["4 non-finite numbers of audio were replaced by 0"]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("seven", [0, 2, 3, 3, 6]),
        ("positive", [0, 0, 0, 1, 1]),
        ("nonnegative", [0, 0, 1, 1, 1]),
        ("polar", [0, 0, 0, 1, 1]),
    ],
)
def test_each_target_treats_neutral_samples_by_its_convention(
    tmp_path: Path, mosi: dict[str, dict[str, Any]], target: str, expected: list[int]
) -> None:
    conversion = convert_pickle(tmp_path, "mult", mosi, target=target)
    assert conversion.arrays[target][:5].tolist() == expected
    assert conversion.arrays["split"][:5].tolist() == [0, 0, -1 if target == "polar" else 0, 0, 0]
    assert (conversion.datasheet["target"], conversion.datasheet["classes"]) == (target, 7 if target == "seven" else 2)
    assert any("2 neutral samples are in no split" in note for note in conversion.notes) == (target == "polar")


def test_each_of_four_emotions_is_a_binary_label(tmp_path: Path) -> None:
    splits = {}
    for name, count in COUNTS.items():
        hot = np.random.default_rng(1).integers(0, 2, (count, 4))
        splits[name] = random_features(count) | {"labels": np.stack([1 - hot, hot], axis=-1).astype(float), "hot": hot}
    conversion = convert_pickle(
        tmp_path, "mult", {name: {k: v for k, v in s.items() if k != "hot"} for name, s in splits.items()}
    )
    assert (conversion.datasheet["target"], conversion.datasheet["classes"]) == ("neutral", 2)
    for place, emotion in enumerate(EMOTIONS):
        np.testing.assert_array_equal(conversion.arrays[emotion][:5], splits["train"]["hot"][:, place])


def test_sims_keeps_the_unimodal_labels(tmp_path: Path) -> None:
    splits = {}
    for name, count in COUNTS.items():
        own = {f"regression_labels_{m}": np.full(count, value) for m, value in (("T", 0.2), ("A", -0.4), ("V", 1.0))}
        lists = {"audio_lengths": [4] * count, "raw_text": ["hm"] * count}
        splits[name] = random_features(count) | own | lists | {"regression_labels": np.linspace(-1, 1, count)}
    conversion = convert_pickle(tmp_path, "mmsa", splits)
    assert conversion.datasheet["target"] == "sentiment"
    for name, value in (("text", 0.2), ("audio", -0.4), ("vision", 1.0)):
        np.testing.assert_allclose(conversion.arrays[f"sentiment_{name}"], value, rtol=1e-6)


def test_samples_without_a_word_are_left_out_and_padding_stays(tmp_path: Path) -> None:
    splits = {name: random_features(count) | {"labels": np.arange(count) % 2} for name, count in COUNTS.items()}
    splits["train"]["text"][1] = 0
    splits["train"]["text"][0, :2] = 0
    conversion = convert_pickle(tmp_path, "ur-funny", splits)
    assert conversion.arrays["split"].tolist() == [0] * 4 + [1] * 2 + [2] * 3
    assert conversion.arrays["label"][:4].tolist() == [0, 0, 1, 0]
    assert not conversion.arrays["text"][0, :2].any()
    assert conversion.notes == ["1 samples without any word are left out"]


def test_pickles_of_other_layouts_are_refused(tmp_path: Path, mosi: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(DataError, match="has no `regression_labels` in `train`"):
        convert_pickle(tmp_path, "mmsa", mosi)
    funny = {name: random_features(count) | {"labels": np.arange(count) % 2} for name, count in COUNTS.items()}
    with pytest.raises(DataError, match="have two classes; use the layout ur-funny"):
        convert_pickle(tmp_path, "mult", funny)
    with pytest.raises(DataError, match="has no `text` in `train`"):
        convert_pickle(tmp_path, "mult", {"train": {"audio": 1}})
    mosi["valid"]["text"] = mosi["valid"]["text"].reshape(2, -1)
    with pytest.raises(DataError, match=r"text of valid .* numbers \[N, time, features\], got float64 \(2, 20\)"):
        convert_pickle(tmp_path, "mult", mosi)


def test_a_target_that_does_not_exist_is_refused(tmp_path: Path, mosi: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(
        DataError, match=f"target has no choice 'polr' .it has: {', '.join(TARGETS)}.. Did you mean 'polar'"
    ):
        convert_pickle(tmp_path, "mult", mosi, target="polr")


@pytest.mark.parametrize("labels", [[0, 1, 0, 1, 1], [-1, 1, 1, -1, 1]])
def test_labels_of_two_classes_are_not_sentiments(
    tmp_path: Path, mosi: dict[str, dict[str, Any]], labels: list[int]
) -> None:
    mosi["train"]["labels"] = np.array(labels)
    with pytest.raises(DataError, match="have two classes; use the layout ur-funny, not mult"):
        convert_pickle(tmp_path, "mult", mosi)


@pytest.mark.parametrize("labels", [[-1, 1], [0.5, 1]])
def test_labels_of_ur_funny_must_be_0_and_1(tmp_path: Path, labels: list[float]) -> None:
    splits = {
        name: random_features(count) | {"labels": np.resize(labels, (count, 1))} for name, count in COUNTS.items()
    }
    with pytest.raises(DataError, match=r"must be 0 and 1, got \["):
        convert_pickle(tmp_path, "ur-funny", splits)


def test_polar_labels_without_neutral_samples_need_no_note(tmp_path: Path, mosi: dict[str, dict[str, Any]]) -> None:
    for part in mosi.values():
        part["labels"] = np.abs(part["labels"]) + 1
    assert convert_pickle(tmp_path, "mult", mosi, target="polar").notes == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.full((5, 1), np.nan)}, "must be finite numbers"),
        ({"labels": "abc"}, "must be finite numbers"),
        ({"labels": 5.0}, r"must be one number per sample, got \(\)"),
        ({"labels": np.zeros((5, 1, 7))}, r"must be one number per sample, got \(5, 1, 7\)"),
        ({"labels": [[1, 2], [3]]}, "got nested lists"),
        ({"text": [[[1.0]]] * 5}, "got nested lists"),
        ({"text": np.zeros((6, 4, 5))}, r"audio of train must have 6 rows, as text, .* got \(5, 4, 2\)"),
        (
            {"text": np.zeros((5, 3, 5))},
            r"text of val must have .* of the shape in training, \(3, 5\); got \(2, 4, 5\)",
        ),
    ],
)
def test_labels_and_features_of_other_shapes_are_refused(
    tmp_path: Path, mosi: dict[str, dict[str, Any]], change: dict[str, Any], message: str
) -> None:
    mosi["train"] |= change
    with pytest.raises(DataError, match=message):
        convert_pickle(tmp_path, "mult", mosi)


def test_nested_lists_that_would_fill_the_memory_are_refused(tmp_path: Path, mosi: dict[str, dict[str, Any]]) -> None:
    labels = [1.0, 2.0]
    for _ in range(60):
        labels = [labels, labels]
    mosi["train"]["labels"] = labels
    with pytest.raises(DataError, match="got nested lists"):
        convert_pickle(tmp_path, "mult", mosi)


def test_emotions_that_are_not_one_hot_are_refused(tmp_path: Path) -> None:
    splits = {name: random_features(count) | {"labels": np.zeros((count, 4, 2))} for name, count in COUNTS.items()}
    with pytest.raises(DataError, match="must be one-hot"):
        convert_pickle(tmp_path, "mult", splits)


def test_a_list_of_arrays_is_read_like_an_array(tmp_path: Path, mosi: dict[str, dict[str, Any]]) -> None:
    whole = convert_pickle(tmp_path, "mult", mosi).arrays
    mosi["valid"]["text"] = list(mosi["valid"]["text"])
    np.testing.assert_array_equal(convert_pickle(tmp_path, "mult", mosi).arrays["text"], whole["text"])
