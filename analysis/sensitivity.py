"""How the validation metric responds to one setting or two."""

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from analysis.choice import configurations, configurations_along, validation_probes, validation_scores
from analysis.formatting import format_settings
from analysis.statistics import bounds, estimate, paired
from analysis.tables import Run, is_numeric, table_from_rows

CURVE = {
    "kind": pl.String,  # curve | baseline
    "method": pl.String,
    "settings": pl.String,  # the fixed values of the other varied settings
    "value": pl.Float64,  # of the axis; null for baselines
    "mean": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "seeds": pl.Int64,
    "failed": pl.Int64,  # trials that failed or diverged, which are in no mean
}
HEAT_MAP = {
    "method": pl.String,
    "settings": pl.String,  # the fixed values of the other varied settings
    "x": pl.Float64,
    "y": pl.Float64,
    "mean": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "seeds": pl.Int64,
    "failed": pl.Int64,
}
CHANGES = {
    "method": pl.String,
    "settings": pl.String,  # the fixed values of the other varied settings
    "change": pl.String,  # the values that differ from the first ones
    "mean": pl.Float64,  # of the difference to the first values
    "low": pl.Float64,
    "high": pl.Float64,
    "pairs": pl.Int64,
}


def axes(run: Run) -> list[str]:
    """Return the settings that took several numbers, listed or searched within a range."""
    return [axis for axis in several_values(run) if is_numeric(run.vary[axis]["values"])]


def several_values(run: Run) -> list[str]:
    """Return the settings that took several values."""
    return [axis for axis, spec in run.vary.items() if len(set(map(str, spec["values"]))) != 1]


def choices(run: Run) -> dict[str, list[str]]:
    """Return the settings that took several names, each by itself, and the components of each method in an ablation."""
    components = tuple(f"{method}." for method in run.methods if run.search[0] == "ablate")
    families: dict[str, list[str]] = {}
    for axis in several_values(run):
        if axis.startswith(components):
            families.setdefault(axis.partition(".")[0], []).append(axis)
        elif not is_numeric(run.vary[axis]["values"]):
            families[axis] = [axis]
    return families


def changes(run: Run, axes: list[str]) -> pl.DataFrame:
    """Return what other values of some axes than the first change in the joint validation metric: CHANGES.

    Differences are paired by seed, and other varied settings are fixed as in `curve`. Methods without these axes, or
    without a result at the first values, have no rows.
    """
    first = {axis: run.vary[axis]["values"][0] for axis in axes}
    others = [axis for axis in run.vary if axis not in axes]
    table, rows = configurations(run).filter(pl.col("method") != "unimodal"), []
    for _, group in table.group_by("method", maintain_order=True):
        scores = validation_scores(run, configurations_along(run, group, axes)).drop_nulls("score")
        parts = [(changed_axes(part, first), part) for part in scores.partition_by(axes, maintain_order=True)]
        baseline = next((part for changed, part in parts if not changed), None)
        if baseline is None:
            continue
        for changed, part in parts:
            point, pairs = part.row(0, named=True), part.join(baseline.select("seed", first="score"), on="seed")
            if changed and len(pairs):
                difference = paired(pairs["score"], pairs["first"], bounds(run.metric, change=True))
                settings = {"settings": format_settings(point, others), "change": format_settings(point, changed)}
                rows.append({"method": point["method"], **settings, **difference._asdict()})
    return table_from_rows(rows, CHANGES)


def changed_axes(part: pl.DataFrame, first: Mapping[str, Any]) -> list[str]:
    """Return the axes at which a configuration has another value than the first."""
    return [axis for axis, value in first.items() if part[axis][0] != value]


def curve(run: Run, axis: str) -> pl.DataFrame:
    """Return the joint validation metric at each value of an axis, and of the methods without it: CURVE.

    A method's other varied settings are fixed at its best configuration; where the design has several values of the
    axis only elsewhere, as in one-at-a-time designs, at the best configuration that has most of them.
    """
    return response_table(run, axis, validation_scores).filter(pl.col("method") != "unimodal")


def probe_curve(run: Run, axis: str) -> pl.DataFrame:
    """Return the curve of each encoder's probe, with its `modality`; `unimodal` is the encoder trained alone."""
    return response_table(run, axis, validation_probes, "encoder").rename({"encoder": "modality"})


def heat_map(run: Run, x: str, y: str) -> pl.DataFrame:
    """Return the joint validation metric of methods that have two axes, at each pair of values: HEAT_MAP.

    Other varied settings are fixed as in `curve`.
    """
    others = [other for other in run.vary if other not in (x, y)]
    groups = configurations(run).drop_nulls([x, y]).partition_by("method", "modality", maintain_order=True)
    points = pl.concat([configurations(run).clear(), *(configurations_along(run, group, [x, y]) for group in groups)])
    joint = validation_scores(run, points).filter(pl.col("method") != "unimodal")
    rows = []
    for (method, at_x, at_y), group in joint.group_by("method", x, y, maintain_order=True):
        point = group.row(0, named=True)
        key = {"method": method, "settings": format_settings(point, others), "x": at_x, "y": at_y}
        failed = {"failed": point["failed"] + point["diverged"]}
        rows.append(key | failed | estimate(group["score"].drop_nulls(), bounds(run.metric))._asdict())
    return table_from_rows(rows, HEAT_MAP).sort("x", "y").sort("method", maintain_order=True)


def response_table(run: Run, axis: str, scores: Callable[[Run, pl.DataFrame], pl.DataFrame], *by: str) -> pl.DataFrame:
    """Return the mean scores at each value of an axis, by method, modality and the columns `by`: CURVE."""
    table = configurations(run)
    groups = table.partition_by("method", "modality", maintain_order=True)
    others = [other for other in run.vary if other != axis]
    points = pl.concat([table.clear(), *(axis_configurations(run, group, axis) for group in groups)])
    rows = []
    for _, group in scores(run, points).group_by("method", "modality", axis, *by, maintain_order=True):
        point = group.row(0, named=True)
        rows.append(
            {
                "kind": "baseline" if point[axis] is None else "curve",
                "method": point["method"],
                "settings": format_settings(point, others),
                "value": point[axis],
                "failed": point["failed"] + point["diverged"],
                **estimate(group["score"].drop_nulls(), bounds(run.metric))._asdict(),
                **{name: point[name] for name in by},
            }
        )
    return table_from_rows(rows, CURVE | dict.fromkeys(by, pl.String))


def axis_configurations(run: Run, group: pl.DataFrame, axis: str) -> pl.DataFrame:
    """Return one method's configurations along an axis, by value; only its best if it has no such setting."""
    return group.head(1) if group[axis].is_null().all() else configurations_along(run, group, [axis]).sort(axis)
