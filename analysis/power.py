"""How many seeds are needed to see an effect."""

import math
from bisect import bisect_left

import numpy as np
from scipy import special

from analysis.statistics import LEVEL

POWER, MOST = 0.8, 2**13
INF = math.inf
NODES, WEIGHTS = np.polynomial.legendre.leggauss(128)  # of the quadrature over the spread that a sample may have


def power(effect: float, sd: float, seeds: int, level: float = LEVEL) -> float:
    """Return the probability that a true mean of `effect` is found to lie on its side of 0 (t-test).

    `sd` is that of the values over seeds, in the unit of the effect; `level` is that of both sides together.
    """
    return power_within(abs(effect), INF, sd, seeds, level)


def power_within(below: float, above: float, sd: float, seeds: int, level: float = LEVEL) -> float:
    """Return the probability of finding that a mean lies between two values (two one-sided t-tests).

    It truly lies `below` away from the lower one and `above` from the upper one.
    """
    if seeds < 2 or any(map(math.isnan, (below, above, sd))):
        return 0.0
    if sd == 0:
        return 1.0 if below > 0 and above > 0 else 0.0
    freedom, unit = seeds - 1, math.sqrt(seeds) / sd
    spread = np.sqrt(special.chdtri(freedom, 1 - (NODES + 1) / 2) / freedom)  # of a sample, in units of sd
    reach = special.stdtrit(freedom, 1 - level / 2) * spread
    inside = special.ndtr(above * unit - reach) - special.ndtr(reach - below * unit)
    return float(WEIGHTS @ np.maximum(inside, 0) / 2)


def seeds_needed(below: float, above: float, sd: float, target: float = POWER, level: float = LEVEL) -> int | None:
    """Return the smallest number of seeds with that power (`power_within`); None where even MOST do not suffice."""

    def reached(seeds: int) -> bool:
        return power_within(below, above, sd, seeds, level) >= target

    high = 2
    while not reached(high):
        high *= 2
        if high > MOST:
            return None
    return bisect_left(range(high), True, lo=high // 2, key=reached)
