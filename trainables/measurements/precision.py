"""Accuracy of BOGC's variance estimators on synthetic gradients of known variance (METHODS.md 8.3-8.5).

They have the settings of the trial's method and are independent of the run.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainables import laplace
from trainables.evaluation import Progress, Row, tabulate
from trainables.moments import init_moments, sample_variance, update
from trainables.randomness import stream
from trainables.setup import Learner, Setup

LOW, HIGH = -4, 2  # log10 of the variances
SIZE = 400  # dimensions of a gradient
STEPS = 400  # gradients in the running estimate
WIDTH, SAMPLES = 8, 40  # input width of the regression head, and samples in its posterior
NORMAL_QUANTILE = 1.959964  # 97.5 %


class VarianceEstimate(NamedTuple):
    """Estimated and true variances, and new gradients minus their true mean, all [D]."""

    estimate: Tensor
    variance: Tensor
    errors: Tensor


def rows(setup: Setup, state: tuple[()], learner: Learner, progress: Progress) -> list[Row]:
    """Return the median relative error of the estimates, and the fraction of new gradients in their 95 % interval."""
    method: Any = setup.method
    seed, estimator = setup.trial["seed"], getattr(method, "estimator", "ema")
    if estimator == "laplace":
        result = laplace_estimate(seed, method.draws)
    elif estimator == "sample":
        result = batch_estimate(seed, setup.trial["train"]["batch_size"])
    else:
        result = running_estimate(seed, float(getattr(method, "beta", 0.95)))
    values = {
        "precision_error": (result.estimate / result.variance - 1).abs().median(),
        "precision_coverage": (result.errors.abs() <= NORMAL_QUANTILE * result.estimate.sqrt()).double().mean(),
    }
    return tabulate(setup, values, "validation", progress)


def running_estimate(seed: int, beta: float) -> VarianceEstimate:
    """Return the estimate by running moments, from gradients that fluctuate about a constant mean."""
    random = stream(seed, "precision", "running")
    variance = torch.from_numpy(10.0 ** random.uniform(LOW, HIGH, SIZE))
    mean = torch.from_numpy(random.standard_normal(SIZE))
    moments = init_moments(mean[None])
    for _ in range(STEPS):
        moments = update(moments, (mean + variance.sqrt() * torch.from_numpy(random.standard_normal(SIZE)))[None], beta)
    errors = variance.sqrt() * torch.from_numpy(random.standard_normal(SIZE))
    return VarianceEstimate(moments.variance[0], variance, errors)


def batch_estimate(seed: int, size: int) -> VarianceEstimate:
    """Return the estimate of the variance of the mean gradient of a batch, from its samples."""
    random = stream(seed, "precision", "batch")
    variance = torch.from_numpy(10.0 ** random.uniform(LOW, HIGH, SIZE))
    gradients = (size * variance).sqrt() * torch.from_numpy(random.standard_normal((size, SIZE)))
    errors = variance.sqrt() * torch.from_numpy(random.standard_normal(SIZE))
    return VarianceEstimate(sample_variance(gradients), variance, errors)


def laplace_estimate(seed: int, draws: int) -> VarianceEstimate:
    """Return the estimate by drawn heads for the posterior of a regression, whose gradient's variance is exact."""
    random = stream(seed, "precision", "posterior")
    train, test = (torch.from_numpy(random.standard_normal((n, WIDTH))) for n in (SAMPLES, SIZE // WIDTH))
    target = train @ torch.from_numpy(random.standard_normal((WIDTH, 1)))
    test = test * torch.from_numpy(10.0 ** random.uniform(LOW / 2, HIGH / 2, (len(test), 1)))
    gaussian = laplace.regression_posterior(train, target, laplace.prior(train.new_zeros(1, WIDTH), 1.0))
    exact = laplace.regression_moments(gaussian, test, test.new_zeros(len(test), 1))

    def moments(count: int) -> laplace.GradientMoments:
        z = torch.from_numpy(random.standard_normal((count, WIDTH)))
        heads = torch.nn.functional.pad((gaussian.mean + z @ gaussian.factor.mT)[:, None], (0, 1))  # [N, 1, H + 1]
        return laplace.sampled_moments(heads, test, lambda prediction: 2 * prediction)

    errors = moments(1).mean - exact.mean[0]
    return VarianceEstimate(moments(draws).variance.flatten(), exact.variance.flatten(), errors.flatten())
