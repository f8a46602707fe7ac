"""What a layout was found to hold, and what its readers share."""

import csv
import importlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

import numpy as np

from trainables.data.dataset import DataError, check_choice

SPLITS = ("train", "val", "test")  # of the codes 0, 1 and 2
SEED = 20230807  # of what is dealt here, because nobody published it
POINTER = b"version https://git-lfs"
Arrays = dict[str, np.ndarray]
Thing = TypeVar("Thing")
Read = TypeVar("Read")


class Found(NamedTuple):
    """A data set in rows, and what to tell of it."""

    arrays: Arrays  # modalities, labels, `split`
    sheet: dict[str, Any]  # task, classes, modalities, target, splits
    notes: Sequence[str] = ()  # sentences on what was left out or changed


class UnreadableError(DataError):
    """A file that cannot be read, beside which others may be."""


@contextmanager
def readable(file: Path, what: str) -> Iterator[None]:
    """Say in one sentence that a file is not what it is read as, whatever its reader raises."""
    try:
        with file.open("rb") as stream:
            if stream.read(len(POINTER)) == POINTER:
                raise UnreadableError(f"convert: {file} is a Git LFS pointer, not data; `git lfs pull` fetches it.")
        yield
    except DataError:
        raise
    except Exception as error:
        raise UnreadableError(f"convert: {file} is no {what} that can be read: {told(error)}.") from None


def told(error: Exception) -> str:
    """Return what an error says, in a line."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def each(things: Iterable[Thing], read: Callable[[Thing], Read]) -> tuple[list[tuple[Thing, Read]], list[DataError]]:
    """Return what is read of each thing, and of those that cannot be read why."""
    made: list[tuple[Thing, Read]] = []
    broken: list[DataError] = []
    for thing in things:
        try:
            made.append((thing, read(thing)))
        except UnreadableError as error:
            broken.append(error)
    return made, broken


def noted(count: int, what: str) -> list[str]:
    """Return the note that there are some of a kind, none if there are none."""
    return [f"{count} {what}"] if count else []


def unread(broken: Sequence[DataError]) -> list[str]:
    """Return the note on what cannot be used, which names the first."""
    first = str(broken[0]).removeprefix("convert: ").rstrip(".") if broken else ""
    return noted(len(broken), f"that cannot be used are left out, the first: {first}")


def rows(splits: Mapping[str, Arrays]) -> Arrays:
    """Return the arrays of train, val and test one after another, with the `split` of each row.

    Raises:
        DataError: the arrays of a split are not of as many rows, or its rows not of the shape of those of training.
    """
    parts = [splits[name] for name in SPLITS]
    counts = [len(next(iter(part.values()))) for part in parts]
    for name, part, count in zip(SPLITS, parts, counts, strict=True):
        for key, array in part.items():
            if array.shape != (count, *parts[0][key].shape[1:]):
                wanted = f"as many as {next(iter(part))}, {count}, and each as in training, {parts[0][key].shape[1:]}"
                raise DataError(f"convert: the rows of {key} of {name} must be {wanted}; got {array.shape}.")
    joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return {**joined, "split": np.repeat(np.arange(3, dtype=np.int8), counts)}


def validated(split: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None) -> tuple[np.ndarray, str]:
    """Return the split of samples [N], and where it comes from.

    Where nothing is listed for validation, a tenth of each class of training is, [N] classes; of its ``groups`` [N],
    where there are some, which are not to be parted.
    """
    split = split.astype(np.int8)
    if (split == 1).any():
        return split, "as listed"
    random, places = np.random.default_rng(SEED), np.arange(len(split)) if groups is None else groups
    for one in np.unique(labels[split == 0]):
        own = np.unique(places[(split == 0) & (labels == one)])
        if len(own) > 1:
            drawn = random.permutation(own)[: max(1, round(len(own) / 10))]
            split[(split == 0) & np.isin(places, drawn)] = 1
    what = "a tenth" if groups is None else "a tenth of the groups"
    return split, f"test as listed; {what} of each class of training is validation"


def dealt(names: Sequence[str], what: str) -> dict[str, int]:
    """Return in which split whole groups of samples are, where nobody published any: seven, one and two tenths."""
    order = np.random.default_rng(SEED).permutation(sorted(set(names)))
    ends = np.cumsum([0.7, 0.1, 0.2]) * len(order)
    places = {str(name): int(np.searchsorted(ends, place, side="right")) for place, name in enumerate(order)}
    if len(set(places.values())) < len(SPLITS):
        raise DataError(f"convert: {len(order)} {what} are too few to be dealt to three splits.")
    return places


def numbered(labels: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Return labels as classes from 0, [N], and their names; numbers are in their own order."""
    names = sorted(set(labels), key=lambda name: (0, int(name), "") if name.isdecimal() else (1, 0, name))
    places = {name: place for place, name in enumerate(names)}
    return np.array([places[label] for label in labels], dtype=np.int64), names


def hot(labels: np.ndarray, source: Path) -> np.ndarray:
    """Return the classes of labels that are one 1 among zeros along the last axis."""
    if labels.ndim < 2 or not np.isin(labels, (0, 1)).all() or (labels.sum(axis=-1) != 1).any():
        raise DataError(f"convert: the labels of {source} must be one 1 among zeros each, along the last axis.")
    return np.asarray(labels.argmax(axis=-1))


def integers(array: np.ndarray, source: Path) -> np.ndarray:
    """Return whole numbers [N] int64, of [N] or [N, 1]."""
    if array.dtype.kind not in "biuf" or array.ndim == 0 or array.size != len(array):
        raise DataError(f"convert: {source} must hold one whole number a sample, got {array.dtype} {array.shape}.")
    if not (array == np.rint(array)).all():
        raise DataError(f"convert: {source} must hold whole numbers, and holds others.")
    return np.asarray(array.reshape(-1).astype(np.int64))


def small(array: np.ndarray) -> np.ndarray:
    """Return numbers as float16 if all are finite in it, else as float32."""
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
        return half if np.isfinite(half).all() else array.astype(np.float32)


def stored(file: Path) -> np.ndarray:
    """Return the array of a .npy."""
    with readable(file, "array"), file.open("rb") as stream:
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


def text(file: Path) -> str:
    """Return a text; one that is not UTF-8 is read as Latin-1."""
    content = file.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def table(file: Path) -> list[list[str]]:
    """Return the lines of a table of commas."""
    with readable(file, "table"):
        return list(csv.reader(io.StringIO(text(file), newline="")))


def inside(source: Path, name: str) -> Path:
    """Return what a name means below the source; raises DataError where it leads out of it."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise DataError(f"convert: {name} is not within {source}.")
    return source / name


def present(source: Path, *names: str) -> list[Path]:
    """Return files or folders below the source; raises DataError at the first that is not there."""
    for name in names:
        if not inside(source, name).exists():
            raise DataError(f"convert: {source} has no {name}, which this layout has.")
    return [source / name for name in names]


def visible(source: Path, pattern: str) -> list[Path]:
    """Return what is called so in a folder, by name, without what is hidden."""
    return sorted(file for file in source.glob(pattern) if not file.name.startswith("."))


def one_of(value: str, known: Sequence[str], option: str) -> str:
    """Return the value of an option that is one of some words."""
    return check_choice(value, known, "convert", option, "choice")


def optional(name: str) -> ModuleType:
    """Return a library that only some layouts need."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise DataError(f"convert: this layout needs {name}: pip install 'ablate[convert]'.") from None
