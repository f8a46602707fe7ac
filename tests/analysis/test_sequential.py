import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from analysis.sequential import level_shares, looks, sequential_difference
from analysis.statistics import differences, interval, p_above, p_below, paired

SEEDS = [5, 10, 20, 40]
GAIN = [0.05, 0.051, 0.049, 0.05, 0.052]
FALL = [-0.3, 0.2, -0.4, 0.1, -0.3]


def zeros(count: int) -> dict[int, float]:
    return dict.fromkeys(range(count), 0.0)


def test_the_looks_double() -> None:
    assert looks(5, 40) == SEEDS
    assert looks(5, 30) == [5, 10, 20, 30]
    assert looks(5, 5) == [5]


def test_the_shares_are_the_whole_level() -> None:
    assert sum(level_shares(SEEDS)) == pytest.approx(1)
    assert level_shares([10]) == pytest.approx([1])


def test_pocock_by_hand() -> None:
    """Half of the seeds spend ln(1 + (e - 1) / 2) = 0.6201 of the level."""
    assert level_shares([10, 20]) == pytest.approx([0.6201, 0.3799], abs=1e-4)


def test_a_difference_so_far_by_hand() -> None:
    """Its p is the least of those at the looks by their shares, its interval what those at the shares have in common."""
    values = dict(enumerate([0.3, 0.1, 0.2, 0.4, 0.1, -0.1, 0.2, 0.0]))
    baseline = zeros(8)
    first, second = (differences([values[s] for s in range(n)], [0.0] * n) for n in (5, 8))
    both = list(zip((first, second), level_shares([5, 10]), strict=True))
    result, once = sequential_difference(values, baseline, [5, 10]), paired([*values.values()], [0.0] * 8)
    assert result.p == pytest.approx(min(p_above(sample, 0.0) / share for sample, share in both))
    assert (result.mean, result.sd, result.pairs) == pytest.approx((once.mean, once.sd, 8))
    ends = [interval(sample, 0.05 * share) for sample, share in both]
    assert (result.low, result.high) == pytest.approx((max(low for low, _ in ends), min(high for _, high in ends)))
    assert sequential_difference(values, baseline, [8])[:6] == pytest.approx(once[:6])


def test_only_seeds_of_both_count_and_those_before_a_look() -> None:
    values, baseline = {0: 1.0, 1: 1.1, 2: 0.9, 6: 5.0}, {0: 0.0, 2: 0.0, 3: 0.0, 6: 0.0}
    result = sequential_difference(values, baseline, [5, 10])
    assert result.pairs == 3
    weight = level_shares([5, 10])[0]
    assert result.p <= paired([1.0, 0.9], [0.0, 0.0]).p / weight
    assert np.isnan(sequential_difference({0: 1.0}, {1: 1.0}, [5, 10]).p)


def test_what_was_told_apart_keeps_its_side() -> None:
    """Five seeds tell a gain; the next five pull the mean below 0, and say nothing against it."""
    result = sequential_difference(dict(enumerate(GAIN + FALL)), zeros(10), [5, 10])
    assert result.mean < 0 < result.low
    assert result.p == pytest.approx(sequential_difference(dict(enumerate(GAIN)), zeros(5), [5, 10]).p)


def test_looks_that_contradict_each_other_say_what_the_latest_does() -> None:
    result = sequential_difference(dict(enumerate(GAIN + [-0.05 - 0.001 * i for i in range(35)])), zeros(40), SEEDS)
    assert result.low < result.mean < result.high < 0
    last = differences([*GAIN, *(-0.05 - 0.001 * i for i in range(35))], [0.0] * 40)
    assert result.p == pytest.approx(p_below(last, 0.0) / level_shares(SEEDS)[-1])


def test_equal_differences_of_few_seeds_have_no_interval() -> None:
    result = sequential_difference(dict.fromkeys(range(5), 0.1), zeros(5), SEEDS)
    assert (result.mean, result.pairs) == (pytest.approx(0.1), 5)
    assert np.isnan(result.low)
    assert result.p > 0.05


def test_the_interval_of_an_accuracy_ends_where_accuracies_do() -> None:
    values = dict(enumerate([0.99, 0.1, 1.0, 0.05, 0.99]))
    assert sequential_difference(values, zeros(5), [5, 10], (-1.0, 1.0)).high == 1.0


@settings(max_examples=300)
@given(
    st.lists(st.integers(-20, 20), min_size=2, max_size=20),
    st.lists(st.integers(0, 19), unique=True, max_size=3),
    st.integers(-5, 5),
)
def test_p_is_small_exactly_where_the_interval_lies_on_one_side(drawn: list[int], lost: list[int], shift: int) -> None:
    values = {seed: (value / 4 + shift) / 20 for seed, value in enumerate(drawn) if seed not in lost}
    result = sequential_difference(values, zeros(20), [5, 10, 20], (-1.0, 1.0))
    assume(abs(result.p - 0.05) > 1e-9)
    assert (result.p < 0.05) == (result.low > 0 or result.high < 0)
    assert not result.low > result.high


def test_looks_find_a_difference_that_is_not_there_as_seldom_as_stated() -> None:
    """Of 2,000 comparisons of nothing with nothing at 5, 10 and 20 seeds, one in twenty at most."""
    drawn, seeds = np.random.default_rng(1).normal(size=(2000, 20)), [5, 10, 20]
    result = [sequential_difference(dict(enumerate(one)), zeros(20), seeds) for one in drawn]
    for wrong in (np.mean([one.p < 0.05 for one in result]), np.mean([not one.low <= 0 <= one.high for one in result])):
        assert wrong < 0.05 + 3 * (0.05 * 0.95 / 2000) ** 0.5
