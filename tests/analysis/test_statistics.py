import math

import numpy as np
import pytest
from statsmodels.stats.weightstats import DescrStatsW

from analysis.statistics import (
    bca,
    bounds,
    differences,
    estimate,
    holm,
    interval,
    paired,
    permutation,
    standardised,
    tost,
    wilcoxon,
)


def test_an_interval_by_hand() -> None:
    """Mean 2, sd 1, and t(2) has 2.5 % beyond 4.3027: 4.3027 / sqrt(3) = 2.4841."""
    assert interval([1.0, 2.0, 3.0]) == pytest.approx((-0.4841, 4.4841), abs=1e-4)


def test_a_bootstrap_interval_lies_within_the_values() -> None:
    low, high = bca([0.1, 0.2, 0.4, 0.5])
    assert 0.1 <= low < 0.3 < high <= 0.5


def test_an_interval_is_the_same_every_time() -> None:
    assert bca([1.0, 2.0, 4.0]) == bca([1.0, 2.0, 4.0])


@pytest.mark.parametrize("values", [[], [0.5]])
def test_fewer_than_two_values_have_no_interval(values: list[float]) -> None:
    assert all(math.isnan(end) for end in (*interval(values), *bca(values)))


def test_equal_values_have_an_interval_without_width() -> None:
    assert interval([0.75, 0.75, 0.75]) == bca([0.75, 0.75, 0.75]) == (0.75, 0.75)


def test_an_outlier_among_equal_values_still_has_an_interval() -> None:
    low, high = bca([0.9] * 9 + [0.1])
    assert low < 0.82 <= high


def test_an_estimate_counts_its_seeds() -> None:
    """The standard error is 1, and t(1) has 2.5 % beyond 12.706."""
    assert estimate([1.0, 3.0]) == pytest.approx((2.0, -10.7062, 14.7062, 2), abs=1e-4)


def test_a_paired_difference_by_hand() -> None:
    """Differences 1, 2, 3: mean 2, sd 1, t = 2 sqrt(3) on 2 degrees of freedom."""
    difference = paired([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert difference.mean == pytest.approx(2.0)
    assert difference.sd == pytest.approx(1.0)
    assert difference.p == pytest.approx(0.0742, abs=1e-4)
    assert difference.pairs == 3
    assert difference.low < 2.0 < difference.high


def test_five_seeds_never_reach_five_percent_by_permutation() -> None:
    assert permutation([5.0, 6.0, 7.0, 8.0, 9.0]) == pytest.approx(2 / 2**5)
    assert paired([5.0, 6.0, 7.0, 8.0, 9.0], [0.0] * 5).p < 0.001


def test_equivalence_is_tested_as_in_statsmodels() -> None:
    sample = [0.1, -0.2, 0.05, 0.15, -0.05]
    assert tost(sample, 0.2) == pytest.approx(DescrStatsW(sample).ttost_mean(-0.2, 0.2)[0])


def test_differences_that_are_equal_but_for_rounding_are_equal() -> None:
    assert len(set(differences([0.3, 0.4, 1.1], [0.2, 0.3, 1.0]))) == 1


def test_a_pair_that_lacks_a_value_is_no_pair() -> None:
    assert differences([1.0, math.nan, 3.0], [0.5, 1.0, math.inf]).tolist() == [0.5]


def test_no_difference_has_p_one() -> None:
    difference = paired([0.9, 0.8], [0.9, 0.8])
    assert (difference.mean, difference.low, difference.high, difference.p) == (0.0, 0.0, 0.0, 1.0)


def test_one_pair_has_a_difference_but_no_p() -> None:
    difference = paired([0.9], [0.8])
    assert difference.mean == pytest.approx(0.1)
    assert math.isnan(difference.p)


def test_holm_by_hand() -> None:
    """Sorted 0.01, 0.03, 0.04 times 3, 2, 1: 0.03, 0.06, 0.04, made monotone: 0.03, 0.06, 0.06."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_what_was_not_tested_is_no_comparison() -> None:
    assert holm([0.01, math.nan, 0.04]) == pytest.approx([0.02, math.nan, 0.04], nan_ok=True)


def test_holm_stops_at_one() -> None:
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_order_of_the_seeds_changes_no_bit() -> None:
    values, baseline = [0.3, 0.1, 0.35, 0.2, 0.25], [0.11, 0.12, 0.13, 0.14, 0.16]
    assert interval(values) == interval(values[::-1])
    assert bca(values) == bca(values[::-1])
    assert paired(values, baseline) == paired(values[::-1], baseline[::-1])


def test_wilcoxon_by_hand() -> None:
    """All five ranks are positive: 2 / 2**5."""
    assert wilcoxon([0.1, 0.2, 0.3, 0.4, 0.5]) == pytest.approx(0.0625)
    assert wilcoxon([0.0, 0.0]) == wilcoxon([]) == 1.0


def test_the_standardised_effect_by_hand() -> None:
    """Mean 2, sd 1, corrected by 1 - 3 / (4 * 3 - 5)."""
    assert standardised([1.0, 2.0, 3.0]) == pytest.approx(2 * 4 / 7)
    assert math.isnan(standardised([0.5]))
    assert math.isnan(standardised([0.5, 0.5]))


def test_the_interval_of_a_share_ends_where_a_share_does() -> None:
    """Student's interval of 0.9, 1, 1 is [0.82, 1.11]; an error, and an exponent of a share, has no such end."""
    values = [0.9, 1.0, 1.0]
    low, high = interval(values)
    assert estimate(values, bounds("probe_accuracy")) == pytest.approx((np.mean(values), low, 1.0, 3))
    assert high > 1
    assert estimate(values, bounds("mae")).high == high
    assert estimate(values, bounds("exponent of accuracy")).high == high
    assert estimate([0.0, 0.0, 0.1], bounds("accuracy")).low == 0


def test_the_interval_of_a_difference_of_shares_ends_at_one() -> None:
    ones, zeros = [1.0, 0.9], [0.0, 0.0]
    assert paired(ones, zeros, bounds("accuracy", change=True)).high == 1
    assert paired(zeros, ones, bounds("accuracy", change=True)).low == -1
    assert paired(ones, zeros).high > 1
    assert paired([1.0], [0.0], bounds("accuracy", change=True)).pairs == 1
