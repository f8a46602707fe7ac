"""A data file on disk: an `.npz` and its `.json` datasheet, checked against each other."""

import hashlib
import json
import zipfile
import zlib
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trainables.data.dataset import TASKS, DataError, check_choice

EMBEDDED = Path(__file__).parent / "embedded"
SHEET_KEYS = (
    "name", "task", "classes", "ignore_index", "modalities", "target", "standardise", "channels",
    "groups", "sha256", "sha256_file",
)  # fmt: skip
SIMILARITY_CUTOFF = 0.8  # an unknown key as similar as this to a known one is taken for a misspelling


class Archive(NamedTuple):
    """An `.npz` that agrees with its datasheet; its arrays are read one by one, on demand."""

    path: Path
    sha256: str  # of the bytes of the file
    description: dict[str, Any]  # the datasheet as read
    arrays: tuple[str, ...]  # names of the arrays in the file

    @property
    def name(self) -> str:
        """Return the name in the datasheet, or else that of the file."""
        return str(self.description.get("name", self.path.stem))

    @property
    def task(self) -> str:
        """Return the task in the datasheet, one of TASKS."""
        return str(self.description["task"])

    @property
    def ignore_index(self) -> int | None:
        """Return the value that marks unlabelled positions; None: all positions are labelled."""
        return self.description.get("ignore_index")

    def read(self, array: str) -> np.ndarray:
        """Return an array of the file; raises DataError where it is absent, damaged or a pickle."""
        if array not in self.arrays:
            raise DataError(f"data: {self.path} holds no array `{array}` (it holds: {', '.join(self.arrays)}).")
        try:
            with np.load(self.path, allow_pickle=False) as file:
                return np.asarray(file[array])
        except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"data: array `{array}` of {self.path} cannot be read: {error}.") from error


def embedded_names() -> list[str]:
    """Return the names of the data files that come with the package."""
    return sorted(path.stem for path in EMBEDDED.glob("*.npz"))


def find_archive(path: str | Path) -> Path:
    """Return the `.npz` at `path`: the file itself, or the only one with a datasheet in that folder."""
    path = Path(path).expanduser()
    if not path.exists():
        raise DataError(f"data.path: there is no file or folder {path}.")
    if path.is_file():
        if path.suffix == ".npz":
            return path
        raise DataError(f"data.path: must be an .npz file or a folder that holds one, got {path}.")
    files = sorted(file for file in path.glob("*.npz") if file.with_suffix(".json").exists())
    if len(files) == 1:
        return files[0]
    listing = f"{len(files)}: {', '.join(file.name for file in files)}. Name one of them" if files else "none"
    raise DataError(f"data.path: {path} must hold exactly one .npz with a .json of the same name, found {listing}.")


def open_archive(path: Path) -> Archive:
    """Return the verified archive at `path`; raises DataError where file and datasheet disagree."""
    description = read_datasheet(path.with_suffix(".json"))
    sha256 = verify_sha256(path, description)
    try:
        with zipfile.ZipFile(path) as file:
            arrays = tuple(member.removesuffix(".npy") for member in file.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"data: {path} is not a readable .npz file: {error}.") from error
    check_choice(description.get("task"), TASKS, "data", path.with_suffix(".json").name, "task")
    check_ignore_index(description, path.with_suffix(".json"))
    return Archive(path, sha256, description, arrays)


def read_datasheet(path: Path) -> dict[str, Any]:
    """Return a datasheet; raises DataError if it is missing, invalid or has a misspelled key."""
    if not path.exists():
        raise DataError(f"data: {path.with_suffix('.npz')} needs a datasheet in the same folder, {path.name}.")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"data: {path} is not valid JSON: {error}.") from error
    if not isinstance(description, dict):
        raise DataError(f"data: {path} must hold one JSON object, got a {type(description).__name__}.")
    unused = [key for key in SHEET_KEYS if key not in description]
    for key in description.keys() - SHEET_KEYS:
        # a key in another case is ambiguous also where the right one exists
        same = [key.lower()] if key.lower() in SHEET_KEYS else []
        for close in same or get_close_matches(key.lower(), unused, n=1, cutoff=SIMILARITY_CUTOFF):
            raise DataError(f"data: {path} has an unknown key `{key}`. Did you mean `{close}`?")
    return description


def check_ignore_index(description: dict[str, Any], path: Path) -> None:
    """Raise a DataError if `ignore_index` is not an integer, or if the task has no positions."""
    ignore_index, task = description.get("ignore_index"), description["task"]
    if ignore_index is not None and task != "segmentation":
        raise DataError(f"data: {path} has an `ignore_index`, which only segmentation uses, but its task is {task}.")
    if isinstance(ignore_index, bool) or not isinstance(ignore_index, int | None):
        raise DataError(f"data: `ignore_index` of {path} must be an integer, got {ignore_index!r}.")


def verify_sha256(path: Path, description: dict[str, Any]) -> str:
    """Return the sha256 of the file; raise a DataError if its datasheet names another one."""
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    expected = str(description.get("sha256_file", description.get("sha256", actual)))
    if expected != actual:
        raise DataError(
            f"data: {path} was changed or truncated: its sha256 is {actual[:12]}, the datasheet has {expected[:12]}."
        )
    return actual
