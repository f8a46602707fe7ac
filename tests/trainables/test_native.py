"""Kernels in C++: none before a process enables them, and none where they cannot be."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from trainables import native
from trainables.native import INDEX, POINTER, find_cxx, load_kernel
from trainables.products import load_multiply_batch


@pytest.fixture(autouse=True)
def disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(native._state, "enabled", False)
    monkeypatch.setattr(native, "compile_kernel", native.compile_kernel.__wrapped__)  # not cached


def test_a_process_has_no_kernel_before_it_enables_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "compile_kernel", lambda module, name, signature: print)
    assert load_multiply_batch() is None
    native.enable()
    assert load_multiply_batch() is print


def test_there_is_none_without_the_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    native.enable()
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert load_multiply_batch() is None


def test_there_is_none_that_does_not_compile() -> None:
    native.enable()
    assert load_kernel("products", "no_such_function", (POINTER, INDEX)) is None
    assert load_kernel("no_such_module", "multiply_batch", ()) is None


def test_there_is_none_without_a_compiler(tmp_path: Path) -> None:
    code = "from trainables import native, products; native.enable(); print(products.load_multiply_batch())"
    environment = {"PATH": str(tmp_path), "CXX": str(tmp_path / "c++")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "None", done.stderr


def fake_compiler(folder: Path, script: str) -> str:
    compiler = folder / "cxx"
    compiler.write_text(f"#!/bin/sh\n{script}\n")
    compiler.chmod(0o755)
    return str(compiler)


@pytest.mark.skipif(find_cxx() is None, reason="there is no C++ compiler")
def test_a_library_is_compiled_once_and_in_the_cache_when_it_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source := tmp_path / "one.cpp").write_text('extern "C" int one() { return 1; }')
    log, cache = tmp_path / "log", tmp_path / "some/cache"
    compiler = fake_compiler(tmp_path, f'echo >> {log}; ls {cache}/*.so >> {log}; exec {find_cxx()} "$@"')
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(cache))
    monkeypatch.setattr(native, "FLAGS", ("-shared", "-fPIC"))
    for _ in range(2):
        assert native.load_library(compiler, source).one() == 1
    assert log.read_text() == "\n"
    source.write_text('extern "C" int one() { return 2; }')
    assert native.load_library(compiler, source).one() == 2
    assert [path.suffix for path in cache.iterdir()] == [".so", ".so"]


@pytest.mark.skipif(find_cxx() is None, reason="there is no C++ compiler")
def test_without_a_cache_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source := tmp_path / "one.cpp").write_text('extern "C" int one() { return 1; }')
    (folder := tmp_path / "temporary").mkdir()
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setattr(native, "FLAGS", ("-shared", "-fPIC"))
    assert native.load_library(str(find_cxx()), source).one() == 1
    assert not list(folder.iterdir())


@pytest.mark.parametrize("cache", ["file/cache", "cache"])
def test_a_compiler_or_a_cache_that_fails_is_none_at_all(
    cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    native.enable()
    (tmp_path / "file").touch()
    monkeypatch.setenv("CXX", fake_compiler(tmp_path, "echo half > ${10}; exit 1"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / cache))
    assert load_multiply_batch() is None
    assert not list(tmp_path.glob("cache/*"))
