"""Competition strength: how much of a modality's unimodal concept is lost in the joint feature."""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.linear_model import Ridge
from torch import Tensor

from trainables.diagnostics.checks import finite_array


class Competition(NamedTuple):
    """How well the unimodal concept of a modality can be predicted from the joint feature."""

    strength: float  # 0: exactly; about 1: no better than by its mean; nan: the concept is constant
    rank: int  # number of directions, of Q, in which the concept varies
    share: float  # error over that of predicting the concept's mean, scaled by its covariance on both splits; or nan


def competition_strength(
    fused: tuple[ArrayLike, ArrayLike],  # the joint feature on the probe and the evaluation split, [K, P] and [N, P]
    concept: tuple[ArrayLike, ArrayLike],  # the feature by the unimodal network on both splits, [K, Q] and [N, Q]
    alpha: float = 120.0,
    rcond: float = 1e-10,
    single: bool = False,
) -> Competition:
    r"""Return the competition strength of a modality (Li et al., ICCV 2023, https://arxiv.org/abs/2308.07686).

    Ridge regression with penalty ``alpha``, fitted on the probe split, predicts the concept from the joint feature.
    With its residuals :math:`R` and the concept's covariance :math:`\Sigma` on the evaluation split,
    :math:`d = tr(R (N \Sigma)^+ R^T) / Q` (METHODS.md 10.4; run/AVMNIST_main.py:333-405 of the release).

    Singular values below ``rcond`` times the largest count as zero, so that rounding of a concept with redundant
    features is not taken for a direction. The release keeps them from 1e-15 on and rounds predictions to float32:
    ``rcond=1e-15, single=True``.

    The share is ours: the same trace with the :math:`\Sigma` of both splits together, over its value for predicting
    the mean of the concept on the evaluation split. A feature that is barely active in one sample of that split, but in
    many of the probe split, is a direction of almost no variance there and can make d arbitrarily large.

    Raises:
        ValueError: a number is not finite, or the shapes do not match.
    """
    fused_probe, fused_eval = (finite_array("competition: fused", x, axes=2) for x in fused)
    concept_probe, concept_eval = (finite_array("competition: concept", x, axes=2) for x in concept)
    shapes = (len(fused_probe), len(fused_eval), concept_probe.shape[1])
    if shapes != (len(concept_probe), len(concept_eval), concept_eval.shape[1]):
        raise ValueError(
            f"competition: features of shapes {fused_probe.shape} and {fused_eval.shape} do not belong to "
            f"concepts of shapes {concept_probe.shape} and {concept_eval.shape}"
        )
    ridge = Ridge(alpha=alpha).fit(fused_probe, concept_probe)
    prediction = torch.from_numpy(ridge.predict(fused_eval)).reshape(concept_eval.shape)
    target, both = torch.from_numpy(concept_eval), torch.from_numpy(np.concatenate([concept_probe, concept_eval]))
    if (target == target[0]).all():
        return Competition(math.nan, 0, math.nan)
    residual = (prediction.float() if single else prediction) - target
    distance, rank = mahalanobis_distance(residual, target, rcond)
    baseline, _ = mahalanobis_distance(target - target.mean(0), both, rcond)
    share = mahalanobis_distance(residual, both, rcond)[0] / baseline if baseline else math.nan
    return Competition(distance / target.shape[1], rank, share)


def mahalanobis_distance(residual: Tensor, concept: Tensor, rcond: float) -> tuple[float, int]:
    """Return the squared Mahalanobis distance of residuals [N, Q], by N times a concept's covariance, and its rank.

    The covariance is that of ``concept`` [K, Q].
    """
    features = concept.shape[1]
    covariance = (torch.cov(concept.T) * len(residual)).reshape(features, features)
    distance = torch.trace((residual @ torch.pinverse(covariance, rcond)).T @ residual)
    return distance.item(), int(torch.linalg.matrix_rank(covariance, rtol=rcond))


def preferred_modality(strengths: dict[str, float]) -> str | None:
    """Return the modality of smallest competition strength, the first of equals; None if none is defined."""
    defined = {m: d for m, d in strengths.items() if not math.isnan(d)}
    return min(defined, key=defined.__getitem__, default=None)
