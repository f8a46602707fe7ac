"""BOGC's estimators of the gradient's variance, on gradients whose variance is known (METHODS.md 8.3-8.5).

They are asked as the method of the trial has them set, and see nothing of the run.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainables import laplace
from trainables.evaluation import Progress, Row, tabulate
from trainables.moments import init_moments, sample_variance, update
from trainables.randomness import stream
from trainables.setup import Learner, Setup

LOW, HIGH = -4, 2  # decades of the variances
WIDE = 400  # dimensions of a gradient
STEPS = 400  # gradients that the running estimate has seen
WIDTH, TAUGHT = 8, 40  # of the head whose posterior is planted, and samples that it has learnt from
NORMAL = 1.959964  # quantile of 97.5 %


class Planted(NamedTuple):
    """What an estimator makes of known variances, and fresh gradients about their true mean, all [D]."""

    estimate: Tensor
    variance: Tensor
    fresh: Tensor


def rows(setup: Setup, known: tuple[()], learner: Learner, progress: Progress) -> list[Row]:
    """Return the median relative error of the estimates, and how many fresh gradients lie in their 95 % interval."""
    method: Any = setup.method
    seed, estimator = setup.trial["seed"], getattr(method, "estimator", "ema")
    if estimator == "laplace":
        seen = posterior(seed, method.draws)
    elif estimator == "sample":
        seen = batch(seed, setup.trial["train"]["batch_size"])
    else:
        seen = running(seed, float(getattr(method, "beta", 0.95)))
    values = {
        "precision_error": (seen.estimate / seen.variance - 1).abs().median(),
        "precision_coverage": (seen.fresh.abs() <= NORMAL * seen.estimate.sqrt()).double().mean(),
    }
    return tabulate(setup, values, "validation", progress)


def running(seed: int, beta: float) -> Planted:
    """Return what running moments make of gradients that fluctuate about a constant mean."""
    random = stream(seed, "precision", "running")
    variance = torch.from_numpy(10.0 ** random.uniform(LOW, HIGH, WIDE))
    mean = torch.from_numpy(random.standard_normal(WIDE))
    moments = init_moments(mean[None])
    for _ in range(STEPS):
        moments = update(moments, (mean + variance.sqrt() * torch.from_numpy(random.standard_normal(WIDE)))[None], beta)
    return Planted(moments.variance[0], variance, variance.sqrt() * torch.from_numpy(random.standard_normal(WIDE)))


def batch(seed: int, size: int) -> Planted:
    """Return what a batch makes of the variance of its mean gradient."""
    random = stream(seed, "precision", "batch")
    variance = torch.from_numpy(10.0 ** random.uniform(LOW, HIGH, WIDE))
    rows = (size * variance).sqrt() * torch.from_numpy(random.standard_normal((size, WIDE)))
    return Planted(sample_variance(rows), variance, variance.sqrt() * torch.from_numpy(random.standard_normal(WIDE)))


def posterior(seed: int, draws: int) -> Planted:
    """Return what drawn heads make of a regression's posterior, of which the gradient's variance is known exactly."""
    random = stream(seed, "precision", "posterior")
    features, heard = (torch.from_numpy(random.standard_normal((n, WIDTH))) for n in (TAUGHT, WIDE // WIDTH))
    target = features @ torch.from_numpy(random.standard_normal((WIDTH, 1)))
    heard = heard * torch.from_numpy(10.0 ** random.uniform(LOW / 2, HIGH / 2, (len(heard), 1)))
    gaussian = laplace.regression_posterior(features, target, laplace.prior(features.new_zeros(1, WIDTH), 1.0))
    exact = laplace.regression_moments(gaussian, heard, heard.new_zeros(len(heard), 1))

    def moments(count: int) -> laplace.GradientMoments:
        z = torch.from_numpy(random.standard_normal((count, WIDTH)))
        heads = torch.nn.functional.pad((gaussian.mean + z @ gaussian.factor.mT)[:, None], (0, 1))  # [N, 1, H + 1]
        return laplace.sampled_moments(heads, heard, lambda prediction: 2 * prediction)

    fresh = moments(1).mean - exact.mean[0]
    return Planted(moments(draws).variance.flatten(), exact.variance.flatten(), fresh.flatten())
