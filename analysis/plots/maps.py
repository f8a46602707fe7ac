"""Plot a heat map over two axes, with the interval of each cell."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.formatting import DASH, format_score, format_setting
from analysis.plots.style import (
    DARK,
    FAILURE_COLOUR,
    HIGHLIGHT,
    add_colour_bar,
    add_title,
    interval_caption,
    new_figure,
    ranked_points,
    style_context,
)
from analysis.statistics import bounds

MAX_LABELLED = 12  # cells in a row from which on their numbers do not fit


def plot_map(heat: pl.DataFrame, *, x: str, y: str, metric: str, title: str, higher_is_better: bool = True) -> Figure:
    """Return the metric at each pair of values of two axes; the best cell is framed, one without a result hatched.

    The best is among the cells with the most seeds, as in `choice.configurations`; a cell that lost seeds shows how
    many are left.

    Args:
        heat: of one method, as `sensitivity.heat_map` returns it; those with `within` get a dashed line round them.
        x: the x axis.
        y: the y axis.
        metric: its name.
        title: of the figure.
        higher_is_better: whether the metric is to be maximised.
    """
    columns, rows = (sorted(heat[column].unique()) for column in ("x", "y"))
    means = np.full((len(rows), len(columns)), np.nan)
    for row in heat.drop_nulls("mean").iter_rows(named=True):
        means[rows.index(row["y"]), columns.index(row["x"])] = row["mean"]
    with style_context():
        figure = new_figure(min(7.0, 2.0 + 0.72 * max(len(columns), 3)), 1.5 + 0.52 * max(len(rows), 3))
        panel = figure.add_subplot()
        norm = Normalize(*colour_range(means, metric))
        image = panel.pcolormesh(means, cmap="cividis", norm=norm, edgecolors="white", linewidth=1)
        for row in heat.iter_rows(named=True):
            draw_cell(
                panel, row, (columns.index(row["x"]), rows.index(row["y"])), metric, norm, len(columns) < MAX_LABELLED
            )
        best = ranked_points(heat, higher_is_better=higher_is_better).head(1)
        if len(best):
            corner = columns.index(best["x"].item()), rows.index(best["y"].item())
            panel.add_patch(Rectangle(corner, 1, 1, fill=False, ec=HIGHLIGHT, lw=2.2, clip_on=False))
            outline_safe_region(panel, heat, columns, rows)
            bar = add_colour_bar(figure, panel, image, metric)
            bar.yaxis.set_major_formatter(lambda value, _: format_score(metric, value))
        panel.set_xticks(np.arange(len(columns)) + 0.5, [format_setting(value) for value in columns])
        panel.set_yticks(np.arange(len(rows)) + 0.5, [format_setting(value) for value in rows])
        panel.tick_params(length=0)
        panel.spines[:].set_visible(False)
        panel.set_xlabel(x)
        panel.set_ylabel(y)
        safe = "; framed: the best, dashed: the safe region" if "within" in heat.columns else ""
        add_title(figure, title, f"{interval_caption(heat)}, validation split{safe}")
    return figure


def outline_safe_region(panel: Axes, heat: pl.DataFrame, columns: Sequence[float], rows: Sequence[float]) -> None:
    """Draw a line round the cells within the margin of the best, if the table has them."""
    cells = heat.filter("within").select("x", "y").rows() if "within" in heat.columns else []
    inside = {(columns.index(x), rows.index(y)) for x, y in cells}
    for i, j in inside:
        sides = {(i - 1, j): [(i, j), (i, j + 1)], (i + 1, j): [(i + 1, j), (i + 1, j + 1)],
                 (i, j - 1): [(i, j), (i + 1, j)], (i, j + 1): [(i, j + 1), (i + 1, j + 1)]}  # fmt: skip
        for neighbour, ends in sides.items():
            if neighbour not in inside:
                panel.plot(
                    *zip(*ends, strict=True), color=HIGHLIGHT, ls=(0, (2.2, 1.4)), lw=1.6, clip_on=False, zorder=3
                )


def draw_cell(
    panel: Axes, row: Mapping[str, Any], place: tuple[int, int], metric: str, norm: Normalize, has_room: bool
) -> None:
    """Write a cell's mean, the half-width of its interval, and its number of seeds where some have no score."""
    mean, low, high = (row[key] for key in ("mean", "low", "high"))
    remaining = f"{row['seeds']} of {row['seeds'] + row['failed']}" if row["failed"] else ""
    centre = place[0] + 0.5, place[1] + 0.5
    if mean is None:
        panel.add_patch(Rectangle(place, 1, 1, fc="#eeeeee", ec="white", hatch="////", lw=1))
        label = "no score" if row["failed"] and has_room else DASH
        panel.text(*centre, label, ha="center", va="center", fontsize=7, color=FAILURE_COLOUR)
        return
    # one end of an interval may be cut off
    reach = f"±{format_score(metric, max(high - mean, mean - low))}" if low is not None else ""
    lines = [remaining.replace(" of ", "/")]
    if has_room:
        lines = [format_score(metric, mean), reach, remaining and f"{remaining} seeds"]
    colour = "white" if norm(mean) < 0.55 else DARK
    text = "\n".join(filter(None, lines))
    panel.text(*centre, text, ha="center", va="center", fontsize=7.5 if has_room else 6, color=colour)


def colour_range(means: np.ndarray, metric: str) -> tuple[float, float]:
    """Return the range of the colours, within the bounds of the metric; around a single value 10 % of it."""
    if not np.isfinite(means).any():
        return 0.0, 1.0
    low, high = float(np.nanmin(means)), float(np.nanmax(means))
    margin = 0.0 if high > low else abs(low) / 10 or 0.1
    first, last = bounds(metric)
    return max(low - margin, first), min(high + margin, last)
