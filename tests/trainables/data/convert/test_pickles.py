"""Pickles: data is read whatever wrote it, and nothing else is."""

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainables.data import DataError
from trainables.data.convert.pickles import load


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
    found = load(stored(tmp_path, held, protocol))
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
    assert load(file) == "mosi ü"


def test_names_of_numpy_1_are_known(tmp_path: Path) -> None:
    file = stored(tmp_path, np.arange(3), protocol=2)
    file.write_bytes(file.read_bytes().replace(b"numpy._core.", b"numpy.core."))
    np.testing.assert_array_equal(load(file), [0, 1, 2])


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_what_would_run_is_refused_and_does_not_run(tmp_path: Path, protocol: int) -> None:
    made = tmp_path / "made"
    file = stored(tmp_path, {"train": [Opens(made)]}, protocol)
    with pytest.raises(DataError, match=r"it asks for (io|_io|builtins|__builtin__)\.open\. It is not loaded"):
        load(file)
    assert not made.exists()


def test_an_encoding_that_decompresses_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bomb.pkl"
    file.write_bytes(b"c_codecs\nencode\n(S'x'\nS'zip'\ntR.")
    with pytest.raises(DataError, match="it asks for the encoding zip"):
        load(file)


@pytest.mark.parametrize("content", [b"", b"no pickle at all", pickle.dumps(np.arange(1000.0))[:200]])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "damaged.pkl"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"damaged\.pkl"):
        load(file)
