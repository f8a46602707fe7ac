"""Plot the response along one axis: the joint prediction, and a panel for each encoder's probe."""

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

LETTER_WIDTH = 5.1  # points that a letter of a tick label takes
MIN_DISTANCE = 0.1  # share of an axis, within which two numbers would touch
Y_AXIS_WIDTH = 46  # points of a panel's width that its y axis takes


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
    """Return the response along an axis: a panel for the joint prediction, then one for each encoder's probe.

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
    styles = method_styles([*methods, *curve["method"], *probes["method"]])
    layout = axis_layout(curve["value"].drop_nulls(), scale)
    rows, columns = panel_grid(len(panels))
    with style_context():
        figure = new_figure(NARROW if columns == 1 else WIDE, 1.0 + 2.3 * rows)
        for index, (name, table) in enumerate(panels.items(), start=1):
            panel = figure.add_subplot(rows, columns, index)
            panel.set_title(shorten(name, 30))
            draw_panel(panel, table, layout, styles, display_factor(metric))
            crop_outliers(panel, table, layout, styles, metric)
            format_axes(panel, layout, axis, metric)
        failures = curves.group_by("value", maintain_order=True).agg(pl.sum("failed")).filter(pl.col("failed") > 0)
        mark_failures(figure.axes[0], failures, layout)
        note = "; bottom: trials without a score" if len(failures) else ""
        add_title(figure, title, f"{interval_caption(curve)}, validation split{note}")
        add_legend(figure)
    return figure


def draw_panel(
    panel: Axes, table: pl.DataFrame, layout: AxisLayout, styles: dict[str, LineStyle], factor: float
) -> None:
    """Draw the curve of each method, and the baselines."""
    for part in table.filter(pl.col("kind") == "curve").partition_by("method", maintain_order=True):
        method = part["method"][0]
        draw_line(panel, part, layout, styles[method], METHOD_LABELS.get(method, method), factor)
    baselines = table.filter(pl.col("kind") == "baseline").drop_nulls("mean")
    for row in baselines.with_columns(pl.col("mean", "low", "high") * factor).iter_rows(named=True):
        draw_baseline(panel, row["method"], row["mean"], row["low"], row["high"], styles[row["method"]])


def draw_baseline(
    panel: Axes, method: str, mean: float, low: float | None, high: float | None, style: LineStyle
) -> None:
    """Draw a horizontal line with its marker at the right end; its band is darker for joint training."""
    panel.plot(
        [0, 1], [mean, mean], style.dash, lw=1.4, color=style.colour, marker=style.marker, markevery=[1],
        label=METHOD_LABELS.get(method, method), zorder=1.5, clip_on=False, transform=panel.get_yaxis_transform(),
    )  # fmt: skip
    if low is not None and high is not None:
        panel.axhspan(low, high, color=style.colour, alpha=0.18 if method == "joint" else 0.10, lw=0, zorder=1)


def draw_line(
    panel: Axes, line: pl.DataFrame, layout: AxisLayout, style: LineStyle, label: str, factor: float = 1
) -> None:
    """Draw `mean` over `value` with a band for its interval; values beyond a break are not joined to the line.

    An interval without neighbours, where a band would be invisible, is an error bar.
    """
    x = line["value"].replace_strict(layout.positions, return_dtype=pl.Float64)
    line = line.with_columns(
        pl.col("mean", "low", "high") * factor, x=x, detached=pl.col("value").is_in(layout.detached)
    )
    inside = line.filter(~pl.col("detached")).sort("x")
    is_isolated = pl.all_horizontal(pl.col("low").shift(side).is_null() for side in (-1, 1))
    panel.fill_between(inside["x"], inside["low"], inside["high"], color=style.colour, alpha=0.2, lw=0, zorder=2)
    panel.plot(inside["x"], inside["mean"], style.dash, marker=style.marker, color=style.colour, label=label, zorder=3)
    detached = line.filter("detached")
    panel.plot(detached["x"], detached["mean"], style.marker, color=style.colour, zorder=3)
    bars = pl.concat([inside.filter(is_isolated), detached]).drop_nulls("low")
    panel.vlines(bars["x"], bars["low"], bars["high"], color=style.colour, lw=1.8, alpha=0.6, zorder=2)


def format_axes(panel: Axes, layout: AxisLayout, axis: str, metric: str, *, change: bool = False) -> None:
    """Set ticks, labels and limits of both axes."""
    format_x_axis(panel, layout, axis)
    panel.margins(x=0.06, y=0.12)
    panel.set_ylabel(axis_label(metric, change=change))
    panel.grid(axis="y")
    clip_to_bounds(panel, metric, change=change)


def format_x_axis(panel: Axes, layout: AxisLayout, axis: str) -> None:
    """Set ticks, label and limits of the x axis, such that it shows all values, and draw its breaks."""
    panel.update_datalim([(x, 0) for x in layout.positions.values()], updatey=False)
    ticks = legible_ticks(panel, layout)
    panel.set_xticks(list(ticks), list(ticks.values()))
    panel.set_xlabel(shorten(axis))
    for x in layout.breaks:
        panel.plot(
            [x], [0], marker=[(-1, -2), (1, 2)], ms=9, color=GREY, mew=1.2, clip_on=False,
            transform=panel.get_xaxis_transform(),
        )  # fmt: skip


def legible_ticks(panel: Axes, layout: AxisLayout) -> dict[float, str]:
    """Return all ticks, or every second or third and so on, such that their labels do not touch in the panel."""
    spec = panel.get_subplotspec()
    span = max(layout.positions.values(), default=0.0) - min(layout.positions.values(), default=0.0)
    columns = spec.get_gridspec().ncols if spec is not None else 1
    width = 72 * panel.figure.get_figwidth() / columns - Y_AXIS_WIDTH  # type: ignore[union-attr]
    letter = 1.12 * span * LETTER_WIDTH / width  # in the unit of the axis, with its margins
    detached = {layout.positions[value] for value in layout.detached}
    inside = [x for x in layout.ticks if x not in detached]
    subsets = [inside[first::step] for step in range(1, len(inside) + 1) for first in range(step)]
    for subset in subsets:
        ticks = {x: layout.ticks[x] for x in sorted([*detached, *subset])}
        pairs = pairwise(ticks.items())
        if all(x - left >= letter * (len(left_label) + len(label) + 2) / 2 for (left, left_label), (x, label) in pairs):
            return ticks
    return {x: layout.ticks[x] for x in detached}


def crop_outliers(
    panel: Axes, table: pl.DataFrame, layout: AxisLayout, styles: dict[str, LineStyle], metric: str
) -> None:
    """Limit the panel to the bulk of the points, and write the values of outliers, with an arrow, at its edge."""
    limits = robust_limits(table)
    if limits is None:
        return
    panel.set_ylim(*(end * display_factor(metric) for end in limits))
    for row in table.filter(~pl.col("mean").is_between(*limits), pl.col("kind") == "curve").iter_rows(named=True):
        arrow, height = ("↓", 0.09) if row["mean"] < limits[0] else ("↑", 0.93)
        text, colour = f"{arrow} {format_score(metric, row['mean'])}", styles[row["method"]].colour
        write_text(panel, text, layout, row["value"], height, color=colour, fontweight="bold")


def mark_failures(panel: Axes, failures: pl.DataFrame, layout: AxisLayout) -> None:
    """Write at the foot of the panel how many trials at each value have no score, and so are in no mean.

    A number that would touch others is written above them.
    """
    distance = MIN_DISTANCE * (max(layout.positions.values()) - min(layout.positions.values()))
    ends: list[float] = []  # position of the last number in each row
    position = pl.col("value").replace_strict(layout.positions, return_dtype=pl.Float64)
    for value, count in failures.sort(position).iter_rows():
        x = layout.positions[value]
        row = next((row for row, end in enumerate(ends) if x - end >= distance), len(ends))
        ends[row : row + 1] = [x]
        write_text(panel, str(count), layout, value, 0.02 + 0.14 * row, color=FAILURE_COLOUR)


def write_text(panel: Axes, text: str, layout: AxisLayout, value: float, height: float, **style: Any) -> None:
    """Write a text at a value, on top of what is drawn there and within the panel."""
    x, first, last = layout.positions[value], min(layout.positions.values()), max(layout.positions.values())
    alignment = "center" if first < x < last or len(text) < 4 else "left" if x == first else "right"
    background = {"fc": "white", "ec": "none", "alpha": 0.75, "pad": 0.6}
    panel.annotate(
        text,
        (x, height),
        xycoords=panel.get_xaxis_transform(),
        ha=alignment,
        fontsize=8,
        bbox=background,
        zorder=5,
        **style,
    )
