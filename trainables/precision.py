"""How precisely a trial computes: `train.dtype`. What is kept, and what is measured, is never of reduced precision.

With ``bfloat16`` the products of a training pass, forward and backward, are of two bytes a number; parameters,
moments, normalisation, losses and all that a method computes stay in single precision (METHODS.md 13). Its exponents
are those of single precision, so that nothing overflows and losses need no scaling. With ``tf32`` GPUs round the
factors of products to ten bits; CPUs compute in single precision.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from trainables.signals import Params, Signals, leaves

Forward = Callable[..., tuple[Signals, Any]]  # of parameters, and what may follow


def kept(dtype: str) -> torch.dtype:
    """Return the type of parameters and data under a `train.dtype`."""
    return torch.float64 if dtype == "float64" else torch.float32


def reduced(forward: Forward, dtype: str) -> Forward:
    """Return a forward pass with the products that `train.dtype` asks for; its signals are in single precision."""
    if dtype != "bfloat16":
        return forward

    def cast(params: Params, *rest: Any) -> tuple[Signals, Any]:
        with torch.autocast(leaves(params)[0].device.type, torch.bfloat16, cache_enabled=False):
            signals, buffers = forward(params, *rest)
        return tree_map(wide, signals), buffers

    return cast


def wide(x: Tensor) -> Tensor:
    """Return numbers in single precision that have less."""
    return x.float() if x.dtype == torch.bfloat16 else x


@contextmanager
def tf32(*, allowed: bool) -> Iterator[None]:
    """Let GPUs round the factors of products and convolutions, or keep them from it; then be as before."""
    products: Any = torch.backends.cuda.matmul
    convolutions: Any = torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = allowed
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before
