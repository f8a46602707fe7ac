import numpy as np
import pytest

from analysis.decisions import RULES
from analysis.sequential import looks, next_look, sequential, shares, so_far, undecided
from analysis.statistics import paired

SEEDS = [5, 10, 20, 40]
RNG = np.random.default_rng(0)


def test_the_looks_double() -> None:
    assert looks(5, 40) == SEEDS
    assert looks(5, 30) == [5, 10, 20, 30]
    assert looks(5, 5) == [5]


@pytest.mark.parametrize("spending", ["pocock", "obrien-fleming"])
def test_the_shares_are_the_whole_level(spending: str) -> None:
    assert sum(shares(SEEDS, spending)) == pytest.approx(1)
    assert shares([10], spending) == pytest.approx([1])


def test_pocock_by_hand() -> None:
    """Half of the seeds spend ln(1 + (e - 1) / 2) = 0.6201 of the level."""
    assert shares([10, 20]) == pytest.approx([0.6201, 0.3799], abs=1e-4)


def test_obrien_and_fleming_keep_the_level_for_the_last_look() -> None:
    """Half of the seeds spend 2 (1 - Phi(1.96 sqrt 2)) = 0.00557 of 0.05."""
    assert shares([10, 20], "obrien-fleming") == pytest.approx([0.1115, 0.8885], abs=1e-3)


def test_one_look_is_the_rule_itself() -> None:
    values, baseline = RNG.normal(0.5, 1, 10), np.zeros(10)
    decision = sequential({"a": (values, baseline)}, seeds=[10], margin=0.1)["a"]
    assert decision[:3] == pytest.approx(RULES["greater"](values, baseline, margin=0.1)[:3])


def test_a_comparison_that_was_decided_stays_so() -> None:
    """Five seeds decide; the others are noise around a loss, and one look at all of them would not support the claim."""
    values = np.concatenate([[1.0, 1.1, 0.9, 1.05, 0.95], np.full(5, -1.0)])
    assert RULES["greater"](values, np.zeros(10)).verdict == "inconclusive"
    for run in (5, 7, 10):
        cells = {"a": (values[:run], np.zeros(run))}
        assert sequential(cells, seeds=[5, 10])["a"].verdict == "supported"


def test_only_what_is_undecided_goes_on() -> None:
    clear, unclear = np.array([1.0, 1.1, 0.9, 1.05, 0.95]), np.array([1.0, -1.1, 0.9, -1.05, 0.1])
    decisions = sequential({"clear": (clear, np.zeros(5)), "unclear": (unclear, np.zeros(5))}, seeds=SEEDS)
    assert undecided(decisions) == ["unclear"]
    assert [next_look(run, SEEDS) for run in (0, 5, 7, 40)] == [5, 10, 10, None]


def test_before_the_first_look_nothing_is_said() -> None:
    decision = sequential({"a": ([9.0, 9.1, 9.2], [0.0, 0.1, 0.1])}, seeds=SEEDS)["a"]
    assert decision.verdict == "inconclusive"


def test_the_interval_is_wider_the_smaller_the_share() -> None:
    values = RNG.normal(0, 1, 20)
    one, another = (sequential({"a": (values, np.zeros(20))}, seeds=s)["a"] for s in ([20], [5, 10, 20]))
    assert another.low < one.low < one.high < another.high


def test_the_interval_of_an_accuracy_ends_where_accuracies_do() -> None:
    values = np.array([0.99, 0.98, 1.0, 0.95, 0.99])
    found = sequential({"x": (values, np.zeros(5))}, seeds=[5, 10], metric="accuracy")["x"]
    assert found.high == 1.0


def test_a_difference_so_far_by_hand() -> None:
    """Its p is the least of those at the looks by their shares, its interval that of the latest at its share."""
    values = dict(enumerate([0.3, 0.1, 0.2, 0.4, 0.1, -0.1, 0.2, 0.0]))
    baseline = dict.fromkeys(range(8), 0.0)
    shared = dict(zip([5, 10], shares([5, 10]), strict=True))
    first, second = (paired([values[s] for s in range(n)], [0.0] * n) for n in (5, 8))
    found = so_far(values, baseline, [5, 10])
    assert found.p == pytest.approx(min(first.p / shared[5], second.p / shared[10]))
    assert (found.mean, found.sd, found.pairs) == pytest.approx((second.mean, second.sd, 8))
    assert found.low < second.low < second.high < found.high
    assert so_far(values, baseline, [8])[:6] == pytest.approx(paired([*values.values()], [0.0] * 8)[:6])


def test_only_seeds_of_both_count_and_those_before_a_look() -> None:
    values, baseline = {0: 1.0, 1: 1.1, 2: 0.9, 6: 5.0}, {0: 0.0, 2: 0.0, 3: 0.0, 6: 0.0}
    found = so_far(values, baseline, [5, 10])
    assert found.pairs == 3
    weight = shares([5, 10])[0]
    assert found.p <= paired([1.0, 0.9], [0.0, 0.0]).p / weight
    assert np.isnan(so_far({0: 1.0}, {1: 1.0}, [5, 10]).p)


def test_looks_find_a_difference_that_is_not_there_as_seldom_as_stated() -> None:
    """Of 2,000 comparisons of nothing with nothing at 5, 10 and 20 seeds, one in twenty at most."""
    drawn, seeds = np.random.default_rng(1).normal(size=(2000, 20)), [5, 10, 20]
    zeros = dict.fromkeys(range(20), 0.0)
    wrong = np.mean([so_far(dict(enumerate(one)), zeros, seeds).p < 0.05 for one in drawn])
    assert wrong < 0.05 + 3 * (0.05 * 0.95 / 2000) ** 0.5
