"""The response along one axis: the joint prediction, and a panel for each encoder's probe."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.axis_layout import AxisLayout, axis_layout, robust_limits
from analysis.formatting import format_score
from analysis.plots.style import (
    FAILURE_COLOUR,
    GREY,
    METHOD_LABELS,
    NARROW,
    WIDE,
    LineStyle,
    add_legend,
    add_title,
    axis_label,
    clip_to_bounds,
    display_factor,
    interval_caption,
    method_styles,
    new_figure,
    panel_grid,
    shorten,
    style_context,
)

LETTER_WIDTH = 5.1  # points that a letter of a tick takes
MIN_DISTANCE = 0.1  # of an axis, within which two numbers would touch
Y_AXIS_WIDTH = 46  # points of a panel's width that its axis up takes


def plot_curve(
    curve: pl.DataFrame,
    probes: pl.DataFrame,
    *,
    axis: str,
    metric: str,
    title: str,
    scale: str = "linear",
    methods: Sequence[str] = (),
) -> Figure:
    """Return the response along an axis: the joint prediction first, then a panel for each encoder's probe.

    Args:
        curve: as `sensitivity.curve` returns it.
        probes: as `sensitivity.probe_curve` returns it.
        axis: its name.
        metric: its name.
        title: of the figure.
        scale: of the axis, log or linear.
        methods: of the study, so that each looks the same in all of its figures.
    """
    panels = {"joint prediction": curve} | {
        f"{encoder} encoder, probed": probes.filter(pl.col("modality") == encoder)
        for encoder in probes["modality"].unique(maintain_order=True)
    }
    curves = curve.filter(pl.col("kind") == "curve")
    shades = method_styles([*methods, *curve["method"], *probes["method"]])
    places = axis_layout(curve["value"].drop_nulls(), scale)
    rows, columns = panel_grid(len(panels))
    with style_context():
        figure = new_figure(NARROW if columns == 1 else WIDE, 1.0 + 2.3 * rows)
        for place, (name, table) in enumerate(panels.items(), start=1):
            panel = figure.add_subplot(rows, columns, place)
            panel.set_title(shorten(name, 30))
            _draw_panel(panel, table, places, shades, display_factor(metric))
            _crop_outliers(panel, table, places, shades, metric)
            format_axes(panel, places, axis, metric)
        lost = curves.group_by("value", maintain_order=True).agg(pl.sum("failed")).filter(pl.col("failed") > 0)
        _mark_failures(figure.axes[0], lost, places)
        foot = "; at the foot, trials without a score" if len(lost) else ""
        add_title(figure, title, f"{interval_caption(curve)}, validation split{foot}")
        add_legend(figure)
    return figure


def _draw_panel(
    panel: Axes, table: pl.DataFrame, places: AxisLayout, shades: dict[str, LineStyle], times: float
) -> None:
    for part in table.filter(pl.col("kind") == "curve").partition_by("method", maintain_order=True):
        method = part["method"][0]
        draw_line(panel, part, places, shades[method], METHOD_LABELS.get(method, method), times)
    baselines = table.filter(pl.col("kind") == "baseline").drop_nulls("mean")
    for row in baselines.with_columns(pl.col("mean", "low", "high") * times).iter_rows(named=True):
        _draw_baseline(panel, row["method"], row["mean"], row["low"], row["high"], shades[row["method"]])


def _draw_baseline(
    panel: Axes, method: str, mean: float, low: float | None, high: float | None, look: LineStyle
) -> None:
    """Draw a line that ends in its marker, in the band of its interval: a lighter one but for joint training."""
    main = method == "joint"
    panel.plot(
        [0, 1], [mean, mean], look.dash, lw=1.4, color=look.colour, marker=look.marker, markevery=[1],
        label=METHOD_LABELS.get(method, method), zorder=1.5, clip_on=False, transform=panel.get_yaxis_transform(),
    )  # fmt: skip
    if low is not None and high is not None:
        panel.axhspan(low, high, color=look.colour, alpha=0.18 if main else 0.10, lw=0, zorder=1)


def draw_line(
    panel: Axes, line: pl.DataFrame, places: AxisLayout, look: LineStyle, label: str, times: float = 1
) -> None:
    """Draw `mean` over `value` in the band of its interval; values behind a break stand alone.

    An interval that stands alone, as no neighbour has one, is an error bar.
    """
    x = line["value"].replace_strict(places.positions, return_dtype=pl.Float64)
    line = line.with_columns(pl.col("mean", "low", "high") * times, x=x, outside=pl.col("value").is_in(places.detached))
    inside = line.filter(~pl.col("outside")).sort("x")
    alone = pl.all_horizontal(pl.col("low").shift(side).is_null() for side in (-1, 1))
    panel.fill_between(inside["x"], inside["low"], inside["high"], color=look.colour, alpha=0.2, lw=0, zorder=2)
    panel.plot(inside["x"], inside["mean"], look.dash, marker=look.marker, color=look.colour, label=label, zorder=3)
    outside = line.filter("outside")
    panel.plot(outside["x"], outside["mean"], look.marker, color=look.colour, zorder=3)
    bars = pl.concat([inside.filter(alone), outside]).drop_nulls("low")
    panel.vlines(bars["x"], bars["low"], bars["high"], color=look.colour, lw=1.8, alpha=0.6, zorder=2)


def format_axes(panel: Axes, places: AxisLayout, axis: str, metric: str, *, change: bool = False) -> None:
    """Set the ticks and labels of both axes, and where they end."""
    format_x_axis(panel, places, axis)
    panel.margins(x=0.06, y=0.12)
    panel.set_ylabel(axis_label(metric, change=change))
    panel.grid(axis="y")
    clip_to_bounds(panel, metric, change=change)


def format_x_axis(panel: Axes, places: AxisLayout, axis: str) -> None:
    """Set the ticks and label of the axis to the right, which shows all of its values, and the marks of its breaks."""
    panel.update_datalim([(x, 0) for x in places.positions.values()], updatey=False)
    ticks = _legible_ticks(panel, places)
    panel.set_xticks(list(ticks), list(ticks.values()))
    panel.set_xlabel(shorten(axis))
    for x in places.breaks:
        panel.plot(
            [x], [0], marker=[(-1, -2), (1, 2)], ms=9, color=GREY, mew=1.2, clip_on=False,
            transform=panel.get_xaxis_transform(),
        )  # fmt: skip


def _legible_ticks(panel: Axes, places: AxisLayout) -> dict[float, str]:
    """Return every tick, or every second or third and so on, such that they do not touch in the width of the panel."""
    spec, span = (
        panel.get_subplotspec(),
        max(places.positions.values(), default=0.0) - min(places.positions.values(), default=0.0),
    )
    columns = spec.get_gridspec().ncols if spec is not None else 1
    width = 72 * panel.figure.get_figwidth() / columns - Y_AXIS_WIDTH  # type: ignore[union-attr]
    letter = 1.12 * span * LETTER_WIDTH / width  # in the unit of the axis, with its margins
    outside = {places.positions[value] for value in places.detached}
    inside = [x for x in places.ticks if x not in outside]
    choices = [inside[first::step] for step in range(1, len(inside) + 1) for first in range(step)]
    for choice in choices:
        ticks = {x: places.ticks[x] for x in sorted([*outside, *choice])}
        pairs = pairwise(ticks.items())
        if all(x - left >= letter * (len(one) + len(other) + 2) / 2 for (left, one), (x, other) in pairs):
            return ticks
    return {x: places.ticks[x] for x in outside}


def _crop_outliers(
    panel: Axes, table: pl.DataFrame, places: AxisLayout, shades: dict[str, LineStyle], metric: str
) -> None:
    """Leave points far off outside the panel and write them, with an arrow, at its edge."""
    ends = robust_limits(table)
    if ends is None:
        return
    panel.set_ylim(*(end * display_factor(metric) for end in ends))
    for row in table.filter(~pl.col("mean").is_between(*ends), pl.col("kind") == "curve").iter_rows(named=True):
        arrow, height = ("↓", 0.09) if row["mean"] < ends[0] else ("↑", 0.93)
        text, colour = f"{arrow} {format_score(metric, row['mean'])}", shades[row["method"]].colour
        _write(panel, text, places, row["value"], height, color=colour, fontweight="bold")


def _mark_failures(panel: Axes, lost: pl.DataFrame, places: AxisLayout) -> None:
    """Write at the foot of the panel how many trials have no score, and are in no mean, at a value.

    A number goes above those that it would touch.
    """
    near = MIN_DISTANCE * (max(places.positions.values()) - min(places.positions.values()))
    ends: list[float] = []  # of each row, so far
    for value, count in lost.sort(
        pl.col("value").replace_strict(places.positions, return_dtype=pl.Float64)
    ).iter_rows():
        x = places.positions[value]
        row = next((row for row, end in enumerate(ends) if x - end >= near), len(ends))
        ends[row : row + 1] = [x]
        _write(panel, str(count), places, value, 0.02 + 0.14 * row, color=FAILURE_COLOUR)


def _write(panel: Axes, text: str, places: AxisLayout, value: float, height: float, **style: Any) -> None:
    """Write at a value, on what is drawn there and within the panel."""
    x, first, last = places.positions[value], min(places.positions.values()), max(places.positions.values())
    side = "center" if first < x < last or len(text) < 4 else "left" if x == first else "right"
    under = {"fc": "white", "ec": "none", "alpha": 0.75, "pad": 0.6}
    panel.annotate(
        text, (x, height), xycoords=panel.get_xaxis_transform(), ha=side, fontsize=8, bbox=under, zorder=5, **style
    )
