"""The forward pass and its `pull`, by eager autograd or torch.func, with the same numbers either way."""

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
    """Run forward and return the signals, the buffers and `pull`, by autograd; the faster way for a single trial."""
    params = each(lambda p: p.detach().requires_grad_(), params)
    signals, buffers = forward(params)
    inputs = leaves(params)

    def pull(f: Callable[[Signals], Tensor | Sloped]) -> Params:
        value = f(signals)
        if isinstance(value, Sloped):
            pairs = [pair for pair in zip(*value, strict=True) if pair[0].requires_grad]
            return backward(*zip(*pairs, strict=True))
        return backward(value, unit_vectors(value), stacked=True) if value.ndim else backward(value)

    def backward(values: Any, slopes: Any = None, *, stacked: bool = False) -> Params:
        grads = torch.autograd.grad(
            values, inputs, slopes, retain_graph=True, is_grads_batched=stacked,
            allow_unused=True, materialize_grads=True,
        )  # fmt: skip
        remaining = iter(grads)
        return each(lambda _: next(remaining), params)

    return signals, buffers, pull


def functional(forward: Forward, params: Params) -> tuple[Signals, Any, Pull]:
    """Run forward as `eager` does, by transformations that `torch.func.vmap` can stack."""
    transformed: Any = vjp(forward, params, has_aux=True)
    signals, backward, buffers = transformed

    def pull(f: Callable[[Signals], Tensor | Sloped]) -> Params:
        slopes, is_vector = derivative(f, signals)

        def backward_one(slopes: Signals) -> Params:
            grads: Params = backward(slopes)[0]
            return grads

        grads: Params = vmap(backward_one)(slopes) if is_vector else backward_one(slopes)
        return grads

    return signals, buffers, pull


def in_microbatches(
    forward: Callable[[Params, slice], tuple[Signals, Any]],
    parts: Sequence[slice],
    params: Params,
    differentiate: Differentiate,
) -> tuple[Signals, Any, Pull]:
    """Run forward over one part of the samples at a time; return the signals, the buffers and `pull` of all.

    Gradient accumulation that no method can tell from one pass: it sees the signals of the whole batch, and `pull`
    sends their derivatives back part by part, running forward once more for each. Memory holds the pass of one part.
    """
    with torch.no_grad():
        results = [forward(params, part) for part in parts]
    signals = concatenate_signals([signals for signals, _ in results])

    def pull(f: Callable[[Signals], Tensor | Sloped]) -> Params:
        slopes, is_vector = derivative(f, signals)

        def pull_part(part: slice) -> Params:
            own_slopes = slice_derivatives(slopes, part, is_vector=is_vector)
            _, _, pull = differentiate(lambda params: forward(params, part), params)
            return pull(lambda s: inner_product(own_slopes, tree_leaves(s), is_vector=is_vector))

        return reduce(partial(each, torch.add), map(pull_part, parts))

    return signals, results[-1][1], pull


def derivative(f: Callable[[Signals], Tensor | Sloped], signals: Signals) -> tuple[Signals, bool]:
    """Return the derivative of ``f`` by the signals, stacked if ``f`` is a vector, and whether it is one."""

    def values_and_slopes(signals: Signals) -> tuple[Any, Any]:
        value = f(signals)
        return value if isinstance(value, Sloped) else (value, ())

    linearised: Any = vjp(values_and_slopes, signals, has_aux=True)
    value, backward, slopes = linearised
    if isinstance(value, tuple):
        return backward(slopes)[0], False
    if value.ndim:
        stacked: Signals = vmap(lambda row: backward(row)[0])(unit_vectors(value))
        return stacked, True
    return backward(torch.ones_like(value))[0], False


def sample_axes(signals: Signals) -> list[int | None]:
    """Return the axis of the samples in each tensor of the signals; None: it has none."""
    axes: list[int | None] = []
    for axis, values in zip(SAMPLES, signals, strict=True):
        count = len(tree_leaves(values))
        axes += axis[:count] if isinstance(axis, tuple) else [axis] * count
    return axes


def concatenate_signals(parts: Sequence[Signals]) -> Signals:
    """Return the signals of all samples from those of parts; tensors without a sample axis are the same in each."""
    structure = tree_flatten(parts[0])[1]
    columns = zip(sample_axes(parts[0]), *map(tree_leaves, parts), strict=True)
    tensors = [values[0] if axis is None else torch.cat(values, axis) for axis, *values in columns]
    signals: Signals = tree_unflatten(tensors, structure)
    return signals


def slice_derivatives(slopes: Signals, part: slice, *, is_vector: bool) -> list[Tensor]:
    """Return the derivatives by the signals of a part; those by tensors without a sample axis go to the first part."""

    def slice_one(axis: int | None, slope: Tensor) -> Tensor:
        if axis is None:
            return torch.zeros_like(slope) if part.start else slope
        axis += is_vector
        return slope.narrow(axis, part.start, part.stop - part.start)

    return [slice_one(*pair) for pair in zip(sample_axes(slopes), tree_leaves(slopes), strict=True)]


def inner_product(slopes: list[Tensor], values: list[Tensor], *, is_vector: bool) -> Tensor | Sloped:
    """Return a scalar whose derivatives by the values are the slopes or, of stacked slopes, a vector."""
    if not is_vector:
        return Sloped(tuple(values), tuple(slopes))
    products = [(slope * value).flatten(1).sum(-1) for slope, value in zip(slopes, values, strict=True)]
    return torch.stack(products).sum(0)


def unit_vectors(value: Tensor) -> Tensor:
    """Return the unit vectors of the space of a vector [K], one per row, [K, K]."""
    return torch.eye(len(value), dtype=value.dtype, device=value.device)
