import math

import numpy as np
import polars as pl
import pytest

from analysis.rankings import agreement, ranking, ranking_text

NAN = math.nan


def long(table: dict[str, list[float]]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"block": block, "method": method, "score": score}
            for method, scores in table.items()
            for block, score in enumerate(scores)
        ]
    )


def test_ranks_by_hand() -> None:
    """Over four blocks: a is 1, 1, 1, 2; b is 2, 2, 3, 1; c is 3, 3, 2, 3. Chi-square 12 / (4 * 3 * 4) * sum R^2 - 48 = 4.5."""
    result = ranking(long({"c": [1, 1, 2, 1], "a": [3, 3, 3, 2], "b": [2, 2, 1, 3]}))
    assert result.ranks == {"a": 1.25, "b": 2.0, "c": 2.75}
    assert list(result.ranks) == ["a", "b", "c"]
    assert result.statistic == pytest.approx(4.5)
    assert result.p == pytest.approx(math.exp(-2.25))  # of chi-square on two degrees of freedom
    assert (result.blocks, result.dropped) == (4, 0)


def test_the_critical_difference_is_demsars() -> None:
    """Demsar (2006): 14 data sets and four classifiers, q = 2.569: CD = 1.25."""
    rng = np.random.default_rng(0)
    result = ranking(long({name: list(rng.normal(size=14)) for name in "abcd"}))
    assert result.critical == pytest.approx(1.25, abs=0.005)


def test_pairs_beyond_the_critical_difference_are_those_below_five_percent() -> None:
    rng = np.random.default_rng(1)
    result = ranking(long({name: list(rng.normal(i, 1, size=10)) for i, name in enumerate("abcd")}))
    assert 0 < result.pairs.filter(pl.col("p") < 0.05).height < 6
    for row in result.pairs.iter_rows(named=True):
        assert (row["difference"] > result.critical) == (row["p"] < 0.05)


def test_an_error_ranks_the_other_way() -> None:
    scores = long({"a": [1, 1], "b": [2, 2], "c": [3, 3]})
    assert ranking(scores, higher_is_better=False).ranks == {"a": 1.0, "b": 2.0, "c": 3.0}


def test_a_block_without_a_score_is_dropped_and_counted() -> None:
    result = ranking(long({"a": [1, NAN, 1], "b": [2, 2, 2], "c": [3, 3, 3]}))
    assert (result.blocks, result.dropped) == (2, 1)


def test_a_block_that_some_methods_did_not_have_is_said_to_lack_a_score_and_not_to_have_lost_it() -> None:
    """A method that was told apart after three seeds has no other; Nemenyi's critical difference is 1.91."""
    scores = long({"a": [1, 1, 1, 1, 1], "b": [2, 2, 2, 2, 2], "c": [3, 3, 3]})
    assert ranking_text(ranking(scores), "seed") == (
        "Mean ranks on test over 3 seeds in which all methods have a score (2 of 5 left out), 1 is best: c 1.00, "
        "b 2.00, a 3.00. Friedman's p 0.05; Nemenyi's test separates 1 of 3 pairs at 5 %."
    )


@pytest.mark.parametrize(
    "table",
    [
        {"a": [1.0], "b": [2.0], "c": [3.0]},
        {"a": [1.0, 1.0]},
        {"a": [1.0, 1.0], "b": [1.0, 1.0], "c": [1.0, 1.0]},
        {"a": [NAN], "b": [1.0]},
    ],
)
def test_what_has_no_test_has_none(table: dict[str, list[float]]) -> None:
    result = ranking(long(table))
    assert math.isnan(result.p)
    assert math.isnan(result.critical)
    assert result.pairs.is_empty()


def test_judges_that_agree() -> None:
    scores = np.tile([0.1, 0.5, 0.3], (4, 1))
    result = agreement(scores)
    assert (result.w, result.spearman, result.best) == pytest.approx((1.0, 1.0, 1.0))
    assert agreement(scores, higher_is_better=False).w == pytest.approx(1.0)


def test_kendalls_w_by_hand() -> None:
    """Rank sums 4, 6, 8 of three judges: S = 8, W = 12 S / (9 (27 - 3)) = 0.444; mean Spearman (3 W - 1) / 2 = 1/6."""
    result = agreement(-np.array([[1.0, 2, 3], [1, 2, 3], [2, 2 - 1e-9 + 1, 2 - 1e-9]]))
    assert result.raters == 3
    exact = agreement(-np.array([[1.0, 2, 3], [1, 3, 2], [2, 1, 3]]))
    assert exact.w == pytest.approx(12 * 8 / (9 * 24))
    assert exact.spearman == pytest.approx(1 / 6)
    assert exact.best == pytest.approx(2 / 3)


@pytest.mark.parametrize("scores", [np.empty((0, 3)), np.empty((3, 0)), np.full((3, 3), NAN), np.ones((1, 3))])
def test_nothing_to_agree_on(scores: np.ndarray) -> None:
    assert math.isnan(agreement(scores).w)
