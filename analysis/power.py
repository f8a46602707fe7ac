"""Power of the t-tests, and the number of seeds that they need."""

import math
from bisect import bisect_left

import numpy as np
from scipy import special

from analysis.statistics import LEVEL

POWER, MAX_SEEDS = 0.8, 2**13
INF = math.inf
NODES, WEIGHTS = np.polynomial.legendre.leggauss(128)  # of the quadrature over the sample standard deviation


def power(effect: float, sd: float, seeds: int, level: float = LEVEL) -> float:
    """Return the power of the t-test: the probability that a true mean of `effect` is shown to lie on its side of 0.

    `sd` is that of the values over seeds, in the unit of the effect; `level` is that of both sides together.
    """
    return power_within(abs(effect), INF, sd, seeds, level)


def power_within(below: float, above: float, sd: float, seeds: int, level: float = LEVEL) -> float:
    """Return the power of two one-sided t-tests: the probability of showing that a mean lies between two values.

    The true mean lies `below` above the lower value and `above` below the upper one.
    """
    if seeds < 2 or any(map(math.isnan, (below, above, sd))):
        return 0.0
    if sd == 0:
        return 1.0 if below > 0 and above > 0 else 0.0
    df, precision = seeds - 1, math.sqrt(seeds) / sd
    sample_sd = np.sqrt(special.chdtri(df, 1 - (NODES + 1) / 2) / df)  # in units of sd
    half_width = special.stdtrit(df, 1 - level / 2) * sample_sd
    inside = special.ndtr(above * precision - half_width) - special.ndtr(half_width - below * precision)
    return float(WEIGHTS @ np.maximum(inside, 0) / 2)


def seeds_needed(below: float, above: float, sd: float, target: float = POWER, level: float = LEVEL) -> int | None:
    """Return the smallest number of seeds with that power (`power_within`); None where MAX_SEEDS do not suffice."""

    def suffices(seeds: int) -> bool:
        return power_within(below, above, sd, seeds, level) >= target

    high = 2
    while not suffices(high):
        high *= 2
        if high > MAX_SEEDS:
            return None
    return bisect_left(range(high), True, lo=high // 2, key=suffices)
