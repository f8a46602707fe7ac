import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from analysis.power import INF, MAX_SEEDS, power, power_within, seeds_needed


def test_a_t_test_of_one_sd_needs_ten_seeds_for_eighty_percent() -> None:
    """Cohen 1988, table 2.3 of one sample: d = 1, two-sided 5 %, power 0.80."""
    assert seeds_needed(1.0, INF, 1.0) == 10
    assert power(1.0, 1.0, 9) < 0.8 <= power(1.0, 1.0, 10)


def test_power_is_how_often_the_effect_is_found() -> None:
    """4,000 experiments: a binomial standard error of at most 0.008."""
    samples = np.random.default_rng(0).normal(0.6, 1, (4000, 12))
    result = stats.ttest_1samp(samples, 0, axis=1, alternative="greater").pvalue < 0.025
    assert power(0.6, 1.0, 12) == pytest.approx(result.mean(), abs=0.024)


def test_the_power_of_equivalence_is_how_often_it_is_shown() -> None:
    """Also where it is small, and the two tests fail together."""
    samples = np.random.default_rng(0).normal(0, 1, (4000, 12))
    reach = stats.t.isf(0.025, 11) * stats.sem(samples, axis=1)
    for margin in (0.6, 0.8, 1.0):
        shown = np.abs(samples.mean(1)) + reach < margin
        assert power_within(margin, margin, 1.0, 12) == pytest.approx(shown.mean(), abs=0.024)


def test_within_two_ends_takes_more_seeds_than_beyond_one() -> None:
    assert power_within(1.0, 1.0, 1.0, 20) < power(1.0, 1.0, 20)
    assert seeds_needed(0.5, 0.5, 1.0) > seeds_needed(0.5, INF, 1.0)


@pytest.mark.parametrize("seeds", [2, 5, 40, 5000])
@pytest.mark.parametrize("effect", [0.01, 0.3, 1.0, 4.0])
def test_power_is_that_of_statsmodels(seeds: int, effect: float) -> None:
    expected = TTestPower().power(effect, seeds, 0.025, alternative="larger")
    assert power(effect, 1.0, seeds) == pytest.approx(expected, abs=1e-3)


def test_the_sign_and_the_unit_of_an_effect_do_not_matter() -> None:
    assert power(-2.0, 4.0, 12) == pytest.approx(power(0.5, 1.0, 12))


@pytest.mark.parametrize(("effect", "sd"), [(0.0, 1.0), (1e-6, 1.0), (float("nan"), 1.0), (1.0, float("nan"))])
def test_what_no_number_of_seeds_shows_needs_none(effect: float, sd: float) -> None:
    assert seeds_needed(effect, INF, sd) is None


def test_the_ends() -> None:
    assert power(1.0, 1.0, 1) == 0.0
    assert power(1.0, 0.0, 2) == pytest.approx(power(1e6, 1.0, MAX_SEEDS)) == 1.0
    assert power(0.0, 1.0, 5) == pytest.approx(0.025, abs=1e-4)
    assert seeds_needed(50.0, INF, 1.0) == 2
