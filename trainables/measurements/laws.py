"""Error of BOGC's update for gradients of non-normal distributions, against optimal weights; independent of the run."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.evaluation import Progress, Row, tabulate
from trainables.methods.bogc import BOGC, LogPrecision
from trainables.moments import has_variance, init_moments, update
from trainables.randomness import stream
from trainables.setup import Learner, Setup

Law = Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.float64]]
SOURCES, DIMENSIONS = 2, 200
WARMUP_STEPS, SCORED_STEPS = 300, 200  # of the moments alone, and then of updates that are compared
RARE = 0.02  # frequency of the rare large gradients


def standardised_lognormal(random: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return log-normal numbers of mean 0 and variance 1."""
    values = np.exp(random.standard_normal(shape))
    return np.asarray((values - np.exp(0.5)) / np.sqrt((np.e - 1) * np.e))


LAWS: dict[str, Law] = {  # distributions of mean 0 and variance 1
    "normal": lambda random, shape: random.standard_normal(shape),
    "heavy": lambda random, shape: random.standard_t(3, shape) / np.sqrt(3),
    "skewed": standardised_lognormal,
    "peaks": lambda random, shape: (
        0.95 * random.choice([-1, 1], shape) + np.sqrt(1 - 0.95**2) * random.standard_normal(shape)
    ),
    "rare": lambda random, shape: (random.random(shape) < RARE) * random.choice([-1, 1], shape) / np.sqrt(RARE),
}


def rows(setup: Setup, state: tuple[()], learner: Learner, progress: Progress) -> list[Row]:
    """Return the mean squared error of the update for each law, over that of inverse-variance weights.

    ``shape_error_LAW`` is that of the method with its settings, running moments, and without the factor S;
    ``shape_plain_LAW`` that of the plain mean.
    """
    method: Any = setup.method if isinstance(setup.method, BOGC) else BOGC()
    values: dict[str, float] = {}
    for name, law in LAWS.items():
        error, plain = update_errors(method, law, setup.trial["seed"])
        values |= {f"shape_error_{name}": error, f"shape_plain_{name}": plain}
    return tabulate(setup, values, "validation", progress)


def update_errors(method: BOGC, law: Law, seed: int) -> tuple[float, float]:
    """Return the mean squared errors of the update and of the plain mean, over that of inverse-variance weights."""
    random = stream(seed, "laws")
    variance = torch.from_numpy(10.0 ** random.uniform(-2, 2, (SOURCES, DIMENSIONS)))
    mean = torch.from_numpy(random.standard_normal(DIMENSIONS))
    method, moments, unit = method._replace(gain="none"), init_moments(variance), LogPrecision(*variance.new_zeros(2))
    update_error, plain, best = [], [], []
    weights = (1 / variance) / (1 / variance).sum(0)
    for step in range(WARMUP_STEPS + SCORED_STEPS):
        gradients = mean + variance.sqrt() * torch.from_numpy(law(random, (SOURCES, DIMENSIONS)))
        moments = update(moments, gradients, method.beta)
        known = has_variance(moments)
        unit = method.update_log_precision(unit, moments.variance, gradients, known)
        if step >= WARMUP_STEPS:
            aggregate = method.aggregate_gradients(gradients, moments.variance, known, reference=unit.mean)
            update_error.append(mean_square(aggregate.gradient - mean))
            plain.append(mean_square(gradients.mean(0) - mean))
            best.append(mean_square((weights * gradients).sum(0) - mean))
    return float(np.mean(update_error) / np.mean(best)), float(np.mean(plain) / np.mean(best))


def mean_square(error: Tensor) -> float:
    """Return the mean square of an error."""
    return error.square().mean().item()
