"""The result of a converter, and how converters make its notes, splits and labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trainables.data.dataset import DataError, check_choice

SPLITS = ("train", "val", "test")  # of the codes 0, 1 and 2
SEED = 20230807  # of random splits, where none are published
Arrays = dict[str, np.ndarray]


class Conversion(NamedTuple):
    """A data set in the layout of rows, with its datasheet."""

    arrays: Arrays  # modalities, labels, `split`
    datasheet: dict[str, Any]  # task, classes, modalities, target, splits
    notes: Sequence[str] = ()  # sentences on what was left out or changed


def count_notes(count: int, what: str) -> list[str]:
    """Return a note with a count in front, none if the count is 0."""
    return [f"{count} {what}"] if count else []


def unreadable_notes(errors: Sequence[DataError]) -> list[str]:
    """Return a note with the number of unreadable items and the first error, none if there is no error."""
    first = str(errors[0]).removeprefix("convert: ").rstrip(".") if errors else ""
    return count_notes(len(errors), f"unusable items are left out, the first: {first}")


def concatenate_splits(splits: Mapping[str, Arrays]) -> Arrays:
    """Return the arrays of train, val and test, concatenated, with the `split` of each row.

    Raises:
        DataError: arrays of a split differ in length, or rows of two splits in shape.
    """
    parts = [splits[name] for name in SPLITS]
    counts = [len(next(iter(part.values()))) for part in parts]
    for name, part, count in zip(SPLITS, parts, counts, strict=True):
        for key, array in part.items():
            if array.shape != (count, *parts[0][key].shape[1:]):
                rule = f"{count} rows, as {next(iter(part))}, of the shape in training, {parts[0][key].shape[1:]}"
                raise DataError(f"convert: {key} of {name} must have {rule}; got {array.shape}.")
    arrays = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return {**arrays, "split": np.repeat(np.arange(3, dtype=np.int8), counts)}


def add_validation(split: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None) -> tuple[np.ndarray, str]:
    """Return the split of samples [N] with a validation split, and a sentence on its origin for the datasheet.

    A listed validation split is kept. Otherwise a tenth of each class of training becomes validation: a tenth of its
    samples or, if `groups` [N] are given, of its groups, which stay together.
    """
    split = split.astype(np.int8)
    if (split == 1).any():
        return split, "as listed"
    random, group_ids = np.random.default_rng(SEED), np.arange(len(split)) if groups is None else groups
    for label in np.unique(labels[split == 0]):
        class_groups = np.unique(group_ids[(split == 0) & (labels == label)])
        if len(class_groups) > 1:
            held_out = random.permutation(class_groups)[: max(1, round(len(class_groups) / 10))]
            split[(split == 0) & np.isin(group_ids, held_out)] = 1
    what = "a tenth" if groups is None else "a tenth of the groups"
    return split, f"test as listed; {what} of each class of training is validation"


def random_splits(names: Sequence[str], what: str) -> dict[str, int]:
    """Return a random split of each distinct name, where none is published: seven, one and two tenths of them."""
    order = np.random.default_rng(SEED).permutation(sorted(set(names)))
    ends = np.cumsum([0.7, 0.1, 0.2]) * len(order)
    splits = {str(name): int(np.searchsorted(ends, rank, side="right")) for rank, name in enumerate(order)}
    if len(set(splits.values())) < len(SPLITS):
        raise DataError(f"convert: {len(order)} {what} are too few for three splits.")
    return splits


def encode_labels(labels: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Return labels as classes from 0, [N], and the names of the classes, sorted; numbers by their value."""
    names = sorted(set(labels), key=lambda name: (0, int(name), "") if name.isdecimal() else (1, 0, name))
    classes = {name: index for index, name in enumerate(names)}
    return np.array([classes[label] for label in labels], dtype=np.int64), names


def decode_one_hot(labels: np.ndarray, source: Path) -> np.ndarray:
    """Return the classes of labels that are one-hot along the last axis; raises DataError if they are not."""
    if labels.ndim < 2 or not np.isin(labels, (0, 1)).all() or (labels.sum(axis=-1) != 1).any():
        raise DataError(f"convert: the labels of {source} must be one-hot along the last axis.")
    return np.asarray(labels.argmax(axis=-1))


def integer_vector(array: np.ndarray, source: Path) -> np.ndarray:
    """Return whole numbers [N] or [N, 1] as [N] int64; raises DataError if they are none."""
    if array.dtype.kind not in "biuf" or array.ndim == 0 or array.size != len(array):
        raise DataError(f"convert: {source} must hold one integer per sample, got {array.dtype} {array.shape}.")
    if not (array == np.rint(array)).all():
        raise DataError(f"convert: {source} must hold integers only.")
    return np.asarray(array.reshape(-1).astype(np.int64))


def compact_floats(array: np.ndarray) -> np.ndarray:
    """Return numbers as float16 if all are finite in it, else as float32."""
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
        return half if np.isfinite(half).all() else array.astype(np.float32)


def check_option(value: str, choices: Sequence[str], option: str) -> str:
    """Return the value of an option; raises DataError if it is none of the choices."""
    return check_choice(value, choices, "convert", option, "choice")
