"""Text, sound and sight of people who speak: CMU-MOSI, CMU-MOSEI, CH-SIMS, IEMOCAP and UR-Funny, as pickled features.

All are research-only, and their labels are numbers from -3 to 3 (CH-SIMS: -1 to 1). What is made of them has a name,
because releases differ: `positive` counts a neutral sample as negative (MultiBench), `nonnegative` as positive
(BalanceBenchmark), and `polar` leaves it out, as most papers that report both state.
"""

from pathlib import Path
from typing import Any

import numpy as np

from trainables.data.convert.found import SPLITS, Arrays, Found, hot, noted, one_of, rows
from trainables.data.convert.pickles import load
from trainables.data.dataset import DataError

MODALITIES = ("text", "audio", "vision")
PARTS = dict(zip(SPLITS, ("train", "valid", "test"), strict=True))
TARGETS = ("sentiment", "seven", "positive", "nonnegative", "polar")
EMOTIONS = ("neutral", "happy", "sad", "angry")  # the order of MulT, src/eval_metrics.py
OWN = {  # labels of CH-SIMS from one modality
    "sentiment_text": "regression_labels_T",
    "sentiment_audio": "regression_labels_A",
    "sentiment_vision": "regression_labels_V",
}


def mult(source: Path, *, target: str = "") -> Found:
    """Read a pickle of MulT's: ``mosi_data.pkl``, ``mosei_senti_data.pkl``, ``iemocap_data.pkl``, ``*_noalign.pkl``.

    Of MOSI and MOSEI ``target`` is one of `TARGETS`; of IEMOCAP, where each of four emotions is told from all else, an
    emotion: all are in the file, so that a study may name another.
    """
    held = splits_of(source, "labels")
    labels = {name: numbers(held[name]["labels"], source) for name in SPLITS}
    features, notes = features_of(held, source)
    if labels["train"].shape[1:] == (len(EMOTIONS), 2):
        emotions = {name: dict(zip(EMOTIONS, hot(value, source).T, strict=True)) for name, value in labels.items()}
        made = {name: features[name] | emotions[name] for name in SPLITS}
        sheet = {"task": "classification", "classes": 2, "target": one_of(target or "neutral", EMOTIONS, "target")}
        return Found(rows(made), described(sheet), notes)
    if set(np.unique(labels["train"])) in ({0, 1}, {-1, 1}):
        raise DataError(f"convert: the labels of {source} are two classes, as those of ur-funny, not of mult.")
    made = {name: features[name] | {"sentiment": single(labels[name], source)} for name in SPLITS}
    return sentiment(rows(made), target or "sentiment", notes)


def mmsa(source: Path, *, target: str = "sentiment") -> Found:
    """Read a pickle of MMSA's: ``aligned_50.pkl``, ``unaligned_50.pkl``, CH-SIMS's ``unaligned_39.pkl``.

    Text are the features that it holds, not its tokens. CH-SIMS also has labels from one modality each, such as
    `sentiment_audio`: they are in the file, for studies that name them.
    """
    held = splits_of(source, "regression_labels")
    features, notes = features_of(held, source)
    own = {ours: key for ours, key in OWN.items() if all(key in part for part in held.values())}
    keys = {"sentiment": "regression_labels", **own}
    made = {
        name: features[name] | {ours: single(numbers(held[name][key], source), source) for ours, key in keys.items()}
        for name in SPLITS
    }
    return sentiment(rows(made), target, notes)


def ur_funny(source: Path) -> Found:
    """Read the pickle of UR-Funny: is what is said a punchline?

    Samples without any word are left out, as in MultiBench. Zeros before a sequence are its padding, and stay.
    """
    held = splits_of(source, "labels")
    features, notes = features_of(held, source)
    labels = {name: single(numbers(held[name]["labels"], source), source) for name in SPLITS}
    for value in labels.values():
        if not np.isin(value, (0, 1)).all():
            raise DataError(f"convert: the labels of {source} must be 0 and 1, got {np.unique(value)[:9].tolist()}.")
    made = {name: features[name] | {"label": labels[name].astype(np.int64)} for name in SPLITS}
    spoken = {name: part["text"].any(axis=(1, 2)) for name, part in made.items()}
    silent = sum(int((~kept).sum()) for kept in spoken.values())
    notes += noted(silent, "samples without any word are left out")
    kept = {name: {key: array[spoken[name]] for key, array in part.items()} for name, part in made.items()}
    return Found(rows(kept), described({"task": "classification", "classes": 2, "target": "label"}), notes)


def splits_of(source: Path, labels: str) -> dict[str, dict[str, Any]]:
    """Return what a pickle holds of each split."""
    held = load(source)
    for name in PARTS.values():
        part = held.get(name) if isinstance(held, dict) else None
        absent = [key for key in (*MODALITIES, labels) if not isinstance(part, dict) or key not in part]
        if absent:
            raise DataError(f"convert: {source} has no `{absent[0]}` of `{name}`, which this layout has.")
    return {ours: held[theirs] for ours, theirs in PARTS.items()}


def features_of(held: dict[str, dict[str, Any]], source: Path) -> tuple[dict[str, Arrays], list[str]]:
    """Return the sequences of each split, [N, T, D] float32, and let go of what the pickle held.

    What is not finite becomes 0, which is told.
    """
    made: dict[str, Arrays] = {name: {} for name in SPLITS}
    notes = []
    for modality in MODALITIES:
        broken = 0
        for name, part in held.items():
            array = plain(part.pop(modality), source)
            if array.ndim != 3 or array.dtype.kind not in "iuf":
                told = f"numbers [N, time, features], got {array.dtype} {array.shape}"
                raise DataError(f"convert: {modality} of {PARTS[name]} in {source} must be {told}.")
            with np.errstate(over="ignore"):
                array = array.astype(np.float32)
            wrong = ~np.isfinite(array)
            array[wrong] = 0
            broken += int(wrong.sum())
            made[name][modality] = array
        notes += noted(broken, f"numbers of {modality} that are not finite became 0")
    return made, notes


def plain(held: Any, source: Path) -> np.ndarray:
    """Return an array, or a list as one; lists in lists are refused, of which few bytes can make any number."""
    if isinstance(held, list | tuple) and any(isinstance(one, list | tuple) for one in held):
        raise DataError(
            f"convert: {source} must hold arrays, or lists of numbers or of arrays, and holds nested lists."
        )
    return np.asarray(held)


def numbers(labels: Any, source: Path) -> np.ndarray:
    """Return labels, which must be finite numbers, as float64."""
    array = plain(labels, source)
    if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
        raise DataError(f"convert: the labels of {source} must be finite numbers.")
    return array.astype(np.float64)


def single(labels: np.ndarray, source: Path) -> np.ndarray:
    """Return one number a sample, [N] float32, of labels [N], [N, 1] or [N, 1, 1]."""
    if labels.ndim == 0 or labels.size != len(labels):
        raise DataError(f"convert: the labels of {source} must be one number a sample, got {labels.shape}.")
    return labels.reshape(-1).astype(np.float32)


def sentiment(arrays: Arrays, target: str, notes: list[str]) -> Found:
    """Return a data set whose target is made of the array `sentiment`."""
    value, split = arrays["sentiment"], arrays["split"]
    if one_of(target, TARGETS, "target") == "sentiment":
        return Found(arrays, described({"task": "regression", "target": "sentiment"}), notes)
    if target == "polar":
        notes = [*notes, *noted(int((value == 0).sum()), "neutral samples are in no split")]
        arrays = {**arrays, "split": np.where(value == 0, -1, split).astype(np.int8)}
    made = {
        "seven": np.clip(np.rint(value), -3, 3) + 3,
        "positive": value > 0,
        "nonnegative": value >= 0,
        "polar": value > 0,
    }[target].astype(np.int64)
    sheet = {"task": "classification", "classes": 7 if target == "seven" else 2, "target": target}
    return Found({**arrays, target: made}, described(sheet), notes)


def described(sheet: dict[str, Any]) -> dict[str, Any]:
    """Return a datasheet of such features."""
    return {**sheet, "modalities": list(MODALITIES), "pairing": "natural", "splits": "as published"}
