"""Kernels in C++ with AVX-512, each beside the module that uses it, compiled on first use, in about two seconds.

A process uses none before `enable`, since a small study is over sooner. All that they compute can be computed without
them. They are cached by torch's compiler (TORCHINDUCTOR_CACHE_DIR).
"""

import ctypes
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch

Kernel = Callable[..., None]
Signature = tuple[type, ...]
POINTER, INDEX, DOUBLE = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
FLAGS = ("-march=x86-64-v4",)  # any processor with AVX-512, as machines may share the cache
_state = {"enabled": False}


def enable() -> None:
    """Let this process compile and use kernels."""
    _state["enabled"] = True


def load_kernel(module: str, name: str, signature: Signature) -> Kernel | None:
    """Return a function of the C++ file beside a module of this package.

    Return None if kernels are not enabled, the CPU lacks AVX-512, or compilation fails.
    """
    return compile_kernel(module, name, signature) if _state["enabled"] else None


@cache
def compile_kernel(module: str, name: str, signature: Signature) -> Kernel | None:
    """Return a function of the C++ file beside a module; None if the CPU lacks AVX-512 or compilation fails."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return None
    with suppress(Exception):
        from torch._inductor.codecache import CppCodeCache

        source = Path(__file__).with_name(f"{module}.cpp").read_text(encoding="utf-8")
        kernel: Any = getattr(CppCodeCache.load(source, extra_flags=FLAGS), name)
        kernel.argtypes, kernel.restype = signature, None
        return kernel  # type: ignore[no-any-return]
    return None
