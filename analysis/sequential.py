"""Sequential tests: seeds are added only where they are needed, with an error rate that holds over all looks.

The level is divided among the looks by an alpha spending function (Lan and DeMets 1983), that of Pocock, which decides
early where effects are large; each look is tested at its share. This union bound holds for t-tests of five seeds and
for any dependence; boundaries of normal theory, which are a little wider, do not. The p of a comparison is valid at
every look, and is corrected by Holm like any other.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from analysis.statistics import (
    LEVEL,
    NAN,
    UNBOUNDED,
    Difference,
    Sample,
    differences,
    interval,
    p_above,
    p_below,
    paired,
)

UNKNOWN = (NAN, NAN, NAN, NAN)


def looks(fewest: int, most: int) -> list[int]:
    """Return the numbers of seeds at which to look: doubled each time, as 5, 10, 20, 40."""
    counts = [fewest]
    while 2 * counts[-1] < most:
        counts.append(2 * counts[-1])
    return [*counts, most] if most > fewest else counts


def level_shares(seeds: Sequence[int]) -> list[float]:
    """Return the share of the level that each look spends; they add up to 1."""
    spent = np.log1p((np.e - 1) * np.asarray(seeds) / seeds[-1])
    return [float(share) for share in np.diff(spent, prepend=0.0)]


def sequential_difference(
    values: Mapping[int, float],
    baseline: Mapping[int, float],
    seeds: Sequence[int],
    within: tuple[float, float] = UNBOUNDED,
) -> Difference:
    """Return the paired difference to a baseline, as `paired`, with a p and an interval that are valid at every look.

    The interval is the intersection of those of all looks, p the least of a side at any look: below 0.05 exactly where
    the interval lies on one side of 0. The mean, of all pairs, may lie outside. Where the intersection is empty, p and
    interval are those of the latest look.

    Args:
        values: by seed, of seeds that have a result.
        baseline: likewise.
        seeds: the number of seeds at each look.
        within: bounds of a difference.
    """
    latest = next((look for look in seeds if look > max(values.keys() & baseline.keys(), default=0)), seeds[-1])
    pairs = [seed for seed in sorted(values.keys() & baseline.keys()) if seed < latest]
    results = []
    for look, share in zip(seeds[: seeds.index(latest) + 1], level_shares(seeds), strict=False):
        sides = ([side[seed] for seed in pairs if seed < look] for side in (values, baseline))
        results.append(difference_at_look(differences(*sides), share))
    above, below, lows, highs = np.array(results).T
    low, high = np.fmax.reduce(lows), np.fmin.reduce(highs)
    if low > high:
        above, below, low, high = above[-1:], below[-1:], lows[-1], highs[-1]
    p = np.fmin(np.fmin.reduce(above), np.fmin.reduce(below))
    low, high = np.clip((low, high), *within)
    overall = paired([values[seed] for seed in pairs], [baseline[seed] for seed in pairs])
    return overall._replace(low=float(low), high=float(high), p=float(p))


def difference_at_look(sample: Sample, share: float) -> tuple[float, float, float, float]:
    """Return the p of a mean above 0 and of one below, and the interval, all at a look's share of the level.

    Where all values are equal there is no variance, and no interval unless the sign test rejects one side.
    """
    if sample.size < 2:
        return UNKNOWN
    above, below = (min(p(sample, 0.0) / share, 1.0) for p in (p_above, p_below))
    is_unknown = np.ptp(sample) == 0 and min(above, below) >= LEVEL
    low, high = (NAN, NAN) if is_unknown else interval(sample, LEVEL * share)
    return above, below, low, high
