"""The forward pass and its `pull`, by eager autograd or by torch.func: the same numbers, and a method cannot tell."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import vjp, vmap

from trainables.signals import Params, Pull, Signals, Sloped, each, leaves

Forward = Callable[[Params], tuple[Signals, Any]]  # also returns the buffers
Differentiate = Callable[[Forward, Params], tuple[Signals, Any, Pull]]


def eager(forward: Forward, params: Params) -> tuple[Signals, Any, Pull]:
    """Run forward and return the signals, the buffers and `pull`; cheap for one small model."""
    params = each(lambda p: p.detach().requires_grad_(), params)
    signals, buffers = forward(params)
    inner = leaves(params)

    def pull(f: Callable[[Signals], Tensor | Sloped]) -> Params:
        value = f(signals)
        if isinstance(value, Sloped):
            pairs = [pair for pair in zip(*value, strict=True) if pair[0].requires_grad]
            return back(*zip(*pairs, strict=True))
        return back(value, rows(value), stacked=True) if value.ndim else back(value)

    def back(values: Any, slopes: Any = None, *, stacked: bool = False) -> Params:
        found = torch.autograd.grad(
            values, inner, slopes, retain_graph=True, is_grads_batched=stacked,
            allow_unused=True, materialize_grads=True,
        )  # fmt: skip
        gradients = iter(found)
        return each(lambda _: next(gradients), params)

    return signals, buffers, pull


def pure(forward: Forward, params: Params) -> tuple[Signals, Any, Pull]:
    """Run forward as `eager` does, by transformations that `torch.func.vmap` can stack."""
    transformed: Any = vjp(forward, params, has_aux=True)
    signals, back, buffers = transformed

    def pull(f: Callable[[Signals], Tensor | Sloped]) -> Params:
        def parted(signals: Signals) -> tuple[Any, Any]:
            value = f(signals)
            return value if isinstance(value, Sloped) else (value, ())

        linearised: Any = vjp(parted, signals, has_aux=True)
        value, slope, slopes = linearised

        def through(slopes: Any) -> Params:
            gradient: Params = back(slope(slopes)[0])[0]
            return gradient

        if isinstance(value, tuple):
            return through(slopes)
        if value.ndim:
            stacked: Params = vmap(through)(rows(value))
            return stacked
        return through(torch.ones_like(value))

    return signals, buffers, pull


def rows(value: Tensor) -> Tensor:
    """Return the derivatives that tell the elements of a vector apart, [K, K]."""
    return torch.eye(len(value), dtype=value.dtype, device=value.device)
