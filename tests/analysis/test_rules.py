import inspect
import math

import numpy as np
import pytest

from analysis.formatting import MINUS
from analysis.rules import (
    RULES,
    above,
    below,
    cell_decisions,
    equivalent,
    every,
    exact,
    greater,
    less,
    non_inferior,
    report,
)
from analysis.statistics import Estimate, bounds

NONE = [0.0] * 5
AROUND = np.array([-0.2, -0.1, 0.0, 0.1, 0.2])  # mean 0, sd 0.158, standard error 0.0707; t(4) reaches 2.776 of them


def test_a_difference_is_decided_by_the_interval() -> None:
    """The interval reaches 2.776 * 0.0707 = 0.196 to each side of the mean."""
    high = greater(AROUND + 0.2, NONE)
    assert (high.verdict, high.seeds) == ("supported", 5)
    assert (high.effect, high.low, high.high) == pytest.approx((0.2, 0.0037, 0.3963), abs=1e-4)
    assert high.p == pytest.approx(0.0474, abs=1e-4)  # twice the tail of t(4) beyond 2.828
    assert greater(AROUND + 0.19, NONE).verdict == "inconclusive"
    assert greater(AROUND - 0.2, NONE).verdict == "refuted"
    assert greater(AROUND - 0.19, NONE).verdict == "inconclusive"


def test_less_is_greater_of_the_opposite() -> None:
    for shift in (-0.3, -0.1, 0.0, 0.1, 0.3):
        for options in ({}, {"margin": 0.25}, {"by": 0.05, "margin": 0.25}):
            one, other = less(AROUND + shift, NONE, **options), greater(-AROUND - shift, NONE, **options)
            assert (one.verdict, one.seeds, one.p) == (other.verdict, other.seeds, pytest.approx(other.p))
            assert (one.effect, one.low, one.high) == pytest.approx((-other.effect, -other.high, -other.low))
    assert less(AROUND - 0.3, NONE).sentence.endswith("5 seeds: less.")


def test_a_margin_tells_no_effect_from_cannot_tell() -> None:
    assert greater(AROUND, NONE).sentence.endswith(
        "inconclusive (5 seeds; no practical number is enough for an effect on the boundary)."
    )
    nothing = greater(AROUND, NONE, margin=0.2)
    assert (nothing.verdict, nothing.margin) == ("refuted", 0.2)
    assert "no effect (equivalent within 0.2)" in nothing.sentence
    unknown = greater(AROUND, NONE, margin=0.19)
    assert unknown.verdict == "inconclusive"
    assert "inconclusive (5 seeds; about 8 needed)" in unknown.sentence


def test_a_loss_beyond_the_margin_is_no_equivalence() -> None:
    """Around -0.15 the interval is [-0.346, 0.046]: not less than 0, but less than a gain of 0.05."""
    decision = greater(AROUND - 0.15, NONE, margin=0.05)
    assert decision.verdict == "refuted"
    assert "gain below 0.05" in decision.sentence


def test_a_gain_that_is_shown_to_be_below_the_margin_refutes() -> None:
    """Around 0.25 the interval is [0.054, 0.446]: above 0, and below 0.5; around 0.4 it ends above that."""
    small = greater(AROUND + 0.25, NONE, margin=0.5)
    assert (small.verdict, small.p) == ("refuted", pytest.approx(0.024, abs=1e-3))  # of t(4) beyond 0.25 / 0.0707
    assert "greater, but within the margin of 0.5" in small.sentence
    assert greater(AROUND + 0.4, NONE, margin=0.5).verdict == "supported"
    assert greater(AROUND + 0.25, NONE, by=0.5).verdict == "refuted"
    assert greater(AROUND + 0.7, NONE, by=0.5).sentence.endswith(": greater by more than 0.5.")


def test_non_inferior_allows_a_loss_within_the_margin() -> None:
    assert non_inferior(AROUND - 0.05, NONE, margin=0.25).verdict == "supported"
    assert non_inferior(AROUND - 0.05, NONE, margin=0.24).verdict == "inconclusive"
    assert non_inferior(AROUND - 0.5, NONE, margin=0.25).verdict == "refuted"
    assert non_inferior(AROUND + 0.5, NONE, margin=0.25, higher_is_better=False).verdict == "refuted"
    assert non_inferior(AROUND - 0.5, NONE, margin=0.25, higher_is_better=False).verdict == "supported"


def test_equivalent_needs_both_sides() -> None:
    assert equivalent(AROUND, NONE, margin=0.2).verdict == "supported"
    assert equivalent(AROUND + 0.05, NONE, margin=0.2).verdict == "inconclusive"
    for shift in (0.5, -0.5):
        assert equivalent(AROUND + shift, NONE, margin=0.2).verdict == "refuted"


def test_above_takes_values_or_an_estimate() -> None:
    assert above(AROUND + 0.2, threshold=0.0).verdict == "supported"
    assert below(AROUND + 0.2, threshold=0.0).verdict == "refuted"
    correlation = Estimate(0.9, 0.82, 0.95, 20)
    decision = above(correlation, threshold=0.8)
    assert (decision.verdict, decision.p, decision.low) == ("supported", None, 0.82)
    assert decision.sentence == "0.9 [0.82, 0.95], 20 seeds: above 0.8."
    assert below(correlation, threshold=0.8).verdict == "refuted"
    assert above(correlation, threshold=0.85).verdict == "inconclusive"


def test_one_error_beyond_the_tolerance_refutes() -> None:
    assert exact([[1e-7, -2e-6], [0, 0]], tolerance=1e-5).verdict == "supported"
    refuted = exact([1e-7, -1.0, math.nan], tolerance=1e-5)
    assert (refuted.verdict, refuted.effect) == ("refuted", 1.0)
    assert exact([1e-7, math.nan], tolerance=1e-5).verdict == "inconclusive"
    assert exact([], tolerance=1e-5).verdict == "inconclusive"


def test_what_takes_the_seeds_place_is_named() -> None:
    """Twenty-four data sets are no seeds, neither those that are there nor those that would be needed."""
    lost = [*AROUND, math.nan, math.nan]
    for decision in (
        RULES["above"](AROUND, threshold=0.05, noun="data set"),
        RULES["above"](lost, threshold=0.05, noun="data set"),
        every({"a": (AROUND,)}, rule="above", threshold=0.05, noun="data set"),
        cell_decisions({"a": (AROUND,)}, rule="above", threshold=0.05, noun="data set")["a"],
        report(AROUND, noun="data set"),
    ):
        assert "data sets" in decision.sentence
        assert "seed" not in decision.sentence


def test_a_report_has_no_test() -> None:
    decision = report(AROUND + 1, NONE)
    assert (decision.verdict, decision.p) == ("reported", None)
    assert decision.sentence == "+1 [0.804, 1.2], 5 seeds."


def test_accuracy_is_told_in_points() -> None:
    gain = greater((AROUND + 1) / 100, NONE, metric="accuracy", margin=0.01)
    assert gain.sentence.startswith("+1.0 points [0.8, 1.2], p<0.001, 5 seeds: greater.")


def test_a_number_without_a_unit_says_which_metric_it_is_of() -> None:
    assert report(AROUND + 1, metric="step_ratio").sentence == "1 [0.804, 1.2] step_ratio, 5 seeds."
    changed = greater(AROUND + 1, NONE, metric="f1").sentence
    assert changed.startswith("+1 [0.804, 1] f1, p<0.001, 5 seeds: greater.")
    assert exact([1e-7, -2e-6], tolerance=1e-5, metric="gap").sentence.startswith(f"2e{MINUS}06 gap, the largest")
    assert greater(AROUND - 1, NONE, metric="mae").sentence.startswith(f"{MINUS}1 gain in mae [")


def test_few_equal_differences_have_no_variance_to_go_by() -> None:
    """The sign test says 2 / 2**5 = 0.0625 and 2 / 2**6 = 0.03125; rounding makes no variance of 0.3 - 0.2."""
    values, baseline = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8], [0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    five, six = greater(values[:5], baseline[:5]), greater(values, baseline)
    assert (five.verdict, five.p) == ("inconclusive", 0.0625)
    assert (six.verdict, six.p) == ("supported", 0.03125)
    assert greater(values, values).verdict == "inconclusive"
    assert greater(values, values, margin=0.1).verdict == "refuted"
    assert above([0.1] * 6, threshold=0.1).verdict == "inconclusive"


def test_seeds_without_a_result_are_named_and_too_many_decide_nothing() -> None:
    gain = np.append(AROUND + 1, [math.nan])
    assert "5 of 6 seeds: greater" in greater(gain, [0.0] * 6).sentence
    lost = greater(np.append(gain, math.nan), [0.0] * 7)
    assert lost.verdict == "inconclusive"
    assert "inconclusive (2 of 7 seeds have no result)" in lost.sentence


@pytest.mark.parametrize("values", [[], [1.0], [math.nan, math.nan]])
def test_fewer_than_two_seeds_tell_nothing(values: list[float]) -> None:
    zeros = [0.0] * len(values)
    decisions = [
        greater(values, zeros), less(values, zeros, margin=0.1), non_inferior(values, zeros, margin=0.1),
        equivalent(values, zeros, margin=0.1), above(values, threshold=0.1), below(values, threshold=0.1),
        every({"a": (values, zeros)}),
    ]  # fmt: skip
    for decision in decisions:
        assert (decision.verdict, decision.p) == ("inconclusive", None)
        assert "inconclusive" in decision.sentence
    assert report(values, zeros).verdict == "reported"


def test_what_refutes_is_corrected_for_the_cells() -> None:
    """The three p are 0.0474, so that Holm's first is 0.142."""
    cells = dict.fromkeys("abc", (AROUND - 0.2, NONE))
    for decision in cell_decisions(cells).values():
        assert (decision.verdict, decision.p) == ("inconclusive", pytest.approx(3 * 0.0474, abs=3e-4))


def test_a_claim_of_every_cell_needs_no_correction_to_be_supported() -> None:
    cells = {name: (AROUND + shift, NONE) for name, shift in (("a", 0.2), ("b", 0.3), ("c", 0.4))}
    decision = every(cells)
    assert (decision.verdict, decision.effect, decision.p) == (
        "supported",
        pytest.approx(0.2),
        pytest.approx(0.0474, abs=1e-4),
    )
    assert decision.sentence.startswith("Supported in 3 of 3 cells; the weakest is a: +0.2 [0.00368, 0.396], p=0.047")


def test_cells_are_shown_as_the_claim_of_all_of_them_goes_by_them() -> None:
    cells = {name: (AROUND + shift, NONE) for name, shift in (("a", 0.2), ("b", 0.3), ("c", -0.2))}
    shown = {name: decision.verdict for name, decision in cell_decisions(cells).items()}
    assert shown == {"a": "supported", "b": "supported", "c": "inconclusive"}
    assert every(cells).sentence.startswith("Supported in 2 of 3 cells")


def test_what_the_correction_spares_from_refutation_is_not_supported() -> None:
    """Around 0.25 the interval of ten is [0.143, 0.357]: of three such cells Holm leaves that they are greater than 0,
    and not that they are less than 0.37. No cell supports the claim by itself.
    """
    cells = dict.fromkeys("abc", (np.tile(AROUND, 2) + 0.25, NONE * 2))
    assert greater(*cells["a"], margin=0.37).verdict == "refuted"
    for decision in cell_decisions(cells, margin=0.37).values():
        assert decision.verdict == "inconclusive"
        assert "p=0.094, 10 seeds: inconclusive (10 seeds; about" in decision.sentence
    result = every(cells, margin=0.37)
    assert result.verdict == "inconclusive"
    assert result.sentence.startswith("Supported in 0 of 3 cells")


def test_a_claim_of_every_cell_needs_it_to_be_refuted() -> None:
    mixed = {"a": (AROUND + 1, NONE), "b": (AROUND - 0.2, NONE)}
    assert every(mixed).verdict == "inconclusive"
    refuted = every(mixed | {"b": (AROUND - 0.4, NONE)})
    assert (refuted.verdict, refuted.effect) == ("refuted", pytest.approx(-0.4))
    assert "Supported in 1 of 2 cells; the weakest is b" in refuted.sentence
    assert every({"a": (AROUND + 1, NONE), "b": (AROUND, NONE)}).verdict == "inconclusive"
    assert every({}).verdict == "inconclusive"
    assert every({"a": (AROUND - 0.4, NONE)}, rule="less").verdict == "supported"


def test_rules_have_names_and_signatures() -> None:
    assert set(RULES) == {"greater", "less", "non_inferior", "equivalent", "above", "below", "every", "exact", "report"}
    assert list(inspect.signature(RULES["greater"]).parameters) == ["values", "baseline", "by", "margin", "metric"]


def test_estimates_are_corrected_in_a_family_as_values_are() -> None:
    """Of twenty cells on the border one lies beyond it by chance: that refutes nothing."""
    cells = {str(i): (Estimate(0.7, 0.65, 0.749, 10) if i == 0 else Estimate(0.75, 0.7, 0.8, 10),) for i in range(20)}
    assert RULES["above"](*cells["0"], threshold=0.75).verdict == "refuted"
    assert every(cells, rule="above", threshold=0.75).verdict == "inconclusive"
    assert every(cells | {"far": (Estimate(0.5, 0.45, 0.55, 10),)}, rule="above", threshold=0.75).verdict == "refuted"


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.76, 0.9, "supported"), (0.74, 0.9, "inconclusive"), (0.75, 0.9, "inconclusive")]
)
def test_an_estimate_is_decided_by_its_interval(low: float, high: float, verdict: str) -> None:
    assert RULES["above"](Estimate(0.8, low, high, 10), threshold=0.75).verdict == verdict
    assert RULES["below"](Estimate(-0.8, -high, -low, 10), threshold=-0.75).verdict == verdict


def test_the_weakest_cell_is_one_that_does_not_support() -> None:
    lacking = np.where(np.arange(10) < 3, np.nan, 0.2 + 0.001 * np.arange(10))
    cells = {"ok": (0.05 + 0.04 * np.cos(np.arange(10)), np.zeros(10)), "lost": (lacking, np.zeros(10))}
    result = every(cells)
    assert result.verdict == "inconclusive"
    assert "the weakest is lost" in result.sentence


def test_of_cells_that_all_lie_on_the_wrong_side_the_weakest_is_the_furthest() -> None:
    """In half lengths of their intervals, 0.196 and 0.0196."""
    cells = {"a": (AROUND - 0.1, NONE), "b": (AROUND / 10 - 0.015, NONE), "c": (AROUND + 0.1, NONE)}
    assert "the weakest is b" in every(cells).sentence
    within = {name: (values + 1, NONE) for name, (values, _) in cells.items()}
    assert "the weakest is c" in every(within, rule="equivalent", margin=1.0).sentence
    unknown = {"lost": ([math.nan] * 5, NONE), **cells}
    assert "the weakest is b" in every(unknown).sentence


def test_equal_differences_need_the_seeds_of_the_sign_test() -> None:
    """The standard deviation of 0.1 thrice, whose mean is rounded, would be 1e-17 and not 0."""
    for seeds in (2, 3, 4):
        assert "about 6 needed" in RULES["greater"](np.full(seeds, 0.1), np.zeros(seeds)).sentence
    assert RULES["greater"](np.full(6, 0.1), np.zeros(6)).verdict == "supported"


def test_equal_differences_in_one_of_four_cells_need_the_seeds_of_the_corrected_sign_test() -> None:
    """Six, seven and eight seeds have p = 1/32, 1/64 and 1/128; times four, only the last is below 0.05."""
    cells = {name: (np.full(6, 0.1), np.zeros(6)) for name in "abc"} | {"d": (np.full(6, -0.1), np.zeros(6))}
    assert "about 8 needed" in every(cells).sentence
    assert every({name: (np.resize(x, 7), np.zeros(7)) for name, (x, _) in cells.items()}).verdict == "inconclusive"
    assert every({name: (np.resize(x, 8), np.zeros(8)) for name, (x, _) in cells.items()}).verdict == "refuted"


def test_a_cosine_may_be_negative_and_an_accuracy_not() -> None:
    assert bounds("fidelity_f1") == bounds("truth_rank") == bounds("rank correlation") == (-1.0, 1.0)
    assert bounds("gradient_cosine", change=True) == (-2.0, 2.0)
    assert bounds("macro_f1") == bounds("probe_accuracy") == bounds("precision_coverage") == (0.0, 1.0)
    assert bounds("fidelity_f1_positive") == bounds("negative") == bounds("competition_preferred") == (0.0, 1.0)
    assert bounds("fidelity_f3_median") == (-1.0, 1.0)
    assert bounds("exponent of accuracy") == bounds("scale_max") == (-math.inf, math.inf)
    assert bounds("steps_clipped") == bounds("log_negative") == bounds("queue_positive") == (-math.inf, math.inf)
