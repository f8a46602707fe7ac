"""Kernels in C++: none before a process enables them, and none where they cannot be."""

import subprocess
import sys

import pytest
import torch

from trainables import native
from trainables.native import INDEX, POINTER, load_kernel
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


def test_there_is_none_without_a_compiler() -> None:
    code = "from trainables import native, products; native.enable(); print(products.load_multiply_batch())"
    environment = {"PATH": "/nowhere", "CXX": "/nowhere/c++", "TORCHINDUCTOR_CACHE_DIR": "/nowhere"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "None", done.stderr
