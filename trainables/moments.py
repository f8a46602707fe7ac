"""Mean and variance of each source's gradient, over past steps or over the batch (METHODS.md 8.4, 8.5).

Letters in shapes: S sources (losses or modalities), ``...`` the shape of the tensor that all have a gradient of, or
D the elements of T such tensors, flattened and concatenated, with their ``sizes``; B samples.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Sizes = Sequence[int] | None  # of tensors that are concatenated on the last axis; None: a single tensor, of any shape


class Moments(NamedTuple):
    """Exponentially weighted moments of a gradient (METHODS.md 8.4)."""

    weight: Tensor  # [S, T] sum of the weights of the gradients of each tensor: each has beta times that of the next
    mean: Tensor  # [S, D]
    variance: Tensor  # [S, D]


def init_moments(like: Tensor, tensors: int = 1) -> Moments:
    """Return the moments before the first gradient, of concatenated tensors, [S, D]."""
    zero = torch.zeros_like(like)
    return Moments(like.new_zeros(len(like), tensors), zero, zero)


def update(
    moments: Moments, gradient: Tensor, beta: float | Tensor, present: Tensor | None = None, sizes: Sizes = None
) -> Moments:
    r"""Return the moments after one more gradient, [S, D]; those of sources that are not ``present`` do not change.

    Equal to the debiased running average of :math:`g`, and to that of :math:`g^2` minus the square of the first, but
    never negative and without cancellation. ``present`` is [S, T] bool; None: all are, in every batch, so that the
    weights of all tensors are equal.
    """
    weight = beta * moments.weight + 1
    share = (weight[:, :1] if present is None else expand_numbers(weight, sizes)).reciprocal()
    deviation = gradient - moments.mean
    square = (deviation * (1 - share)).mul_(deviation)
    mean, variance = torch.addcmul(moments.mean, deviation, share), torch.lerp(moments.variance, square, share)
    if present is None:
        return Moments(weight, mean, variance)
    mask = expand_numbers(present, sizes)
    return Moments(
        torch.where(present, weight, moments.weight),
        torch.where(mask, mean, moments.mean),
        torch.where(mask, variance, moments.variance),
    )


def has_variance(moments: Moments, present: Tensor | None = None) -> Tensor:
    """Return for which tensors every present source has had two gradients: one has no variance.

    [T] bool for ``present`` [S, T]; else [] bool, for all.
    """
    if present is None:
        return (moments.weight[:, 0] > 1).all()
    return ((moments.weight > 1) | ~present).all(0)


def sample_variance(rows: Tensor, present: Tensor | None = None) -> Tensor:
    """Return the variance of the mean of the samples' gradients, [B, ...] -> [...] (METHODS.md 8.5).

    Samples that are not ``present`` [B] are ignored. Of fewer than two samples it is 1, a neutral value.
    """
    if present is None:
        return rows.var(0) / len(rows) if len(rows) > 1 else torch.ones_like(rows[0])
    count = present.sum()
    deviation = mask_absent(present, rows - mask_absent(present, rows).sum(0) / count.clamp(min=1))
    return torch.where(count > 1, deviation.square().sum(0) / ((count - 1).clamp(min=1) * count.clamp(min=1)), 1.0)


def mask_absent(present: Tensor | None, values: Tensor, fill: float = 0.0) -> Tensor:
    """Return values with ``fill`` for sources that are not present, [S, ...] and [S] or [S, D] bool; None: all are."""
    if present is None:
        return values
    return torch.where(present.view(*present.shape, *[1] * (values.ndim - present.ndim)), values, fill)


def expand_numbers(numbers: Tensor, sizes: Sizes) -> Tensor:
    """Repeat each tensor's number for all its elements, [..., T] -> [..., D]; that of a single tensor as it is."""
    if sizes is None:
        return numbers
    parts = zip(torch.split(numbers, 1, -1), sizes, strict=True)
    return torch.cat([number.expand(*number.shape[:-1], size) for number, size in parts], -1)
