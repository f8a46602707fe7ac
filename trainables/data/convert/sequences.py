"""Text, audio and vision of people who speak: CMU-MOSI, CMU-MOSEI, CH-SIMS, IEMOCAP and UR-Funny, as pickled features.

All are for research only, and their labels are numbers from -3 to 3 (CH-SIMS: -1 to 1). Each target derived from them
has a name, because releases differ: `positive` counts a neutral sample as negative (MultiBench), `nonnegative` as
positive (BalanceBenchmark), and `polar` leaves it out, as most papers that report both state.
"""

from pathlib import Path
from typing import Any

import numpy as np

from trainables.data.convert.conversion import (
    SPLITS,
    Arrays,
    Conversion,
    check_option,
    concatenate_splits,
    count_notes,
    decode_one_hot,
)
from trainables.data.convert.pickles import load_pickle
from trainables.data.dataset import DataError

MODALITIES = ("text", "audio", "vision")
PICKLE_SPLITS = dict(zip(SPLITS, ("train", "valid", "test"), strict=True))
TARGETS = ("sentiment", "seven", "positive", "nonnegative", "polar")
EMOTIONS = ("neutral", "happy", "sad", "angry")  # the order of MulT, src/eval_metrics.py
UNIMODAL_LABELS = {  # labels of CH-SIMS from one modality
    "sentiment_text": "regression_labels_T",
    "sentiment_audio": "regression_labels_A",
    "sentiment_vision": "regression_labels_V",
}


def mult(source: Path, *, target: str = "") -> Conversion:
    """Read a pickle of MulT's: ``mosi_data.pkl``, ``mosei_senti_data.pkl``, ``iemocap_data.pkl``, ``*_noalign.pkl``.

    For MOSI and MOSEI ``target`` is one of `TARGETS`; for IEMOCAP, where each of four emotions is a binary label, an
    emotion. All emotions are in the file, so that a study may name another.
    """
    splits = load_splits(source, "labels")
    labels = {name: numeric_labels(splits[name]["labels"], source) for name in SPLITS}
    features, notes = extract_features(splits, source)
    if labels["train"].shape[1:] == (len(EMOTIONS), 2):
        emotions = {
            name: dict(zip(EMOTIONS, decode_one_hot(values, source).T, strict=True)) for name, values in labels.items()
        }
        arrays = {name: features[name] | emotions[name] for name in SPLITS}
        target = check_option(target or "neutral", EMOTIONS, "target")
        datasheet = complete_datasheet({"task": "classification", "classes": 2, "target": target})
        return Conversion(concatenate_splits(arrays), datasheet, notes)
    if set(np.unique(labels["train"])) in ({0, 1}, {-1, 1}):
        raise DataError(f"convert: the labels of {source} have two classes; use the layout ur-funny, not mult.")
    arrays = {name: features[name] | {"sentiment": scalar_labels(labels[name], source)} for name in SPLITS}
    return convert_sentiment(concatenate_splits(arrays), target or "sentiment", notes)


def mmsa(source: Path, *, target: str = "sentiment") -> Conversion:
    """Read a pickle of MMSA's: ``aligned_50.pkl``, ``unaligned_50.pkl``, CH-SIMS's ``unaligned_39.pkl``.

    Text is the features in the file, not its tokens. CH-SIMS also has labels from one modality each, such as
    `sentiment_audio`: they are in the file, for studies that name them.
    """
    splits = load_splits(source, "regression_labels")
    features, notes = extract_features(splits, source)
    unimodal = {name: key for name, key in UNIMODAL_LABELS.items() if all(key in part for part in splits.values())}
    keys = {"sentiment": "regression_labels", **unimodal}
    arrays = {
        split: features[split]
        | {name: scalar_labels(numeric_labels(splits[split][key], source), source) for name, key in keys.items()}
        for split in SPLITS
    }
    return convert_sentiment(concatenate_splits(arrays), target, notes)


def ur_funny(source: Path) -> Conversion:
    """Read the pickle of UR-Funny, whose label is whether an utterance is a punchline.

    Samples without any word are left out, as in MultiBench. Zeros before a sequence are its padding, and stay.
    """
    splits = load_splits(source, "labels")
    features, notes = extract_features(splits, source)
    labels = {name: scalar_labels(numeric_labels(splits[name]["labels"], source), source) for name in SPLITS}
    for values in labels.values():
        if not np.isin(values, (0, 1)).all():
            raise DataError(f"convert: the labels of {source} must be 0 and 1, got {np.unique(values)[:9].tolist()}.")
    arrays = {name: features[name] | {"label": labels[name].astype(np.int64)} for name in SPLITS}
    has_words = {name: part["text"].any(axis=(1, 2)) for name, part in arrays.items()}
    wordless = sum(int((~mask).sum()) for mask in has_words.values())
    notes += count_notes(wordless, "samples without any word are left out")
    samples = {name: {key: array[has_words[name]] for key, array in part.items()} for name, part in arrays.items()}
    datasheet = complete_datasheet({"task": "classification", "classes": 2, "target": "label"})
    return Conversion(concatenate_splits(samples), datasheet, notes)


def load_splits(source: Path, labels: str) -> dict[str, dict[str, Any]]:
    """Return the content of each split of a pickle; raises DataError if it lacks a modality or the labels."""
    content = load_pickle(source)
    for name in PICKLE_SPLITS.values():
        part = content.get(name) if isinstance(content, dict) else None
        missing = [key for key in (*MODALITIES, labels) if not isinstance(part, dict) or key not in part]
        if missing:
            raise DataError(f"convert: {source} has no `{missing[0]}` in `{name}`, which this layout needs.")
    return {split: content[name] for split, name in PICKLE_SPLITS.items()}


def extract_features(splits: dict[str, dict[str, Any]], source: Path) -> tuple[dict[str, Arrays], list[str]]:
    """Return the sequences of each split, [N, T, D] float32, and notes; removes them from `splits`, to free memory.

    Numbers that are not finite become 0, and are counted in a note.
    """
    features: dict[str, Arrays] = {name: {} for name in SPLITS}
    notes = []
    for modality in MODALITIES:
        count = 0
        for name, part in splits.items():
            array = flat_array(part.pop(modality), source)
            if array.ndim != 3 or array.dtype.kind not in "iuf":
                rule = f"numbers [N, time, features], got {array.dtype} {array.shape}"
                raise DataError(f"convert: {modality} of {PICKLE_SPLITS[name]} in {source} must be {rule}.")
            with np.errstate(over="ignore"):
                array = array.astype(np.float32)
            invalid = ~np.isfinite(array)
            array[invalid] = 0
            count += int(invalid.sum())
            features[name][modality] = array
        notes += count_notes(count, f"non-finite numbers of {modality} were replaced by 0")
    return features, notes


def flat_array(content: Any, source: Path) -> np.ndarray:
    """Return an array or a list as an array; raises DataError at nested lists, whose size a few bytes can explode."""
    if isinstance(content, list | tuple) and any(isinstance(item, list | tuple) for item in content):
        raise DataError(f"convert: {source} must hold arrays, or lists of numbers or of arrays, got nested lists.")
    return np.asarray(content)


def numeric_labels(labels: Any, source: Path) -> np.ndarray:
    """Return labels as float64; raises DataError if they are not finite numbers."""
    array = flat_array(labels, source)
    if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
        raise DataError(f"convert: the labels of {source} must be finite numbers.")
    return array.astype(np.float64)


def scalar_labels(labels: np.ndarray, source: Path) -> np.ndarray:
    """Return labels [N], [N, 1] or [N, 1, 1] as [N] float32; raises DataError if there are several a sample."""
    if labels.ndim == 0 or labels.size != len(labels):
        raise DataError(f"convert: the labels of {source} must be one number per sample, got {labels.shape}.")
    return labels.reshape(-1).astype(np.float32)


def convert_sentiment(arrays: Arrays, target: str, notes: list[str]) -> Conversion:
    """Return the data set with the target that is derived from the array `sentiment`."""
    value, split = arrays["sentiment"], arrays["split"]
    if check_option(target, TARGETS, "target") == "sentiment":
        return Conversion(arrays, complete_datasheet({"task": "regression", "target": "sentiment"}), notes)
    if target == "polar":
        notes = [*notes, *count_notes(int((value == 0).sum()), "neutral samples are in no split")]
        arrays = {**arrays, "split": np.where(value == 0, -1, split).astype(np.int8)}
    label = {
        "seven": np.clip(np.rint(value), -3, 3) + 3,
        "positive": value > 0,
        "nonnegative": value >= 0,
        "polar": value > 0,
    }[target].astype(np.int64)
    datasheet = {"task": "classification", "classes": 7 if target == "seven" else 2, "target": target}
    return Conversion({**arrays, target: label}, complete_datasheet(datasheet), notes)


def complete_datasheet(datasheet: dict[str, Any]) -> dict[str, Any]:
    """Return a datasheet with the entries that all these data sets have in common."""
    return {**datasheet, "modalities": list(MODALITIES), "pairing": "natural", "splits": "as published"}
