"""How many seeds are needed to see an effect."""

import math
from bisect import bisect_left
from collections.abc import Sequence

from scipy import special

LEVEL, POWER, MOST, FAR = 0.05, 0.8, 2**13, 30


def power(effect: float, sd: float, seeds: int, level: float = LEVEL) -> float:
    """Return the probability that a true mean of `effect` is found to lie on its side of 0 (one-sample t-test).

    `sd` is that of the values over seeds, in the unit of the effect; `level` is that of both sides together.
    """
    return _power([effect], sd, seeds, level)


def power_within(below: float, above: float, sd: float, seeds: int, level: float = LEVEL) -> float:
    """Return the same of being found within an interval, a true mean lying so far from its lower and its upper end.

    At least; the two tests fail together less often than is allowed for, unless the power is small.
    """
    return _power([below, above], sd, seeds, level)


def seeds_needed(distances: Sequence[float], sd: float, target: float = POWER, level: float = LEVEL) -> int | None:
    """Return the smallest number of seeds with that power to see that a mean lies beyond values so far from it.

    One distance for a claim of one side (`power`), two for an interval (`power_within`). None where even MOST do not
    suffice.
    """

    def reached(seeds: int) -> bool:
        return _power(distances, sd, seeds, level) >= target

    high = 2
    while not reached(high):
        high *= 2
        if high > MOST:
            return None
    return bisect_left(range(high), True, lo=high // 2, key=reached)


def _power(distances: Sequence[float], sd: float, seeds: int, level: float) -> float:
    if seeds < 2 or math.isnan(sd) or not all(map(math.isfinite, distances)):
        return 0.0
    missed = 0.0
    for distance in distances:
        if sd == 0 or distance == 0:
            found = 1.0 if distance else level / 2
        else:
            shift, border = abs(distance) / sd * math.sqrt(seeds), special.stdtrit(seeds - 1, 1 - level / 2)
            found = 1 - float(special.nctdtr(seeds - 1, shift, border)) if shift < FAR else 1.0
        missed += 1 - found
    return max(1 - missed, 0.0)
