"""A reader of pickles that hold data and nothing else: it runs no code of theirs, and trusts none of their claims.

NumPy's own reader trusts what a pickle claims of an array: its size, and where its parts lie. Types and arrays are
therefore made here, from exactly as many bytes as they need, and filled once.
"""

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np

from trainables.data.convert.sources import error_text, translate_errors
from trainables.data.dataset import DataError

DTYPE_CODE = re.compile(r"\?|[biufcSU]\d+|O8?")  # types without fields, and their sizes


class SafeDtype:
    """The type of an array without fields: numbers, text or objects."""

    __slots__ = ("dtype",)

    def __init__(self, code: str, align: object = False, copy: object = True) -> None:
        if not isinstance(code, str) or not DTYPE_CODE.fullmatch(code):
            raise UnpicklingError(f"it contains an array of type {code!r}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Set the byte order, the only state, apart from its code, of a type without fields."""
        _, order, *fields = state
        if len(state) != 8 or order not in ("<", ">", "|", "=") or any(field is not None for field in fields[:3]):
            raise UnpicklingError("it contains an array of a structured type")
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class SafeArray(np.ndarray):
    """An array that is created empty, and filled once."""

    __slots__ = ("unfilled",)  # a slot, so that deeply nested arrays are freed without a deep stack
    unfilled: bool

    def __new__(cls, *args: object) -> "SafeArray":
        """Refuse to be called: an array without content exposes uninitialised memory."""
        raise UnpicklingError("it creates an array without content")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Set shape and content, which must fit."""
        _, shape, dtype, fortran, content = state
        if not hasattr(self, "unfilled"):
            raise UnpicklingError("it fills an array twice")
        del self.unfilled
        dtype = unwrap_dtype(dtype)
        if isinstance(content, list) and dtype.kind == "O":
            flat: np.ndarray = np.empty(len(content), dtype=object)
        else:
            content = as_bytes(content)
            flat = np.frombuffer(content, dtype)
        super().__setstate__((1, flat.reshape(shape).shape, dtype, bool(fortran), content))  # type: ignore[arg-type]

    def __setitem__(self, key: Any, value: Any) -> None:
        """Refuse: pickles of data do not assign to items."""
        raise UnpicklingError("it changes an array")


class SafeFunction:
    """A function that a pickle may call, and cannot change."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any) -> Any:
        """Return the result of the function."""
        return self.function(*args)

    def __setstate__(self, state: object) -> None:
        """Refuse: pickles of data do not set the state of functions."""
        raise UnpicklingError("it sets the state of a function")


def unwrap_dtype(dtype: Any) -> np.dtype[Any]:
    """Return the NumPy type of a SafeDtype."""
    if type(dtype) is not SafeDtype:
        raise UnpicklingError("it contains an array whose type is invalid")
    return dtype.dtype


def as_bytes(content: Any) -> bytes:
    """Return the content of an array as bytes; older protocols write it as text."""
    if type(content) is str:
        return content.encode("latin1")
    if type(content) is not bytes:
        raise UnpicklingError("it contains an array whose content is not bytes")
    return content


def create_array(cls: Any, *_: Any) -> SafeArray:
    """Return an array to be filled by its `__setstate__`."""
    if cls is not SafeArray:
        raise UnpicklingError("it contains an array of another class")
    array = np.ndarray.__new__(SafeArray, (0,), np.int8)
    array.unfilled = True
    return array


def array_from_buffer(content: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> np.ndarray:
    """Return an array of bytes in the form of the newest protocol."""
    flat = np.frombuffer(as_bytes(content), unwrap_dtype(dtype))
    return (flat.reshape(shape, order=order) if axes is None else flat.reshape(shape).transpose(axes)).view(SafeArray)


def numpy_scalar(dtype: Any, content: Any) -> Any:
    """Return a number or a text of NumPy's."""
    dtype, content = unwrap_dtype(dtype), as_bytes(content)
    if dtype.kind == "O" or len(content) != dtype.itemsize:
        raise UnpicklingError("it contains a number whose size does not match its type")
    return np.ndarray((), dtype, content)[()]


def encode_latin1(text: Any, encoding: Any) -> bytes:
    """Return bytes that older protocols write as text; other encodings of `codecs.encode` are refused."""
    if type(text) is not str or encoding != "latin1":
        raise UnpicklingError(f"it uses the encoding {encoding}")
    return text.encode("latin1")


def empty_bytes() -> bytes:
    """Return no bytes, as older protocols write them."""
    return b""


SAFE_GLOBALS = {
    ("numpy", "ndarray"): SafeArray,
    ("numpy", "dtype"): SafeDtype,
    ("collections", "OrderedDict"): dict,
    ("_codecs", "encode"): SafeFunction(encode_latin1),
    **dict.fromkeys([("builtins", "bytes"), ("__builtin__", "bytes")], SafeFunction(empty_bytes)),
}
for package in ("numpy._core", "numpy.core"):  # the internals of NumPy 2 and 1
    SAFE_GLOBALS[f"{package}.multiarray", "_reconstruct"] = SafeFunction(create_array)
    SAFE_GLOBALS[f"{package}.multiarray", "scalar"] = SafeFunction(numpy_scalar)
    SAFE_GLOBALS[f"{package}.numeric", "_frombuffer"] = SafeFunction(array_from_buffer)


class SafeUnpickler(pickle._Unpickler):
    """Creates arrays, lists, mappings, text and numbers, and refuses all else.

    It extends the implementation in Python: that in C allocates as much memory as a file claims to need.
    """

    read: Callable[[int], bytes]
    append: Callable[[object], None]

    def load_bytearray8(self) -> None:
        """Read a bytearray as bytes, without allocating more than there are."""
        self.append(self.read(int.from_bytes(self.read(8), "little")))

    dispatch = {**pickle._Unpickler.dispatch, pickle.BYTEARRAY8[0]: load_bytearray8}  # type: ignore[dict-item]  # noqa: RUF012

    def find_class(self, module: str, name: str) -> Any:
        """Return a class or function that a pickle names, if it is safe."""
        if (module, name) not in SAFE_GLOBALS:
            raise UnpicklingError(f"it refers to {module}.{name}")
        return SAFE_GLOBALS[module, name]


def load_pickle(file: Path) -> Any:
    """Return the content of a pickle; strings of Python 2 are read as Latin-1.

    Raises:
        DataError: it is damaged, or holds more than data, which would run as code.
    """
    with translate_errors(file, "pickle"), file.open("rb") as stream:
        try:
            return SafeUnpickler(stream, encoding="latin1").load()
        except UnpicklingError as error:
            problem = f"{file} holds more than arrays, lists, text and numbers, or is damaged"
            raise DataError(f"convert: {problem}: {error_text(error)}. It is not loaded.") from None
