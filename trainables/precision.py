"""Floating-point precision of training: `train.dtype`. Parameters and measurements never have reduced precision.

With ``bfloat16`` the matrix products of a training pass, forward and backward, are in bfloat16; parameters, moments,
normalisation, losses and all that a method computes stay in float32 (METHODS.md 13). bfloat16 has the exponents of
float32, so that nothing overflows and losses need no scaling. With ``tf32`` GPUs round the factors of products to ten
bits of mantissa; CPUs compute in float32.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from trainables.signals import Params, Signals, leaves

Forward = Callable[..., tuple[Signals, Any]]  # (params, *arguments) -> (signals, buffers)


def parameter_dtype(dtype: str) -> torch.dtype:
    """Return the dtype of parameters and data under a `train.dtype`."""
    return torch.float64 if dtype == "float64" else torch.float32


def autocast_forward(forward: Forward, dtype: str) -> Forward:
    """Return a forward pass whose products have the precision of `train.dtype`; its signals are in float32."""
    if dtype != "bfloat16":
        return forward

    def cast(params: Params, *arguments: Any) -> tuple[Signals, Any]:
        with torch.autocast(leaves(params)[0].device.type, torch.bfloat16, cache_enabled=False):
            signals, buffers = forward(params, *arguments)
        return tree_map(upcast, signals), buffers

    return cast


def upcast(x: Tensor) -> Tensor:
    """Return bfloat16 as float32, and all other dtypes unchanged."""
    return x.float() if x.dtype == torch.bfloat16 else x


@contextmanager
def set_tf32(*, allowed: bool) -> Iterator[None]:
    """Allow or forbid TF32 in matrix products and convolutions on GPUs, and restore the setting on exit."""
    products: Any = torch.backends.cuda.matmul
    convolutions: Any = torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = allowed
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before
