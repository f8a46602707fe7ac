"""Aggregates over data sets and seeds (Agarwal et al., NeurIPS 2021): interquartile mean, probability of improvement.

Scores are a list of arrays, one per data set, [N] over its seeds. Intervals are percentiles of a bootstrap over the
seeds of each data set, so that they hold for these data sets. With fewer than ten seeds they are too narrow.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from analysis.statistics import LEVEL, NAN, Estimate, Sample

RESAMPLES = 2000

Samples = list[NDArray[np.float64]]  # one per data set, [..., N]


def interquartile_mean(scores: Sequence[ArrayLike]) -> Estimate:
    """Return the mean of the middle half of all scores; `seeds` are those of the data set with the fewest."""
    kept = [values[np.isfinite(values)] for values in as_arrays(scores)]

    def trimmed_mean(resampled: Samples) -> NDArray[np.float64]:
        return np.asarray(stats.trim_mean(np.concatenate(resampled, axis=-1), 0.25, axis=-1))

    return bootstrap_estimate([kept], lambda resampled: trimmed_mean(resampled[0]))


def improvement(values: Sequence[ArrayLike], baseline: Sequence[ArrayLike]) -> Estimate:
    """Return the probability that a run beats a run of the baseline, a tie being half; the mean over data sets.

    Seeds are resampled in pairs; those that lack a score on a side are left out.
    """
    pairs = list(zip(as_arrays(values), as_arrays(baseline), strict=True))
    complete = [np.isfinite(x) & np.isfinite(y) for x, y in pairs]
    kept = [[pair[side][mask] for pair, mask in zip(pairs, complete, strict=True)] for side in (0, 1)]

    def probability(resampled: list[Samples]) -> NDArray[np.float64]:
        wins = [np.sign(x[..., :, None] - y[..., None, :]).mean((-1, -2)) for x, y in zip(*resampled, strict=True)]
        return np.asarray((1 + np.mean(wins, axis=0)) / 2)

    return bootstrap_estimate(kept, probability)


def as_arrays(scores: Sequence[ArrayLike]) -> list[Sample]:
    """Return the scores of each data set as an array."""
    return [np.asarray(values, dtype=float) for values in scores]


def bootstrap_estimate(sides: list[Samples], statistic: Callable[[list[Samples]], NDArray[np.float64]]) -> Estimate:
    """Return a statistic of sides whose seeds are resampled together; nan where a data set has no score."""
    sizes = [len(values) for values in sides[0]]
    if not sizes or min(sizes) == 0:
        return Estimate(NAN, NAN, NAN, 0)
    value = float(statistic(sides))
    if min(sizes) < 2:
        return Estimate(value, NAN, NAN, min(sizes))
    rng = np.random.default_rng(0)
    indices = [rng.integers(0, size, (RESAMPLES, size)) for size in sizes]
    resampled = statistic([[values[i] for values, i in zip(side, indices, strict=True)] for side in sides])
    low, high = np.quantile(resampled, [LEVEL / 2, 1 - LEVEL / 2])
    return Estimate(value, float(low), float(high), min(sizes))
