"""Global sensitivity of settings over their whole range: Sobol indices (SALib) and Morris screening of a design.

Each design is a list of points in SALib's order, run with the same seeds. In addition to the settings there is a dummy
factor that has no effect but other seeds: its index is the noise floor, and a setting that is not above it is not shown
to matter. It is computed from the spread of the seeds at each point, less what a seed does to all points alike, so that
it costs no run and needs two seeds.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analysis.statistics import NAN, Z
from analysis.tables import table_from_rows

RESAMPLES = 200
DUMMY_FACTOR = "(dummy)"
INDICES = {
    "factor": pl.String,
    "other": pl.String,  # of a pair, for second-order indices
    "index": pl.String,  # first | second | total (shares of the variance) | mu_star | sigma (in the metric's unit)
    "value": pl.Float64,
    "low": pl.Float64,  # 95 % interval over groups of points and over seeds
    "high": pl.Float64,
    "floor": pl.Float64,  # the dummy's upper end
    "above_floor": pl.Boolean,
    "groups": pl.Int64,  # of points with all their results
    "dropped": pl.Int64,  # groups in which a result is missing
    "seeds": pl.Int64,
}

Array = NDArray[np.float64]
IndexKey = tuple[str, str | None, str]  # factor, other, index
IndexValues = dict[IndexKey, tuple[float, float]]  # value, and half width of its interval


class PointGroups(NamedTuple):
    """The results of a design, in groups of points that are kept or dropped as a whole."""

    y: Array  # [G, K, S]: groups, points of each, seeds
    x: Array  # [G, K, D], or [G, K, 0]
    dropped: int

    @property
    def is_constant(self) -> bool:
        """Return whether the mean over seeds is the same at all points, or there are none."""
        return self.y.size == 0 or float(np.ptp(self.y.mean(-1))) == 0.0


def responses(table: pl.DataFrame, score: str = "score") -> Array:
    """Return the results [P, S] of a table with columns `point` (0..P-1, in SALib's order), `seed` and a score.

    Missing and infinite results are nan.
    """
    wide = table.select("point", "seed", score).pivot("seed", index="point", values=score)
    points = wide["point"].to_numpy()
    results = np.full((points.max(initial=-1) + 1, wide.width - 1), NAN)
    if len(wide):
        results[points] = wide.drop("point").cast(pl.Float64).fill_null(NAN).to_numpy()
    return np.where(np.isfinite(results), results, NAN)


def sobol(results: Array, names: Sequence[str], *, second_order: bool = False) -> pl.DataFrame:
    """Return first and total Sobol indices, with the columns of INDICES, from results [P, S] of SALib's Sobol sample.

    A group of points with a missing result is dropped as a whole: a nan would make all indices 0 (SALib 1.6).
    """
    groups = complete_groups(results, np.empty((len(results), 0)), (2 if second_order else 1) * len(names) + 2)

    def analyse(y: Array, factors: list[str]) -> IndexValues:
        from SALib.analyze import sobol as salib

        rows: IndexValues = {}
        if np.ptp(y[:, [0, -1]]) == 0:
            return rows  # without variance there are no shares of it; SALib returns 0
        problem = {"num_vars": len(factors), "names": factors}
        result = salib.analyze(problem, y.ravel(), calc_second_order=second_order, num_resamples=RESAMPLES, seed=1)
        for i, factor in enumerate(factors):
            rows[factor, None, "first"] = result["S1"][i], result["S1_conf"][i]
            rows[factor, None, "total"] = result["ST"][i], result["ST_conf"][i]
            for j in range(i + 1, len(factors) if second_order else 0):
                rows[factor, factors[j], "second"] = result["S2"][i, j], result["S2_conf"][i, j]
        return rows

    def with_dummy(y: Array, noise: Array) -> Array:
        """Return the results with a point for a change of the dummy inserted behind those for changes of a setting."""
        end = len(names) + 1
        inserted = np.insert(y, end, y[:, 0] + noise[:, 0], axis=1)
        return np.insert(inserted, -1, y[:, -1] + noise[:, -1], axis=1) if second_order else inserted

    kinds: list[tuple[None, str]] = [(None, "first"), (None, "total")]
    keys: list[IndexKey] = [(name, *kind) for name in names for kind in kinds]
    if second_order:
        keys += [(first, second, "second") for i, first in enumerate(names) for second in names[i + 1 :]]
    return index_table(
        groups, keys, lambda y: analyse(y, list(names)), lambda y, n: analyse(with_dummy(y, n), [*names, DUMMY_FACTOR])
    )


def morris(results: Array, points: Array, names: Sequence[str], *, levels: int = 4) -> pl.DataFrame:
    """Return Morris' mu* and sigma, with the columns of INDICES, from results [P, S] of SALib's Morris sample.

    Points [P, D] are positions on each axis, from 0 to 1: an elementary effect is the change of the metric per range
    of a setting. A step in which the setting did not move has none; a trajectory with a missing result is dropped.
    """
    groups = complete_groups(results, np.asarray(points, dtype=float), len(names) + 1)
    step = levels / (2 * (levels - 1))

    def dummy(y: Array, noise: Array) -> IndexValues:
        """Return the measures with one more step at the end of each trajectory, of the dummy alone."""
        effects = np.column_stack([elementary_effects(y, groups.x), noise[:, -1] / step])
        return morris_measures(effects, [*names, DUMMY_FACTOR])

    keys: list[IndexKey] = [(name, None, index) for name in names for index in ("mu_star", "sigma")]
    return index_table(groups, keys, lambda y: morris_measures(elementary_effects(y, groups.x), names), dummy)


def elementary_effects(y: Array, x: Array) -> Array:
    """Return the elementary effect of each setting in each trajectory, [G, D]; nan where it did not move.

    Args:
        y: results, [G, D + 1].
        x: points, [G, D + 1, D], of which each step moves one setting.
    """
    moves = np.diff(x, axis=1)
    changes = np.where(moves == 0, 0, np.diff(y, axis=1)[..., None])
    with np.errstate(invalid="ignore"):  # 0 / 0 is nan
        return np.asarray(changes.sum(axis=1) / moves.sum(axis=1))


def morris_measures(effects: Array, factors: Sequence[str]) -> IndexValues:
    """Return mu* and sigma of the elementary effects [G, D] of factors with two or more effects, as SALib does."""
    rng = np.random.default_rng(1)
    rows: IndexValues = {}
    for factor, column in zip(factors, effects.T, strict=True):
        known = column[~np.isnan(column)]
        if len(known) < 2:
            continue
        resampled = np.abs(known)[rng.integers(len(known), size=(RESAMPLES, len(known)))].mean(axis=1)
        half_width = Z * resampled.std(ddof=1)
        rows[factor, None, "mu_star"] = float(np.abs(known).mean()), float(half_width)
        rows[factor, None, "sigma"] = float(known.std(ddof=1)), NAN
    return rows


def complete_groups(results: Array, points: Array, size: int) -> PointGroups:
    """Return the groups of `size` points that have all their results.

    Raises:
        ValueError: the number of points is no multiple of `size`, so that they are not those of the design.
    """
    if len(results) % size:
        raise ValueError(f"{len(results)} points are not a multiple of {size}, so they are not those of the design.")
    y, x = (table.reshape(len(table) // size, size, table.shape[1]) for table in (results, points))
    complete = np.isfinite(y).all(axis=(1, 2))
    return PointGroups(y[complete], x[complete], int((~complete).sum()))


def index_table(
    groups: PointGroups,
    keys: list[IndexKey],
    analyse: Callable[[Array], IndexValues],
    dummy: Callable[[Array, Array], IndexValues],
) -> pl.DataFrame:
    """Return the indices of the mean over seeds; null with fewer than two groups, or where all results are equal."""
    num_groups, _, seeds = groups.y.shape
    common = {"groups": num_groups, "dropped": groups.dropped, "seeds": seeds}
    dummy_indices = dict.fromkeys(index for _, other, index in keys if other is None)
    all_keys = [*keys, *((DUMMY_FACTOR, None, index) for index in dummy_indices)]
    indices: IndexValues = {}
    if num_groups > 1 and not groups.is_constant:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of resamples that happen to be constant
            indices = jackknife_widened(groups.y, analyse)
            if seeds > 1:
                noise = dummy(groups.y.mean(-1), seed_noise(groups.y))
                indices |= {key: value for key, value in noise.items() if DUMMY_FACTOR in key}
    rows = []
    for factor, other, index in all_keys:
        value, half_width = indices.get((factor, other, index), (NAN, NAN))
        floor = sum(indices.get((DUMMY_FACTOR, None, index), (NAN, NAN)))
        is_known = np.isfinite(value + half_width + floor) and factor != DUMMY_FACTOR
        above = bool(value - half_width > floor) if is_known else None
        interval = {"value": value, "low": value - half_width, "high": value + half_width}
        key = {"factor": factor, "other": other, "index": index}
        rows.append(key | interval | {"floor": floor, "above_floor": above} | common)
    return table_from_rows(rows, INDICES)


def jackknife_widened(y: Array, analyse: Callable[[Array], IndexValues]) -> IndexValues:
    """Return the indices, their intervals widened by the jackknife variance over the seeds."""
    seeds = y.shape[-1]
    indices = analyse(y.mean(-1))
    if seeds < 3:
        return indices
    left_out = [analyse(np.delete(y, seed, axis=-1).mean(-1)) for seed in range(seeds)]
    widened = {}
    for key, (value, half_width) in indices.items():
        variance = np.var([without.get(key, (NAN, NAN))[0] for without in left_out]) * (seeds - 1)
        widened[key] = value, float(np.hypot(half_width, Z * np.sqrt(variance)))
    return widened


def seed_noise(y: Array) -> Array:
    """Return the change of the mean over seeds at each point, [G, K], as under a new sample of seeds.

    It is the difference of two halves of the seeds, scaled to the variance of a difference of two independent means.
    """
    residuals = y - y.mean(axis=(0, 1))  # what a seed does to all points alike cancels in every comparison
    seeds = y.shape[-1]
    first, second = residuals[..., : seeds // 2], residuals[..., seeds // 2 :]
    scale = (2 / seeds) / (1 / first.shape[-1] + 1 / second.shape[-1])
    return np.asarray((first.mean(-1) - second.mean(-1)) * np.sqrt(scale), dtype=float)
