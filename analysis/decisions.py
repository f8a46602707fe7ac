"""Decision rules: from numbers, one per seed, to a verdict in a sentence.

A rule is a list of statements about a mean, or a mean paired difference: some support a claim, some refute it. A
statement is made where the whole 95 % interval lies within its region, and a claim about which none can be made is
inconclusive. So 5 % of the verdicts are wrong, at most, whatever the truth, where means are near normal (where they are
not: docs/statistics.md), and a lack of significance refutes nothing.
"""

import math
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, NamedTuple, ParamSpec

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from analysis.power import seeds_needed
from analysis.statistics import LEVEL, NAN, Estimate, Sample, bounds, differences, estimate, holm, p_above, p_below
from analysis.text import amount, effect, is_percent, less_is_better, plural, pvalue

MISSING = 0.2  # share of the seeds that may lack a result; beyond it, those that are left say too little
SIGNS = 6  # seeds from which the sign test finds what is equal in all
INF = float("inf")

P = ParamSpec("P")


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


RULES: dict[str, Callable[..., Decision]] = {}
CASES: dict[str, Callable[..., Case]] = {}


def _rule(case: Callable[P, Case]) -> Callable[P, Decision]:
    """Register a claim under its name, and return the rule that decides it; `noun` is what takes the seeds' place."""

    @wraps(case)
    def named(*args: Any, noun: str = "seed", **options: Any) -> Case:
        return case(*args, **options)._replace(noun=noun)

    @wraps(case)
    def rule(*args: P.args, **options: P.kwargs) -> Decision:
        return decide(CASES[case.__name__](*args, **options))

    CASES[case.__name__], RULES[case.__name__] = named, rule
    return rule


@_rule
def greater(
    values: ArrayLike, baseline: ArrayLike, *, by: float = 0.0, margin: float | None = None, metric: str = ""
) -> Case:
    """Claim that values exceed their baseline by more than `by`; both [N], in the order of the seeds.

    With a `margin`, the smallest excess over `by` that matters, the claim is also refuted by a gain below it.
    """
    margin = margin and abs(margin)
    statements = _one_sided(by, margin, metric, ("greater", "less", "gain"))
    return _compare(values, baseline, statements, margin, metric)


@_rule
def less(
    values: ArrayLike, baseline: ArrayLike, *, by: float = 0.0, margin: float | None = None, metric: str = ""
) -> Case:
    """Claim that values lie below their baseline by more than `by`: `greater`, mirrored."""
    margin = margin and abs(margin)
    statements = _mirrored(_one_sided(by, margin, metric, ("less", "greater", "fall")))
    return _compare(values, baseline, statements, margin, metric)


@_rule
def non_inferior(
    values: ArrayLike, baseline: ArrayLike, *, margin: float, highest_is_best: bool = True, metric: str = ""
) -> Case:
    """Claim that values are not worse than their baseline by the margin; both [N], in the order of the seeds."""
    size = amount(metric, margin)
    statements = [
        Statement("supported", -margin, INF, f"not worse by {size}"),
        Statement("refuted", -INF, -margin, f"worse by more than {size}"),
    ]
    return _compare(values, baseline, statements if highest_is_best else _mirrored(statements), margin, metric)


@_rule
def equivalent(values: ArrayLike, baseline: ArrayLike, *, margin: float, metric: str = "") -> Case:
    """Claim that values differ from their baseline by less than the margin; both [N], in the order of the seeds.

    Two one-sided tests, each at 2.5 % so that they agree with the interval that is shown; `statistics.tost` has the
    textbook's p, half of this one.
    """
    size = amount(metric, margin)
    statements = [
        Statement("supported", -margin, margin, f"no effect (equivalent within {size})"),
        Statement("refuted", margin, INF, f"greater by more than {size}"),
        Statement("refuted", -INF, -margin, f"less by more than {size}"),
    ]
    return _compare(values, baseline, statements, margin, metric)


@_rule
def above(values: ArrayLike | Estimate, *, threshold: float, metric: str = "") -> Case:
    """Claim that the mean of values [N], one per seed, or an estimate with an interval of its own, is above a value."""
    size = amount(metric, threshold, change=False)
    statements = [
        Statement("supported", threshold, INF, f"above {size}"),
        Statement("refuted", -INF, threshold, f"below {size}"),
    ]
    return _locate(values, statements, metric)


@_rule
def below(values: ArrayLike | Estimate, *, threshold: float, metric: str = "") -> Case:
    """Claim that the mean of values [N], one per seed, or an estimate with an interval of its own, is below a value."""
    size = amount(metric, threshold, change=False)
    statements = [
        Statement("supported", -INF, threshold, f"below {size}"),
        Statement("refuted", threshold, INF, f"above {size}"),
    ]
    return _locate(values, statements, metric)


def exact(errors: ArrayLike, *, tolerance: float, metric: str = "") -> Decision:
    """Claim that no error, of any shape, exceeds the tolerance in size: one counterexample refutes, no test is needed.

    `effect` is the largest error.
    """
    sizes = np.abs(np.asarray(errors, dtype=float)).ravel()
    known = sizes[~np.isnan(sizes)]
    largest = float(known.max()) if known.size else NAN
    if largest > tolerance:
        verdict, words = "refuted", f"beyond the tolerance of {tolerance:g}"
    elif known.size < sizes.size or not known.size:
        verdict, words = "inconclusive", f"cannot tell ({sizes.size - known.size} of {sizes.size} have no number)"
    else:
        verdict, words = "supported", f"within the tolerance of {tolerance:g}"
    of_all = f"{_of(metric)}, the largest of {plural(known.size, 'error')}"
    sentence = f"{effect(metric, largest) + of_all if known.size else 'No error'}: {words}."
    return Decision(verdict, largest, NAN, NAN, None, known.size, tolerance, sentence, metric=metric, noun="error")


def report(
    values: ArrayLike | Estimate, baseline: ArrayLike | None = None, *, metric: str = "", noun: str = "seed"
) -> Decision:
    """Claim nothing: a mean, or a mean paired difference, with its interval."""
    case = _locate(values, [], metric) if baseline is None else _compare(values, baseline, [], None, metric)
    sentence = f"{_figures(case._replace(noun=noun), None)}."
    return Decision("reported", *case.found[:3], None, case.found.seeds, None, sentence, case.difference, metric, noun)


def members(cells: Mapping[str, tuple[Any, ...]], rule: str = "greater", **options: Any) -> dict[str, Decision]:
    """Return what `every` goes by in each cell: supported if it is by itself, and else what it is in the family.

    A correction takes statements away, and a cell that is refuted by itself may be left with one that supports. It is
    not supported for that.
    """
    cases = _cases(cells, rule, **options)
    alone = {name: decide(case) for name, case in cases.items()}
    together = {name: decide(_unsupported(case)) for name, case in corrected(cases).items()}
    return {name: one if one.verdict == "supported" else together[name] for name, one in alone.items()}


def every(cells: Mapping[str, tuple[Any, ...]], *, rule: str = "greater", **options: Any) -> Decision:
    """Claim that a rule's claim holds in every cell.

    Supported if it is in each cell, uncorrected: an intersection-union test, for which one cell without the effect must
    be wrongly passed, whatever the others are, needs no correction. Refuted if it is in some cell after Holm's, since
    with many cells one of them would be by chance. Effect, interval and seeds are those of the weakest cell.
    """
    cases = _cases(cells, rule, **options)
    if not cases:
        return Decision("inconclusive", NAN, NAN, NAN, None, 0, None, "Cannot tell (there is no cell to compare).")
    decisions = members(cells, rule, **options)
    off = {name: _off(case) for name, case in cases.items()}
    refuted = {name: decision for name, decision in decisions.items() if decision.verdict == "refuted"}
    weakest = max(cases, key=lambda name: (decisions[name].verdict != "supported", off[name]))
    if refuted:
        weakest = min(refuted, key=lambda name: (refuted[name].p or 0.0, -off[name]))
    chosen = decisions[weakest]
    held = sum(decision.verdict == "supported" for decision in decisions.values())
    verdict = "refuted" if refuted else "supported" if held == len(cases) else "inconclusive"
    sentence = f"Supported in {held} of {plural(len(cases), 'cell')}; the weakest is {weakest}: {chosen.sentence}"
    return chosen._replace(verdict=verdict, sentence=sentence)


RULES |= {"exact": exact, "report": report, "every": every}


def _one_sided(by: float, margin: float | None, metric: str, words: tuple[str, str, str]) -> list[Statement]:
    """Return the statements of a claim that a mean exceeds `by`; the words are for more, for less and for a gain."""
    more, less, gain = words
    excess = f"{more} by more than {amount(metric, by)}" if by else more
    statements = [
        Statement("supported", by, INF, excess),
        Statement("refuted", -INF, by, f"not {excess}" if by else less),
    ]
    if not margin:
        return statements
    size = amount(metric, margin)
    none = f"within {size} of {amount(metric, by)}" if by else f"no effect (equivalent within {size})"
    return [
        Statement("refuted", by, by + margin, f"{excess}, though not by the margin of {size}"),
        *statements,
        Statement("refuted", by - margin, by + margin, none),
        Statement("refuted", -INF, by + margin, f"no {gain} of {amount(metric, by + margin)}"),
    ]


def _mirrored(statements: list[Statement]) -> list[Statement]:
    """Return the same statements of a mean that is turned round."""
    return [Statement(s.verdict, -s.high, -s.low, s.words) for s in statements]


def _cases(
    cells: Mapping[str, tuple[Any, ...]], rule: str, *, metric: str | Mapping[str, str] = "", **options: Any
) -> dict[str, Case]:
    """Return the case of each cell; their metric may be one, or that of each by its name."""
    metrics = dict.fromkeys(cells, metric) if isinstance(metric, str) else metric
    return {name: CASES[rule](*cell, metric=metrics[name], **options) for name, cell in cells.items()}


def _compare(
    values: ArrayLike, baseline: ArrayLike, statements: list[Statement], margin: float | None, metric: str
) -> Case:
    sample = differences(values, baseline)
    case = _case(sample, np.size(values) - sample.size, statements, metric, change=True)
    return case._replace(margin=margin)


def _locate(values: ArrayLike | Estimate, statements: list[Statement], metric: str) -> Case:
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


def _unsupported(case: Case) -> Case:
    """Return a case without the statements that can be made and support it."""
    kept = [(p, s) for p, s in zip(case.p, case.statements, strict=True) if p >= LEVEL or s.verdict != "supported"]
    return case._replace(p=[p for p, _ in kept], statements=[statement for _, statement in kept])


def _off(case: Case) -> float:
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
    sentence = f"{_figures(case, shown)}: {words}."
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


def _figures(case: Case, p: float | None) -> str:
    """Return `+1.2 points [0.3, 2.1], p=0.01, 10 seeds`."""
    mean, low, high, seeds = case.found
    if not seeds or np.isnan(mean):
        return "No result"
    text = effect(case.metric, mean, low, high, change=case.difference) + _of(case.metric, change=case.difference)
    tail = "" if p is None else f", p{pvalue(p)}" if p < 0.001 else f", p={pvalue(p)}"
    gone = f" of {seeds + case.missing}" if case.missing else ""
    return f"{text}{tail}, {seeds}{gone} {case.noun}{'s' if seeds + case.missing != 1 else ''}"


def _of(metric: str, *, change: bool = False) -> str:
    """Return which metric a number is of, where its unit does not say it."""
    if not metric or is_percent(metric) or (change and less_is_better(metric)):
        return ""
    return f" {metric}"
