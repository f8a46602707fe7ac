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


def features(count: int, seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {m: random.normal(size=(count, *shape)) for m, shape in SHAPES.items()}


def read(folder: Path, layout: str, splits: dict[str, dict[str, Any]], **options: Any) -> Conversion:
    file = folder / "data.pkl"
    file.write_bytes(pickle.dumps(splits, 2))
    return convert(layout, file, options)


@pytest.fixture
def mosi() -> dict[str, dict[str, Any]]:
    """Return labels [N, 1, 1] and ids of bytes, as MOSI of MulT has them."""
    return {
        name: features(count, seed)
        | {"labels": np.resize(SENTIMENT, count).reshape(count, 1, 1), "id": np.array([[b"a", b"b", b"c"]] * count)}
        for seed, (name, count) in enumerate(COUNTS.items())
    }


def test_the_splits_and_their_order_are_those_of_the_file(tmp_path: Path, mosi: dict[str, dict[str, Any]]) -> None:
    found = read(tmp_path, "mult", mosi)
    assert found.sheet["task"] == "regression"
    assert found.arrays["split"].tolist() == [0] * 5 + [1] * 2 + [2] * 3
    for code, name in enumerate(COUNTS):
        part = found.arrays["split"] == code
        for modality in SHAPES:
            np.testing.assert_array_equal(found.arrays[modality][part], mosi[name][modality].astype(np.float32))
        np.testing.assert_allclose(found.arrays["sentiment"][part], mosi[name]["labels"].ravel(), rtol=1e-6)
    assert found.notes == []


def test_what_is_not_finite_becomes_zero_and_is_counted(tmp_path: Path, mosi: dict[str, dict[str, Any]]) -> None:
    mosi["train"]["audio"][0, 1] = -np.inf
    mosi["test"]["audio"][2, 0, 0] = np.nan
    mosi["test"]["audio"][2, 0, 1] = 1e300  # beyond single precision
    found = read(tmp_path, "mult", mosi)
    assert not found.arrays["audio"][0, 1].any()
    assert np.isfinite(found.arrays["audio"]).all()
    assert found.notes == ["4 numbers of audio that are not finite became 0"]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("seven", [0, 2, 3, 3, 6]),
        ("positive", [0, 0, 0, 1, 1]),
        ("nonnegative", [0, 0, 1, 1, 1]),
        ("polar", [0, 0, 0, 1, 1]),
    ],
)
def test_each_convention_does_with_a_neutral_sample_as_its_name_says(
    tmp_path: Path, mosi: dict[str, dict[str, Any]], target: str, expected: list[int]
) -> None:
    found = read(tmp_path, "mult", mosi, target=target)
    assert found.arrays[target][:5].tolist() == expected
    assert found.arrays["split"][:5].tolist() == [0, 0, -1 if target == "polar" else 0, 0, 0]
    assert (found.sheet["target"], found.sheet["classes"]) == (target, 7 if target == "seven" else 2)
    assert any("2 neutral samples are in no split" in note for note in found.notes) == (target == "polar")


def test_four_emotions_are_each_told_from_all_else(tmp_path: Path) -> None:
    splits = {}
    for name, count in COUNTS.items():
        hot = np.random.default_rng(1).integers(0, 2, (count, 4))
        splits[name] = features(count) | {"labels": np.stack([1 - hot, hot], axis=-1).astype(float), "hot": hot}
    found = read(tmp_path, "mult", {name: {k: v for k, v in s.items() if k != "hot"} for name, s in splits.items()})
    assert (found.sheet["target"], found.sheet["classes"]) == ("neutral", 2)
    for place, emotion in enumerate(EMOTIONS):
        np.testing.assert_array_equal(found.arrays[emotion][:5], splits["train"]["hot"][:, place])


def test_sims_keeps_the_labels_of_each_modality_alone(tmp_path: Path) -> None:
    splits = {}
    for name, count in COUNTS.items():
        own = {f"regression_labels_{m}": np.full(count, value) for m, value in (("T", 0.2), ("A", -0.4), ("V", 1.0))}
        lists = {"audio_lengths": [4] * count, "raw_text": ["hm"] * count}
        splits[name] = features(count) | own | lists | {"regression_labels": np.linspace(-1, 1, count)}
    found = read(tmp_path, "mmsa", splits)
    assert found.sheet["target"] == "sentiment"
    for name, value in (("text", 0.2), ("audio", -0.4), ("vision", 1.0)):
        np.testing.assert_allclose(found.arrays[f"sentiment_{name}"], value, rtol=1e-6)


def test_jokes_without_a_word_are_left_out_and_padding_stays(tmp_path: Path) -> None:
    splits = {name: features(count) | {"labels": np.arange(count) % 2} for name, count in COUNTS.items()}
    splits["train"]["text"][1] = 0
    splits["train"]["text"][0, :2] = 0
    found = read(tmp_path, "ur-funny", splits)
    assert found.arrays["split"].tolist() == [0] * 4 + [1] * 2 + [2] * 3
    assert found.arrays["label"][:4].tolist() == [0, 0, 1, 0]
    assert not found.arrays["text"][0, :2].any()
    assert found.notes == ["1 samples without any word are left out"]


def test_other_layouts_are_told_apart(tmp_path: Path, mosi: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(DataError, match="has no `regression_labels` of `train`"):
        read(tmp_path, "mmsa", mosi)
    funny = {name: features(count) | {"labels": np.arange(count) % 2} for name, count in COUNTS.items()}
    with pytest.raises(DataError, match="are two classes, as those of ur-funny"):
        read(tmp_path, "mult", funny)
    with pytest.raises(DataError, match="has no `text` of `train`"):
        read(tmp_path, "mult", {"train": {"audio": 1}})
    mosi["valid"]["text"] = mosi["valid"]["text"].reshape(2, -1)
    with pytest.raises(DataError, match=r"text of valid .* numbers \[N, time, features\], got float64 \(2, 20\)"):
        read(tmp_path, "mult", mosi)


def test_a_target_that_does_not_exist_is_refused(tmp_path: Path, mosi: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(
        DataError, match=f"target has no choice 'polr' .it has: {', '.join(TARGETS)}.. Did you mean 'polar'"
    ):
        read(tmp_path, "mult", mosi, target="polr")


@pytest.mark.parametrize("labels", [[0, 1, 0, 1, 1], [-1, 1, 1, -1, 1]])
def test_two_classes_are_no_sentiments(tmp_path: Path, mosi: dict[str, dict[str, Any]], labels: list[int]) -> None:
    mosi["train"]["labels"] = np.array(labels)
    with pytest.raises(DataError, match="are two classes, as those of ur-funny, not of mult"):
        read(tmp_path, "mult", mosi)


@pytest.mark.parametrize("labels", [[-1, 1], [0.5, 1]])
def test_a_joke_is_one_or_is_none(tmp_path: Path, labels: list[float]) -> None:
    splits = {name: features(count) | {"labels": np.resize(labels, (count, 1))} for name, count in COUNTS.items()}
    with pytest.raises(DataError, match=r"must be 0 and 1, got \["):
        read(tmp_path, "ur-funny", splits)


def test_polar_labels_without_neutral_samples_need_no_note(tmp_path: Path, mosi: dict[str, dict[str, Any]]) -> None:
    for part in mosi.values():
        part["labels"] = np.abs(part["labels"]) + 1
    assert read(tmp_path, "mult", mosi, target="polar").notes == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": np.full((5, 1), np.nan)}, "must be finite numbers"),
        ({"labels": "abc"}, "must be finite numbers"),
        ({"labels": 5.0}, r"must be one number a sample, got \(\)"),
        ({"labels": np.zeros((5, 1, 7))}, r"must be one number a sample, got \(5, 1, 7\)"),
        ({"labels": [[1, 2], [3]]}, "holds nested lists"),
        ({"text": [[[1.0]]] * 5}, "holds nested lists"),
        ({"text": np.zeros((6, 4, 5))}, r"rows of audio of train must be as many as text, 6, .* got \(5, 4, 2\)"),
        ({"text": np.zeros((5, 3, 5))}, r"rows of text of val must be .* as in training, \(3, 5\); got \(2, 4, 5\)"),
    ],
)
def test_labels_and_features_of_other_shapes_are_refused(
    tmp_path: Path, mosi: dict[str, dict[str, Any]], change: dict[str, Any], said: str
) -> None:
    mosi["train"] |= change
    with pytest.raises(DataError, match=said):
        read(tmp_path, "mult", mosi)


def test_few_bytes_of_nested_lists_do_not_fill_the_memory(tmp_path: Path, mosi: dict[str, dict[str, Any]]) -> None:
    labels = [1.0, 2.0]
    for _ in range(60):
        labels = [labels, labels]
    mosi["train"]["labels"] = labels
    with pytest.raises(DataError, match="holds nested lists"):
        read(tmp_path, "mult", mosi)


def test_an_emotion_that_is_neither_is_refused(tmp_path: Path) -> None:
    splits = {name: features(count) | {"labels": np.zeros((count, 4, 2))} for name, count in COUNTS.items()}
    with pytest.raises(DataError, match="must be one 1 among zeros each"):
        read(tmp_path, "mult", splits)


def test_arrays_in_lists_are_as_good_as_one(tmp_path: Path, mosi: dict[str, dict[str, Any]]) -> None:
    whole = read(tmp_path, "mult", mosi).arrays
    mosi["valid"]["text"] = list(mosi["valid"]["text"])
    np.testing.assert_array_equal(read(tmp_path, "mult", mosi).arrays["text"], whole["text"])
