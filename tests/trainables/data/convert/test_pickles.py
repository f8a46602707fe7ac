"""Pickles: data is read whatever wrote it, and nothing else is."""

import pickle
import resource
import struct
import subprocess
import sys
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainables.data import DataError
from trainables.data.convert.pickles import load_pickle


class FileOpener:
    """Makes a file when it is unpickled by the ordinary reader."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return open, (str(self.file), "w")


def write_pickle(folder: Path, content: Any, protocol: int = 4) -> Path:
    file = folder / "held.pkl"
    file.write_bytes(pickle.dumps(content, protocol))
    return file


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_lists_text_and_numbers_come_back_in_every_protocol(tmp_path: Path, protocol: int) -> None:
    content = {
        "float": np.arange(6.0).reshape(2, 3),
        "strided": np.arange(12, dtype=np.int16).reshape(3, 4)[:, ::2],
        "words": np.array(["a", "bc"]),
        "bytes": np.array([b"x", b"yz"]),
        "ragged": np.array([np.zeros(1), np.ones(2)], dtype=object),
        "scalar": np.float32(0.5),
        "order": OrderedDict(b=1, a=[None, True, "ü", b"\xff", 2**70]),
    }
    loaded = load_pickle(write_pickle(tmp_path, content, protocol))
    assert loaded.keys() == content.keys()
    for key in ("float", "strided", "words", "bytes"):
        np.testing.assert_array_equal(loaded[key], content[key])
        assert loaded[key].dtype == content[key].dtype
    assert [one.tolist() for one in loaded["ragged"]] == [[0.0], [1.0, 1.0]]
    assert loaded["scalar"] == np.float32(0.5)
    assert loaded["order"] == {"b": 1, "a": [None, True, "ü", b"\xff", 2**70]}


def test_strings_of_python_2_are_text(tmp_path: Path) -> None:
    file = tmp_path / "old.pkl"
    file.write_bytes(b"S'mosi \\xfc'\n.")
    assert load_pickle(file) == "mosi ü"


def test_names_of_numpy_1_are_known(tmp_path: Path) -> None:
    file = write_pickle(tmp_path, np.arange(3), protocol=2)
    file.write_bytes(file.read_bytes().replace(b"numpy._core.", b"numpy.core."))
    np.testing.assert_array_equal(load_pickle(file), [0, 1, 2])


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_code_is_refused_and_does_not_run(tmp_path: Path, protocol: int) -> None:
    made = tmp_path / "made"
    file = write_pickle(tmp_path, {"train": [FileOpener(made)]}, protocol)
    with pytest.raises(DataError, match=r"it refers to (io|_io|builtins|__builtin__)\.open\. It is not loaded"):
        load_pickle(file)
    assert not made.exists()


def test_an_encoding_that_decompresses_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bomb.pkl"
    file.write_bytes(b"c_codecs\nencode\n(S'x'\nS'zip'\ntR.")
    with pytest.raises(DataError, match="it uses the encoding zip"):
        load_pickle(file)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle at all",
        b"Pabc\n.",
        b"version https://git-lfs.github.com/spec/v1\n",
        pickle.dumps(np.arange(1000.0))[:200],
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "damaged.pkl"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"damaged\.pkl") as raised:
        load_pickle(file)
    assert "\n" not in str(raised.value)


def pickled(content: Any) -> bytes:
    """Return the opcodes that put something on the stack, in protocol 2."""
    return pickle.dumps(content, 2)[2:-1]


def call_opcodes(module: str, name: str, *arguments: bytes) -> bytes:
    return f"c{module}\n{name}\n".encode() + b"(" + b"".join(arguments) + b"tR"


def dtype_opcodes(code: str) -> bytes:
    return call_opcodes("numpy", "dtype", pickled(code), pickled(False), pickled(True))


def bytes_opcodes(content: bytes) -> bytes:
    return call_opcodes("_codecs", "encode", pickled(content.decode("latin1")), pickled("latin1"))


def buffer_opcodes(kind: bytes, content: bytes, shape: tuple[int, ...]) -> bytes:
    return call_opcodes(
        "numpy._core.numeric", "_frombuffer", bytes_opcodes(content), kind, pickled(shape), pickled("C")
    )


EMPTY = call_opcodes("numpy._core.multiarray", "_reconstruct", b"cnumpy\nndarray\n", pickled((0,)), pickled(b"b"))


def fill_opcodes(shape: tuple[int, ...], kind: bytes, content: bytes) -> bytes:
    return b"(" + pickled(1) + pickled(shape) + kind + pickled(False) + content + b"tb"


FIELDS = (
    b"(" + pickled(3) + pickled("|") + b"N" + pickled(("a",)) + b"}" + pickled("a") + b"("
)  # of a type: one, called a
AT = {
    place: dtype_opcodes("O8") + pickled(place) + b"ts" + pickled(8) + pickled(1) + pickled(0) + b"tb"
    for place in (0, 10**8)
}
ADDRESS = struct.pack("<Q", 0x4141414141414141)
ENCODE = b"c_codecs\nencode\n"
EIGHT = bytes_opcodes(bytes(8))


@pytest.mark.parametrize(
    ("opcodes", "message"),
    [
        (buffer_opcodes(dtype_opcodes("V8") + FIELDS + AT[0], ADDRESS, (1,)), "it contains an array of type 'V8'"),
        (
            buffer_opcodes(dtype_opcodes("f8") + FIELDS + AT[0], ADDRESS, (1,)),
            "it contains an array of a structured type",
        ),
        (
            buffer_opcodes(dtype_opcodes("f8") + FIELDS + AT[10**8], ADDRESS, (1,)),
            "it contains an array of a structured type",
        ),
        (buffer_opcodes(dtype_opcodes("O8"), ADDRESS, (1,)), "cannot create an OBJECT array from memory buffer"),
        (
            EMPTY + fill_opcodes((1,), dtype_opcodes("O8"), bytes_opcodes(ADDRESS)),
            "cannot create an OBJECT array from memory buffer",
        ),
        (
            call_opcodes("numpy._core.multiarray", "scalar", dtype_opcodes("O8"), bytes_opcodes(ADDRESS)),
            "a number whose size does not match its type",
        ),
        (
            call_opcodes("numpy._core.multiarray", "scalar", dtype_opcodes("f8"), bytes_opcodes(b"1")),
            "a number whose size does not match its type",
        ),
        (EMPTY + fill_opcodes((250,), dtype_opcodes("O8"), pickled(["a"])), "cannot reshape array of size 1"),
        (EMPTY + fill_opcodes((2**40,), dtype_opcodes("f8"), EIGHT), "cannot reshape array of size 1"),
        (EMPTY + fill_opcodes((0, 2**62, 2**62), dtype_opcodes("f8"), bytes_opcodes(b"")), "array is too big"),
        (EMPTY + 2 * fill_opcodes((1,), dtype_opcodes("f8"), EIGHT), "it fills an array twice"),
        (
            buffer_opcodes(dtype_opcodes("f8"), bytes(8), (1,)) + fill_opcodes((1,), dtype_opcodes("f8"), EIGHT),
            "it fills an array twice",
        ),
        (
            EMPTY + fill_opcodes((1,), dtype_opcodes("f8"), EIGHT) + pickled(0) + pickled(1) + b"s",
            "it changes an array",
        ),
        (call_opcodes("numpy", "ndarray", pickled((10**13,))), "it creates an array without content"),
        (b"cnumpy\nndarray\n" + pickled((9,)) + b"\x81", "it creates an array without content"),
        (ENCODE + b"N" + pickled({"__defaults__": ("zip",)}) + b"\x86b", "it sets the state of a function"),
        (ENCODE + pickled({"a": 1}) + b"b", "it sets the state of a function"),
        (b"cnumpy\ndtype\n" + pickled({"a": 1}) + b"b", "missing 1 required positional argument"),
        (
            call_opcodes("numpy._core.multiarray", "_reconstruct", b"ccollections\nOrderedDict\n"),
            "an array of another class",
        ),
        (b"cnumpy\nndarray.tofile\n", r"it refers to numpy\.ndarray\.tofile"),
    ],
)
def test_false_claims_about_arrays_are_refused(tmp_path: Path, opcodes: bytes, message: str) -> None:
    file = tmp_path / "held.pkl"
    file.write_bytes(b"\x80\x02" + opcodes + b".")
    with pytest.raises(DataError, match=message):
        load_pickle(file)


def test_the_opcodes_above_are_those_of_arrays(tmp_path: Path) -> None:
    file = tmp_path / "held.pkl"
    content = (
        buffer_opcodes(dtype_opcodes("f8"), bytes(8), (1,)),
        EMPTY + fill_opcodes((1,), dtype_opcodes("O8"), pickled(["a"])),
    )
    for opcodes, expected in zip(content, ([0.0], ["a"]), strict=True):
        file.write_bytes(b"\x80\x02" + opcodes + b".")
        assert load_pickle(file).tolist() == expected


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_empty_arrays_and_other_byte_orders_come_back(tmp_path: Path, protocol: int) -> None:
    content = [np.zeros((0, 3)), np.arange(3, dtype=">i4"), np.array(2.5), np.zeros((2, 3, 4)).transpose(1, 0, 2)]
    loaded = load_pickle(
        write_pickle(tmp_path, [*content, b"", np.str_(""), np.array([True, None, "ü"], dtype=object)], protocol)
    )
    for one, array in zip(loaded, content, strict=False):
        np.testing.assert_array_equal(one, array)
        assert one.dtype.newbyteorder("=") == array.dtype.newbyteorder("=")
    assert loaded[4:6] == [b"", ""]
    assert loaded[6].tolist() == [True, None, "ü"]


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04Nr\xff\xff\xff\x7f.",  # it numbers a part 2^31: a table of as many would take 16 GB
        b"\x80\x05\x96" + struct.pack("<Q", 2**36) + b".",  # 64 GB of bytes, of which there is none
        b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b".",
        b"\x80\x02N\x82\x01.",
    ],
)
def test_false_claims_of_size_allocate_no_memory(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "damaged.pkl"
    file.write_bytes(content)
    with suppress(DataError):
        assert load_pickle(file) is None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 8e6  # kilobytes


FUZZ_SCRIPT = r"""
import pickle, random, sys
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
import numpy as np
from trainables.data import DataError
from trainables.data.convert.pickles import load_pickle

file, dice = Path(sys.argv[1]), random.Random(7)

def tried(content):
    file.write_bytes(content)
    try:
        held = load_pickle(file)
    except DataError:
        return
    for value in held.values() if isinstance(held, dict) else ():
        with suppress(Exception):  # such as text beyond Unicode
            repr(value)
            np.asarray(value, dtype=np.float64)

held = {
    "array": np.arange(6.0).reshape(2, 3), "words": np.array(["a", "bc"]), "bytes": np.array([b"x", b"yz"]),
    "objects": np.array([np.zeros(1), "x"], dtype=object), "scalar": np.float32(0.5),
    "list": [1, 2.5, None, "\u00fc", b"\xff", 2**70], "order": OrderedDict(a=1),
}
for place in range(900):
    content = bytearray(pickle.dumps(held, place % 6))
    for _ in range(dice.randint(1, 4)):
        at, how = dice.randrange(len(content)), dice.random()
        if how < 0.6:
            content[at] = dice.randrange(256)
        elif how < 0.8:
            del content[at : at + dice.randint(1, 4)]
        else:
            content[at:at] = bytes(dice.choice(b"R\x81b\x93h])t.\x85u") for _ in range(dice.randint(1, 3)))
    tried(bytes(content))

count = 100_000  # arrays of objects, each in the next
kind = b"cnumpy\ndtype\nU\x02O8\x89\x88\x87Rq\x00cnumpy._core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02"
tried(b"\x80\x02" + kind + b"h\x01h\x02K\x00\x85U\x01b\x87R(K\x01K\x01\x85h\x00\x89]" * count + b"N" + b"atb" * count + b".")
print("whole")
"""


def test_damaged_pickles_do_not_crash_the_process(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FUZZ_SCRIPT, tmp_path / "held.pkl"], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "whole\n"), ended.stderr
