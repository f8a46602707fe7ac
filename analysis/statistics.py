"""Estimates over seeds: means with bootstrap intervals, paired differences, Holm's correction."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

RESAMPLES = 9999
NAN = float("nan")


class Estimate(NamedTuple):
    """A mean over seeds with its 95 % interval."""

    mean: float
    low: float
    high: float
    seeds: int


class Difference(NamedTuple):
    """A mean paired difference, in the metric's unit."""

    mean: float
    sd: float
    low: float
    high: float
    p: float
    pairs: int


def interval(values: ArrayLike) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean of values [N]; nan for fewer than two.

    The resampling is seeded and blind to the order, so that a report can be repeated. BCa where it is
    defined, else percentile.
    """
    sample = np.sort(np.asarray(values, dtype=float))
    if sample.size < 2:
        return NAN, NAN
    if np.ptp(sample) == 0:
        return float(sample[0]), float(sample[0])
    low, high = _bootstrap(sample, "BCa")
    return (low, high) if np.isfinite([low, high]).all() else _bootstrap(sample, "percentile")


def estimate(values: ArrayLike) -> Estimate:
    """Return mean and interval of values [N], one per seed."""
    sample = np.sort(np.asarray(values, dtype=float))
    mean = float(sample.mean()) if sample.size else NAN
    return Estimate(mean, *interval(sample), sample.size)


def paired(values: ArrayLike, baseline: ArrayLike) -> Difference:
    """Return the mean of values - baseline, both [N] in the order of the seeds, with its sign-flip p-value.

    The p-value is exact up to 13 seeds. It cannot be smaller than 2 / 2**N: five seeds never reach 0.05.
    """
    difference = np.sort(np.asarray(values, dtype=float) - np.asarray(baseline, dtype=float))
    mean, low, high, pairs = estimate(difference)
    if pairs < 2:
        return Difference(mean, NAN, low, high, NAN, pairs)
    return Difference(mean, float(difference.std(ddof=1)), low, high, _sign_flip(difference), pairs)


def holm(p: Sequence[float]) -> list[float]:
    """Return the p-values [N] corrected for N comparisons (Holm 1979), in the order given."""
    order = np.argsort(p)
    scaled = np.asarray(p, dtype=float)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(value) for value in corrected]


def _bootstrap(sample: NDArray[np.float64], method: str) -> tuple[float, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a degenerate sample gives nan, which `interval` handles
        result = stats.bootstrap((sample,), np.mean, n_resamples=RESAMPLES, method=method, rng=np.random.default_rng(0))
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def _sign_flip(difference: NDArray[np.float64]) -> float:
    result = stats.permutation_test(
        (difference,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)
