import math

import pytest

from analysis.effects import improvement, interquartile_mean


def test_the_interquartile_mean_by_hand() -> None:
    """Of 1, 2, 3, 100 the middle half is 2 and 3; over both data sets 1 2 | 3 4 5 6 | 7 100."""
    assert interquartile_mean([[1.0, 100.0, 2.0, 3.0]]).mean == 2.5
    result = interquartile_mean([[1.0, 3.0, 5.0, 7.0], [2.0, 4.0, 6.0, 100.0]])
    assert (result.mean, result.seeds) == (4.5, 4)
    assert result.low <= 4.5 <= result.high


def test_the_probability_of_improvement_by_hand() -> None:
    """Of the four pairs of 1, 3 with 2, 2 two are won; of 1, 2 with 1, 1 two are ties and two won: 0.5 and 0.75."""
    assert improvement([[1.0, 3.0]], [[2.0, 2.0]]).mean == 0.5
    assert improvement([[1.0, 3.0], [1.0, 2.0]], [[2.0, 2.0], [1.0, 1.0]]).mean == 0.625


def test_one_that_always_wins_has_probability_one() -> None:
    assert improvement([[3.0, 4.0, 5.0]], [[0.0, 1.0, 2.0]]) == (1.0, 1.0, 1.0, 3)


def test_missing_scores_are_in_no_aggregate() -> None:
    assert improvement([[1.0, math.nan, 5.0]], [[0.0, 9.0, math.nan]]) == pytest.approx(
        (1.0, math.nan, math.nan, 1), nan_ok=True
    )
    assert interquartile_mean([[math.nan, 2.0, 2.0]]).mean == 2.0


@pytest.mark.parametrize("scores", [[], [[]], [[1.0], [math.nan]]])
def test_a_data_set_without_a_score_leaves_no_aggregate(scores: list[list[float]]) -> None:
    assert math.isnan(interquartile_mean(scores).mean)
    assert math.isnan(improvement(scores, scores).mean)
