"""Pickles that hold data and nothing else: loading them runs no code of theirs."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from trainables.data.dataset import DataError

NUMPY = ("numpy._core", "numpy.core")  # where numpy 2 and 1 keep what its arrays are made of
HARMLESS = {
    **{(f"{core}.multiarray", "_reconstruct"): np._core.multiarray._reconstruct for core in NUMPY},  # type: ignore[attr-defined]
    **{(f"{core}.multiarray", "scalar"): np._core.multiarray.scalar for core in NUMPY},  # type: ignore[attr-defined]
    **{(f"{core}.numeric", "_frombuffer"): np._core.numeric._frombuffer for core in NUMPY},  # type: ignore[attr-defined]
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("collections", "OrderedDict"): dict,
}


def latin(text: str, encoding: str) -> bytes:
    """Return the bytes that older protocols write as text; what else `codecs.encode` does is not asked for."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding}")
    return text.encode("latin1")


class Reader(pickle.Unpickler):
    """Makes arrays, lists, mappings, text and numbers, and refuses all else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what a pickle names, if it is harmless."""
        if (module, name) == ("_codecs", "encode"):
            return latin
        if (module, name) not in HARMLESS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return HARMLESS[module, name]


def load(file: Path) -> Any:
    """Return what a pickle holds; strings of Python 2 are read as Latin-1.

    Raises:
        DataError: it is damaged, or holds more than data, which would run as code.
    """
    try:
        with file.open("rb") as stream:
            return Reader(stream, encoding="latin1").load()
    except pickle.UnpicklingError as error:
        told = f"{file} holds more than arrays, lists, text and numbers, or is damaged"
        raise DataError(f"convert: {told}: {error}. It is not loaded.") from None
    except (EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, ImportError, OSError) as error:
        raise DataError(f"convert: {file} cannot be read as a pickle: {error}.") from None
