"""Data in the layout of a paper becomes a file and its datasheet, for studies to name."""

import glob
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ablate import __version__
from ablate.errors import UserError
from ablate.files import fsync_path, is_abandoned, temporary_folder
from trainables.data import DataError, load
from trainables.data.convert import Found
from trainables.data.convert import convert as read


def convert(layout: str, source: Path, target: Path, settings: Sequence[str] = ()) -> Found:
    """Read a file or folder of a layout, and write a data set; return what was found.

    Args:
        layout: one of `trainables.data.convert.LAYOUTS`.
        source: file or folder of that layout.
        target: `.npz` to write; its datasheet is written beside it.
        settings: ``key=value`` each, options of the layout.

    Raises:
        UserError: the source is not of that layout, an option is wrong, or there is a file already.
    """
    if target.suffix != ".npz":
        raise UserError(f"convert: what is written must end in .npz, got {target}")
    for file in (target, target.with_suffix(".json")):
        if file.exists():
            raise UserError(f"convert: there is a file {file} already; remove it, or name another")
    options = dict(map(setting, settings))
    for left in target.parent.glob(f".{glob.escape(target.name)}.*"):
        if is_abandoned(left):
            shutil.rmtree(left)
    try:
        found = read(layout, source, options)
        origin = {"layout": layout, **named(source), **options, "version": __version__}
        with temporary_folder(target) as folder:
            files = write(found, folder / target.name, origin)
            load({"path": str(files[0])})  # it is what a study can read
            for file in reversed(files):
                fsync_path(file)
                file.replace(target.with_suffix(file.suffix))
    except DataError as error:
        raise UserError(str(error)) from None
    return found


def setting(text: str) -> tuple[str, Any]:
    """Return an option and its value, of ``key=value``."""
    key, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"convert: an option is given as key=value, got {text}")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(f"convert: the value of {key} cannot be read: {value}") from None


def named(source: Path) -> dict[str, str]:
    """Return what tells a source from others: its name without its folder, of a file also its content."""
    name = {"source": source.resolve().name}
    return name | {"source_sha256": digest(source)} if source.is_file() else name


def digest(file: Path) -> str:
    """Return the sha256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write(found: Found, file: Path, origin: dict[str, Any]) -> tuple[Path, Path]:
    """Write arrays, and beside them the datasheet that guards them; return both files."""
    np.savez(file, **found.arrays)  # type: ignore[arg-type]  # the stub takes the names for options
    shapes = {key: {"shape": list(a.shape), "dtype": str(a.dtype)} for key, a in found.arrays.items()}
    content = {"name": file.stem, **found.sheet, "converted": origin, "notes": list(found.notes)}
    described = json.dumps({**content, "arrays": shapes, "sha256_file": digest(file)}, indent=1, ensure_ascii=False)
    datasheet = file.with_suffix(".json")
    datasheet.write_text(f"{described}\n", encoding="utf-8")
    return file, datasheet
