"""Sensitivity: how the score responds to one setting or two, which values are safe, and what tuning gains."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import polars as pl

from analysis.ablations.differences import require_rows
from analysis.ablations.finding import Effect, Finding, line_point, line_table
from analysis.ablations.scores import (
    Cells,
    Side,
    format_value,
    label,
    paired_samples,
    scores,
    seed_means,
    select_rows,
    unit_metric,
)
from analysis.ablations.variance import INTERACTIONS
from analysis.components import grid_shares
from analysis.formatting import plural
from analysis.regions import ROUNDING
from analysis.statistics import bounds

MAX_LISTED = 6  # points that are named one by one


def response(
    cells: Cells,
    *,
    of: Side,
    default: Mapping[str, Any],
    margin: float,
    scale: str = "linear",
) -> Finding:
    """Return what the best values of some settings gain over their published ones, on test, in every cell.

    The lines are the validation score along the first setting, one for each value of the second. Remarks state which
    values are safe, within the margin of the best on validation, and of several settings, how the variance of the
    score over their grid divides among them.

    Args:
        cells: the runs.
        of: which trials.
        default: setting -> published value; a cell has those that its study varies.
        margin: in the score's unit.
        scale: of the first setting, linear or log.

    Raises:
        ValueError: a cell has none of the trials, or none at the published values.
    """
    effects, line_points, remarks, panel_axes, lost = [], [], [], dict[str, str](), 0
    for cell, run in cells.items():
        name, axes = cell or run.name, [axis for axis in default if axis in run.vary]
        on_validation, on_test = (select_rows(scores({cell: run}, split=split), of) for split in ("validation", "test"))
        points = require_rows(on_validation, of).select(axes).unique(maintain_order=True)
        means = point_means(on_validation, axes)
        lost += len(points) - len(means)
        if means.is_empty():
            effects.append(Effect(f"{name}: best", np.full(on_test["seed"].n_unique(), np.nan)))
            remarks.append(f"{name}: each of the {len(points)} points has a trial without a result")
            continue
        panel_axes[name] = axes[0]
        sign = 1 if run.higher_is_better else -1
        best = means.sort(pl.col("value") * sign, descending=True, maintain_order=True).row(0, named=True)
        sides = [{axis: point[axis] for axis in axes} for point in (best, default)]
        tuned, published = paired_samples(*(require_rows(select_rows(on_test, side), side) for side in sides))
        best_label = label({axis: best[axis] for axis in axes})
        effects.append(Effect(f"{name}: best ({best_label})", sign * tuned, sign * published, run.metric))
        remarks.append(f"{name}: {safe_region_text(means, axes, best['value'], margin, points)}")
        if len(axes) > 1:
            remarks.append(f"{name}: share of the variance over the grid: {variance_shares_text(on_validation, axes)}")
        for point in means.select(axes).iter_rows(named=True):
            line = label({axis: point[axis] for axis in axes[1:]}) if axes[1:] else "score"
            sample = list(seed_means(select_rows(on_validation, point)).values())
            line_points.append(response_point(name, line, point[axes[0]], sample, run.metric))
    axis = ", ".join(dict.fromkeys(panel_axes.values()))
    without = f"; {plural(lost, 'point')} with a missing result left out" if lost else ""
    return Finding(
        effects,
        unit_metric(cells, "score"),
        line_table(line_points),
        axis,
        scale,
        remarks=tuple(remarks),
        panel_axes=panel_axes,
        lines_label=f"validation split{without}",
    )


def response_point(panel: str, line: str, x: Any, sample: Sequence[float], metric: str) -> dict[str, object]:
    """Return a point of a line; one at infinity is not drawn."""
    return line_point(panel, line, x if np.isfinite(x) else float("nan"), sample, bounds(metric))


def point_means(table: pl.DataFrame, axes: list[str]) -> pl.DataFrame:
    """Return the mean score of each combination of settings at which no trial failed."""
    value = pl.when(pl.col("value").is_null().any()).then(None).otherwise(pl.col("value").mean())
    return table.group_by(axes, maintain_order=True).agg(value=value).drop_nulls().sort(axes)


def safe_region_text(means: pl.DataFrame, axes: list[str], best: float, margin: float, points: pl.DataFrame) -> str:
    """Return in words at which of some points the mean score lies within the margin of the best."""
    inside = means.filter((pl.col("value") - best).abs() <= margin + ROUNDING)
    lost = f"; {len(points) - len(means)} left out for a missing result" if len(means) < len(points) else ""
    region = region_text(inside, axes, points)
    return f"within the margin of the best at {len(inside)} of {len(points)} points, {region}{lost}"


def region_text(inside: pl.DataFrame, axes: list[str], points: pl.DataFrame) -> str:
    """Return in words where the points of a region are: their ranges, if all points in these belong to it."""
    if len(axes) == 1 and len(inside) < len(points_in_range(inside, axes[0], points)):
        return label({axes[0]: inside[axes[0]].to_list()})
    ranges = ", ".join(range_text(inside, axis) for axis in axes)
    box = points
    for axis in axes:
        box = points_in_range(inside, axis, box)
    if len(inside) == len(box):
        return ranges
    labels = [label(row) for row in inside.select(axes).iter_rows(named=True)]
    return " or ".join(labels) if len(labels) <= MAX_LISTED else f"among {ranges}"


def points_in_range(inside: pl.DataFrame, axis: str, points: pl.DataFrame) -> pl.DataFrame:
    """Return the points within the range of a region on an axis; of choices, those at the region's."""
    values = inside[axis]
    if values.dtype.is_numeric():
        return points.filter(pl.col(axis).is_between(pl.lit(values.min()), pl.lit(values.max())))
    return points.filter(pl.col(axis).is_in(values.unique().implode()))


def range_text(inside: pl.DataFrame, axis: str) -> str:
    """Return `alpha from 0.1 to 1`, the range of a region on an axis; of choices, all of them."""
    values = inside[axis]
    if not values.dtype.is_numeric() or values.n_unique() == 1:
        return label({axis: values.unique(maintain_order=True).to_list()})
    return f"{axis.rpartition('.')[2]} from {format_value(values.min())} to {format_value(values.max())}"


def variance_shares_text(table: pl.DataFrame, axes: list[str]) -> str:
    """Return how the variance of the mean over a full grid divides among the settings and their interaction.

    Each with its 95 % interval over the seeds of which no trial failed; the noise of few seeds is no interaction.
    """
    complete = table.filter(pl.col("value").is_not_null().all().over("seed"))
    means = complete.group_by("seed", *axes).agg(pl.col("value").mean()).sort("seed", *axes)
    shape = [means[column].n_unique() for column in ("seed", *axes)]
    if means.is_empty() or len(means) < prod(shape):
        return "not known"
    shares = grid_shares(means["value"].to_numpy().reshape(shape))
    names = [*(axis.rpartition(".")[2] for axis in axes), INTERACTIONS]
    intervals = ["" if np.isnan(share.low) else f" [{share.low:.0%}, {share.high:.0%}]" for share in shares]
    texts = (f"{name} {share.mean:.0%}{ends}" for name, share, ends in zip(names, shares, intervals, strict=True))
    return "not known" if np.isnan(shares[0].mean) else ", ".join(texts)
