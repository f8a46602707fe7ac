"""Fidelity of gradients: whether a proxy's gradient points where the true one does."""

from typing import NamedTuple

import torch
from torch import Tensor

QUANTILES = (0.1, 0.5, 0.9, 0.975)


class Fidelity(NamedTuple):
    """Cosines over iterations, those left out where they are undefined; float64, nan where none is defined."""

    mean: Tensor  # [...]
    low: Tensor  # [...] 10 % quantile
    median: Tensor  # [...]
    high: Tensor  # [...] 90 % quantile
    band: Tensor  # [...] 97.5 % quantile, where a band of 95 % ends
    positive: Tensor  # [...] share of iterations in which both gradients point to the same side: cosine > 0
    defined: Tensor  # [...] share of iterations in which neither gradient vanishes


def cosine(gradient: Tensor, other: Tensor) -> Tensor:
    """Return the cosine between flattened gradients, [..., D] and [..., D] -> [...] in float64, within [-1, 1].

    A zero vector has no direction: the cosine is nan there, and where a gradient is not finite. Norms are taken in
    float64, so that gradients that underflow float32 when squared keep theirs.
    """
    return (direction(gradient) * direction(other)).sum(-1).clamp(-1, 1)


def direction(gradient: Tensor) -> Tensor:
    """Return vectors of length 1 in float64, [..., D] -> [..., D]; nan where a vector is zero."""
    exact = gradient.double()
    length: Tensor = torch.linalg.vector_norm(exact, dim=-1, keepdim=True)
    return exact / length


def summarise(cosines: Tensor) -> Fidelity:
    """Return what is reported of the cosines of T iterations, [T, ...] (METHODS.md 10.3)."""
    cosines = cosines.double()
    defined = ~cosines.isnan()
    share = defined.double().mean(0)
    positive = (cosines > 0).double().mean(0) / share  # 0 / 0 where none is defined
    low, median, high, band = torch.nanquantile(cosines, cosines.new_tensor(QUANTILES), dim=0)
    return Fidelity(torch.nanmean(cosines, 0), low, median, high, band, positive, share)
