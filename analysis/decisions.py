"""Decisions: from numbers, one per seed, through hypothesis tests to a verdict in a sentence.

A claim comes with hypotheses about a mean, or a mean paired difference: some support the claim, some refute it. A
hypothesis is accepted where the whole 95 % interval lies within its region, and a claim of which none is accepted is
inconclusive. So at most 5 % of the verdicts are wrong, whatever the truth, where means are near normal (where they are
not: docs/statistics.md), and a lack of significance refutes nothing.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from analysis.formatting import format_effect, format_p_value, is_percent, lower_is_better, plural
from analysis.power import seeds_needed
from analysis.statistics import (
    LEVEL,
    NAN,
    Estimate,
    Sample,
    bounds,
    differences,
    estimate,
    holm,
    p_above,
    p_below,
    standard_deviation,
)

MAX_MISSING = 0.2  # share of the seeds that may lack a result; beyond it the test is inconclusive
INF = float("inf")


class Decision(NamedTuple):
    """A verdict and what it rests on. Without a result `effect` is nan, with fewer than two `low` and `high` are."""

    verdict: str  # supported | refuted | inconclusive | reported
    effect: float  # a mean, or a mean paired difference
    low: float  # its 95 % interval
    high: float
    p: float | None  # of the accepted hypothesis, else the least; corrected in a family; None: nothing was tested
    seeds: int  # with a result
    margin: float | None
    sentence: str
    difference: bool = False  # the effect is a difference, and no level
    metric: str = ""  # in whose unit the effect is
    noun: str = "seed"  # for the replicates that `seeds` counts


class Hypothesis(NamedTuple):
    """That the mean lies between two values."""

    verdict: str  # on the claim where the hypothesis is accepted
    low: float
    high: float
    description: str


class HypothesisTest(NamedTuple):
    """The hypotheses of a claim, tested on one number per seed."""

    estimate: Estimate
    sd: float
    missing: int  # seeds without a result
    hypotheses: list[Hypothesis]  # the first that is accepted decides
    p_values: list[float]  # of each hypothesis
    reports_p: bool  # False for an estimate with an interval of its own, whose p is derived from that
    margin: float | None
    metric: str
    difference: bool  # of two sides, else a level
    family_size: int = 1  # tests that p is corrected for
    noun: str = "seed"  # for the replicates


def paired_test(
    values: ArrayLike, baseline: ArrayLike, hypotheses: list[Hypothesis], margin: float | None, metric: str
) -> HypothesisTest:
    """Return the test of a mean paired difference; values and baseline are [N], in the order of the seeds."""
    sample = differences(values, baseline)
    test = t_test(sample, np.size(values) - sample.size, hypotheses, metric, difference=True)
    return test._replace(margin=margin)


def one_sample_test(values: ArrayLike | Estimate, hypotheses: list[Hypothesis], metric: str) -> HypothesisTest:
    """Return the test of the mean of values [N], one per seed, or of an estimate with an interval of its own."""
    if not isinstance(values, Estimate):
        array = np.asarray(values, dtype=float)
        sample = np.sort(array[np.isfinite(array)])
        return t_test(sample, array.size - sample.size, hypotheses, metric, difference=False)
    p_values = [max(interval_p_above(values, h.low), interval_p_below(values, h.high)) for h in hypotheses]
    return HypothesisTest(
        values, NAN, 0, hypotheses, p_values, reports_p=False, margin=None, metric=metric, difference=False
    )


def interval_p_above(result: Estimate, bound: float) -> float:
    """Return the p of the hypothesis that an estimated value lies above a bound, from its interval.

    The distance to the lower end of the interval is taken for that of a normal distribution, so that p < 0.05 exactly
    where the interval lies above the bound, and Holm's correction has something to correct.
    """
    half_width = result.mean - result.low
    if not np.isfinite(half_width) or result.mean <= bound:
        return 1.0
    z = special.ndtri(LEVEL / 2)
    p = float(2 * special.ndtr(z * (result.mean - bound) / half_width)) if half_width else 0.0
    return p if result.low > bound else max(p, LEVEL)


def interval_p_below(result: Estimate, bound: float) -> float:
    """Return the p of the hypothesis that an estimated value lies below a bound, from its interval."""
    return interval_p_above(Estimate(-result.mean, -result.high, -result.low, result.seeds), -bound)


def t_test(
    sample: Sample, missing: int, hypotheses: list[Hypothesis], metric: str, *, difference: bool
) -> HypothesisTest:
    """Return the t-tests of hypotheses about the mean of a sample."""
    sd = standard_deviation(sample) if sample.size > 1 else NAN
    p_values = [max(p_above(sample, h.low), p_below(sample, h.high)) for h in hypotheses]
    result = estimate(sample, bounds(metric, change=difference))
    return HypothesisTest(
        result, sd, missing, hypotheses, p_values, reports_p=True, margin=None, metric=metric, difference=difference
    )


def holm_correction(tests: dict[str, HypothesisTest]) -> dict[str, HypothesisTest]:
    """Return the tests of a family with the p-values of each hypothesis corrected for their number."""
    columns = zip(*(test.p_values for test in tests.values()), strict=True)
    rows = zip(*map(holm, columns), strict=True)
    return {
        name: test._replace(p_values=list(p_values), family_size=len(tests))
        for (name, test), p_values in zip(tests.items(), rows, strict=True)
    }


def without_support(test: HypothesisTest) -> HypothesisTest:
    """Return a test without those of its accepted hypotheses that support the claim."""
    pairs = zip(test.p_values, test.hypotheses, strict=True)
    kept = [(p, h) for p, h in pairs if p >= LEVEL or h.verdict != "supported"]
    return test._replace(p_values=[p for p, _ in kept], hypotheses=[hypothesis for _, hypothesis in kept])


def distance_to_support(test: HypothesisTest) -> float:
    """Return how far the mean lies from the region that supports the claim, in half widths of its interval.

    It is negative within the region, and 0 where there is no interval.
    """
    mean, low, high, _ = test.estimate
    distance = min(max(h.low - mean, mean - h.high) for h in test.hypotheses if h.verdict == "supported")
    if high > low:
        return 2 * distance / (high - low)
    return math.copysign(INF, distance) if distance and high == low else 0.0


def decide(test: HypothesisTest) -> Decision:
    """Return the verdict of the first hypothesis that is accepted, or an inconclusive one."""
    accepted = [(p, h) for p, h in zip(test.p_values, test.hypotheses, strict=True) if p < LEVEL]
    total = test.estimate.seeds + test.missing
    if test.missing > MAX_MISSING * total:
        p, verdict = min(test.p_values), "inconclusive"
        description = f"inconclusive ({test.missing} of {plural(total, test.noun)} have no result)"
    elif accepted:
        p, (verdict, _, _, description) = accepted[0]
    else:
        p, verdict, description = min(test.p_values), "inconclusive", f"inconclusive ({sample_size_advice(test)})"
    reported_p = p if test.reports_p and test.estimate.seeds > 1 else None
    sentence = f"{estimate_text(test, reported_p)}: {description}."
    interval, seeds, margin = test.estimate[:3], test.estimate.seeds, test.margin
    return Decision(verdict, *interval, reported_p, seeds, margin, sentence, test.difference, test.metric, test.noun)


def sample_size_advice(test: HypothesisTest) -> str:
    """Return `5 seeds; about 8 needed`: the sample size that would do if the effect is what was observed."""
    seeds = plural(test.estimate.seeds, test.noun)
    if not test.reports_p or test.estimate.seeds < 2:
        return seeds
    needed = min((n for h in test.hypotheses if (n := seeds_to_accept(test, h)) is not None), default=None)
    if needed is None:
        return f"{seeds}; no practical number is enough for an effect on the boundary"
    return f"{seeds}; about {max(needed, test.estimate.seeds + 1)} needed"


def seeds_to_accept(test: HypothesisTest, hypothesis: Hypothesis) -> int | None:
    """Return how many seeds a hypothesis needs to be accepted if the effect is what was observed; None: it is not."""
    mean = test.estimate.mean
    if not hypothesis.low < mean < hypothesis.high:
        return None
    level = LEVEL if hypothesis.verdict == "supported" else LEVEL / test.family_size  # as in `rules.every`
    if not test.sd:
        return math.floor(2 - math.log2(level))  # the sign test of N equal values has p = 2^(1 - N)
    return seeds_needed(mean - hypothesis.low, hypothesis.high - mean, test.sd, level=level)


def estimate_text(test: HypothesisTest, p: float | None) -> str:
    """Return `+1.2 points [0.3, 2.1], p=0.01, 10 seeds`."""
    mean, low, high, seeds = test.estimate
    if not seeds or np.isnan(mean):
        return "No result"
    value = format_effect(test.metric, mean, low, high, change=test.difference)
    value += metric_suffix(test.metric, change=test.difference)
    p_text = "" if p is None else f", p{format_p_value(p)}" if p < 0.001 else f", p={format_p_value(p)}"
    total = f" of {seeds + test.missing}" if test.missing else ""
    return f"{value}{p_text}, {seeds}{total} {test.noun}{'s' if seeds + test.missing != 1 else ''}"


def metric_suffix(metric: str, *, change: bool = False) -> str:
    """Return the name of a metric after a blank; nothing where the unit of the number implies it."""
    if not metric or is_percent(metric) or (change and lower_is_better(metric)):
        return ""
    return f" {metric}"
