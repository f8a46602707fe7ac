from itertools import product

import numpy as np
import polars as pl
import pytest
from SALib.analyze import morris as salib_morris
from SALib.analyze import sobol as salib
from SALib.sample import morris as morris_sample
from SALib.sample import sobol as sobol_sample
from SALib.test_functions import Ishigami, Sobol_G

from analysis.indices import DUMMY_FACTOR, Array, morris, responses, sobol

NAMES = ["x1", "x2", "x3"]
ISHIGAMI = {"num_vars": 3, "names": NAMES, "bounds": [[-np.pi, np.pi]] * 3}
WEIGHTS = [0.0, 1.0, 4.5, 9.0]
G = {"num_vars": 4, "names": list("abcd"), "bounds": [[0.0, 1.0]] * 4}
FIRST = {"x1": 0.3139, "x2": 0.4424, "x3": 0.0}
TOTAL = {"x1": 0.5576, "x2": 0.4424, "x3": 0.2437}


def within(table: pl.DataFrame, index: str, truth: dict[str, float]) -> bool:
    rows = table.filter(pl.col("index") == index, pl.col("other").is_null()).iter_rows(named=True)
    return all(row["low"] <= truth[row["factor"]] <= row["high"] for row in rows if row["factor"] != DUMMY_FACTOR)


def g_truth() -> tuple[dict[str, float], dict[str, float]]:
    """V_i = 1 / (3 (1 + a_i)^2), V = prod(1 + V_i) - 1, T_i = V_i prod over the others of (1 + V_j)."""
    parts = 1 / (3 * (1 + np.array(WEIGHTS)) ** 2)
    whole = np.prod(1 + parts) - 1
    total = parts * np.prod(1 + parts) / (1 + parts) / whole
    return dict(zip("abcd", parts / whole, strict=True)), dict(zip("abcd", total, strict=True))


def ishigami(second_order: bool = False, groups: int = 512) -> Array:
    points = sobol_sample.sample(ISHIGAMI, groups, calc_second_order=second_order, seed=1)
    return np.asarray(Ishigami.evaluate(points)[:, None])


@pytest.mark.parametrize("second_order", [False, True])
def test_the_indices_of_ishigami(second_order: bool) -> None:
    table = sobol(ishigami(second_order), NAMES, second_order=second_order)
    assert within(table, "first", FIRST)
    assert within(table, "total", TOTAL)
    if second_order:
        pair = table.row(by_predicate=(pl.col("factor") == "x1") & (pl.col("other") == "x3"), named=True)
        assert pair["low"] <= 0.2437 <= pair["high"]


def test_the_indices_of_the_g_function() -> None:
    points = sobol_sample.sample(G, 1024, calc_second_order=False, seed=1)
    table = sobol(Sobol_G.evaluate(points, a=np.array(WEIGHTS))[:, None], list("abcd"))
    first, total = g_truth()
    assert within(table, "first", first)
    assert within(table, "total", total)


def test_they_are_those_of_salib() -> None:
    results = ishigami()
    result = sobol(results, NAMES).filter(pl.col("factor") != DUMMY_FACTOR, pl.col("index") == "total")
    direct = salib.analyze(ISHIGAMI, results[:, 0], calc_second_order=False, seed=1)
    assert result["value"].to_list() == pytest.approx(list(direct["ST"]))


def grid_effects(function: str, levels: int) -> dict[str, float]:
    """Return mu* by all steps of the grid: from each of its points at which the step stays in the range."""
    step = levels / (2 * (levels - 1))
    ticks = np.linspace(0, 1, levels)
    problem = ISHIGAMI if function == "ishigami" else G
    effects = {}
    for i, name in enumerate(problem["names"]):
        start = np.array([p for p in product(ticks, repeat=problem["num_vars"]) if p[i] + step <= 1 + 1e-9])
        end = start + step * (np.arange(start.shape[1]) == i)
        effects[name] = float(np.abs(evaluate(function, end) - evaluate(function, start)).mean() / step)
    return effects


def evaluate(function: str, unit: Array) -> Array:
    if function == "ishigami":
        return np.asarray(Ishigami.evaluate(np.pi * (2 * unit - 1)))
    return np.asarray(Sobol_G.evaluate(np.clip(unit, 0, 1), a=np.array(WEIGHTS)))


@pytest.mark.parametrize("function", ["ishigami", "g"])
def test_morris_finds_the_mean_effects_of_the_grid(function: str) -> None:
    names = NAMES if function == "ishigami" else list("abcd")
    unit = {"num_vars": len(names), "names": names, "bounds": [[0.0, 1.0]] * len(names)}
    points = morris_sample.sample(unit, 100, num_levels=4, seed=1)
    table = morris(evaluate(function, points)[:, None], points, names)
    assert within(table, "mu_star", grid_effects(function, 4))


@pytest.mark.parametrize("levels", [4, 6])
def test_effects_of_ranges_are_those_of_salib(levels: int) -> None:
    problem = G | {"bounds": [[0.0, 1.0]] * 4}
    points = morris_sample.sample(problem, 12, num_levels=levels, seed=1)
    results = Sobol_G.evaluate(points, a=np.array(WEIGHTS))
    result = morris(results[:, None], points, list("abcd"), levels=levels).filter(pl.col("factor") != DUMMY_FACTOR)
    direct = salib_morris.analyze(problem, points, results, num_levels=levels, num_resamples=200, seed=1)
    for index in ("mu_star", "sigma"):
        assert result.filter(index=index)["value"].to_list() == pytest.approx(list(direct[index]))
    reach = result.filter(index="mu_star").select(pl.col("high") - pl.col("value")).to_series()
    assert reach.to_list() == pytest.approx(list(direct["mu_star_conf"]))


def test_an_effect_is_by_how_far_a_setting_moved_and_none_where_it_stayed() -> None:
    """The first adds 3 from end to end; the second moves once, and has no second effect to speak of."""
    points = np.array([[[0, 0], [1, 0], [1, 1]], [[0.5, 1], [0.5, 1], [0, 1]], [[0, 0], [0, 0], [0.5, 0]]])
    results = 3 * points[..., 0] + 2 * points[..., 1]
    table = morris(results.reshape(-1, 1), points.reshape(-1, 2), ["a", "b"]).filter(index="mu_star")
    assert dict(table.select("factor", "value").rows()) == {"a": 3.0, "b": None, DUMMY_FACTOR: None}


def test_a_missing_result_takes_its_group_and_no_index_to_zero() -> None:
    """SALib itself returns 0 for all total indices."""
    results = ishigami()
    results[7] = np.nan
    table = sobol(results, NAMES)
    assert within(table, "total", TOTAL)
    assert set(table["dropped"]) == {1}
    assert set(table["groups"]) == {511}


def noisy(results: Array, sd: float, seeds: int = 5) -> Array:
    rng = np.random.default_rng(0)
    return np.asarray(results + rng.normal(0, sd, (len(results), seeds)) + rng.normal(0, 10, seeds))


def test_the_dummy_shows_what_the_noise_of_the_seeds_pretends() -> None:
    """Noise of sd 4 in means over 5 seeds has variance 3.2 beside Ishigami's 13.84: a total index of 0.19."""
    table = sobol(noisy(ishigami(), 4.0), NAMES).filter(pl.col("index") == "total")
    dummy = table.filter(pl.col("factor") == DUMMY_FACTOR).row(0, named=True)
    assert dummy["value"] == pytest.approx(3.2 / (3.2 + 13.84), abs=0.03)
    assert table.filter(pl.col("above_floor"))["factor"].to_list() == NAMES


def test_a_setting_that_does_nothing_is_not_above_the_floor() -> None:
    problem = ISHIGAMI | {"num_vars": 4, "names": [*NAMES, "dead"], "bounds": [[-np.pi, np.pi]] * 4}
    points = sobol_sample.sample(problem, 256, calc_second_order=False, seed=1)
    results = noisy(Ishigami.evaluate(points[:, :3])[:, None], 4.0)
    dead = sobol(results, [*NAMES, "dead"]).filter(pl.col("factor") == "dead", pl.col("index") == "total")
    assert dead["value"][0] > 0.1
    assert dead["above_floor"].to_list() == [False]
    points = morris_sample.sample(problem, 40, num_levels=4, seed=1)
    table = morris(noisy(Ishigami.evaluate(points[:, :3])[:, None], 4.0), points / (2 * np.pi) + 0.5, [*NAMES, "dead"])
    above = table.filter(pl.col("index") == "mu_star", pl.col("factor") != DUMMY_FACTOR)
    assert above["above_floor"].to_list() == [True, True, True, False]


def test_what_a_seed_does_to_all_points_alike_is_no_noise() -> None:
    results = ishigami(groups=64) + np.array([0.0, 5.0, -3.0])
    dummy = sobol(results, NAMES).filter(pl.col("factor") == DUMMY_FACTOR, pl.col("index") == "total")
    assert dummy["value"][0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("results", [np.full((10, 3), 0.5), np.full((10, 3), np.nan), np.empty((0, 0))])
def test_what_cannot_be_told_is_null(results: Array) -> None:
    for table in (sobol(results, NAMES), morris(np.full((8, 2), 0.5), np.zeros((8, 3)), NAMES)):
        assert table["value"].null_count() == len(table) > 0
        assert table["above_floor"].null_count() == len(table)


def test_one_seed_has_no_floor() -> None:
    table = sobol(ishigami(groups=16), NAMES)
    assert table["floor"].null_count() == len(table)


def test_points_that_are_no_design_are_refused() -> None:
    with pytest.raises(ValueError, match="7 points are not a multiple of 5"):
        sobol(np.zeros((7, 1)), NAMES)


def test_a_table_becomes_results_by_point_and_seed() -> None:
    table = pl.DataFrame({"point": [0, 0, 2, 2], "seed": [0, 1, 1, 0], "score": [0.1, 0.2, 0.4, None]})
    assert np.array_equal(responses(table), [[0.1, 0.2], [np.nan, np.nan], [np.nan, 0.4]], equal_nan=True)
    assert responses(table.clear()).shape[0] == 0
