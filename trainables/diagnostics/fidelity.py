"""Fidelity of gradients: whether the gradient of a proxy has the direction of the true one."""

from typing import NamedTuple

import torch
from torch import Tensor

QUANTILES = (0.1, 0.5, 0.9, 0.975)


class Fidelity(NamedTuple):
    """Statistics of cosines over iterations, without undefined ones; float64, nan where none is defined."""

    mean: Tensor  # [...]
    low: Tensor  # [...] 10 % quantile
    median: Tensor  # [...]
    high: Tensor  # [...] 90 % quantile
    band: Tensor  # [...] 97.5 % quantile, the upper end of a 95 % band
    positive: Tensor  # [...] fraction of iterations with a cosine above 0
    defined: Tensor  # [...] fraction of iterations in which neither gradient vanishes


def cosine(gradient: Tensor, other: Tensor) -> Tensor:
    """Return the cosine between flattened gradients, [..., D] and [..., D] -> [...] in float64, within [-1, 1].

    The cosine is nan if a gradient is zero or not finite. Norms are taken in float64, so that gradients whose squares
    underflow in float32 keep theirs.
    """
    return (normalise(gradient) * normalise(other)).sum(-1).clamp(-1, 1)


def normalise(gradient: Tensor) -> Tensor:
    """Return vectors of length 1 in float64, [..., D] -> [..., D]; nan where a vector is zero."""
    exact = gradient.double()
    length: Tensor = torch.linalg.vector_norm(exact, dim=-1, keepdim=True)
    return exact / length


def summarise(cosines: Tensor) -> Fidelity:
    """Return the reported statistics of the cosines of T iterations, [T, ...] (METHODS.md 10.3)."""
    cosines = cosines.double()
    defined = ~cosines.isnan()
    fraction = defined.double().mean(0)
    positive = (cosines > 0).double().mean(0) / fraction  # 0 / 0 where none is defined
    low, median, high, band = torch.nanquantile(cosines, cosines.new_tensor(QUANTILES), dim=0)
    return Fidelity(torch.nanmean(cosines, 0), low, median, high, band, positive, fraction)
