"""What a layout was found to hold, and what its readers share."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from trainables.data.dataset import DataError, choose

SPLITS = ("train", "val", "test")  # of the codes 0, 1 and 2
SEED = 20230807  # of what is dealt here, because nobody published it
Arrays = dict[str, np.ndarray]


class Found(NamedTuple):
    """A data set in rows, and what to tell of it."""

    arrays: Arrays  # modalities, labels, `split`
    sheet: dict[str, Any]  # task, classes, modalities, target, splits
    notes: Sequence[str] = ()  # sentences on what was left out or changed


def rows(splits: Mapping[str, Arrays]) -> Arrays:
    """Return the arrays of train, val and test one after another, with the `split` of each row."""
    parts = [splits[name] for name in SPLITS]
    counts = [len(next(iter(part.values()))) for part in parts]
    joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return {**joined, "split": np.repeat(np.arange(3, dtype=np.int8), counts)}


def validated(split: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, str]:
    """Return the split of samples [N], and where it comes from.

    Where nothing is listed for validation, a tenth of each class of training is, [N] classes.
    """
    split = split.astype(np.int8)
    if (split == 1).any():
        return split, "as listed"
    random = np.random.default_rng(SEED)
    for one in np.unique(labels[split == 0]):
        own = np.flatnonzero((split == 0) & (labels == one))
        if len(own) > 1:
            split[random.permutation(own)[: max(1, round(len(own) / 10))]] = 1
    return split, "test as listed; a tenth of each class of training is validation"


def dealt(names: Sequence[str]) -> dict[str, int]:
    """Return in which split whole groups of samples are, where nobody published any: seven, one and two tenths."""
    order = np.random.default_rng(SEED).permutation(sorted(set(names)))
    ends = np.cumsum([0.7, 0.1, 0.2]) * len(order)
    return {str(name): int(np.searchsorted(ends, place, side="right")) for place, name in enumerate(order)}


def numbered(labels: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Return labels as classes from 0, [N], and their names; numbers are in their own order."""
    names = sorted(set(labels), key=lambda name: (0, int(name), "") if name.isdigit() else (1, 0, name))
    places = {name: place for place, name in enumerate(names)}
    return np.array([places[label] for label in labels], dtype=np.int64), names


def present(source: Path, *names: str) -> list[Path]:
    """Return files or folders below the source; raises DataError at the first that is not there."""
    for name in names:
        if not (source / name).exists():
            raise DataError(f"convert: {source} has no {name}, which this layout has.")
    return [source / name for name in names]


def one_of(value: str, known: Sequence[str], option: str) -> str:
    """Return the value of an option that is one of some words."""
    return choose(value, known, "convert", option, "choice")


def optional(name: str) -> ModuleType:
    """Return a library that only some layouts need."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise DataError(f"convert: this layout needs {name}: pip install 'ablate[convert]'.") from None
