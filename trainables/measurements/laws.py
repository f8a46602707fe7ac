"""BOGC's update where gradients follow laws that are not normal, beside the best fixed weights; blind to the run."""

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
SOURCES, WIDE = 2, 200
LEARNING, JUDGED = 300, 200  # gradients that the moments have seen, and updates that are compared after them
RARE = 0.02  # how often a rare large gradient comes


def skewed(random: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return log-normal numbers of mean 0 and variance 1."""
    drawn = np.exp(random.standard_normal(shape))
    return np.asarray((drawn - np.exp(0.5)) / np.sqrt((np.e - 1) * np.e))


LAWS: dict[str, Law] = {  # all of mean 0 and variance 1
    "normal": lambda random, shape: random.standard_normal(shape),
    "heavy": lambda random, shape: random.standard_t(3, shape) / np.sqrt(3),
    "skewed": skewed,
    "peaks": lambda random, shape: (
        0.95 * random.choice([-1, 1], shape) + np.sqrt(1 - 0.95**2) * random.standard_normal(shape)
    ),
    "rare": lambda random, shape: (random.random(shape) < RARE) * random.choice([-1, 1], shape) / np.sqrt(RARE),
}


def rows(setup: Setup, known: tuple[()], learner: Learner, progress: Progress) -> list[Row]:
    """Return the mean square error of the update for each law, in units of that of weights by the true variances.

    ``shape_error_LAW`` is the method's, as it is set, with running moments and without the factor S;
    ``shape_plain_LAW`` the plain mean's.
    """
    method: Any = setup.method if isinstance(setup.method, BOGC) else BOGC()
    values: dict[str, float] = {}
    for name, law in LAWS.items():
        ours, plain = errors(method, law, setup.trial["seed"])
        values |= {f"shape_error_{name}": ours, f"shape_plain_{name}": plain}
    return tabulate(setup, values, "validation", progress)


def errors(method: BOGC, law: Law, seed: int) -> tuple[float, float]:
    """Return the error of the update, and of the plain mean, in units of the best."""
    random = stream(seed, "laws")
    variance = torch.from_numpy(10.0 ** random.uniform(-2, 2, (SOURCES, WIDE)))
    mean = torch.from_numpy(random.standard_normal(WIDE))
    method, moments, level = method._replace(gain="none"), init_moments(variance), LogPrecision(*variance.new_zeros(2))
    ours, plain, best = [], [], []
    weights = (1 / variance) / (1 / variance).sum(0)
    for step in range(LEARNING + JUDGED):
        gradients = mean + variance.sqrt() * torch.from_numpy(law(random, (SOURCES, WIDE)))
        moments = update(moments, gradients, method.beta)
        known = has_variance(moments)
        level = method.update_log_precision(level, moments.variance, gradients, known)
        if step >= LEARNING:
            made = method.aggregate_gradients(gradients, moments.variance, known, reference=level.mean)
            ours.append(square(made.gradient - mean))
            plain.append(square(gradients.mean(0) - mean))
            best.append(square((weights * gradients).sum(0) - mean))
    return float(np.mean(ours) / np.mean(best)), float(np.mean(plain) / np.mean(best))


def square(off: Tensor) -> float:
    """Return the mean square of an error."""
    return off.square().mean().item()
