"""Seeds added only where they are needed: looks at a few numbers of seeds, whose error rates add up to that of one.

The level is shared out over the looks by a spending function (Lan and DeMets 1983), that of Pocock, which decides early
where effects are large; each look is tested at its share. This union bound holds for t-tests of five seeds and for any
dependence; boundaries of normal theory, which are a little wider, do not. The p that a comparison has at a look may be
read there and is corrected by Holm like any other.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from analysis.statistics import (
    ANYWHERE,
    LEVEL,
    NAN,
    Difference,
    Sample,
    differences,
    interval,
    p_above,
    p_below,
    paired,
)

NOTHING = (NAN, NAN, NAN, NAN)


def looks(fewest: int, most: int) -> list[int]:
    """Return the numbers of seeds at which to look: doubled each time, as 5, 10, 20, 40."""
    found = [fewest]
    while 2 * found[-1] < most:
        found.append(2 * found[-1])
    return [*found, most] if most > fewest else found


def shares(seeds: Sequence[int]) -> list[float]:
    """Return each look's share of the level; they add up to 1."""
    spent = np.log1p((np.e - 1) * np.asarray(seeds) / seeds[-1])
    return [float(share) for share in np.diff(spent, prepend=0.0)]


def so_far(
    values: Mapping[int, float],
    baseline: Mapping[int, float],
    seeds: Sequence[int],
    within: tuple[float, float] = ANYWHERE,
) -> Difference:
    """Return the paired difference to a baseline, as `paired`, with a p and an interval that hold at every look.

    The interval is what those of all looks have in common, p the least that a side has at a look: below 0.05 exactly
    where the interval lies on one side of 0. The mean, of all pairs, may lie beside it. Where the looks have nothing in
    common, both are those of the latest.

    Args:
        values: by seed, of those that have a result.
        baseline: the same.
        seeds: all the looks, as numbers of seeds.
        within: bounds of a difference.
    """
    latest = next((look for look in seeds if look > max(values.keys() & baseline.keys(), default=0)), seeds[-1])
    pairs = [seed for seed in sorted(values.keys() & baseline.keys()) if seed < latest]
    found = []
    for look, share in zip(seeds[: seeds.index(latest) + 1], shares(seeds), strict=False):
        sides = ([side[seed] for seed in pairs if seed < look] for side in (values, baseline))
        found.append(at_look(differences(*sides), share))
    above, below, lows, highs = np.array(found).T
    low, high = np.fmax.reduce(lows), np.fmin.reduce(highs)
    if low > high:
        above, below, low, high = above[-1:], below[-1:], lows[-1], highs[-1]
    p = np.fmin(np.fmin.reduce(above), np.fmin.reduce(below))
    low, high = np.clip((low, high), *within)
    whole = paired([values[seed] for seed in pairs], [baseline[seed] for seed in pairs])
    return whole._replace(low=float(low), high=float(high), p=float(p))


def at_look(sample: Sample, share: float) -> tuple[float, float, float, float]:
    """Return p of a mean above 0 and of one below it, and the interval, all at a look's share of the level.

    Where all values are equal there is no variance to go by, and no interval unless the sign test tells the side.
    """
    if sample.size < 2:
        return NOTHING
    above, below = (min(p(sample, 0.0) / share, 1.0) for p in (p_above, p_below))
    unknown = np.ptp(sample) == 0 and min(above, below) >= LEVEL
    low, high = (NAN, NAN) if unknown else interval(sample, LEVEL * share)
    return above, below, low, high
