"""Kernels in C++: none before a pack enables them, and none where they cannot be."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from trainables import native
from trainables.native import SOURCES, explain_missing, find_cxx, is_used, load_libraries, load_library, set_enabled
from trainables.products import load_multiply_batch

needs_compiler = pytest.mark.skipif(find_cxx() is None, reason="there is no C++ compiler")
ONE = 'extern "C" int one() { return 1; }'


@pytest.fixture(autouse=True)
def nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(native._state, "enabled", False)
    load_libraries.cache_clear()
    yield
    load_libraries.cache_clear()


def fake_compiler(folder: Path, script: str) -> str:
    compiler = folder / "cxx"
    compiler.write_text(f"#!/bin/sh\n{script}\n")
    compiler.chmod(0o755)
    return str(compiler)


def test_a_process_uses_kernels_while_they_are_enabled(native_kernels: None) -> None:
    set_enabled(False)
    assert (load_multiply_batch(), is_used()) == (None, False)
    set_enabled(True)
    assert load_multiply_batch() is not None
    assert is_used()
    set_enabled(False)
    assert (load_multiply_batch(), is_used()) == (None, False)


def test_all_are_compiled_when_they_are_enabled_and_not_in_a_step(
    native_kernels: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_enabled(True)
    monkeypatch.setattr(native, "load_library", None)
    assert load_libraries().keys() == {source.stem for source in SOURCES} == {"logarithms", "products", "programs"}


def test_they_compile_wherever_they_can_be_run() -> None:
    assert explain_missing() in (None, "no AVX-512", "no C++ compiler")


def test_there_is_none_without_the_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    set_enabled(True)
    assert (load_multiply_batch(), is_used(), explain_missing()) == (None, False, "no AVX-512")


def test_there_is_none_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    set_enabled(True)
    assert (load_multiply_batch(), is_used(), explain_missing()) == (None, False, "no C++ compiler")


@pytest.mark.parametrize("cache", ["file/cache", "cache"])
def test_a_compiler_or_a_cache_that_fails_is_none_at_all(
    cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setenv("CXX", fake_compiler(tmp_path, "echo half > ${10}; exit 1"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / cache))
    set_enabled(True)
    assert (load_multiply_batch(), is_used(), explain_missing()) == (None, False, "they do not compile")
    assert not list(tmp_path.glob("cache/*"))


@needs_compiler
def test_a_library_is_compiled_once_and_in_the_cache_when_it_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source := tmp_path / "one.cpp").write_text(ONE)
    log, cache = tmp_path / "log", tmp_path / "some/cache"
    compiler = fake_compiler(tmp_path, f'echo >> {log}; ls {cache}/*.so >> {log}; exec {find_cxx()} "$@"')
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(cache))
    monkeypatch.setattr(native, "FLAGS", ("-shared", "-fPIC"))
    for _ in range(2):
        assert load_library(compiler, source).one() == 1
    assert log.read_text() == "\n"
    source.write_text(ONE.replace("1", "2"))
    assert load_library(compiler, source).one() == 2
    assert [path.suffix for path in cache.iterdir()] == [".so", ".so"]


@needs_compiler
def test_without_a_cache_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source := tmp_path / "one.cpp").write_text(ONE)
    (folder := tmp_path / "temporary").mkdir()
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setattr(native, "FLAGS", ("-shared", "-fPIC"))
    assert load_library(str(find_cxx()), source).one() == 1
    assert not list(folder.iterdir())


def test_what_does_not_compile_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        load_library(fake_compiler(tmp_path, "exit 1"), SOURCES[0])
