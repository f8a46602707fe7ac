"""Competition strength: how much of what a modality knows on its own is lost in the joint feature."""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from trainables.diagnostics.checks import finite


class Competition(NamedTuple):
    """How a modality's own concept fares in the joint feature."""

    strength: float  # 0: it can be read off in full; about 1: no better than its mean; nan: it is constant
    rank: int  # directions in which the concept varies, of Q
    share: float  # what is lost of all that the concept's mean would lose, by its variance on both splits; or nan


def competition_strength(
    fused: tuple[ArrayLike, ArrayLike],  # the joint feature on the probe and the evaluation split, [K, P] and [N, P]
    concept: tuple[ArrayLike, ArrayLike],  # what the modality's own network makes of them, [K, Q] and [N, Q]
    alpha: float = 120.0,
    rcond: float = 1e-10,
    single: bool = False,
) -> Competition:
    r"""Return the competition strength of a modality (Li et al., ICCV 2023, https://arxiv.org/abs/2308.07686).

    Ridge regression on the probe split, of penalty ``alpha``, reads the concept off the joint feature. With its
    residuals :math:`R` and the concept's covariance :math:`\Sigma` on the evaluation split,
    :math:`d = tr(R (N \Sigma)^+ R^T) / Q` (METHODS.md 10.4; run/AVMNIST_main.py:333-405 of the release).

    Singular values below ``rcond`` of the largest count as zero, so that rounding of a concept with redundant
    features is not taken for a direction. The release keeps them from 1e-15 on and rounds predictions to float32:
    ``rcond=1e-15, single=True``.

    The share is ours: by the :math:`\Sigma` of both splits together, in units of what the mean of the concept on the
    evaluation split would lose. A feature that one sample there hardly excites, and many of the probe split do, is a
    direction of next to no variance there, and can make d as large as one likes.

    Raises:
        ValueError: a number is not finite, or the shapes do not belong together.
    """
    from sklearn.linear_model import Ridge

    known, seen = (finite("competition: fused", x, axes=2) for x in fused)
    learnt, wanted = (finite("competition: concept", x, axes=2) for x in concept)
    if (len(known), len(seen), learnt.shape[1]) != (len(learnt), len(wanted), wanted.shape[1]):
        raise ValueError(
            f"competition: features of shapes {known.shape} and {seen.shape} do not belong to "
            f"concepts of shapes {learnt.shape} and {wanted.shape}"
        )
    predicted = torch.from_numpy(Ridge(alpha=alpha).fit(known, learnt).predict(seen)).reshape(wanted.shape)
    there, both = torch.from_numpy(wanted), torch.from_numpy(np.concatenate([learnt, wanted]))
    if (there == there[0]).all():
        return Competition(math.nan, 0, math.nan)
    residual = (predicted.float() if single else predicted) - there
    distance, rank = lost(residual, there, rcond)
    most, _ = lost(there - there.mean(0), both, rcond)
    share = lost(residual, both, rcond)[0] / most if most else math.nan
    return Competition(distance / there.shape[1], rank, share)


def lost(residual: Tensor, concept: Tensor, rcond: float) -> tuple[float, int]:
    """Return the squared length of residuals [N, Q] in units of N variances of a concept [K, Q], and its rank."""
    features = concept.shape[1]
    spread = (torch.cov(concept.T) * len(residual)).reshape(features, features)
    distance = torch.trace((residual @ torch.pinverse(spread, rcond)).T @ residual)
    return distance.item(), int(torch.linalg.matrix_rank(spread, rtol=rcond))


def preferred(strengths: dict[str, float]) -> str | None:
    """Return the modality of least competition strength, the first of equals; None if none is defined."""
    defined = {m: d for m, d in strengths.items() if not math.isnan(d)}
    return min(defined, key=defined.__getitem__, default=None)
