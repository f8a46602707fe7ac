"""The forward pass and its `pull`, by eager autograd or by torch.func: the same numbers, and a method cannot tell."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import vjp, vmap

from trainables.signals import Params, Pull, Signals, each, leaves

Forward = Callable[[Params], tuple[Signals, Any]]  # also returns the buffers
Differentiate = Callable[[Forward, Params], tuple[Signals, Any, Pull]]


def eager(forward: Forward, params: Params) -> tuple[Signals, Any, Pull]:
    """Run forward and return the signals, the buffers and `pull`; cheap for one small model."""
    params = each(lambda p: p.detach().requires_grad_(), params)
    signals, buffers = forward(params)
    inner = leaves(params)

    def pull(f: Callable[[Signals], Tensor]) -> Params:
        value = f(signals)
        rows = torch.eye(len(value), dtype=value.dtype, device=value.device) if value.ndim else None
        found = torch.autograd.grad(
            value, inner, rows, retain_graph=True, is_grads_batched=rows is not None,
            allow_unused=True, materialize_grads=True,
        )  # fmt: skip
        gradients = iter(found)
        return each(lambda _: next(gradients), params)

    return signals, buffers, pull


def pure(forward: Forward, params: Params) -> tuple[Signals, Any, Pull]:
    """Run forward as `eager` does, by transformations that `torch.func.vmap` can stack."""
    transformed: Any = vjp(forward, params, has_aux=True)
    signals, back, buffers = transformed

    def pull(f: Callable[[Signals], Tensor]) -> Params:
        linearised: Any = vjp(f, signals)
        value, slope = linearised

        def through(row: Tensor) -> Params:
            gradient: Params = back(slope(row)[0])[0]
            return gradient

        if value.ndim:
            stacked: Params = vmap(through)(torch.eye(len(value), dtype=value.dtype, device=value.device))
            return stacked
        return through(torch.ones_like(value))

    return signals, buffers, pull
