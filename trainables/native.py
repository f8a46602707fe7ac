"""Kernels in C++ with AVX-512, each beside the module that uses it, compiled on first use in about two seconds.

A process uses none before `enable`, since a small study is over sooner. All that they compute can be computed without
them. They are cached beside what torch compiles, if TORCHINDUCTOR_CACHE_DIR names a folder.
"""

import ctypes
import hashlib
import os
import subprocess
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import Any

import torch

Kernel = Callable[..., None]
Signature = tuple[type, ...]
POINTER, INDEX, DOUBLE = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
FLAGS = ("-std=c++20", "-O3", "-mavx512f", "-mfma", "-mpopcnt", "-shared", "-fPIC")
_state = {"enabled": False}


def enable() -> None:
    """Let this process compile and use kernels."""
    _state["enabled"] = True


def find_cxx() -> str | None:
    """Return the name of a C++ compiler: that of the variable CXX, or the first of the usual ones; None without one."""
    return next((name for name in (os.environ.get("CXX"), "c++", "g++", "clang++") if name and which(name)), None)


def load_kernel(module: str, name: str, signature: Signature) -> Kernel | None:
    """Return a function of the C++ file beside a module of this package.

    Return None if kernels are not enabled, the CPU lacks AVX-512, or compilation fails.
    """
    return compile_kernel(module, name, signature) if _state["enabled"] else None


@cache
def compile_kernel(module: str, name: str, signature: Signature) -> Kernel | None:
    """Return a function of the C++ file beside a module; None if the CPU lacks AVX-512 or compilation fails."""
    compiler = find_cxx()
    if compiler is None or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return None
    with suppress(OSError, subprocess.CalledProcessError, AttributeError):
        library = load_library(compiler, Path(__file__).with_name(f"{module}.cpp"))
        kernel: Any = getattr(library, name)
        kernel.argtypes, kernel.restype = signature, None
        return kernel  # type: ignore[no-any-return]
    return None


def load_library(compiler: str, source: Path) -> ctypes.CDLL:
    """Return a compiled C++ file, from the cache if that has it; it is complete there or absent.

    Raises:
        OSError, CalledProcessError: it cannot be compiled, written or loaded.
    """
    key = hashlib.sha256(repr((compiler, FLAGS)).encode() + source.read_bytes()).hexdigest()[:32]
    cached = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    with TemporaryDirectory(dir=cached and make_folder(cached)) as folder:
        library = Path(cached or folder, f"{key}.so")
        if not library.exists():
            built = Path(folder, "built.so")
            command = [compiler, *FLAGS, str(source), "-o", str(built)]
            subprocess.run(command, check=True, capture_output=True)  # noqa: S603
            built.replace(library)
        return ctypes.CDLL(str(library))


def make_folder(path: str) -> str:
    """Return a folder, which is created if it does not exist."""
    Path(path).mkdir(parents=True, exist_ok=True)
    return path
