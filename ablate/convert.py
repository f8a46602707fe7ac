"""Write data in the layout of a paper as a file and its datasheet, for studies to name."""

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
from trainables.data.convert import Conversion
from trainables.data.convert import convert as convert_layout


def convert(layout: str, source: Path, target: Path, settings: Sequence[str] = ()) -> Conversion:
    """Read a file or folder of a layout, write it as a data set, and return it.

    Args:
        layout: one of `trainables.data.convert.LAYOUTS`.
        source: file or folder of that layout.
        target: `.npz` to write; its datasheet is written beside it.
        settings: ``key=value`` each, options of the layout.

    Raises:
        UserError: the source is not of that layout, an option is invalid, or the file exists already.
    """
    if target.suffix != ".npz":
        raise UserError(f"convert: the output file must end in .npz, got {target}")
    for file in (target, target.with_suffix(".json")):
        if file.exists():
            raise UserError(f"convert: {file} already exists; remove it, or choose another name")
    options = dict(map(parse_option, settings))
    for leftover in target.parent.glob(f".{glob.escape(target.name)}.*"):
        if is_abandoned(leftover):
            shutil.rmtree(leftover)
    try:
        conversion = convert_layout(layout, source, options)
        origin = {"layout": layout, **source_identity(source), **options, "version": __version__}
        with temporary_folder(target) as folder:
            files = write_dataset(conversion, folder / target.name, origin)
            load({"path": str(files[0])})  # raises if no study could read it
            for file in reversed(files):
                fsync_path(file)
                file.replace(target.with_suffix(file.suffix))
    except DataError as error:
        raise UserError(str(error)) from None
    return conversion


def parse_option(text: str) -> tuple[str, Any]:
    """Return the key and the value of ``key=value``."""
    key, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"convert: an option must have the form key=value, got {text}")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(f"convert: the value of {key} cannot be read: {value}") from None


def source_identity(source: Path) -> dict[str, str]:
    """Return the name of a source without its folder and, of a file, the sha256 of its content."""
    name = {"source": source.resolve().name}
    return name | {"source_sha256": file_sha256(source)} if source.is_file() else name


def file_sha256(file: Path) -> str:
    """Return the sha256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_dataset(conversion: Conversion, file: Path, origin: dict[str, Any]) -> tuple[Path, Path]:
    """Write arrays and, beside them, the datasheet with their sha256; return both files."""
    np.savez(file, **conversion.arrays)  # type: ignore[arg-type]  # the stub takes the names for options
    shapes = {key: {"shape": list(a.shape), "dtype": str(a.dtype)} for key, a in conversion.arrays.items()}
    content = {"name": file.stem, **conversion.datasheet, "converted": origin, "notes": list(conversion.notes)}
    text = json.dumps({**content, "arrays": shapes, "sha256_file": file_sha256(file)}, indent=1, ensure_ascii=False)
    datasheet = file.with_suffix(".json")
    datasheet.write_text(f"{text}\n", encoding="utf-8")
    return file, datasheet
