"""Safe regions: the configurations within a margin of the best, and the stability of their ranking over seeds."""

from typing import NamedTuple

import numpy as np
import polars as pl

from analysis.axis_layout import axis_layout
from analysis.choice import Design, design
from analysis.rankings import Agreement, agreement
from analysis.statistics import LEVEL, NAN, bounds, differences, p_above, paired
from analysis.tables import Run, table_from_rows

ROUNDING = 1e-9  # error of a score
REGION = {
    "difference": pl.Float64,  # to the best, paired by seed; worse is below 0, of an error above
    "low": pl.Float64,  # 95 % interval
    "high": pl.Float64,
    "within": pl.Boolean,  # the margin, as measured
    "shown": pl.Boolean,  # the whole interval lies within the margin (p < 0.05); never for one that fails for a seed
    "seeds": pl.Int64,
}


class Region(NamedTuple):
    """Configurations compared with the best one."""

    table: pl.DataFrame  # `method`, the axes, REGION; best first
    margin: float
    seeds: int


def safe_region(run: Run, method: str, margin: float) -> Region:
    """Return which of a method's configurations score on validation within a margin of the best, in the metric's unit.

    The best is chosen on the same scores, so that it seems a little better than it is, and the region a little smaller:
    its size has no interval. The column `shown` marks configurations of which it is statistically certain; the equal
    differences of a few seeds, which leave no variance, make nothing certain.
    """
    configurations = design(run, method)
    sign = 1.0 if run.higher_is_better else -1.0
    scores = sign * configurations.scores
    complete = np.isfinite(scores).all(axis=1) & (scores.shape[1] > 0)
    if not complete.any():
        empty = configurations.points.clear().with_columns(
            pl.lit(None, kind).alias(name) for name, kind in REGION.items()
        )
        return Region(empty, margin, len(configurations.seeds))
    order = np.argsort(np.where(complete, -scores.sum(axis=1, where=np.isfinite(scores)), np.inf), kind="stable")
    best, least = scores[order[0]], -margin - ROUNDING
    rows = []
    for index in order:
        mean, _, low, high, _, pairs = paired(scores[index], best, bounds(run.metric, change=True))
        is_complete, is_best = bool(complete[index]), index == order[0] and pairs > 1
        ends = {"difference": sign * mean, "low": min(sign * low, sign * high), "high": max(sign * low, sign * high)}
        inside = {
            "within": is_complete and mean >= least,
            "shown": is_complete and bool(is_best or p_above(differences(scores[index], best), least) < LEVEL),
        }
        rows.append(ends | inside | {"seeds": pairs})
    table = pl.concat([configurations.points[order.tolist()], table_from_rows(rows, REGION)], how="horizontal")
    return Region(table, margin, len(configurations.seeds))


def safe_span(region: Region, axis: str, scale: str) -> tuple[float, float, float]:
    """Return the least and the greatest value of an axis within the region, and the share of the axis between them.

    The share is of the length of the axis in a figure; nan where the region is empty, or has a single value.
    """
    if axis not in region.table.columns:
        return NAN, NAN, NAN
    inside = region.table.filter("within")[axis].drop_nulls()
    positions = axis_layout(region.table[axis].drop_nulls(), scale).positions
    if inside.is_empty() or len(positions) < 2:
        return NAN, NAN, NAN
    ends = sorted(inside.to_list(), key=lambda value: positions[value])
    length = max(positions.values()) - min(positions.values())
    return ends[0], ends[-1], (positions[ends[-1]] - positions[ends[0]]) / length


def ranking_stability(run: Run, method: str) -> Agreement:
    """Return the agreement of the seeds on the ranking of a method's configurations, and on the best."""
    return agreement(design(run, method).scores.T, higher_is_better=run.higher_is_better)


def ranking_stability_over(runs: dict[str, Run], method: str) -> Agreement:
    """Return the agreement of data sets (one run each) on the ranking of the configurations that they share."""
    designs = {name: design(run, method) for name, run in runs.items()}
    means = [configuration_means(each, 1.0 if runs[name].higher_is_better else -1.0) for name, each in designs.items()]
    common = sorted(set.intersection(*(set(each) for each in means)), key=str) if means else []
    scores = np.array([[each[point] for point in common] for each in means]).reshape(len(means), len(common))
    return agreement(scores)


def configuration_means(configurations: Design, sign: float) -> dict[tuple[object, ...], float]:
    """Return the mean of each configuration over its seeds, nan if one is missing."""
    columns = ["method", *sorted(configurations.axes)]
    means = configurations.scores.mean(axis=1) if configurations.seeds else np.full(len(configurations.scores), np.nan)
    return dict(zip(configurations.points.select(columns).rows(), (sign * means).tolist(), strict=True))
