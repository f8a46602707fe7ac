"""Sensitivity: how the score answers to one setting or two, where it is safe to be, and what tuning gains."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from analysis.ablations.differences import some
from analysis.ablations.finding import Effect, Finding, drawn, point
from analysis.ablations.scores import Cells, Side, by_seed, label, pairs, scores, select, shown, unit
from analysis.ablations.variance import REST, by_seeds, decomposed
from analysis.formatting import plural
from analysis.regions import TINY
from analysis.statistics import bounds

FEW = 6  # points that are named one by one


def response(
    cells: Cells,
    *,
    of: Side,
    default: Mapping[str, Any],
    margin: float,
    scale: str = "linear",
) -> Finding:
    """Return what the best values of some settings gain over their published ones, on test, in every cell.

    The lines are the validation score along the first setting, one for each value of the second. Remarks say which
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
    effects, rows, remarks, along, lost = [], [], [], dict[str, str](), 0
    for cell, run in cells.items():
        name, axes = cell or run.name, [axis for axis in default if axis in run.vary]
        seen, final = (select(scores({cell: run}, split=split), of) for split in ("validation", "test"))
        points, means = some(seen, of).select(axes).unique(maintain_order=True), grid(seen, axes)
        lost += len(points) - len(means)
        if means.is_empty():
            effects.append(Effect(f"{name}: best", np.full(final["seed"].n_unique(), np.nan)))
            remarks.append(f"{name}: each of the {len(points)} points lost a trial")
            continue
        along[name] = axes[0]
        sign = 1 if run.higher_is_better else -1
        best = means.sort(pl.col("value") * sign, descending=True, maintain_order=True).row(0, named=True)
        sides = [{axis: where[axis] for axis in axes} for where in (best, default)]
        gained, held = pairs(*(some(select(final, side), side) for side in sides))
        effects.append(
            Effect(f"{name}: best ({label({a: best[a] for a in axes})})", sign * gained, sign * held, run.metric)
        )
        remarks.append(f"{name}: {safe(means, axes, best['value'], margin, points)}")
        if len(axes) > 1:
            remarks.append(f"{name}: variance over the grid, {shares(seen, axes)}")
        for values in means.select(axes).iter_rows(named=True):
            line = label({axis: values[axis] for axis in axes[1:]}) if axes[1:] else "score"
            numbers = list(by_seed(select(seen, values)).values())
            rows.append(point_of(name, line, values[axes[0]], numbers, run.metric))
    axis = ", ".join(dict.fromkeys(along.values()))
    gone = f"; without {plural(lost, 'point')} that lost a trial" if lost else ""
    return Finding(
        effects,
        unit(cells, "score"),
        drawn(rows),
        axis,
        scale,
        remarks=tuple(remarks),
        axes=along,
        lines_of=f"validation split{gone}",
    )


def point_of(panel: str, line: str, x: Any, numbers: Sequence[float], metric: str) -> dict[str, object]:
    """Return a point of a line; infinity is drawn nowhere."""
    return point(panel, line, x if np.isfinite(x) else float("nan"), numbers, bounds(metric))


def grid(table: pl.DataFrame, axes: list[str]) -> pl.DataFrame:
    """Return the mean score of each combination of settings that no trial failed at."""
    value = pl.when(pl.col("value").is_null().any()).then(None).otherwise(pl.col("value").mean())
    return table.group_by(axes, maintain_order=True).agg(value=value).drop_nulls().sort(axes)


def safe(means: pl.DataFrame, axes: list[str], best: float, margin: float, points: pl.DataFrame) -> str:
    """Return in words at which of some points the mean score lies within the margin of the best."""
    inside = means.filter((pl.col("value") - best).abs() <= margin + TINY)
    lost = f"; {len(points) - len(means)} lost a trial" if len(means) < len(points) else ""
    at = located(inside, axes, points)
    return f"within the margin of the best at {len(inside)} of {len(points)} points, {at}{lost}"


def located(inside: pl.DataFrame, axes: list[str], points: pl.DataFrame) -> str:
    """Return in words where some of the points are: from where to where, if all that lie between are among them."""
    if len(axes) == 1 and len(inside) < len(between(inside, axes[0], points)):
        return label({axes[0]: inside[axes[0]].to_list()})
    ranges = ", ".join(ranged(inside, axis) for axis in axes)
    box = points
    for axis in axes:
        box = between(inside, axis, box)
    if len(inside) == len(box):
        return ranges
    listed = [label(row) for row in inside.select(axes).iter_rows(named=True)]
    return " or ".join(listed) if len(listed) <= FEW else f"among {ranges}"


def between(inside: pl.DataFrame, axis: str, points: pl.DataFrame) -> pl.DataFrame:
    """Return the points that lie on an axis where some do, or between them; choices have nothing between."""
    values = inside[axis]
    if values.dtype.is_numeric():
        return points.filter(pl.col(axis).is_between(pl.lit(values.min()), pl.lit(values.max())))
    return points.filter(pl.col(axis).is_in(values.unique().implode()))


def ranged(inside: pl.DataFrame, axis: str) -> str:
    """Return in words where some points lie on an axis: from where to where, or at which choices."""
    values = inside[axis]
    if not values.dtype.is_numeric() or values.n_unique() == 1:
        return label({axis: values.unique(maintain_order=True).to_list()})
    return f"{axis.rpartition('.')[2]} from {shown(values.min())} to {shown(values.max())}"


def shares(table: pl.DataFrame, axes: list[str]) -> str:
    """Return how the variance of the mean over a full grid divides among the settings and their interaction.

    Each with its 95 % interval over the seeds of which no trial failed; the noise of few seeds is no interaction.
    """
    found = by_seeds(table, lambda seeds: divided(seeds, axes))
    names = [*(axis.rpartition(".")[2] for axis in axes), REST]
    ends = ["" if np.isnan(one.low) else f" [{one.low:.0%}, {one.high:.0%}]" for one in found]
    known = (f"{name} {one.mean:.0%}{end}" for name, one, end in zip(names, found, ends, strict=True))
    return "not known" if np.isnan(found[0].mean) else ", ".join(known)


def divided(table: pl.DataFrame, axes: list[str]) -> list[float]:
    """Return the share of each setting, and of their interaction, in the variance of the mean over a full grid."""
    return list(decomposed(grid(table, axes), axes).values())
