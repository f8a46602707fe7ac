"""A file of data on disk: the `.npz` and its `.json` datasheet, checked against each other."""

import hashlib
import json
import zipfile
import zlib
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trainables.data.dataset import TASKS, DataError, choose

EMBEDDED = Path(__file__).parent / "embedded"
READ = (
    "name", "task", "classes", "ignore_index", "modalities", "target", "standardise", "channels",
    "groups", "sha256", "sha256_file",
)  # fmt: skip
ALIKE = 0.8  # a key of a datasheet this near to one that is read was meant to be it


class Archive(NamedTuple):
    """An `.npz` that is what its datasheet says it is; arrays are read one by one, when asked for."""

    path: Path
    sha256: str  # of the bytes of the file
    description: dict[str, Any]  # the datasheet as read
    arrays: tuple[str, ...]  # names of what the file holds

    @property
    def name(self) -> str:
        """The name that the datasheet gives, or that of the file."""
        return str(self.description.get("name", self.path.stem))

    @property
    def task(self) -> str:
        """The task that the datasheet states, one of TASKS."""
        return str(self.description["task"])

    @property
    def ignored(self) -> int | None:
        """The label of positions that have none; None: all positions have one."""
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
    """Return the names of the sets that come with the package."""
    return sorted(path.stem for path in EMBEDDED.glob("*.npz"))


def locate(path: str | Path) -> Path:
    """Return the `.npz` that `path` names: the file itself, or the only one with a datasheet in a folder."""
    place = Path(path).expanduser()
    if not place.exists():
        raise DataError(f"data.path: there is no file or folder {place}.")
    if place.is_file():
        if place.suffix == ".npz":
            return place
        raise DataError(f"data.path: must be an .npz file or a folder that holds one, got {place}.")
    pairs = sorted(file for file in place.glob("*.npz") if file.with_suffix(".json").exists())
    if len(pairs) == 1:
        return pairs[0]
    found = f"{len(pairs)}: {', '.join(file.name for file in pairs)}. Name one of them" if pairs else "none"
    raise DataError(f"data.path: {place} must hold exactly one .npz with a .json of its name, found {found}.")


def open_archive(path: Path) -> Archive:
    """Return the verified archive at `path`; raises DataError where file and datasheet do not agree."""
    description = _datasheet(path.with_suffix(".json"))
    sha256 = _verified(path, description)
    try:
        with zipfile.ZipFile(path) as file:
            arrays = tuple(member.removesuffix(".npy") for member in file.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"data: {path} is not a readable .npz file: {error}.") from error
    choose(description.get("task"), TASKS, "data", path.with_suffix(".json").name, "task")
    _check_ignored(description, path.with_suffix(".json"))
    return Archive(path, sha256, description, arrays)


def _datasheet(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise DataError(f"data: {path.with_suffix('.npz')} needs a datasheet beside it, {path.name}.")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"data: {path} is not valid JSON: {error}.") from error
    if not isinstance(description, dict):
        raise DataError(f"data: {path} must hold one JSON object, got a {type(description).__name__}.")
    absent = [key for key in READ if key not in description]
    for key in description.keys() - READ:
        for close in get_close_matches(key.lower(), absent, n=1, cutoff=ALIKE):
            raise DataError(f"data: {path} has a key `{key}`, which is not read. Did you mean `{close}`?")
    return description


def _check_ignored(description: dict[str, Any], path: Path) -> None:
    """Raise a DataError at an `ignore_index` that is no label, or of a task without positions."""
    ignored, task = description.get("ignore_index"), description["task"]
    if ignored is not None and task != "segmentation":
        raise DataError(f"data: {path} has an `ignore_index`, which is about positions; samples of {task} have none.")
    if isinstance(ignored, bool) or not isinstance(ignored, int | None):
        raise DataError(f"data: `ignore_index` of {path} must be an integer, got {ignored!r}.")


def _verified(path: Path, description: dict[str, Any]) -> str:
    """Return the sha256 of the file, which must be the one in its datasheet if that names one."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    stated = str(description.get("sha256_file", description.get("sha256", found)))
    if stated != found:
        raise DataError(
            f"data: {path} was changed or truncated: its sha256 is {found[:12]}, its datasheet says {stated[:12]}."
        )
    return found
