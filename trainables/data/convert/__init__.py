"""Data in the layouts that papers left on people's disks, read once into this project's own format.

A layout is a function of a file or folder, with options. Nothing is downloaded, and no file is trusted: pickles may
hold numbers, text and arrays alone (`pickles`). Shapes are read from the files. Training does not import this package,
so that no trial's identity depends on it.
"""

import csv
import importlib
import inspect
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trainables.data.convert.found import Found, told
from trainables.data.dataset import DataError, check_choice

__all__ = ["LAYOUTS", "Found", "convert", "options"]

HERE = "trainables.data.convert"
LAYOUTS = {
    "av-mnist": f"{HERE}.av_mnist:av_mnist",
    "crema-d": f"{HERE}.clips:crema_d",
    "kinetics-sounds": f"{HERE}.clips:kinetics_sounds",
    "vggsound": f"{HERE}.clips:vggsound",
    "ucf-101": f"{HERE}.clips:ucf_101",
    "ave": f"{HERE}.hdf5:ave",
    "iemocap-mmin": f"{HERE}.hdf5:iemocap",
    "mult": f"{HERE}.sequences:mult",
    "mmsa": f"{HERE}.sequences:mmsa",
    "ur-funny": f"{HERE}.sequences:ur_funny",
    "food-101": f"{HERE}.food:food_101",
    "brats": f"{HERE}.brats:brats",
}
UNFORESEEN = (
    ValueError, TypeError, LookupError, ArithmeticError, MemoryError, RuntimeError, OSError, EOFError, csv.Error,
    pickle.UnpicklingError,
)  # fmt: skip


def convert(layout: str, source: Path, given: Mapping[str, Any]) -> Found:
    """Return what a file or folder of a layout holds, read with the options given.

    Raises:
        DataError: the layout or an option does not exist, or the source is not of that layout.
    """
    read = reader(layout)
    if not source.exists():
        raise DataError(f"convert: there is no file or folder {source}.")
    known = options(layout)
    for key, value in given.items():
        check_choice(key, known, "convert", layout, "option")
        if type(value) is not type(known[key]):
            raise DataError(f"convert: {key} of {layout} must be like {known[key]!r}, got {value!r}.")
        if type(value) is int and value < 1:
            raise DataError(f"convert: {key} of {layout} must be 1 or more, got {value}.")
    try:
        return read(source, **given)
    except DataError:
        raise
    except UNFORESEEN as error:
        what = type(error).__name__
        raise DataError(f"convert: {source} cannot be read as {layout}: {what}: {told(error)}.") from error


def options(layout: str) -> dict[str, Any]:
    """Return the options of a layout with their defaults."""
    parameters = inspect.signature(reader(layout)).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def reader(layout: str) -> Callable[..., Found]:
    """Return the function that reads a layout."""
    module, _, name = LAYOUTS[check_choice(layout, LAYOUTS, "convert", "ablate", "layout")].partition(":")
    read: Callable[..., Found] = getattr(importlib.import_module(module), name)
    return read
