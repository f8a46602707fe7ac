"""Batched products of small matrices in single precision, as an operator with its own kernel, on CPUs with AVX-512.

Most of a pack's training step is `torch.bmm`. On AMD's processors the library behind it, MKL, uses vectors of 256 bits;
`products.cpp` uses those of 512 bits and takes half the time (`python -m benchmarks.products`). It is compiled on first
use, in two seconds, into the cache of torch's compiler. Where it cannot be compiled or run, products remain torch's.
"""

import ctypes
import math
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
OPERATOR = "ablate::small_bmm"
SOURCE = Path(__file__).with_suffix(".cpp")
FLAGS = ("-march=x86-64-v4",)  # any processor with AVX-512: machines may share the cache
MAX_SIZE = 1024  # columns and depth of matrices that are small
MIN_MULTIPLICATIONS = 2**20  # of a batch, from which they take longer than the call
SIGNATURE = [*[ctypes.c_void_p, *[ctypes.c_int64] * 3] * 2, ctypes.c_void_p, *[ctypes.c_int64] * 4]


@cache
def load_kernel() -> Callable[..., None] | None:
    """Return `multiply_batch` of the source, compiled; None if the CPU lacks AVX-512 or compilation fails."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return None
    with suppress(Exception):
        from torch._inductor.codecache import CppCodeCache

        kernel: Any = CppCodeCache.load(SOURCE.read_text(encoding="utf-8"), extra_flags=FLAGS).multiply_batch
        kernel.argtypes, kernel.restype = SIGNATURE, None
        return kernel  # type: ignore[no-any-return]
    return None


def small_bmm_kernel(a: Tensor, b: Tensor) -> Tensor:
    """Return the products of two batches of matrices, [B, N, D] and [B, D, M] -> [B, N, M], of any strides."""
    kernel = load_kernel()
    if kernel is None:
        return torch.bmm(a, b)
    b = b if 1 in b.stride()[1:] else b.contiguous()
    product = fake_small_bmm(a, b)
    sizes = *a.shape, b.shape[2]
    kernel(a.data_ptr(), *a.stride(), b.data_ptr(), *b.stride(), product.data_ptr(), *sizes)
    return product


def fake_small_bmm(a: Tensor, b: Tensor) -> Tensor:
    """Return an uninitialised tensor of the shape of `small_bmm_kernel`, for tracing."""
    return a.new_empty(a.shape[0], a.shape[1], b.shape[2])


torch.library.define(OPERATOR, "(Tensor a, Tensor b) -> Tensor")
torch.library.impl(OPERATOR, "CPU", small_bmm_kernel)
torch.library.impl(OPERATOR, "Meta", fake_small_bmm)


def replace_products(graph: GraphModule) -> GraphModule:
    """Replace the products of small matrices in a traced graph by this operator, in place, if it is available."""
    for node in graph.graph.nodes:
        if node.target is aten.bmm.default and is_small(*(x.meta["val"] for x in node.args)) and load_kernel():
            node.target = torch.ops.ablate.small_bmm.default
    graph.recompile()
    return graph


class NativeProducts(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within it, products of small matrices are computed by this operator, if it is available."""

    def __init__(self) -> None:
        """Begin."""
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, or this operator in its place."""
        if func is aten.bmm.default and is_small(*args) and load_kernel():
            return torch.ops.ablate.small_bmm.default(*args)
        return func(*args, **(kwargs or {}))


def is_small(a: Tensor, b: Tensor) -> bool:
    """Return whether two factors are batches of small matrices of single precision on the CPU, and enough of them."""
    sizes = *a.shape, b.shape[2]
    is_single = a.dtype == torch.float32 and a.device.type == "cpu"
    return is_single and max(sizes[2:]) <= MAX_SIZE and math.prod(sizes) >= MIN_MULTIPLICATIONS
