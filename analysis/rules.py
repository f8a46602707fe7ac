"""The decision rules by name: from numbers, one per seed, to a decision."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec

import numpy as np
from numpy.typing import ArrayLike

from analysis.decisions import (
    INF,
    Case,
    Decision,
    Statement,
    compared,
    corrected,
    decide,
    distance,
    figures,
    located,
    of_metric,
    unsupported,
)
from analysis.formatting import format_amount, format_effect, plural
from analysis.statistics import NAN, Estimate

P = ParamSpec("P")

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
    return compared(values, baseline, statements, margin, metric)


@_rule
def less(
    values: ArrayLike, baseline: ArrayLike, *, by: float = 0.0, margin: float | None = None, metric: str = ""
) -> Case:
    """Claim that values lie below their baseline by more than `by`: `greater`, mirrored."""
    margin = margin and abs(margin)
    statements = _mirrored(_one_sided(by, margin, metric, ("less", "greater", "fall")))
    return compared(values, baseline, statements, margin, metric)


@_rule
def non_inferior(
    values: ArrayLike, baseline: ArrayLike, *, margin: float, higher_is_better: bool = True, metric: str = ""
) -> Case:
    """Claim that values are not worse than their baseline by the margin; both [N], in the order of the seeds."""
    size = format_amount(metric, margin)
    statements = [
        Statement("supported", -margin, INF, f"not worse by {size}"),
        Statement("refuted", -INF, -margin, f"worse by more than {size}"),
    ]
    return compared(values, baseline, statements if higher_is_better else _mirrored(statements), margin, metric)


@_rule
def equivalent(values: ArrayLike, baseline: ArrayLike, *, margin: float, metric: str = "") -> Case:
    """Claim that values differ from their baseline by less than the margin; both [N], in the order of the seeds.

    Two one-sided tests, each at 2.5 % so that they agree with the interval that is shown; `statistics.tost` has the
    textbook's p, half of this one.
    """
    size = format_amount(metric, margin)
    statements = [
        Statement("supported", -margin, margin, f"no effect (equivalent within {size})"),
        Statement("refuted", margin, INF, f"greater by more than {size}"),
        Statement("refuted", -INF, -margin, f"less by more than {size}"),
    ]
    return compared(values, baseline, statements, margin, metric)


@_rule
def above(values: ArrayLike | Estimate, *, threshold: float, metric: str = "") -> Case:
    """Claim that the mean of values [N], one per seed, or an estimate with an interval of its own, is above a value."""
    size = format_amount(metric, threshold, change=False)
    statements = [
        Statement("supported", threshold, INF, f"above {size}"),
        Statement("refuted", -INF, threshold, f"below {size}"),
    ]
    return located(values, statements, metric)


@_rule
def below(values: ArrayLike | Estimate, *, threshold: float, metric: str = "") -> Case:
    """Claim that the mean of values [N], one per seed, or an estimate with an interval of its own, is below a value."""
    size = format_amount(metric, threshold, change=False)
    statements = [
        Statement("supported", -INF, threshold, f"below {size}"),
        Statement("refuted", threshold, INF, f"above {size}"),
    ]
    return located(values, statements, metric)


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
    of_all = f"{of_metric(metric)}, the largest of {plural(known.size, 'error')}"
    sentence = f"{format_effect(metric, largest) + of_all if known.size else 'No error'}: {words}."
    return Decision(verdict, largest, NAN, NAN, None, known.size, tolerance, sentence, metric=metric, noun="error")


def report(
    values: ArrayLike | Estimate, baseline: ArrayLike | None = None, *, metric: str = "", noun: str = "seed"
) -> Decision:
    """Claim nothing: a mean, or a mean paired difference, with its interval."""
    case = located(values, [], metric) if baseline is None else compared(values, baseline, [], None, metric)
    sentence = f"{figures(case._replace(noun=noun), None)}."
    return Decision("reported", *case.found[:3], None, case.found.seeds, None, sentence, case.difference, metric, noun)


def members(cells: Mapping[str, tuple[Any, ...]], rule: str = "greater", **options: Any) -> dict[str, Decision]:
    """Return what `every` goes by in each cell: supported if it is by itself, and else what it is in the family.

    A correction takes statements away, and a cell that is refuted by itself may be left with one that supports. It is
    not supported for that.
    """
    cases = _cases(cells, rule, **options)
    alone = {name: decide(case) for name, case in cases.items()}
    together = {name: decide(unsupported(case)) for name, case in corrected(cases).items()}
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
    off = {name: distance(case) for name, case in cases.items()}
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
    excess = f"{more} by more than {format_amount(metric, by)}" if by else more
    statements = [
        Statement("supported", by, INF, excess),
        Statement("refuted", -INF, by, f"not {excess}" if by else less),
    ]
    if not margin:
        return statements
    size = format_amount(metric, margin)
    none = f"within {size} of {format_amount(metric, by)}" if by else f"no effect (equivalent within {size})"
    return [
        Statement("refuted", by, by + margin, f"{excess}, though not by the margin of {size}"),
        *statements,
        Statement("refuted", by - margin, by + margin, none),
        Statement("refuted", -INF, by + margin, f"no {gain} of {format_amount(metric, by + margin)}"),
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
