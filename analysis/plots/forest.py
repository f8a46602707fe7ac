"""Plot differences, or other quantities, as points with their intervals."""

from textwrap import wrap

import polars as pl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.formatting import format_p_value, format_score
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
COLOURS = {"supported": PALETTE[0], "refuted": PALETTE[1], "inconclusive": "#777777", "reported": "#333333"}


def plot_forest(rows: pl.DataFrame, *, metric: str, title: str, subtitle: str, change: bool = True) -> Figure:
    """Return a forest plot of the first MAX_ROWS rows.

    Args:
        rows: `name`, `mean`, `low`, `high`; optionally `p`, `verdict` and `metric`, the unit of a row.
        metric: the unit of rows without a `metric` of their own.
        title: of the figure.
        subtitle: the sample of the intervals.
        change: whether the numbers are differences, with a line at 0.
    """
    shown = rows.head(MAX_ROWS).to_dicts()
    with style_context():
        names = ["\n".join(wrap(shorten(row["name"], 3 * LINE_LENGTH), LINE_LENGTH)) for row in shown]
        tallest = max((name.count("\n") + 1 for name in names), default=1)
        figure = new_figure(WIDE, 1.3 + (0.12 + 0.15 * tallest) * max(len(shown), 2))
        panel = figure.add_subplot()
        if change:
            panel.axvline(0, color="#555555", lw=1, zorder=1)
        for place, row in enumerate(shown):
            colour, row_metric = COLOURS[row.get("verdict") or "reported"], row.get("metric") or metric
            text = format_score(row_metric, row["mean"], row["low"], row["high"], sign="+" if change else "")
            factor = display_factor(row_metric)
            p = row.get("p")
            if row["mean"] is None:
                text = "cannot tell: no pair of finished trials" if change else "cannot tell: no result"
            else:
                panel.plot(row["mean"] * factor, place, "o", ms=5.5, color=colour, zorder=3)
            if row["mean"] is not None and row["low"] is not None:
                panel.hlines(place, row["low"] * factor, row["high"] * factor, color=colour, lw=2, alpha=0.7, zorder=2)
            suffix = f"   p {format_p_value(p)}" if p is not None else ""
            panel.annotate(
                text + suffix, (1.02, place), xycoords=panel.get_yaxis_transform(), va="center", fontsize=8,
                color=DARK if row["mean"] is not None else SOFT, annotation_clip=False,
            )  # fmt: skip
        panel.set_yticks(range(len(shown)), names)
        panel.set_ylim(len(shown) - 0.4, -0.6)
        panel.tick_params(axis="y", length=0)
        panel.spines["left"].set_visible(False)
        panel.set_xlabel(axis_label(metric, change=change))
        panel.xaxis.set_major_locator(MaxNLocator(MAX_TICK_INTERVALS, steps=[1, 2, 2.5, 5, 10]))
        panel.grid(axis="x")
        more = f"; {len(rows) - MAX_ROWS} more are in the table" if len(rows) > MAX_ROWS else ""
        add_title(figure, title, subtitle + more)
    return figure
