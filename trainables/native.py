"""Kernels in C++ with AVX-512, each file beside the module that uses it.

A small pack uses none, since compiling them takes two seconds. All that they compute can be computed without them. They
are cached beside what torch compiles, if TORCHINDUCTOR_CACHE_DIR names a folder.
"""

import ctypes
import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch

Kernel = Callable[..., None]
Signature = tuple[type, ...]
POINTER, INDEX, DOUBLE = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
SOURCES = sorted(Path(__file__).parent.glob("*.cpp"))
FLAGS = ("-std=c++20", "-O3", "-mavx512f", "-mfma", "-mpopcnt", "-shared", "-fPIC")
_state = {"enabled": False}
_recorded: list[list["Call"]] = []  # where calls of kernels are recorded now


class Call(NamedTuple):
    """A call of a C function that takes integers and pointers."""

    function: int  # its address
    arguments: list[tuple[int, bool]]  # each an integer, and whether it is an address


def set_enabled(value: bool) -> None:
    """Let this process use kernels from now on, and compile those that it has not; or let it use none."""
    _state["enabled"] = value
    if value:
        load_libraries()


def is_used() -> bool:
    """Return whether this process may use kernels, and has all of them."""
    return _state["enabled"] and explain_missing() is None


def explain_missing() -> str | None:
    """Return why this machine lacks kernels, once it has tried to compile them; None if it has all."""
    return find_obstacle() or (None if len(load_libraries()) == len(SOURCES) else "they do not compile")


def find_obstacle() -> str | None:
    """Return what this machine lacks to compile and run kernels; None if nothing."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return "no AVX-512"
    return "no C++ compiler" if find_cxx() is None else None


def find_cxx() -> str | None:
    """Return the name of a C++ compiler: that of the variable CXX, or the first of the usual ones; None without one."""
    return next((name for name in (os.environ.get("CXX"), "c++", "g++", "clang++") if name and which(name)), None)


def load_kernel(module: str, name: str, signature: Signature) -> Kernel | None:
    """Return a function of the C++ file beside a module of this package; None if kernels are not enabled or lacking."""
    library = load_libraries().get(module) if _state["enabled"] else None
    if library is None:
        return None
    kernel = declare(library, name, signature)
    return partial(record_call, kernel) if _recorded else kernel


@contextmanager
def record_calls(calls: list[Call]) -> Iterator[None]:
    """Add the calls of kernels to a list."""
    _recorded.append(calls)
    try:
        yield
    finally:
        _recorded.remove(calls)


def record_call(kernel: Any, *args: Any) -> None:
    """Call a kernel, and record that."""
    arguments = [(arg or 0, kind is POINTER) for arg, kind in zip(args, kernel.argtypes, strict=True)]
    _recorded[-1].append(Call(function_address(kernel), arguments))
    kernel(*args)


def function_address(function: Any) -> int:
    """Return the address of a function of a library."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0


@cache
def declare(library: ctypes.CDLL, name: str, signature: Signature) -> Kernel:
    """Return a function of a library with these types of arguments."""
    kernel: Any = getattr(library, name)
    kernel.argtypes, kernel.restype = signature, None
    return kernel  # type: ignore[no-any-return]


@cache
def load_libraries() -> dict[str, ctypes.CDLL]:
    """Return the compiled C++ files by module; none if the CPU lacks AVX-512, nor those that do not compile."""
    compiler, libraries = find_cxx(), dict[str, ctypes.CDLL]()
    if compiler is not None and find_obstacle() is None:
        for source in SOURCES:
            with suppress(OSError, subprocess.CalledProcessError):
                libraries[source.stem] = load_library(compiler, source)
    return libraries


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
