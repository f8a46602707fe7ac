import math

import numpy as np
import pytest

from analysis import load
from analysis.regions import ranking_stability, ranking_stability_over, safe_region, safe_span
from analysis.sensitivity import HEAT_MAP, heat_map
from analysis.surfaces import residual_leverage, surface
from analysis.tables import Run
from tests.analysis.conftest import Write, trial

ALPHA, LR = "agm.alpha", "train.lr"
LOG = {ALPHA: {"values": [0.1, 1.0, 10.0, 100.0], "scale": "log"}}


def curve(write_run: Write, scores: dict[float, list[float | None]], **study: object) -> Run:
    rows = [
        trial(f"{a}-{s}", "agm", s, value, value, **{ALPHA: a})
        for a, values in scores.items()
        for s, value in enumerate(values)
    ]
    return load(write_run(rows, vary=LOG, **study))


def test_the_safe_region_by_hand(write_run: Write) -> None:
    """Means 0.80, 0.90, 0.88, 0.50, best 0.90: within 0.03 are 1 and 10; of 10 the differences are -1 to -3 points.

    Their interval ends at -0.045, so that it is not sure.
    """
    run = curve(write_run, {0.1: [0.8] * 3, 1.0: [0.9] * 3, 10.0: [0.89, 0.88, 0.87], 100.0: [0.5] * 3})
    region = safe_region(run, "agm", 0.03)
    assert region.table[ALPHA].to_list() == [1.0, 10.0, 0.1, 100.0]
    assert region.table["difference"].to_list() == pytest.approx([0, -0.02, -0.1, -0.4])
    assert region.table["within"].to_list() == [True, True, False, False]
    assert region.table["shown"].to_list() == [True, False, False, False]
    assert region.seeds == 3
    assert safe_span(region, ALPHA, "log") == (1.0, 10.0, pytest.approx(1 / 3))


def test_what_lies_a_margin_below_the_best_is_within_it_whatever_the_rounding(write_run: Write) -> None:
    run = curve(write_run, {0.1: [0.98] * 6, 1.0: [0.97] * 6, 10.0: [0.9] * 6})
    region = safe_region(run, "agm", 0.01)
    assert region.table["within"].to_list() == [True, True, False]
    assert region.table["shown"].to_list() == [True, True, False]


@pytest.mark.parametrize(("seeds", "shown"), [(1, 0), (2, 1), (5, 1), (6, 2)])
def test_equal_differences_are_certain_from_the_seeds_on_that_the_sign_test_needs(
    seeds: int, shown: int, write_run: Write
) -> None:
    """The best is certain to lie within the margin of itself; five equal signs have p = 1/16, six 1/32."""
    run = curve(write_run, {0.1: [0.98] * seeds, 1.0: [0.975] * seeds, 10.0: [0.9] * seeds})
    table = safe_region(run, "agm", 0.01).table
    assert (table["within"].sum(), table["shown"].sum()) == (2, shown)


def test_an_error_is_safe_below(write_run: Write) -> None:
    run = curve(write_run, {0.1: [0.3] * 2, 1.0: [0.1] * 2}, direction="min")
    region = safe_region(run, "agm", 0.05)
    assert region.table[ALPHA].to_list() == [1.0, 0.1]
    assert region.table["difference"].to_list() == pytest.approx([0, 0.2])
    assert region.table["within"].to_list() == [True, False]


def test_a_configuration_that_fails_is_not_safe(write_run: Write) -> None:
    run = curve(write_run, {0.1: [0.9, 0.9], 1.0: [0.95, None]})
    region = safe_region(run, "agm", 0.1)
    assert region.table.select(ALPHA, "within").rows() == [(0.1, True), (1.0, False)]


def test_nothing_is_safe_where_all_failed(write_run: Write) -> None:
    region = safe_region(curve(write_run, {0.1: [None, None], 1.0: [None, None]}), "agm", 0.1)
    assert region.table.is_empty()
    assert region.seeds == 2
    assert all(math.isnan(end) for end in safe_span(region, ALPHA, "log"))


def test_seeds_that_rank_alike_are_stable(write_run: Write) -> None:
    run = curve(write_run, {0.1: [0.1, 0.2], 1.0: [0.3, 0.4], 10.0: [0.5, 0.6]})
    assert ranking_stability(run, "agm").w == pytest.approx(1)
    assert ranking_stability(run, "agm").best == 1
    result = ranking_stability_over({"one": run, "other": run}, "agm")
    assert (result.raters, result.items, result.w) == (2, 3, pytest.approx(1))
    assert ranking_stability_over({}, "agm").raters == 0


def grid(write_run: Write) -> Run:
    """Score 0.5 + 0.1 a - 0.2 a^2 + 0.05 a b, of alpha and lr on -1..1; a seed adds a constant."""
    vary = {ALPHA: {"values": [0.1, 1.0, 10.0], "scale": "log"}, LR: {"values": [0.0, 0.5, 1.0], "scale": "linear"}}
    rows = []
    for i, alpha in enumerate([0.1, 1.0, 10.0]):
        for j, lr in enumerate([0.0, 0.5, 1.0]):
            a, b = i - 1, j - 1
            for s in range(3):
                value = 0.5 + 0.1 * a - 0.2 * a * a + 0.05 * a * b + 0.01 * s
                rows.append(trial(f"{i}{j}{s}", "agm", s, value, value, **{ALPHA: alpha, LR: lr}))
    return load(write_run(rows, vary=vary))


def test_a_surface_finds_what_was_planted(write_run: Write) -> None:
    result = surface(grid(write_run), "agm")
    effects = dict(result.terms.select("term", "effect").rows())
    assert effects == pytest.approx(
        {ALPHA: 0.1, LR: 0, f"{ALPHA} x {ALPHA}": -0.2, f"{ALPHA} x {LR}": 0.05, f"{LR} x {LR}": 0}, abs=1e-9
    )
    assert (result.r2, result.predicted_r2) == pytest.approx((1, 1))
    assert (result.points, result.dropped) == (9, 0)


def test_too_few_points_have_no_surface(write_run: Write) -> None:
    result = surface(curve(write_run, {0.1: [0.8] * 3, 1.0: [0.9] * 3}), "agm")
    assert result.terms["effect"].to_list() == [None, None]
    assert math.isnan(result.r2)


def test_what_a_surface_predicts_is_that_of_fits_without_each_point(write_run: Write) -> None:
    """Of the line through three points, the fit to the other two predicts each; a quadratic decides them all alone."""
    run = curve(write_run, {0.1: [0.1, 0.1], 0.4: [0.3, 0.3], 1.0: [0.2, 0.2]})
    assert math.isnan(surface(run, "agm").predicted_r2)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 1)), rng.normal(size=8)
    matrix = np.hstack([np.ones((8, 1)), x])
    left_out = [float(matrix[i] @ np.linalg.lstsq(np.delete(matrix, i, 0), np.delete(y, i))[0]) for i in range(8)]
    fitted = matrix @ np.linalg.lstsq(matrix, y)[0]
    assert y - (y - fitted) / residual_leverage(matrix) == pytest.approx(left_out)


def test_heat_by_hand(write_run: Write) -> None:
    run = grid(write_run)
    table = heat_map(run, ALPHA, LR)
    assert list(table.schema) == list(HEAT_MAP)
    assert len(table) == 9
    corner = table.filter(x=10.0, y=1.0).row(0, named=True)
    assert (corner["mean"], corner["seeds"], corner["failed"]) == (pytest.approx(0.46), 3, 0)
