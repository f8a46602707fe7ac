"""The response along one axis: the joint prediction, and a panel for each encoder's probe."""

from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plots.style import (
    FAILED,
    GREY,
    LABELS,
    NARROW,
    WIDE,
    Look,
    grid,
    head,
    intervals,
    legend,
    looks,
    sheet,
    short,
    styled,
    unit,
)
from analysis.ruler import Ruler, ruler, window
from analysis.text import is_percent, score


def plot_curve(
    curve: pl.DataFrame, probes: pl.DataFrame, *, axis: str, metric: str, title: str, scale: str = "linear"
) -> Figure:
    """Return the response along an axis: the joint prediction first, then a panel for each encoder's probe."""
    panels = {"joint prediction": curve} | {
        f"{encoder} encoder, probed": probes.filter(pl.col("modality") == encoder)
        for encoder in probes["modality"].unique(maintain_order=True)
    }
    curves = curve.filter(pl.col("kind") == "curve")
    shades = looks([*curves["method"], *curve["method"], *probes["method"]])
    places = ruler(curve["value"].drop_nulls(), scale)
    rows, columns = grid(len(panels))
    with styled():
        figure = sheet(NARROW if columns == 1 else WIDE, 1.0 + 2.3 * rows)
        for place, (name, table) in enumerate(panels.items(), start=1):
            panel = figure.add_subplot(rows, columns, place)
            panel.set_title(short(name, 30))
            _draw(panel, table, places, shades)
            frame(panel, places, axis, metric)
            if is_percent(metric):
                panel.yaxis.set_major_formatter(lambda y, _: f"{100 * y:g}")
            _crop(panel, table, places, shades, metric)
        _mark_failures(figure.axes[0], curves, places)
        head(figure, title, f"{intervals(curve)}, validation split")
        legend(figure)
    return figure


def _draw(panel: Axes, table: pl.DataFrame, places: Ruler, shades: dict[str, Look]) -> None:
    for part in table.filter(pl.col("kind") == "curve").partition_by("method", maintain_order=True):
        method = part["method"][0]
        draw_line(panel, part, places, shades[method], LABELS.get(method, method))
    for row in table.filter(pl.col("kind") == "baseline").drop_nulls("mean").iter_rows(named=True):
        _draw_baseline(panel, row["method"], row["mean"], row["low"], row["high"], shades[row["method"]].colour)


def _draw_baseline(panel: Axes, method: str, mean: float, low: float | None, high: float | None, colour: str) -> None:
    """Draw joint training as a solid line in its band, other baselines dashed in a lighter one."""
    main = method == "joint"
    label = LABELS.get(method, method)
    panel.axhline(mean, color=colour, lw=1.4, ls="-" if main else "--", label=label, zorder=1.5)
    if low is not None and high is not None:
        panel.axhspan(low, high, color=colour, alpha=0.18 if main else 0.10, lw=0, zorder=1)


def draw_line(panel: Axes, line: pl.DataFrame, places: Ruler, look: Look, label: str, times: float = 1) -> None:
    """Draw `mean` over `value` in the band of its interval; values behind a break stand alone, with an error bar."""
    x = line["value"].replace_strict(places.at, return_dtype=pl.Float64)
    line = line.with_columns(pl.col("mean", "low", "high") * times, x=x, outside=pl.col("value").is_in(places.outside))
    inside = line.filter(~pl.col("outside")).sort("x")
    panel.fill_between(inside["x"], inside["low"], inside["high"], color=look.colour, alpha=0.2, lw=0, zorder=2)
    panel.plot(inside["x"], inside["mean"], look.dash, marker=look.marker, color=look.colour, label=label, zorder=3)
    for row in line.filter("outside").drop_nulls("mean").iter_rows(named=True):
        panel.plot(row["x"], row["mean"], look.marker, color=look.colour, zorder=3)
        if row["low"] is not None:
            panel.vlines(row["x"], row["low"], row["high"], color=look.colour, lw=1.8, alpha=0.6, zorder=2)


def frame(panel: Axes, places: Ruler, axis: str, metric: str, *, change: bool = False) -> None:
    """Set ticks, labels and the marks of a broken axis."""
    panel.set_xticks(list(places.ticks), list(places.ticks.values()))
    panel.margins(x=0.06, y=0.12)
    panel.set_xlabel(short(axis))
    panel.set_ylabel(unit(metric, change=change))
    panel.grid(axis="y")
    for x in places.breaks:
        panel.plot(
            [x], [0], marker=[(-1, -2), (1, 2)], ms=9, color=GREY, mew=1.2, clip_on=False,
            transform=panel.get_xaxis_transform(),
        )  # fmt: skip


def _crop(panel: Axes, table: pl.DataFrame, places: Ruler, shades: dict[str, Look], metric: str) -> None:
    """Leave points far off outside the panel and write them, with an arrow, at its edge."""
    ends = window(table)
    if ends is None:
        return
    panel.set_ylim(*ends)
    for row in table.filter(~pl.col("mean").is_between(*ends), pl.col("kind") == "curve").iter_rows(named=True):
        arrow, height = ("↓", 0.09) if row["mean"] < ends[0] else ("↑", 0.93)
        text, colour = f"{arrow} {score(metric, row['mean'])}", shades[row["method"]].colour
        _write(panel, text, places, row["value"], height, color=colour, fontweight="bold")


def _mark_failures(panel: Axes, curves: pl.DataFrame, places: Ruler) -> None:
    """Write at the foot of the panel how many trials have no result, and are in no mean, at a value."""
    failed = curves.group_by("value", maintain_order=True).agg(pl.sum("failed")).filter(pl.col("failed") > 0)
    for value, count in failed.iter_rows():
        _write(panel, f"{count} failed", places, value, 0.02, color=FAILED)


def _write(panel: Axes, text: str, places: Ruler, value: float, height: float, **style: Any) -> None:
    """Write at a value, on what is drawn there and within the panel."""
    x, first, last = places.at[value], min(places.at.values()), max(places.at.values())
    side = "center" if first < x < last else "left" if x == first else "right"
    under = {"fc": "white", "ec": "none", "alpha": 0.75, "pad": 0.6}
    panel.annotate(
        text, (x, height), xycoords=panel.get_xaxis_transform(), ha=side, fontsize=8, bbox=under, zorder=5, **style
    )
