"""Batched products of small matrices in single precision, as an operator with a kernel of its own.

Most of a pack's training step is `torch.bmm`. On AMD's processors the library behind it, MKL, uses vectors of 256 bits;
`products.cpp` uses those of 512 bits and takes half the time (`python -m benchmarks.products`). Without the kernel
(`native`), products remain torch's. Its sums are not split: at a depth of 784 its errors are about 2e-7 of the product
of the norms of row and column, those of MKL 6e-8.
"""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.utils._python_dispatch import TorchDispatchMode

from trainables.native import INDEX, POINTER, load_kernel

aten = torch.ops.aten
OPERATOR = "ablate::small_bmm"
MAX_SIZE, MAX_PROGRAM_SIZE = 1024, 4096  # columns and depth of matrices that are small; and for programs
MIN_MULTIPLICATIONS = 2**18  # of a batch, from which they take longer than the call
MAX_SUM_MULTIPLICATIONS = 2**14  # of products that a compiler computes best by itself
MATRICES = POINTER, INDEX, INDEX, INDEX  # with the strides of items, rows and columns
SIGNATURE = *MATRICES, *MATRICES, POINTER, INDEX, INDEX, INDEX, INDEX
load_multiply_batch = partial(load_kernel, "products", "multiply_batch", SIGNATURE)


def small_bmm_kernel(a: Tensor, b: Tensor) -> Tensor:
    """Return the products of two batches of matrices, [B, N, D] and [B, D, M] -> [B, N, M], of any strides.

    They are of single precision and on the CPU, which is not checked; there is no gradient.
    """
    kernel = load_multiply_batch()
    if kernel is None:
        return torch.bmm(a, b)
    b = by_rows_or_columns(b)
    product = fake_small_bmm(a, b)
    sizes = *a.shape, b.shape[2]
    kernel(a.data_ptr(), *a.stride(), b.data_ptr(), *b.stride(), product.data_ptr(), *sizes)
    return product


def by_rows_or_columns(b: Tensor) -> Tensor:
    """Return a batch of matrices whose rows or columns lie side by side, as kernels take second factors."""
    return b if 1 in b.stride()[1:] else b.contiguous()


def fake_small_bmm(a: Tensor, b: Tensor) -> Tensor:
    """Return an uninitialised tensor of the shape of `small_bmm_kernel`, for tracing."""
    return a.new_empty(a.shape[0], a.shape[1], b.shape[2])


# As it takes any layout, a compiled step stores a factor of several products once: by default it would copy each.
torch.library.define(OPERATOR, "(Tensor a, Tensor b) -> Tensor", tags=(torch.Tag.flexible_layout,))
torch.library.impl(OPERATOR, "CPU", small_bmm_kernel)
torch.library.impl(OPERATOR, "Meta", fake_small_bmm)


def replace_products(graph: GraphModule, *, in_program: bool = False) -> GraphModule:
    """Replace the products in a traced graph that are small by this operator, in place, if it is available.

    For a program those are all that it computes in passable time: it can call no other function for products.
    """
    for node in graph.graph.nodes:
        is_product = node.target is aten.bmm.default and load_multiply_batch()
        if is_product and is_small(*(x.meta["val"] for x in node.args), in_program=in_program):
            node.target = torch.ops.ablate.small_bmm.default
    graph.recompile()
    return graph


def decompose(a: Tensor, b: Tensor) -> Any:
    """Return a tiny product that is none of this operator by operations that a compiler can fuse; others stay as is."""
    is_tiny = a.is_floating_point() and a.numel() * b.shape[-1] <= MAX_SUM_MULTIPLICATIONS
    if not is_tiny or is_small(a, b, in_program=True):
        return NotImplemented
    return (a.unsqueeze(-1) * b.unsqueeze(-3)).sum(-2)


DECOMPOSITIONS = {aten.mm.default: decompose, aten.bmm.default: decompose}  # for programs


class NativeProducts(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within it, products of small matrices are computed by this operator, if it is available."""

    def __init__(self) -> None:
        """Begin."""
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, or this operator in its place."""
        if func is aten.bmm.default and is_small(*args) and load_multiply_batch():
            return torch.ops.ablate.small_bmm.default(*args)
        return func(*args, **(kwargs or {}))


def is_small(a: Tensor, b: Tensor, *, in_program: bool = False) -> bool:
    """Return whether two factors are batches of small matrices of single precision on the CPU, and enough of them.

    In a program they may be larger, and few. Those that do not fit are not small; torch says so.
    """
    if not all(x.dtype == torch.float32 and x.device.type == "cpu" and x.layout == torch.strided for x in (a, b)):
        return False
    if a.ndim != 3 or b.ndim != 3 or (a.shape[0], a.shape[2]) != b.shape[:2]:
        return False
    sizes = *a.shape, b.shape[2]
    if in_program:
        return bool(max(sizes[2:]) <= MAX_PROGRAM_SIZE)
    return bool(max(sizes[2:]) <= MAX_SIZE and math.prod(sizes) >= MIN_MULTIPLICATIONS)
