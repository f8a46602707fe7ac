"""Reading the files of a source: paths below it, arrays, texts and tables, and the errors of unreadable files."""

import csv
import importlib
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import numpy as np

from trainables.data.dataset import DataError

LFS_HEADER = b"version https://git-lfs"
Item = TypeVar("Item")
Result = TypeVar("Result")


class UnreadableError(DataError):
    """A file that cannot be read and may be left out."""


@contextmanager
def translate_errors(file: Path, what: str) -> Iterator[None]:
    """Raise an UnreadableError in one sentence instead of whatever the reader of a file raises."""
    try:
        with file.open("rb") as stream:
            if stream.read(len(LFS_HEADER)) == LFS_HEADER:
                raise UnreadableError(f"convert: {file} is a Git LFS pointer, not data; `git lfs pull` fetches it.")
        yield
    except DataError:
        raise
    except Exception as error:
        raise UnreadableError(f"convert: {file} is not a readable {what}: {error_text(error)}.") from None


def error_text(error: Exception) -> str:
    """Return the message of an error in one line, or its type if it has none."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def read_each(
    items: Iterable[Item], read: Callable[[Item], Result]
) -> tuple[list[tuple[Item, Result]], list[DataError]]:
    """Return the readable items with their results, and the errors of the unreadable ones."""
    results: list[tuple[Item, Result]] = []
    errors: list[DataError] = []
    for item in items:
        try:
            results.append((item, read(item)))
        except UnreadableError as error:
            errors.append(error)
    return results, errors


def require_finite(array: np.ndarray, what: str) -> np.ndarray:
    """Return an array; raises UnreadableError if one of its numbers is NaN or infinite."""
    if not np.isfinite(array).all():
        raise UnreadableError(f"convert: {what} holds NaN or infinite numbers.")
    return array


def require_paths(source: Path, *names: str) -> list[Path]:
    """Return files or folders below the source; raises DataError at the first that does not exist."""
    for name in names:
        if not resolve_inside(source, name).exists():
            raise DataError(f"convert: {source} has no {name}, which this layout needs.")
    return [source / name for name in names]


def resolve_inside(source: Path, name: str) -> Path:
    """Return the path of a name below the source; raises DataError if it leads out of it."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise DataError(f"convert: {name} must be a path inside {source}.")
    return source / name


def visible_paths(source: Path, pattern: str) -> list[Path]:
    """Return the paths in a folder that match a pattern, sorted, without hidden ones."""
    return sorted(path for path in source.glob(pattern) if not path.name.startswith("."))


def load_npy(file: Path) -> np.ndarray:
    """Return the array of a .npy file."""
    with translate_errors(file, "array"), file.open("rb") as stream:
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


def read_csv(file: Path) -> list[list[str]]:
    """Return the rows of a file of comma-separated values."""
    with translate_errors(file, "table"):
        return list(csv.reader(io.StringIO(read_text(file), newline="")))


def read_text(file: Path) -> str:
    """Return the text of a file, which is read as Latin-1 if it is not UTF-8."""
    content = file.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def import_optional(name: str) -> ModuleType:
    """Return a library that only some layouts need; raises DataError if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise DataError(f"convert: this layout needs {name}: pip install 'ablate[convert]'.") from None
