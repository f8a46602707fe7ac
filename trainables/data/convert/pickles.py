"""Pickles that hold data and nothing else: loading them runs no code of theirs, and trusts nothing that they say.

NumPy's own reader believes what a pickle says of an array: its size, and where its parts lie. Types and arrays are
therefore made here, of bytes that are exactly as many as they need, and filled once.
"""

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from trainables.data.convert.found import readable, told
from trainables.data.dataset import DataError

Refused = pickle.UnpicklingError
CODE = re.compile(r"\?|[biufcSU]\d+|O8?")  # types without parts, and their sizes


class Type:
    """The type of an array, without parts: numbers, text or objects."""

    __slots__ = ("made",)

    def __init__(self, code: str, align: object = False, copy: object = True) -> None:
        if not isinstance(code, str) or not CODE.fullmatch(code):
            raise Refused(f"it asks for arrays of {code!r}")
        self.made = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Take the order of the bytes, which is all that a type without parts has beside its code."""
        _, order, *parts = state
        if len(state) != 8 or order not in ("<", ">", "|", "=") or any(part is not None for part in parts[:3]):
            raise Refused("it asks for arrays of a type of parts")
        if order in ("<", ">"):
            self.made = self.made.newbyteorder(order)


class Array(np.ndarray):
    """An array that is made empty, and filled once."""

    __slots__ = ("awaited",)  # with one, arrays that lie deep in one another are freed without a deep stack
    awaited: bool

    def __new__(cls, *given: object) -> "Array":
        """Refuse to be called: an array without content shows what lay in memory."""
        raise Refused("it asks for an array without content")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Take shape and content, which must fit."""
        _, shape, kind, columns, content = state
        if not hasattr(self, "awaited"):
            raise Refused("it fills an array twice")
        del self.awaited
        made = known(kind)
        if isinstance(content, list) and made.kind == "O":
            flat: np.ndarray = np.empty(len(content), dtype=object)
        else:
            content = octets(content)
            flat = np.frombuffer(content, made)
        super().__setstate__((1, flat.reshape(shape).shape, made, bool(columns), content))  # type: ignore[arg-type]

    def __setitem__(self, key: Any, value: Any) -> None:
        """Refuse: no pickle of data does this."""
        raise Refused("it changes an array")


class Maker:
    """What a pickle may call, and cannot change."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self.make = make

    def __call__(self, *given: Any) -> Any:
        """Return what is made."""
        return self.make(*given)

    def __setstate__(self, state: object) -> None:
        """Refuse: no pickle of data does this."""
        raise Refused("it changes what makes arrays")


def known(kind: Any) -> np.dtype[Any]:
    """Return the type that a pickle has made."""
    if type(kind) is not Type:
        raise Refused("it asks for arrays of no type")
    return kind.made


def octets(content: Any) -> bytes:
    """Return the content of an array; older protocols write it as text."""
    if type(content) is str:
        return content.encode("latin1")
    if type(content) is not bytes:
        raise Refused("it has an array whose content is no bytes")
    return content


def awaiting(cls: Any, *_: Any) -> Array:
    """Return an array that is to be filled."""
    if cls is not Array:
        raise Refused("it asks for an array of another class")
    array = np.ndarray.__new__(Array, (0,), np.int8)
    array.awaited = True
    return array


def over(content: Any, kind: Any, shape: Any, order: Any, axes: Any = None) -> np.ndarray:
    """Return an array of the bytes of the newest protocol."""
    flat = np.frombuffer(octets(content), known(kind))
    return (flat.reshape(shape, order=order) if axes is None else flat.reshape(shape).transpose(axes)).view(Array)


def scalar(kind: Any, content: Any) -> Any:
    """Return a number or a text of NumPy's."""
    made, held = known(kind), octets(content)
    if made.kind == "O" or len(held) != made.itemsize:
        raise Refused("it has a number of another size")
    return np.ndarray((), made, held)[()]


def latin(text: Any, encoding: Any) -> bytes:
    """Return the bytes that older protocols write as text; what else `codecs.encode` does is not asked for."""
    if type(text) is not str or encoding != "latin1":
        raise Refused(f"it asks for the encoding {encoding}")
    return text.encode("latin1")


def nothing() -> bytes:
    """Return no bytes, as older protocols write them."""
    return b""


HARMLESS = {
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): Type,
    ("collections", "OrderedDict"): dict,
    ("_codecs", "encode"): Maker(latin),
    **dict.fromkeys([("builtins", "bytes"), ("__builtin__", "bytes")], Maker(nothing)),
}
for core in ("numpy._core", "numpy.core"):  # where NumPy 2 and 1 keep what its arrays are made of
    HARMLESS[f"{core}.multiarray", "_reconstruct"] = Maker(awaiting)
    HARMLESS[f"{core}.multiarray", "scalar"] = Maker(scalar)
    HARMLESS[f"{core}.numeric", "_frombuffer"] = Maker(over)


class Reader(pickle._Unpickler):
    """Makes arrays, lists, mappings, text and numbers, and refuses all else.

    It is the one written in Python: that in C makes room for as many parts as a file claims to have.
    """

    read: Callable[[int], bytes]
    append: Callable[[object], None]

    def load_bytearray8(self) -> None:
        """Read bytes for bytes that can be changed, without room for more than there are."""
        self.append(self.read(int.from_bytes(self.read(8), "little")))

    dispatch = {**pickle._Unpickler.dispatch, pickle.BYTEARRAY8[0]: load_bytearray8}  # type: ignore[dict-item]  # noqa: RUF012

    def find_class(self, module: str, name: str) -> Any:
        """Return what a pickle names, if it is harmless."""
        if (module, name) not in HARMLESS:
            raise Refused(f"it asks for {module}.{name}")
        return HARMLESS[module, name]


def load(file: Path) -> Any:
    """Return what a pickle holds; strings of Python 2 are read as Latin-1.

    Raises:
        DataError: it is damaged, or holds more than data, which would run as code.
    """
    with readable(file, "pickle"), file.open("rb") as stream:
        try:
            return Reader(stream, encoding="latin1").load()
        except pickle.UnpicklingError as error:
            more = f"{file} holds more than arrays, lists, text and numbers, or is damaged"
            raise DataError(f"convert: {more}: {told(error)}. It is not loaded.") from None
