"""How the validation metric answers to one setting."""

from collections.abc import Callable

import polars as pl

from analysis.choice import configurations, configurations_along, validation_probes, validation_scores
from analysis.formatting import format_settings
from analysis.statistics import bounds, estimate
from analysis.tables import Run, is_numeric, table_from_rows

CURVE = {
    "kind": pl.String,  # curve | baseline
    "method": pl.String,
    "settings": pl.String,  # where the other varied settings are held
    "value": pl.Float64,  # of the axis; null for baselines
    "mean": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "seeds": pl.Int64,
    "failed": pl.Int64,  # trials that failed or diverged, which are in no mean
}
HEAT = {
    "method": pl.String,
    "settings": pl.String,  # where the other varied settings are held
    "x": pl.Float64,
    "y": pl.Float64,
    "mean": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "seeds": pl.Int64,
    "failed": pl.Int64,
}


def axes(run: Run) -> list[str]:
    """Return the settings that took several numbers, listed or searched within a range."""
    several = {axis for axis, spec in run.vary.items() if len(set(map(str, spec["values"]))) != 1}
    return [axis for axis, spec in run.vary.items() if axis in several and is_numeric(spec["values"])]


def curve(run: Run, axis: str) -> pl.DataFrame:
    """Return the joint validation metric at each value of an axis, and of the methods without it, as CURVE says.

    A method's other varied settings are held at its chosen configuration; where the design has several values
    of the axis only elsewhere, as in one-at-a-time designs, at the best configuration that has most of them.
    """
    return _response(run, axis, validation_scores).filter(pl.col("method") != "unimodal")


def probe_curve(run: Run, axis: str) -> pl.DataFrame:
    """Return the same for each encoder's probe, of which `modality` tells; `unimodal` is the encoder trained alone."""
    return _response(run, axis, validation_probes, "encoder").rename({"encoder": "modality"})


def heat(run: Run, x: str, y: str) -> pl.DataFrame:
    """Return the joint validation metric of methods that have two axes, at each pair of values, as HEAT says.

    Other varied settings are held as `curve` holds them.
    """
    others = [other for other in run.vary if other not in (x, y)]
    groups = configurations(run).drop_nulls([x, y]).partition_by("method", "modality", maintain_order=True)
    points = pl.concat([configurations(run).clear(), *(configurations_along(run, group, [x, y]) for group in groups)])
    joint = validation_scores(run, points).filter(pl.col("method") != "unimodal")
    rows = []
    for (method, at_x, at_y), group in joint.group_by("method", x, y, maintain_order=True):
        point = group.row(0, named=True)
        place = {"method": method, "settings": format_settings(point, others), "x": at_x, "y": at_y}
        failed = {"failed": point["failed"] + point["diverged"]}
        rows.append(place | failed | estimate(group["score"].drop_nulls(), bounds(run.metric))._asdict())
    return table_from_rows(rows, HEAT).sort("x", "y").sort("method", maintain_order=True)


def _response(run: Run, axis: str, scores: Callable[[Run, pl.DataFrame], pl.DataFrame], *of: str) -> pl.DataFrame:
    """Return scores at each value of an axis, of each method and what else each is `of`, as CURVE says."""
    table = configurations(run)
    groups = table.partition_by("method", "modality", maintain_order=True)
    others = [other for other in run.vary if other != axis]
    points = pl.concat([table.clear(), *(_line(run, group, axis) for group in groups)])
    rows = []
    for _, group in scores(run, points).group_by("method", "modality", axis, *of, maintain_order=True):
        point = group.row(0, named=True)
        rows.append(
            {
                "kind": "baseline" if point[axis] is None else "curve",
                "method": point["method"],
                "settings": format_settings(point, others),
                "value": point[axis],
                "failed": point["failed"] + point["diverged"],
                **estimate(group["score"].drop_nulls(), bounds(run.metric))._asdict(),
                **{name: point[name] for name in of},
            }
        )
    return table_from_rows(rows, CURVE | dict.fromkeys(of, pl.String))


def _line(run: Run, group: pl.DataFrame, axis: str) -> pl.DataFrame:
    """Return one method's configurations along the axis, by value; only its best if it has no such setting."""
    return group.head(1) if group[axis].is_null().all() else configurations_along(run, group, [axis]).sort(axis)
