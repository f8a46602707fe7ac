"""The decision rules by name: from numbers, one per seed, to a decision."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec

import numpy as np
from numpy.typing import ArrayLike

from analysis.decisions import (
    INF,
    Decision,
    Hypothesis,
    HypothesisTest,
    decide,
    distance_to_support,
    estimate_text,
    holm_correction,
    metric_suffix,
    one_sample_test,
    paired_test,
    without_support,
)
from analysis.formatting import format_amount, format_effect, plural
from analysis.statistics import NAN, Estimate

P = ParamSpec("P")

RULES: dict[str, Callable[..., Decision]] = {}
TESTS: dict[str, Callable[..., HypothesisTest]] = {}  # of the rules that test hypotheses about one mean


def register_rule(test: Callable[P, HypothesisTest]) -> Callable[P, Decision]:
    """Register a test under its name, and return the rule that decides by it.

    The registered test also takes `noun`, for the replicates where they are no seeds.
    """

    @wraps(test)
    def test_with_noun(*args: Any, noun: str = "seed", **options: Any) -> HypothesisTest:
        return test(*args, **options)._replace(noun=noun)

    @wraps(test)
    def rule(*args: P.args, **options: P.kwargs) -> Decision:
        return decide(TESTS[test.__name__](*args, **options))

    TESTS[test.__name__], RULES[test.__name__] = test_with_noun, rule
    return rule


@register_rule
def greater(
    values: ArrayLike, baseline: ArrayLike, *, by: float = 0.0, margin: float | None = None, metric: str = ""
) -> HypothesisTest:
    """Claim that values exceed their baseline by more than `by`; both [N], in the order of the seeds.

    With a `margin`, the smallest excess over `by` that matters, the claim is also refuted by a gain below it.
    """
    margin = margin and abs(margin)
    hypotheses = superiority_hypotheses(by, margin, metric, ("greater", "less", "gain"))
    return paired_test(values, baseline, hypotheses, margin, metric)


@register_rule
def less(
    values: ArrayLike, baseline: ArrayLike, *, by: float = 0.0, margin: float | None = None, metric: str = ""
) -> HypothesisTest:
    """Claim that values lie below their baseline by more than `by`: `greater`, mirrored."""
    margin = margin and abs(margin)
    hypotheses = mirrored(superiority_hypotheses(by, margin, metric, ("less", "greater", "decrease")))
    return paired_test(values, baseline, hypotheses, margin, metric)


@register_rule
def non_inferior(
    values: ArrayLike, baseline: ArrayLike, *, margin: float, higher_is_better: bool = True, metric: str = ""
) -> HypothesisTest:
    """Claim that values are not worse than their baseline by the margin; both [N], in the order of the seeds."""
    size = format_amount(metric, margin)
    hypotheses = [
        Hypothesis("supported", -margin, INF, f"not worse by {size}"),
        Hypothesis("refuted", -INF, -margin, f"worse by more than {size}"),
    ]
    return paired_test(values, baseline, hypotheses if higher_is_better else mirrored(hypotheses), margin, metric)


@register_rule
def equivalent(values: ArrayLike, baseline: ArrayLike, *, margin: float, metric: str = "") -> HypothesisTest:
    """Claim that values differ from their baseline by less than the margin; both [N], in the order of the seeds.

    Two one-sided tests, each at 2.5 % so that they agree with the interval that is shown; `statistics.tost` has the
    textbook's p, half of this one.
    """
    size = format_amount(metric, margin)
    hypotheses = [
        Hypothesis("supported", -margin, margin, f"no effect (equivalent within {size})"),
        Hypothesis("refuted", margin, INF, f"greater by more than {size}"),
        Hypothesis("refuted", -INF, -margin, f"less by more than {size}"),
    ]
    return paired_test(values, baseline, hypotheses, margin, metric)


@register_rule
def above(values: ArrayLike | Estimate, *, threshold: float, metric: str = "") -> HypothesisTest:
    """Claim that the mean of values [N], one per seed, or an estimate with an interval of its own, is above a value."""
    size = format_amount(metric, threshold, change=False)
    hypotheses = [
        Hypothesis("supported", threshold, INF, f"above {size}"),
        Hypothesis("refuted", -INF, threshold, f"below {size}"),
    ]
    return one_sample_test(values, hypotheses, metric)


@register_rule
def below(values: ArrayLike | Estimate, *, threshold: float, metric: str = "") -> HypothesisTest:
    """Claim that the mean of values [N], one per seed, or an estimate with an interval of its own, is below a value."""
    size = format_amount(metric, threshold, change=False)
    hypotheses = [
        Hypothesis("supported", -INF, threshold, f"below {size}"),
        Hypothesis("refuted", threshold, INF, f"above {size}"),
    ]
    return one_sample_test(values, hypotheses, metric)


def exact(errors: ArrayLike, *, tolerance: float, metric: str = "") -> Decision:
    """Claim that no error, of any shape, exceeds the tolerance in size: one counterexample refutes, no test is needed.

    `effect` is the largest error.
    """
    sizes = np.abs(np.asarray(errors, dtype=float)).ravel()
    known = sizes[~np.isnan(sizes)]
    largest = float(known.max()) if known.size else NAN
    if largest > tolerance:
        verdict, description = "refuted", f"beyond the tolerance of {tolerance:g}"
    elif known.size < sizes.size or not known.size:
        verdict, description = (
            "inconclusive",
            f"inconclusive ({sizes.size - known.size} of {plural(sizes.size, 'error')} missing)",
        )
    else:
        verdict, description = "supported", f"within the tolerance of {tolerance:g}"
    of_all = f"{metric_suffix(metric)}, the largest of {plural(known.size, 'error')}"
    sentence = f"{format_effect(metric, largest) + of_all if known.size else 'No error'}: {description}."
    return Decision(verdict, largest, NAN, NAN, None, known.size, tolerance, sentence, metric=metric, noun="error")


def report(
    values: ArrayLike | Estimate, baseline: ArrayLike | None = None, *, metric: str = "", noun: str = "seed"
) -> Decision:
    """Claim nothing: a mean, or a mean paired difference, with its interval."""
    test = one_sample_test(values, [], metric) if baseline is None else paired_test(values, baseline, [], None, metric)
    sentence = f"{estimate_text(test._replace(noun=noun), None)}."
    result = test.estimate
    return Decision("reported", *result[:3], None, result.seeds, None, sentence, test.difference, metric, noun)


def cell_decisions(cells: Mapping[str, tuple[Any, ...]], rule: str = "greater", **options: Any) -> dict[str, Decision]:
    """Return the decision on each cell that `every` counts: the uncorrected one if it supports, else the corrected one.

    The correction takes hypotheses away, and a cell that is refuted without it may be left with one that supports. Such
    a cell does not count as supported.
    """
    tests = cell_tests(cells, rule, **options)
    uncorrected = {name: decide(test) for name, test in tests.items()}
    corrected = {name: decide(without_support(test)) for name, test in holm_correction(tests).items()}
    return {
        name: decision if decision.verdict == "supported" else corrected[name] for name, decision in uncorrected.items()
    }


def every(cells: Mapping[str, tuple[Any, ...]], *, rule: str = "greater", **options: Any) -> Decision:
    """Claim that a rule's claim holds in every cell.

    Supported if it is in each cell, uncorrected: an intersection-union test, for which one cell without the effect must
    be wrongly passed, whatever the others are, needs no correction. Refuted if it is in some cell after Holm's, since
    with many cells one of them would be by chance. Effect, interval and seeds are those of the weakest cell.
    """
    tests = cell_tests(cells, rule, **options)
    if not tests:
        return Decision("inconclusive", NAN, NAN, NAN, None, 0, None, "Inconclusive (no cell to compare).")
    decisions = cell_decisions(cells, rule, **options)
    distances = {name: distance_to_support(test) for name, test in tests.items()}
    refuted = {name: decision for name, decision in decisions.items() if decision.verdict == "refuted"}
    weakest = max(tests, key=lambda name: (decisions[name].verdict != "supported", distances[name]))
    if refuted:
        weakest = min(refuted, key=lambda name: (refuted[name].p or 0.0, -distances[name]))
    decision = decisions[weakest]
    count = sum(d.verdict == "supported" for d in decisions.values())
    verdict = "refuted" if refuted else "supported" if count == len(tests) else "inconclusive"
    sentence = f"Supported in {count} of {plural(len(tests), 'cell')}; the weakest is {weakest}: {decision.sentence}"
    return decision._replace(verdict=verdict, sentence=sentence)


RULES |= {"exact": exact, "report": report, "every": every}


def superiority_hypotheses(
    by: float, margin: float | None, metric: str, terms: tuple[str, str, str]
) -> list[Hypothesis]:
    """Return the hypotheses of a claim that a mean exceeds `by`; the terms are for more, for less and for a gain."""
    more, less, gain = terms
    excess = f"{more} by more than {format_amount(metric, by)}" if by else more
    hypotheses = [
        Hypothesis("supported", by, INF, excess),
        Hypothesis("refuted", -INF, by, f"not {excess}" if by else less),
    ]
    if not margin:
        return hypotheses
    size = format_amount(metric, margin)
    none = f"within {size} of {format_amount(metric, by)}" if by else f"no effect (equivalent within {size})"
    return [
        Hypothesis("refuted", by, by + margin, f"{excess}, but within the margin of {size}"),
        *hypotheses,
        Hypothesis("refuted", by - margin, by + margin, none),
        Hypothesis("refuted", -INF, by + margin, f"{gain} below {format_amount(metric, by + margin)}"),
    ]


def mirrored(hypotheses: list[Hypothesis]) -> list[Hypothesis]:
    """Return the same hypotheses about the negated mean."""
    return [Hypothesis(h.verdict, -h.high, -h.low, h.description) for h in hypotheses]


def cell_tests(
    cells: Mapping[str, tuple[Any, ...]], rule: str, *, metric: str | Mapping[str, str] = "", **options: Any
) -> dict[str, HypothesisTest]:
    """Return the test of each cell; `metric` is that of all cells, or that of each by its name."""
    metrics = dict.fromkeys(cells, metric) if isinstance(metric, str) else metric
    return {name: TESTS[rule](*cell, metric=metrics[name], **options) for name, cell in cells.items()}
