"""Decision rules: from numbers, one per seed, to a verdict in a sentence.

A rule is a list of statements about a mean, or a mean paired difference: some support a claim, some refute it. A
statement is made where the whole 95 % interval lies within its region, and a claim about which none can be made is
inconclusive. So 5 % of the verdicts are wrong, at most, whatever the truth, where means are near normal (where they are
not: docs/statistics.md), and a lack of significance refutes nothing.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from analysis.formatting import format_effect, format_p_value, is_percent, lower_is_better, plural
from analysis.power import seeds_needed
from analysis.statistics import LEVEL, NAN, Estimate, Sample, bounds, differences, estimate, holm, p_above, p_below

MISSING = 0.2  # share of the seeds that may lack a result; beyond it, those that are left say too little
SIGNS = 6  # seeds from which the sign test finds what is equal in all
INF = float("inf")


class Decision(NamedTuple):
    """A verdict and what it rests on. Without a result `effect` is nan, with fewer than two `low` and `high` are."""

    verdict: str  # supported | refuted | inconclusive | reported
    effect: float  # a mean, or a mean paired difference
    low: float  # its 95 % interval
    high: float
    p: float | None  # of the verdict, else the least of all statements; corrected in a family; None: nothing was tested
    seeds: int  # with a result
    margin: float | None
    sentence: str
    difference: bool = False  # the effect is one, and no level
    metric: str = ""  # that the numbers are in the unit of
    noun: str = "seed"  # what there are so many of


class Statement(NamedTuple):
    """What may be found: that the mean lies between two values."""

    verdict: str  # of the claim, if so
    low: float
    high: float
    words: str


class Case(NamedTuple):
    """A claim beside what the seeds say of it."""

    found: Estimate
    sd: float
    missing: int  # seeds without a result
    statements: list[Statement]  # the first that can be made decides
    p: list[float]  # of each
    tested: bool  # else the interval was given
    margin: float | None
    metric: str
    difference: bool
    family: int = 1  # cases that p is corrected for
    noun: str = "seed"  # what there is a number of each of


def compared(
    values: ArrayLike, baseline: ArrayLike, statements: list[Statement], margin: float | None, metric: str
) -> Case:
    """Return the case of a mean paired difference, [N] values and baseline in the order of the seeds."""
    sample = differences(values, baseline)
    case = _case(sample, np.size(values) - sample.size, statements, metric, change=True)
    return case._replace(margin=margin)


def located(values: ArrayLike | Estimate, statements: list[Statement], metric: str) -> Case:
    """Return the case of the mean of values [N], one per seed, or of an estimate with an interval of its own."""
    if not isinstance(values, Estimate):
        given = np.asarray(values, dtype=float)
        sample = np.sort(given[np.isfinite(given)])
        return _case(sample, given.size - sample.size, statements, metric, change=False)
    p = [max(_above(values, s.low), _below(values, s.high)) for s in statements]
    return Case(values, NAN, 0, statements, p, tested=False, margin=None, metric=metric, difference=False)


def _above(found: Estimate, border: float) -> float:
    """Return the p of the statement that what was estimated lies above a border.

    The distance to the lower end of its interval is taken for that of a normal law, so that p < 0.05 exactly where the
    interval lies above the border, and Holm's correction has something to correct.
    """
    reach = found.mean - found.low
    if not np.isfinite(reach) or found.mean <= border:
        return 1.0
    p = float(2 * special.ndtr(special.ndtri(LEVEL / 2) * (found.mean - border) / reach)) if reach else 0.0
    return p if found.low > border else max(p, LEVEL)


def _below(found: Estimate, border: float) -> float:
    """Return the p of the statement that what was estimated lies below a border."""
    return _above(Estimate(-found.mean, -found.high, -found.low, found.seeds), -border)


def _case(sample: Sample, missing: int, statements: list[Statement], metric: str, *, change: bool) -> Case:
    sd = float(sample.std(ddof=1)) if sample.size > 1 else NAN
    p = [max(p_above(sample, s.low), p_below(sample, s.high)) for s in statements]
    found = estimate(sample, bounds(metric, change=change))
    return Case(found, sd, missing, statements, p, tested=True, margin=None, metric=metric, difference=change)


def corrected(cases: dict[str, Case]) -> dict[str, Case]:
    """Return the cases with the p of each statement corrected for the number of cases."""
    columns = zip(*(case.p for case in cases.values()), strict=True)
    rows = zip(*map(holm, columns), strict=True)
    return {n: case._replace(p=list(p), family=len(cases)) for (n, case), p in zip(cases.items(), rows, strict=True)}


def unsupported(case: Case) -> Case:
    """Return a case without the statements that can be made and support it."""
    kept = [(p, s) for p, s in zip(case.p, case.statements, strict=True) if p >= LEVEL or s.verdict != "supported"]
    return case._replace(p=[p for p, _ in kept], statements=[statement for _, statement in kept])


def distance(case: Case) -> float:
    """Return how far the mean lies off the values that support a claim, in half lengths of its interval.

    Below 0 it lies among them; of what has no interval nothing is known, 0.
    """
    mean, low, high, _ = case.found
    off = min(max(s.low - mean, mean - s.high) for s in case.statements if s.verdict == "supported")
    if high > low:
        return 2 * off / (high - low)
    return math.copysign(INF, off) if off and high == low else 0.0


def decide(case: Case) -> Decision:
    """Return what the p-values of a case allow to say."""
    made = [(p, s) for p, s in zip(case.p, case.statements, strict=True) if p < LEVEL]
    total = case.found.seeds + case.missing
    if case.missing > MISSING * total:
        p, verdict = min(case.p), "inconclusive"
        words = f"cannot tell ({case.missing} of {plural(total, case.noun)} have no result)"
    elif made:
        p, (verdict, _, _, words) = made[0]
    else:
        p, verdict, words = min(case.p), "inconclusive", f"cannot tell ({_wanted(case)})"
    shown = p if case.tested and case.found.seeds > 1 else None
    sentence = f"{figures(case, shown)}: {words}."
    found, seeds, margin = case.found[:3], case.found.seeds, case.margin
    return Decision(verdict, *found, shown, seeds, margin, sentence, case.difference, case.metric, case.noun)


def _wanted(case: Case) -> str:
    """Return how many seeds there are, and how many would probably do if the effect is what it seems to be."""
    seeds = plural(case.found.seeds, case.noun)
    if not case.tested or case.found.seeds < 2:
        return seeds
    needed = min((n for s in case.statements if (n := _needed(case, s)) is not None), default=None)
    if needed is None:
        return f"{seeds}; no practicable number would do, as the effect lies on the border"
    return f"{seeds}; about {max(needed, case.found.seeds + 1)} would be needed"


def _needed(case: Case, statement: Statement) -> int | None:
    """Return how many seeds would allow the statement, if the effect is what it seems to be."""
    mean = case.found.mean
    if not statement.low < mean < statement.high:
        return None
    level = LEVEL if statement.verdict == "supported" else LEVEL / case.family  # as `every` has it
    return seeds_needed(mean - statement.low, statement.high - mean, case.sd, level=level) if case.sd else SIGNS


def figures(case: Case, p: float | None) -> str:
    """Return `+1.2 points [0.3, 2.1], p=0.01, 10 seeds`."""
    mean, low, high, seeds = case.found
    if not seeds or np.isnan(mean):
        return "No result"
    text = format_effect(case.metric, mean, low, high, change=case.difference) + of_metric(
        case.metric, change=case.difference
    )
    tail = "" if p is None else f", p{format_p_value(p)}" if p < 0.001 else f", p={format_p_value(p)}"
    gone = f" of {seeds + case.missing}" if case.missing else ""
    return f"{text}{tail}, {seeds}{gone} {case.noun}{'s' if seeds + case.missing != 1 else ''}"


def of_metric(metric: str, *, change: bool = False) -> str:
    """Return which metric a number is of, where its unit does not say it."""
    if not metric or is_percent(metric) or (change and lower_is_better(metric)):
        return ""
    return f" {metric}"
