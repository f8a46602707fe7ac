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


class Opens:
    """Makes a file when it is unpickled by the ordinary reader."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return open, (str(self.file), "w")


def stored(folder: Path, held: Any, protocol: int = 4) -> Path:
    file = folder / "held.pkl"
    file.write_bytes(pickle.dumps(held, protocol))
    return file


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_lists_text_and_numbers_come_back_in_every_protocol(tmp_path: Path, protocol: int) -> None:
    held = {
        "float": np.arange(6.0).reshape(2, 3),
        "strided": np.arange(12, dtype=np.int16).reshape(3, 4)[:, ::2],
        "words": np.array(["a", "bc"]),
        "bytes": np.array([b"x", b"yz"]),
        "ragged": np.array([np.zeros(1), np.ones(2)], dtype=object),
        "scalar": np.float32(0.5),
        "order": OrderedDict(b=1, a=[None, True, "ü", b"\xff", 2**70]),
    }
    found = load_pickle(stored(tmp_path, held, protocol))
    assert found.keys() == held.keys()
    for key in ("float", "strided", "words", "bytes"):
        np.testing.assert_array_equal(found[key], held[key])
        assert found[key].dtype == held[key].dtype
    assert [one.tolist() for one in found["ragged"]] == [[0.0], [1.0, 1.0]]
    assert found["scalar"] == np.float32(0.5)
    assert found["order"] == {"b": 1, "a": [None, True, "ü", b"\xff", 2**70]}


def test_strings_of_python_2_are_text(tmp_path: Path) -> None:
    file = tmp_path / "old.pkl"
    file.write_bytes(b"S'mosi \\xfc'\n.")
    assert load_pickle(file) == "mosi ü"


def test_names_of_numpy_1_are_known(tmp_path: Path) -> None:
    file = stored(tmp_path, np.arange(3), protocol=2)
    file.write_bytes(file.read_bytes().replace(b"numpy._core.", b"numpy.core."))
    np.testing.assert_array_equal(load_pickle(file), [0, 1, 2])


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_what_would_run_is_refused_and_does_not_run(tmp_path: Path, protocol: int) -> None:
    made = tmp_path / "made"
    file = stored(tmp_path, {"train": [Opens(made)]}, protocol)
    with pytest.raises(DataError, match=r"it asks for (io|_io|builtins|__builtin__)\.open\. It is not loaded"):
        load_pickle(file)
    assert not made.exists()


def test_an_encoding_that_decompresses_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bomb.pkl"
    file.write_bytes(b"c_codecs\nencode\n(S'x'\nS'zip'\ntR.")
    with pytest.raises(DataError, match="it asks for the encoding zip"):
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


def plain(held: Any) -> bytes:
    """Return the opcodes that put something on the stack, in protocol 2."""
    return pickle.dumps(held, 2)[2:-1]


def called(module: str, name: str, *arguments: bytes) -> bytes:
    return f"c{module}\n{name}\n".encode() + b"(" + b"".join(arguments) + b"tR"


def type_of(code: str) -> bytes:
    return called("numpy", "dtype", plain(code), plain(False), plain(True))


def octets(content: bytes) -> bytes:
    return called("_codecs", "encode", plain(content.decode("latin1")), plain("latin1"))


def over(kind: bytes, content: bytes, shape: tuple[int, ...]) -> bytes:
    return called("numpy._core.numeric", "_frombuffer", octets(content), kind, plain(shape), plain("C"))


EMPTY = called("numpy._core.multiarray", "_reconstruct", b"cnumpy\nndarray\n", plain((0,)), plain(b"b"))


def filled(shape: tuple[int, ...], kind: bytes, content: bytes) -> bytes:
    return b"(" + plain(1) + plain(shape) + kind + plain(False) + content + b"tb"


PARTS = b"(" + plain(3) + plain("|") + b"N" + plain(("a",)) + b"}" + plain("a") + b"("  # of a type: one, called a
AT = {place: type_of("O8") + plain(place) + b"ts" + plain(8) + plain(1) + plain(0) + b"tb" for place in (0, 10**8)}
ADDRESS = struct.pack("<Q", 0x4141414141414141)
NAMED = b"c_codecs\nencode\n"
EIGHT = octets(bytes(8))


@pytest.mark.parametrize(
    ("opcodes", "said"),
    [
        (over(type_of("V8") + PARTS + AT[0], ADDRESS, (1,)), "it asks for arrays of 'V8'"),
        (over(type_of("f8") + PARTS + AT[0], ADDRESS, (1,)), "it asks for arrays of a type of parts"),
        (over(type_of("f8") + PARTS + AT[10**8], ADDRESS, (1,)), "it asks for arrays of a type of parts"),
        (over(type_of("O8"), ADDRESS, (1,)), "cannot create an OBJECT array from memory buffer"),
        (EMPTY + filled((1,), type_of("O8"), octets(ADDRESS)), "cannot create an OBJECT array from memory buffer"),
        (called("numpy._core.multiarray", "scalar", type_of("O8"), octets(ADDRESS)), "a number of another size"),
        (called("numpy._core.multiarray", "scalar", type_of("f8"), octets(b"1")), "a number of another size"),
        (EMPTY + filled((250,), type_of("O8"), plain(["a"])), "cannot reshape array of size 1"),
        (EMPTY + filled((2**40,), type_of("f8"), EIGHT), "cannot reshape array of size 1"),
        (EMPTY + filled((0, 2**62, 2**62), type_of("f8"), octets(b"")), "array is too big"),
        (EMPTY + 2 * filled((1,), type_of("f8"), EIGHT), "it fills an array twice"),
        (over(type_of("f8"), bytes(8), (1,)) + filled((1,), type_of("f8"), EIGHT), "it fills an array twice"),
        (EMPTY + filled((1,), type_of("f8"), EIGHT) + plain(0) + plain(1) + b"s", "it changes an array"),
        (called("numpy", "ndarray", plain((10**13,))), "it asks for an array without content"),
        (b"cnumpy\nndarray\n" + plain((9,)) + b"\x81", "it asks for an array without content"),
        (NAMED + b"N" + plain({"__defaults__": ("zip",)}) + b"\x86b", "it changes what makes arrays"),
        (NAMED + plain({"a": 1}) + b"b", "it changes what makes arrays"),
        (b"cnumpy\ndtype\n" + plain({"a": 1}) + b"b", "missing 1 required positional argument"),
        (called("numpy._core.multiarray", "_reconstruct", b"ccollections\nOrderedDict\n"), "an array of another class"),
        (b"cnumpy\nndarray.tofile\n", r"it asks for numpy\.ndarray\.tofile"),
    ],
)
def test_what_numpy_would_believe_is_refused(tmp_path: Path, opcodes: bytes, said: str) -> None:
    file = tmp_path / "held.pkl"
    file.write_bytes(b"\x80\x02" + opcodes + b".")
    with pytest.raises(DataError, match=said):
        load_pickle(file)


def test_the_opcodes_above_are_those_of_arrays(tmp_path: Path) -> None:
    file = tmp_path / "held.pkl"
    held = (over(type_of("f8"), bytes(8), (1,)), EMPTY + filled((1,), type_of("O8"), plain(["a"])))
    for opcodes, expected in zip(held, ([0.0], ["a"]), strict=True):
        file.write_bytes(b"\x80\x02" + opcodes + b".")
        assert load_pickle(file).tolist() == expected


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_is_empty_or_of_another_order_comes_back(tmp_path: Path, protocol: int) -> None:
    held = [np.zeros((0, 3)), np.arange(3, dtype=">i4"), np.array(2.5), np.zeros((2, 3, 4)).transpose(1, 0, 2)]
    found = load_pickle(
        stored(tmp_path, [*held, b"", np.str_(""), np.array([True, None, "ü"], dtype=object)], protocol)
    )
    for one, array in zip(found, held, strict=False):
        np.testing.assert_array_equal(one, array)
        assert one.dtype.newbyteorder("=") == array.dtype.newbyteorder("=")
    assert found[4:6] == [b"", ""]
    assert found[6].tolist() == [True, None, "ü"]


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04Nr\xff\xff\xff\x7f.",  # it numbers a part 2^31: a table of as many would take 16 GB
        b"\x80\x05\x96" + struct.pack("<Q", 2**36) + b".",  # 64 GB of bytes, of which there is none
        b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b".",
        b"\x80\x02N\x82\x01.",
    ],
)
def test_what_a_damaged_file_claims_takes_no_memory(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "damaged.pkl"
    file.write_bytes(content)
    with suppress(DataError):
        assert load_pickle(file) is None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 8e6  # kilobytes


ALONE = r"""
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


def test_no_damage_brings_the_process_down(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ALONE, tmp_path / "held.pkl"], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "whole\n"), ended.stderr
