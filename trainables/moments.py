"""Moments: what is known of each source's gradient, from its past or over the batch (METHODS.md 8.4, 8.5).

Letters in shapes: S sources (losses or modalities), ``...`` the shape of the tensor they all have a gradient of, or
D the places of T such tensors side by side, ``sizes`` of each; B samples.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Sizes = Sequence[int] | None  # of tensors that lie side by side on the last axis; None: there is one, of any shape


class Moments(NamedTuple):
    """Running moments of a gradient in which the past fades (METHODS.md 8.4)."""

    seen: Tensor  # [S, T] gradients of each tensor, each worth beta times the next
    mean: Tensor  # [S, D]
    variance: Tensor  # [S, D]


def unseen(like: Tensor, tensors: int = 1) -> Moments:
    """Return the moments before the first gradient, of tensors that lie side by side, [S, D]."""
    zero = torch.zeros_like(like)
    return Moments(like.new_zeros(len(like), tensors), zero, zero)


def update(
    moments: Moments, gradient: Tensor, beta: float | Tensor, present: Tensor | None = None, sizes: Sizes = None
) -> Moments:
    r"""Return the moments after one more gradient, [S, D]; those of sources that are not ``present`` are kept.

    Equal to the debiased running averages of :math:`g` and :math:`g^2`, the square of the first taken from the
    second, but never negative and without their cancellation. ``present`` is [S, T] bool; None: all are, in every
    batch, so that all tensors were seen alike.
    """
    seen = beta * moments.seen + 1
    share = (seen[:, :1] if present is None else spread(seen, sizes)).reciprocal()
    off = gradient - moments.mean
    square = (off * (1 - share)).mul_(off)
    mean, variance = torch.addcmul(moments.mean, off, share), torch.lerp(moments.variance, square, share)
    if present is None:
        return Moments(seen, mean, variance)
    there = spread(present, sizes)
    return Moments(
        torch.where(present, seen, moments.seen),
        torch.where(there, mean, moments.mean),
        torch.where(there, variance, moments.variance),
    )


def informed(moments: Moments, present: Tensor | None = None) -> Tensor:
    """Return of which tensors every source that is present has been seen twice: one gradient has no variance.

    [T] bool for ``present`` [S, T]; else [], of all.
    """
    if present is None:
        return (moments.seen[:, 0] > 1).all()
    return ((moments.seen > 1) | ~present).all(0)


def sample_variance(rows: Tensor, present: Tensor | None = None) -> Tensor:
    """Return the variance of the mean of the samples' gradients, [B, ...] -> [...] (METHODS.md 8.5).

    Samples that are not ``present`` [B] count nowhere. Of fewer than two samples it is 1, which says nothing.
    """
    if present is None:
        return rows.var(0) / len(rows) if len(rows) > 1 else torch.ones_like(rows[0])
    count = present.sum()
    off = only(present, rows - only(present, rows).sum(0) / count.clamp(min=1))
    return torch.where(count > 1, off.square().sum(0) / ((count - 1).clamp(min=1) * count.clamp(min=1)), 1.0)


def only(present: Tensor | None, values: Tensor, otherwise: float = 0.0) -> Tensor:
    """Return the values of the sources that are present, [S, ...] and [S] or [S, D] bool; None: all are."""
    if present is None:
        return values
    return torch.where(present.view(*present.shape, *[1] * (values.ndim - present.ndim)), values, otherwise)


def spread(numbers: Tensor, sizes: Sizes) -> Tensor:
    """Return each tensor's number at all its places, [..., T] -> [..., D]; a single tensor's number as it is."""
    if sizes is None:
        return numbers
    parts = zip(torch.split(numbers, 1, -1), sizes, strict=True)
    return torch.cat([number.expand(*number.shape[:-1], size) for number, size in parts], -1)
