"""Laplace posterior of a linear head, and the uncertainty of the gradient of its features (METHODS.md 8.3).

The Laplace posterior of the last layer and the moments of the gradient are those of BayesAgg-MTL
(https://github.com/ssi-research/BayesAgg_MTL, BayesAggMTL.py:255-720), which BOGC
(https://arxiv.org/abs/2505.23071) builds on.
BayesAgg's aggregate is `evidence.combine` with K = 0, of precisions to the power of its hyperparameter as evidence.

Letters in shapes: B samples, C classes, H features, O outputs of a regression, N sampled heads, D parameters of a head
with a joint posterior: C (H + 1), row by row with the bias last in each row, or H in a regression.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

LIMIT = 2048  # D; a posterior takes D^2 memory and D^3 time
FLOOR = 1e-8  # of a variance (BayesAggMTL.py:255-430)


class Gaussian(NamedTuple):
    """A normal distribution of the parameters of a head."""

    mean: Tensor  # [D], or [O, D] of independent outputs, which share the precision
    precision: Tensor  # [D, D]
    factor: Tensor  # [D, D] lower Cholesky factor of the covariance

    @property
    def covariance(self) -> Tensor:
        """Return the covariance, [D, D]."""
        return self.factor @ self.factor.mT


class Normal(NamedTuple):
    """A normal distribution that is not sampled from."""

    mean: Tensor  # [D]
    precision: Tensor  # [D, D]


class GradientMoments(NamedTuple):
    """Mean and variance of the gradient of each sample's loss with respect to its features."""

    mean: Tensor  # [..., B, H]
    variance: Tensor  # [..., B, H], at least 1e-8


def prior(like: Tensor, gamma: float | Tensor) -> Gaussian:
    """Return the prior with mean zero and variance ``gamma``; ``like`` is shaped like the mean, [..., D].

    Raises:
        ValueError: there are more than 2048 parameters.
    """
    size = like.shape[-1]
    if size > LIMIT:
        raise ValueError(
            f"laplace: a head of {size} parameters needs a {size} x {size} posterior, above the limit of {LIMIT}; "
            "estimate the variance of its gradient over time (moments.update) or over the batch (sample_variance)"
        )
    eye = torch.eye(size, dtype=like.dtype, device=like.device)
    return Gaussian(torch.zeros_like(like), eye / gamma, eye * gamma**0.5)


def append_bias_input(features: Tensor) -> Tensor:
    """Append the constant input of the bias to features, [B, H] -> [B, H + 1]."""
    return F.pad(features, (0, 1), value=1.0)


def decay_posterior(normal: Normal, beta: float | Tensor, gamma: float | Tensor) -> Normal:
    """Return a posterior whose precision decays towards that of the `prior`, by ``beta`` a batch; ours."""
    eye = torch.eye(len(normal.mean), dtype=normal.mean.dtype, device=normal.mean.device)
    return normal._replace(precision=beta * normal.precision + (1 - beta) / gamma * eye)


def newton_posterior(head: Tensor, gradient: Tensor, curvature: Tensor, before: Gaussian | Normal) -> Gaussian:
    """Return the posterior after a Newton step on data, given gradient and curvature of their summed loss.

    Args:
        head: weights with the bias last, [C, H + 1].
        gradient: of the loss, [C, H + 1].
        curvature: of the loss, [D, D].
        before: the distribution of the head before the data.
    """
    gradient = gradient.flatten() + before.precision @ (head.flatten() - before.mean)
    precision = before.precision + curvature
    factor = covariance_factor(precision)
    return Gaussian(head.flatten() - factor @ (factor.mT @ gradient), precision, factor)


def curvature(p: Tensor, x: Tensor) -> Tensor:
    """Return the sum over samples of (diag p - p p^T) kron x x^T, [B, C] and [B, H + 1] -> [D, D]."""
    classes, width = p.shape[-1], x.shape[-1]
    rows = p[:, :, None] * x[:, None]  # [B, C, H + 1]
    blocks = (rows.flatten(1).mT @ x).view(classes, width, 1, width)
    is_diagonal = torch.eye(classes, dtype=p.dtype, device=p.device)[:, None, :, None]
    return (blocks * is_diagonal).reshape(classes * width, -1) - rows.flatten(1).mT @ rows.flatten(1)


def covariance_factor(precision: Tensor) -> Tensor:
    """Return the lower Cholesky factor of the inverse, [D, D], by one factorisation: of the reversed matrix."""
    upper = torch.linalg.cholesky_ex(precision.flip(-2, -1)).L.flip(-2, -1).mT
    eye = torch.eye(precision.shape[-1], dtype=precision.dtype, device=precision.device)
    factor: Tensor = torch.linalg.solve_triangular(upper, eye, upper=False)
    return factor


def sample_heads(gaussian: Gaussian, draws: Tensor, classes: int) -> Tensor:
    """Return heads sampled by standard normal numbers, [N, D] -> [N, C, H + 1]."""
    return (gaussian.mean + draws @ gaussian.factor.mT).view(len(draws), classes, -1)


def sampled_moments(heads: Tensor, features: Tensor, slope: Callable[[Tensor], Tensor]) -> GradientMoments:
    """Return the moments over sampled heads, [N, C, H + 1] and [..., H]; ``slope`` is the derivative of the loss."""
    logits = append_bias_input(features.flatten(0, -2)) @ heads.mT
    logits = logits.view(len(heads), *features.shape[:-1], heads.shape[-2])  # [N, ..., C]
    gradients = (slope(logits).flatten(1, -2) @ heads[..., :-1]).view(len(heads), *features.shape)
    variance, mean = torch.var_mean(gradients, 0, correction=0)
    return GradientMoments(mean, variance.clamp(min=FLOOR))


def regression_posterior(features: Tensor, target: Tensor, before: Gaussian) -> Gaussian:
    """Return the exact posterior of independent linear outputs without bias and with unit noise, [B, H] and [B, O]."""
    precision = before.precision + features.mT @ features
    factor = covariance_factor(precision)
    pull = before.mean @ before.precision + target.mT @ features  # [O, H]
    return Gaussian(pull @ factor @ factor.mT, precision, factor)


def regression_moments(gaussian: Gaussian, features: Tensor, target: Tensor) -> GradientMoments:
    """Return the exact moments of 2 (w^T h - y) w, each output's gradient of its squared error, [O, B, H]."""
    covariance, w = gaussian.covariance, gaussian.mean[:, None]  # [O, 1, H]
    error = (gaussian.mean @ features.mT - target.mT)[..., None]  # [O, B, 1]
    q = features @ covariance  # [B, H]
    a = (q * features).sum(-1, keepdim=True)  # [B, 1] variance of the prediction
    w_variance = covariance.diagonal()
    variance = 4 * (w_variance * (error.square() + a) + w.square() * a + 2 * error * w * q + q.square())
    return GradientMoments(2 * (error * w + q), variance.clamp(min=FLOOR))
