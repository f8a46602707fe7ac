"""Plot differences, or other quantities, as points with their intervals."""

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.formatting import format_p_value, format_score, is_percent
from analysis.plots.style import (
    DARK,
    PALETTE,
    SOFT,
    WIDE,
    add_title,
    axis_label,
    display_factor,
    new_figure,
    shorten,
    style_context,
)

MAX_ROWS = 30  # rows of a figure
LINE_LENGTH = 36  # letters of a name in a line
MAX_TICK_INTERVALS = 5  # few, as the numbers may be long
PANEL_HEIGHT = 0.7  # inches that the axis of another panel takes
COLOURS = {"supported": PALETTE[0], "refuted": PALETTE[1], "inconclusive": "#777777", "reported": "#333333"}


def plot_forest(rows: pl.DataFrame, *, metric: str, title: str, subtitle: str, change: bool = True) -> Figure:
    """Return a forest plot of the first MAX_ROWS rows, with a panel for each unit.

    Args:
        rows: `name`, `mean`, `low`, `high`; optionally `p`, `verdict` and `metric`, the unit of a row.
        metric: the unit of rows without a `metric` of their own.
        title: of the figure.
        subtitle: the sample of the intervals.
        change: whether the numbers are differences, with a line at 0.
    """
    shown = [row | {"metric": row.get("metric") or metric} for row in rows.head(MAX_ROWS).to_dicts()]
    panels: dict[str, list[dict[str, Any]]] = {} if shown else {metric: []}
    for row in shown:
        panels.setdefault("%" if is_percent(row["metric"]) else row["metric"], []).append(row)
    with style_context():
        names = [wrapped_name(row) for row in shown]
        tallest = max((name.count("\n") + 1 for name in names), default=1)
        height = (0.12 + 0.15 * tallest) * max(len(shown), 2) + PANEL_HEIGHT * (len(panels) - 1)
        figure = new_figure(WIDE, 1.3 + height)
        sizes = [len(part) for part in panels.values()] if len(panels) > 1 else [1]
        axes = figure.subplots(len(panels), squeeze=False, height_ratios=sizes)[:, 0]
        for panel, part in zip(axes, panels.values(), strict=True):
            label = metric if len(panels) == 1 else common_metric(part)
            draw_panel(panel, part, axis_label(label, change=change), change=change)
        more = f"; {len(rows) - MAX_ROWS} more are in the table" if len(rows) > MAX_ROWS else ""
        add_title(figure, title, subtitle + more)
    return figure


def draw_panel(panel: Axes, rows: Sequence[Mapping[str, Any]], label: str, *, change: bool) -> None:
    """Draw rows of one unit, each with its numbers to the right."""
    if change:
        panel.axvline(0, color="#555555", lw=1, zorder=1)
    for place, row in enumerate(rows):
        draw_row(panel, place, row, change=change)
    panel.set_yticks(range(len(rows)), [wrapped_name(row) for row in rows])
    panel.set_ylim(len(rows) - 0.4, -0.6)
    panel.tick_params(axis="y", length=0)
    panel.spines["left"].set_visible(False)
    panel.set_xlabel(label)
    panel.xaxis.set_major_locator(MaxNLocator(MAX_TICK_INTERVALS, steps=[1, 2, 2.5, 5, 10]))
    panel.grid(axis="x")


def draw_row(panel: Axes, place: int, row: Mapping[str, Any], *, change: bool) -> None:
    """Draw a number with its interval, and write both to the right."""
    mean, low, high, p = (row.get(key) for key in ("mean", "low", "high", "p"))
    colour, factor = COLOURS[row.get("verdict") or "reported"], display_factor(row["metric"])
    text = format_score(row["metric"], mean, low, high, sign="+" if change else "")
    if mean is None:
        text = "no pair of finished trials" if change else "no result"
    else:
        panel.plot(mean * factor, place, "o", ms=5.5, color=colour, zorder=3)
    if mean is not None and low is not None and high is not None:
        panel.hlines(place, low * factor, high * factor, color=colour, lw=2, alpha=0.7, zorder=2)
    suffix = f"   p {format_p_value(p)}" if p is not None else ""
    panel.annotate(
        text + suffix, (1.02, place), xycoords=panel.get_yaxis_transform(), va="center", fontsize=8,
        color=DARK if mean is not None else SOFT, annotation_clip=False,
    )  # fmt: skip


def wrapped_name(row: Mapping[str, Any]) -> str:
    """Return the name of a row in lines of LINE_LENGTH letters, shortened to three of them."""
    return "\n".join(wrap(shorten(row["name"], 3 * LINE_LENGTH), LINE_LENGTH))


def common_metric(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the metric of rows of one unit; of several metrics in percent, a name for all."""
    metrics = {row["metric"] for row in rows}
    return metrics.pop() if len(metrics) == 1 else "accuracy"
