"""Where it is safe to be: the configurations within a margin of the best, and whether the best stays the best."""

from typing import NamedTuple

import numpy as np
import polars as pl

from analysis.axis_layout import axis_layout
from analysis.choice import Design, design
from analysis.rankings import Agreement, agreement
from analysis.statistics import NAN, bounds, paired
from analysis.tables import Run, table_from_rows

TINY = 1e-9  # what a score is rounded by
REGION = {
    "difference": pl.Float64,  # to the best, paired by seed; worse is below 0, of an error above
    "low": pl.Float64,  # 95 % interval
    "high": pl.Float64,
    "within": pl.Boolean,  # the margin, as measured
    "shown": pl.Boolean,  # the interval lies within it; one that fails for a seed never is
    "seeds": pl.Int64,
}


class Region(NamedTuple):
    """Configurations beside the best one."""

    table: pl.DataFrame  # `method`, the axes, REGION; best first
    margin: float
    seeds: int


def safe_region(run: Run, method: str, margin: float) -> Region:
    """Return which of a method's configurations score on validation within a margin of the best, in the metric's unit.

    The best is chosen on the same scores, so that it seems a little better than it is, and the region a little smaller:
    its size has no interval. What is sure is said of each configuration, by `shown`.
    """
    found = design(run, method)
    sign = 1.0 if run.higher_is_better else -1.0
    scores = sign * found.scores
    whole = np.isfinite(scores).all(axis=1) & (scores.shape[1] > 0)
    if not whole.any():
        empty = found.points.clear().with_columns(pl.lit(None, kind).alias(name) for name, kind in REGION.items())
        return Region(empty, margin, len(found.seeds))
    order = np.argsort(np.where(whole, -scores.sum(axis=1, where=np.isfinite(scores)), np.inf), kind="stable")
    best = scores[order[0]]
    rows = []
    for place in order:
        mean, _, low, high, _, pairs = paired(scores[place], best, bounds(run.metric, change=True))
        complete = bool(whole[place])
        ends = {"difference": sign * mean, "low": min(sign * low, sign * high), "high": max(sign * low, sign * high)}
        inside = {"within": complete and mean >= -margin - TINY, "shown": complete and low >= -margin - TINY}
        rows.append(ends | inside | {"seeds": pairs})
    table = pl.concat([found.points[order.tolist()], table_from_rows(rows, REGION)], how="horizontal")
    return Region(table, margin, len(found.seeds))


def span(region: Region, axis: str, scale: str) -> tuple[float, float, float]:
    """Return the least and the greatest value of an axis within the region, and the share of the axis between them.

    The share is of its length as a figure draws it; nan where the region is empty, or has a single value.
    """
    if axis not in region.table.columns:
        return NAN, NAN, NAN
    inside = region.table.filter("within")[axis].drop_nulls()
    at = axis_layout(region.table[axis].drop_nulls(), scale).positions
    if inside.is_empty() or len(at) < 2:
        return NAN, NAN, NAN
    ends = sorted(inside.to_list(), key=lambda value: at[value])
    return ends[0], ends[-1], (at[ends[-1]] - at[ends[0]]) / (max(at.values()) - min(at.values()))


def stability(run: Run, method: str) -> Agreement:
    """Return how far the seeds agree on the ranking of a method's configurations, and on the best."""
    return agreement(design(run, method).scores.T, higher_is_better=run.higher_is_better)


def stability_over(runs: dict[str, Run], method: str) -> Agreement:
    """Return how far data sets (one run each) agree on the ranking of the configurations that they have in common."""
    found = {name: design(run, method) for name, run in runs.items()}
    means = [_by_point(one, 1.0 if runs[name].higher_is_better else -1.0) for name, one in found.items()]
    common = sorted(set.intersection(*(set(one) for one in means)), key=str) if means else []
    scores = np.array([[one[point] for point in common] for one in means]).reshape(len(means), len(common))
    return agreement(scores)


def _by_point(found: Design, sign: float) -> dict[tuple[object, ...], float]:
    """Return the mean of each configuration over its seeds, nan if one is missing."""
    columns = ["method", *sorted(found.axes)]
    means = found.scores.mean(axis=1) if found.seeds else np.full(len(found.scores), np.nan)
    return dict(zip(found.points.select(columns).rows(), (sign * means).tolist(), strict=True))
