"""Seeds added only where they are needed: looks at a few numbers of seeds, whose error rates add up to that of one.

The level is shared out over the looks by a spending function (Lan and DeMets 1983), and each look is tested at its
share. This union bound holds for t-tests of five seeds and for any dependence; boundaries of normal theory, which are a
little wider, do not. The p that a comparison has at a look may be read there and is corrected by Holm like any other.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from analysis.decisions import CASES, Case, Decision, corrected, decide
from analysis.statistics import ANYWHERE, LEVEL, NAN, Difference, Estimate, bounds, paired

SPENDING = {
    "pocock": lambda t: np.log1p((np.e - 1) * t),
    "obrien-fleming": lambda t: 2 * stats.norm.sf(stats.norm.isf(LEVEL / 2) / np.sqrt(t)) / LEVEL,
}


def looks(fewest: int, most: int) -> list[int]:
    """Return the numbers of seeds at which to look: doubled each time, as 5, 10, 20, 40."""
    found = [fewest]
    while 2 * found[-1] < most:
        found.append(2 * found[-1])
    return [*found, most] if most > fewest else found


def shares(seeds: Sequence[int], spending: str = "pocock") -> list[float]:
    """Return each look's share of the level; they add up to 1.

    `pocock` decides early where effects are large; `obrien-fleming` keeps nearly all for the last look.
    """
    spent = SPENDING[spending](np.asarray(seeds) / seeds[-1])
    return [float(share) for share in np.diff(spent, prepend=0.0)]


def sequential(
    cells: Mapping[str, tuple[Any, ...]],
    rule: str = "greater",
    *,
    seeds: Sequence[int],
    spending: str = "pocock",
    **options: Any,
) -> dict[str, Decision]:
    """Return the decision of each comparison so far, Holm-corrected for their number.

    A cell holds a rule's arrays in the order of the seeds, nan where a trial failed, as long as has been run; `seeds`
    are all the looks. The interval is that of the latest look at its share of the level, and so holds at every look.
    """
    weights = shares(seeds, spending)
    return {
        name: decide(case)
        for name, case in corrected(
            {name: _so_far(cell, rule, seeds, weights, options) for name, cell in cells.items()}
        ).items()
    }


def undecided(decisions: Mapping[str, Decision]) -> list[str]:
    """Return the comparisons that more seeds may still decide."""
    return [name for name, decision in decisions.items() if decision.verdict == "inconclusive"]


def next_look(run: int, seeds: Iterable[int]) -> int | None:
    """Return up to which number of seeds an undecided comparison is to be run; None after the last look."""
    return min((look for look in seeds if look > run), default=None)


def so_far(
    values: Mapping[int, float],
    baseline: Mapping[int, float],
    seeds: Sequence[int],
    within: tuple[float, float] = ANYWHERE,
) -> Difference:
    """Return the paired difference to a baseline, as `paired`, with a p and an interval that hold at every look.

    Args:
        values: by seed, of those that have a result.
        baseline: the same.
        seeds: all the looks, as numbers of seeds.
        within: bounds of a difference.
    """
    pairs = sorted(values.keys() & baseline.keys())
    weights = dict(zip(seeds, shares(seeds), strict=True))
    latest = next((look for look in seeds if look > max(pairs, default=0)), seeds[-1])
    found = []
    for look in (look for look in seeds if look <= latest):
        seen = [seed for seed in pairs if seed < look]
        difference = paired([values[seed] for seed in seen], [baseline[seed] for seed in seen], within)
        found.append((difference, weights[look]))
    last, share = found[-1]
    p = min((min(one.p / weight, 1.0) for one, weight in found if not np.isnan(one.p)), default=NAN)
    low, high = _repeated(Estimate(last.mean, NAN, NAN, last.pairs), last.sd, LEVEL * share, within)[1:3]
    return last._replace(low=low, high=high, p=p)


def _so_far(
    cell: tuple[Any, ...], rule: str, seeds: Sequence[int], weights: Sequence[float], options: Mapping[str, Any]
) -> Case:
    """Return the case of a comparison at its latest look, with the smallest of each statement's p over the looks."""
    run = min(len(values) for values in cell)
    reached = [(look, share) for look, share in zip(seeds, weights, strict=True) if look <= run]
    cases = [CASES[rule](*(values[:look] for values in cell), **options) for look, _ in reached]
    if not cases:
        case = CASES[rule](*cell, **options)
        return case._replace(p=[1.0] * len(case.p))
    p = [[min(p / share, 1.0) for p in case.p] for case, (_, share) in zip(cases, reached, strict=True)]
    within = bounds(cases[-1].metric, change=cases[-1].difference)
    found = _repeated(cases[-1].found, cases[-1].sd, LEVEL * reached[-1][1], within)
    return cases[-1]._replace(found=found, p=[min(column) for column in zip(*p, strict=True)])


def _repeated(found: Estimate, sd: float, level: float, within: tuple[float, float]) -> Estimate:
    """Return an estimate with the interval of another level, which ends at bounds that it must lie within."""
    if found.seeds < 2:
        return found._replace(low=NAN, high=NAN)
    reach = float(stats.t.isf(level / 2, found.seeds - 1)) * sd / found.seeds**0.5
    low, high = (float(end) for end in np.clip((found.mean - reach, found.mean + reach), *within))
    return found._replace(low=low, high=high)
