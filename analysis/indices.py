"""Which settings matter over their whole range: Sobol indices (SALib) and Morris screening of a design's results.

Each design is a list of points in SALib's order, run with the same seeds. Beside the settings stands a dummy that does
nothing but draw other seeds: what it seems to do is the noise floor, and a setting that is not above it is not shown to
matter. It is made from the spread of the seeds at each point, less what a seed does to all points alike, so that it
costs no run and needs two seeds.
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
DUMMY = "(dummy)"
INDICES = {
    "factor": pl.String,
    "other": pl.String,  # of a pair, for second-order indices
    "index": pl.String,  # first | second | total (shares of the variance) | mu_star | sigma (in the metric's unit)
    "value": pl.Float64,
    "low": pl.Float64,  # 95 % interval over groups of points and over seeds
    "high": pl.Float64,
    "floor": pl.Float64,  # the dummy's upper end
    "above_floor": pl.Boolean,
    "groups": pl.Int64,  # of points, that have all their results
    "dropped": pl.Int64,  # whole groups in which a result is missing
    "seeds": pl.Int64,
}

Array = NDArray[np.float64]
Index = tuple[str, str | None, str]  # factor, other, index
Found = dict[Index, tuple[float, float]]  # value, and how far its interval reaches to each side


class _Blocks(NamedTuple):
    """The results of a design, in groups that stand and fall together."""

    y: Array  # [G, K, S]: groups, points of each, seeds
    x: Array  # [G, K, D], or [G, K, 0]
    dropped: int

    @property
    def constant(self) -> bool:
        return self.y.size == 0 or float(np.ptp(self.y.mean(-1))) == 0.0


def responses(table: pl.DataFrame, score: str = "score") -> Array:
    """Return the results [P, S] of a table with columns `point` (0..P-1, in SALib's order), `seed` and a score.

    What is missing, failed or infinite is nan.
    """
    wide = table.select("point", "seed", score).pivot("seed", index="point", values=score)
    places = wide["point"].to_numpy()
    found = np.full((places.max(initial=-1) + 1, wide.width - 1), NAN)
    if len(wide):
        found[places] = wide.drop("point").cast(pl.Float64).fill_null(NAN).to_numpy()
    return np.where(np.isfinite(found), found, NAN)


def sobol(results: Array, names: Sequence[str], *, second_order: bool = False) -> pl.DataFrame:
    """Return first and total Sobol indices as INDICES says, from the results [P, S] of SALib's Sobol sample.

    A group of points of which one has no result is dropped as a whole: a nan would make all indices 0 (SALib 1.6).
    """
    blocks = _blocks(results, np.empty((len(results), 0)), (2 if second_order else 1) * len(names) + 2)

    def analyze(y: Array, factors: list[str]) -> Found:
        from SALib.analyze import sobol as salib

        rows: Found = {}
        if np.ptp(y[:, [0, -1]]) == 0:
            return rows  # without variance there are no shares of it; SALib gives 0
        problem = {"num_vars": len(factors), "names": factors}
        found = salib.analyze(problem, y.ravel(), calc_second_order=second_order, num_resamples=RESAMPLES, seed=1)
        for i, one in enumerate(factors):
            rows[one, None, "first"] = found["S1"][i], found["S1_conf"][i]
            rows[one, None, "total"] = found["ST"][i], found["ST_conf"][i]
            for j in range(i + 1, len(factors) if second_order else 0):
                rows[one, factors[j], "second"] = found["S2"][i, j], found["S2_conf"][i, j]
        return rows

    def with_dummy(y: Array, noise: Array) -> Array:
        """Add a point in which the dummy has changed behind those of A in which a setting has, and of B likewise."""
        end = len(names) + 1
        added = np.insert(y, end, y[:, 0] + noise[:, 0], axis=1)
        return np.insert(added, -1, y[:, -1] + noise[:, -1], axis=1) if second_order else added

    kinds: list[tuple[None, str]] = [(None, "first"), (None, "total")]
    keys: list[Index] = [(name, *kind) for name in names for kind in kinds]
    if second_order:
        keys += [(one, other, "second") for i, one in enumerate(names) for other in names[i + 1 :]]
    return _table(
        blocks, keys, lambda y: analyze(y, list(names)), lambda y, n: analyze(with_dummy(y, n), [*names, DUMMY])
    )


def morris(results: Array, points: Array, names: Sequence[str], *, levels: int = 4) -> pl.DataFrame:
    """Return Morris' mu* and sigma as INDICES says, from results [P, S] at the points [P, D] of SALib's Morris sample.

    A point says where on each axis its values lie, from 0 to 1: effects are changes of the metric over the whole range
    of a setting, by how far it moved. A step in which it did not move tells nothing of it; a trajectory with a missing
    result is dropped.
    """
    blocks = _blocks(results, np.asarray(points, dtype=float), len(names) + 1)
    step = levels / (2 * (levels - 1))

    def dummy(y: Array, noise: Array) -> Found:
        """Let each trajectory end with one more step, of the dummy alone."""
        return _screened(np.column_stack([_effects(y, blocks.x), noise[:, -1] / step]), [*names, DUMMY])

    keys: list[Index] = [(name, None, index) for name in names for index in ("mu_star", "sigma")]
    return _table(blocks, keys, lambda y: _screened(_effects(y, blocks.x), names), dummy)


def _effects(y: Array, x: Array) -> Array:
    """Return each setting's elementary effect in each trajectory, [G, D]; nan where it did not move.

    Args:
        y: results, [G, D + 1].
        x: points, [G, D + 1, D], of which each step moves one setting.
    """
    moves = np.diff(x, axis=1)
    changes = np.where(moves == 0, 0, np.diff(y, axis=1)[..., None])
    with np.errstate(invalid="ignore"):  # 0 / 0 is nan
        return np.asarray(changes.sum(axis=1) / moves.sum(axis=1))


def _screened(effects: Array, factors: Sequence[str]) -> Found:
    """Return mu* and sigma of the elementary effects [G, D] of factors that have two or more, as SALib has them."""
    rng = np.random.default_rng(1)
    rows: Found = {}
    for factor, column in zip(factors, effects.T, strict=True):
        known = column[~np.isnan(column)]
        if len(known) < 2:
            continue
        drawn = np.abs(known)[rng.integers(len(known), size=(RESAMPLES, len(known)))].mean(axis=1)
        reach = Z * drawn.std(ddof=1)
        rows[factor, None, "mu_star"] = float(np.abs(known).mean()), float(reach)
        rows[factor, None, "sigma"] = float(known.std(ddof=1)), NAN
    return rows


def _blocks(results: Array, points: Array, size: int) -> _Blocks:
    """Return the groups of `size` points that have all their results.

    Raises:
        ValueError: the number of points is no multiple of it, so that they are not those of the design.
    """
    if len(results) % size:
        raise ValueError(f"{len(results)} points are no whole groups of {size}: they are not those of the design.")
    y, x = (table.reshape(len(table) // size, size, table.shape[1]) for table in (results, points))
    whole = np.isfinite(y).all(axis=(1, 2))
    return _Blocks(y[whole], x[whole], int((~whole).sum()))


def _table(
    blocks: _Blocks,
    keys: list[Index],
    analyze: Callable[[Array], Found],
    dummy: Callable[[Array, Array], Found],
) -> pl.DataFrame:
    """Return the indices of the mean over seeds; null with fewer than two groups, or where all results are equal."""
    groups, _, seeds = blocks.y.shape
    common = {"groups": groups, "dropped": blocks.dropped, "seeds": seeds}
    every = [*keys, *((DUMMY, None, index) for index in dict.fromkeys(key[2] for key in keys if key[1] is None))]
    found: Found = {}
    if groups > 1 and not blocks.constant:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of resamples that happen to be constant
            found = _with_seeds(blocks.y, analyze)
            if seeds > 1:
                noise = dummy(blocks.y.mean(-1), _redrawn(blocks.y))
                found |= {key: ends for key, ends in noise.items() if DUMMY in key}
    rows = []
    for factor, other, index in every:
        value, reach = found.get((factor, other, index), (NAN, NAN))
        floor = sum(found.get((DUMMY, None, index), (NAN, NAN)))
        above = bool(value - reach > floor) if np.isfinite(value + reach + floor) and factor != DUMMY else None
        ends = {"value": value, "low": value - reach, "high": value + reach, "floor": floor, "above_floor": above}
        rows.append({"factor": factor, "other": other, "index": index, **ends, **common})
    return table_from_rows(rows, INDICES)


def _with_seeds(y: Array, analyze: Callable[[Array], Found]) -> Found:
    """Return the indices, their reach widened by what leaving out a seed changes (jackknife)."""
    seeds = y.shape[-1]
    found = analyze(y.mean(-1))
    if seeds < 3:
        return found
    left = [analyze(np.delete(y, seed, axis=-1).mean(-1)) for seed in range(seeds)]
    widened = {}
    for key, (value, reach) in found.items():
        spread = np.var([one.get(key, (NAN, NAN))[0] for one in left]) * (seeds - 1)
        widened[key] = value, float(np.hypot(reach, Z * np.sqrt(spread)))
    return widened


def _redrawn(y: Array) -> Array:
    """Return how the mean over seeds would change at each point if the seeds were drawn again, [G, K].

    The difference of two halves of the seeds, scaled to the variance that two independent means have.
    """
    own = y - y.mean(axis=(0, 1))  # what a seed does to all points alike cancels in every comparison
    seeds = y.shape[-1]
    one, other = own[..., : seeds // 2], own[..., seeds // 2 :]
    scale = (2 / seeds) / (1 / one.shape[-1] + 1 / other.shape[-1])
    return np.asarray((one.mean(-1) - other.mean(-1)) * np.sqrt(scale), dtype=float)
