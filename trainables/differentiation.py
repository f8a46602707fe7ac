"""The forward pass and its `pull`, by eager autograd or by torch.func: the same numbers, and a method cannot tell."""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor
from torch.func import vjp, vmap
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from trainables.signals import SAMPLES, Params, Pull, Signals, Sloped, each, leaves

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
        slopes, several = derivative(f, signals)

        def through(slopes: Signals) -> Params:
            gradient: Params = back(slopes)[0]
            return gradient

        stacked: Params = vmap(through)(slopes) if several else through(slopes)
        return stacked

    return signals, buffers, pull


def in_parts(
    forward: Callable[[Params, slice], tuple[Signals, Any]],
    parts: Sequence[slice],
    params: Params,
    differentiate: Differentiate,
) -> tuple[Signals, Any, Pull]:
    """Run forward over some samples at a time, and return the signals, the buffers and `pull` of all.

    Gradient accumulation that no method can tell from one pass: it sees the signals of the whole batch, and `pull`
    sends their derivatives back part by part, for which each runs forward once more. Memory holds one part's pass.
    """
    with torch.no_grad():
        seen = [forward(params, part) for part in parts]
    signals = gathered([signals for signals, _ in seen])

    def pull(f: Callable[[Signals], Tensor | Sloped]) -> Params:
        slopes, several = derivative(f, signals)

        def of(part: slice) -> Params:
            mine = shared_out(slopes, part, several=several)
            _, _, pull = differentiate(lambda params: forward(params, part), params)
            return pull(lambda s: inner(mine, tree_leaves(s), several=several))

        return reduce(partial(each, torch.add), map(of, parts))

    return signals, seen[-1][1], pull


def derivative(f: Callable[[Signals], Tensor | Sloped], signals: Signals) -> tuple[Signals, bool]:
    """Return the derivative by the signals of a scalar of them or, stacked, of a vector; and whether it was one."""

    def parted(signals: Signals) -> tuple[Any, Any]:
        value = f(signals)
        return value if isinstance(value, Sloped) else (value, ())

    linearised: Any = vjp(parted, signals, has_aux=True)
    value, slope, slopes = linearised
    if isinstance(value, tuple):
        return slope(slopes)[0], False
    if value.ndim:
        stacked: Signals = vmap(lambda row: slope(row)[0])(rows(value))
        return stacked, True
    return slope(torch.ones_like(value))[0], False


def axes(signals: Signals) -> list[int | None]:
    """Return which axis of each tensor of the signals is that of the samples."""
    found: list[int | None] = []
    for axis, values in zip(SAMPLES, signals, strict=True):
        count = len(tree_leaves(values))
        found += axis[:count] if isinstance(axis, tuple) else [axis] * count
    return found


def gathered(parts: Sequence[Signals]) -> Signals:
    """Return the signals of all samples from those of some at a time; what is no sample's is the same in each."""
    structure = tree_flatten(parts[0])[1]
    columns = zip(axes(parts[0]), *map(tree_leaves, parts), strict=True)
    whole = [values[0] if axis is None else torch.cat(values, axis) for axis, *values in columns]
    signals: Signals = tree_unflatten(whole, structure)
    return signals


def shared_out(slopes: Signals, part: slice, *, several: bool) -> list[Tensor]:
    """Return a part's derivatives by each tensor of its signals; what is no sample's goes to the first."""

    def own(axis: int | None, slope: Tensor) -> Tensor:
        if axis is None:
            return torch.zeros_like(slope) if part.start else slope
        axis += several
        return slope.narrow(axis, part.start, part.stop - part.start)

    return [own(*pair) for pair in zip(axes(slopes), tree_leaves(slopes), strict=True)]


def inner(slopes: list[Tensor], values: list[Tensor], *, several: bool) -> Tensor | Sloped:
    """Return what has these derivatives by these values: a scalar or, of stacked ones, a vector."""
    if not several:
        return Sloped(tuple(values), tuple(slopes))
    products = [(slope * value).flatten(1).sum(-1) for slope, value in zip(slopes, values, strict=True)]
    return torch.stack(products).sum(0)


def rows(value: Tensor) -> Tensor:
    """Return the derivatives that tell the elements of a vector apart, [K, K]."""
    return torch.eye(len(value), dtype=value.dtype, device=value.device)
