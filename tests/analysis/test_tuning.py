from itertools import combinations

import numpy as np
import pytest

from analysis import load
from analysis.tuning import BEST, best_of, expected_best
from tests.analysis.conftest import Write, trial


def test_the_expected_best_by_all_draws() -> None:
    scores = np.random.default_rng(0).normal(size=(6, 4))
    table = expected_best(scores)
    for n, mean in zip(table["n"], table["mean"], strict=True):
        best = [max(scores[list(drawn)].mean(1)) for drawn in combinations(range(6), n)]
        assert mean == pytest.approx(np.mean(best))


def test_an_error_is_best_when_it_is_least() -> None:
    scores = np.array([[0.3], [0.1], [0.2]])
    assert expected_best(scores, higher_is_better=False)["mean"].to_list() == pytest.approx(
        [0.2, (0.1 + 0.1 + 0.2) / 3, 0.1]
    )


def test_a_failed_configuration_costs_budget_and_is_never_best() -> None:
    """Of two draws out of 1, 3 and a failure: 3 or 3 or 1."""
    scores = np.array([[1.0, 1.0], [3.0, 3.0], [5.0, np.nan]])
    table = expected_best(scores)
    assert table["mean"].to_list() == pytest.approx([2.0, 7 / 3, 3.0])
    assert table["failed"].to_list() == [1, 1, 1]


def test_a_configuration_that_was_ended_for_lagging_is_worse_than_every_one_that_was_scored() -> None:
    """The best of two draws out of 1, 3, a failure and a lagging one may be the latter; that of three is 3, 3, 3 or 1."""
    scores = np.array([[1.0, 1.0], [3.0, 3.0], [np.nan, 2.0], [5.0, np.nan]])
    table = expected_best(scores, np.array([False, False, True, False]))
    assert table["mean"].to_list() == [None, None, pytest.approx(2.5), 3.0]
    assert table.select("failed", "pruned").unique().rows() == [(1, 1)]
    one = expected_best(np.array([[0.953], *[[np.nan]] * 8]), np.arange(9) > 0)
    assert one["mean"].to_list() == [None] * 8 + [0.953]


def test_many_configurations_overflow_nothing() -> None:
    scores = np.arange(3000.0)[:, None]
    assert expected_best(scores)["mean"][-1] == 2999.0


@pytest.mark.parametrize("scores", [np.full((3, 2), np.nan), np.empty((3, 0))])
def test_without_a_result_there_is_no_best(scores: np.ndarray) -> None:
    assert expected_best(scores)["mean"].to_list() == [None] * 3


def test_the_curves_of_a_run(write_run: Write) -> None:
    rows = [trial(f"{a}{s}", "agm", s, a, a, **{"agm.alpha": a}) for a in (0.5, 0.7, 0.9) for s in range(2)]
    rows += [trial(f"j{s}", "joint", s, 0.6, 0.6) for s in range(2)]
    table = best_of(load(write_run(rows)))
    assert list(table.schema) == list(BEST)
    assert table.filter(method="agm")["mean"].to_list() == pytest.approx([0.7, (0.9 + 0.9 + 0.7) / 3, 0.9])
    assert table.filter(method="joint")["n"].to_list() == [1]


def test_the_curves_of_a_run_that_prunes(write_run: Write) -> None:
    """Of three alphas 0.5 lags for one seed of two."""
    rows = [trial(f"{a}{s}", "agm", s, a, a, **{"agm.alpha": a}) for a in (0.5, 0.7, 0.9) for s in range(2)]
    rows[0] |= {"status": "pruned", "validation.accuracy": None}
    table = best_of(load(write_run(rows)))
    assert table["mean"].to_list() == [None, pytest.approx(0.9 * 2 / 3 + 0.7 / 3), pytest.approx(0.9)]
    assert table.select("failed", "pruned").unique().rows() == [(0, 1)]


def test_a_configuration_that_lagged_for_one_seed_and_diverged_for_another_failed(write_run: Write) -> None:
    """As Optuna is told. Of two draws out of 0.5, 0.7 and a failure: 0.7, 0.7 or 0.5."""
    rows = [trial(f"{a}{s}", "agm", s, a, a, **{"agm.alpha": a}) for a in (0.5, 0.7, 0.9) for s in range(3)]
    for row, status in zip(rows[-2:], ("pruned", "diverged"), strict=True):
        row |= {"status": status, "validation.accuracy": None}
    table = best_of(load(write_run(rows)))
    assert table["mean"].to_list() == pytest.approx([0.6, (0.7 + 0.7 + 0.5) / 3, 0.7])
    assert table.select("failed", "pruned").unique().rows() == [(1, 0)]


def test_configurations_that_differ_in_what_does_nothing_are_drawn_once(write_run: Write) -> None:
    rows = [trial(str(a), "agm", 0, a, a, **{"agm.alpha": a}) for a in (0.5, 0.7)]
    rows += [trial("joint", "joint", 0, 0.6, 0.6)]
    vary = {name: {"values": [0, 1], "scale": "linear"} for name in ("agm.alpha", "dummy")}
    table = best_of(load(write_run([row | {"dummy": d} for row in rows for d in (0, 1)], vary=vary)))
    assert table.filter(method="agm")["mean"].to_list() == pytest.approx([0.6, 0.7])
    assert table.filter(method="joint")["n"].to_list() == [1]
