"""Converters of data in the layouts of published papers to this project's own format.

The converter of a layout is a function of a file or folder, with options. Nothing is downloaded, and no file is
trusted: pickles may hold numbers, text and arrays alone (`pickles`). Shapes are read from the files. Training does not
import this package, so that no trial's identity depends on it.
"""

import csv
import importlib
import inspect
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trainables.data.convert.conversion import Conversion
from trainables.data.convert.sources import error_text
from trainables.data.dataset import DataError, check_choice

__all__ = ["LAYOUTS", "Conversion", "convert", "layout_options"]

PACKAGE = "trainables.data.convert"
LAYOUTS = {
    "av-mnist": f"{PACKAGE}.av_mnist:av_mnist",
    "crema-d": f"{PACKAGE}.clips:crema_d",
    "kinetics-sounds": f"{PACKAGE}.clips:kinetics_sounds",
    "vggsound": f"{PACKAGE}.clips:vggsound",
    "ucf-101": f"{PACKAGE}.clips:ucf_101",
    "ave": f"{PACKAGE}.hdf5:ave",
    "iemocap-mmin": f"{PACKAGE}.hdf5:iemocap",
    "mult": f"{PACKAGE}.sequences:mult",
    "mmsa": f"{PACKAGE}.sequences:mmsa",
    "ur-funny": f"{PACKAGE}.sequences:ur_funny",
    "food-101": f"{PACKAGE}.food:food_101",
    "brats": f"{PACKAGE}.brats:brats",
}
UNEXPECTED_ERRORS = (
    ValueError, TypeError, LookupError, ArithmeticError, MemoryError, RuntimeError, OSError, EOFError, csv.Error,
    pickle.UnpicklingError,
)  # fmt: skip


def convert(layout: str, source: Path, options: Mapping[str, Any]) -> Conversion:
    """Return the data set in a file or folder of a layout.

    Raises:
        DataError: the layout or an option does not exist, or the source is not of that layout.
    """
    converter = find_converter(layout)
    if not source.exists():
        raise DataError(f"convert: there is no file or folder {source}.")
    defaults = layout_options(layout)
    for key, value in options.items():
        check_choice(key, defaults, "convert", layout, "option")
        if type(value) is not type(defaults[key]):
            raise DataError(
                f"convert: {key} of {layout} must have the type of its default {defaults[key]!r}, got {value!r}."
            )
        if type(value) is int and value < 1:
            raise DataError(f"convert: {key} of {layout} must be 1 or more, got {value}.")
    try:
        return converter(source, **options)
    except DataError:
        raise
    except UNEXPECTED_ERRORS as error:
        name = type(error).__name__
        raise DataError(f"convert: {source} cannot be read as {layout}: {name}: {error_text(error)}.") from error


def layout_options(layout: str) -> dict[str, Any]:
    """Return the options of a layout with their defaults."""
    parameters = inspect.signature(find_converter(layout)).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def find_converter(layout: str) -> Callable[..., Conversion]:
    """Return the converter of a layout."""
    module, _, name = LAYOUTS[check_choice(layout, LAYOUTS, "convert", "ablate", "layout")].partition(":")
    converter: Callable[..., Conversion] = getattr(importlib.import_module(module), name)
    return converter
