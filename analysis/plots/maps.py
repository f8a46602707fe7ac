"""A heat map over two axes, with every cell's interval."""

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

MAX_LABELLED = 12  # cells in a row, from which on their numbers would not fit


def plot_map(heat: pl.DataFrame, *, x: str, y: str, metric: str, title: str, higher_is_better: bool = True) -> Figure:
    """Return the metric at each pair of values of two axes; the best cell is framed, one without a result is hatched.

    The best has the most seeds, as in `choice.configurations`; a cell that lost some says how many are left.

    Args:
        heat: of one method, as `sensitivity.heat` returns it; with `within`, a dashed line goes round these cells.
        x: the axis to the right.
        y: the axis up.
        metric: its name.
        title: of the figure.
        higher_is_better: whether more of it is better.
    """
    across, up = (sorted(heat[column].unique()) for column in ("x", "y"))
    means = np.full((len(up), len(across)), np.nan)
    for row in heat.drop_nulls("mean").iter_rows(named=True):
        means[up.index(row["y"]), across.index(row["x"])] = row["mean"]
    with style_context():
        figure = new_figure(min(7.0, 2.0 + 0.72 * max(len(across), 3)), 1.5 + 0.52 * max(len(up), 3))
        panel = figure.add_subplot()
        shades = Normalize(*_colour_range(means, metric))
        image = panel.pcolormesh(means, cmap="cividis", norm=shades, edgecolors="white", linewidth=1)
        for row in heat.iter_rows(named=True):
            _draw_cell(
                panel, row, (across.index(row["x"]), up.index(row["y"])), metric, shades, len(across) < MAX_LABELLED
            )
        best = ranked_points(heat, higher_is_better=higher_is_better).head(1)
        if len(best):
            corner = across.index(best["x"].item()), up.index(best["y"].item())
            panel.add_patch(Rectangle(corner, 1, 1, fill=False, ec=HIGHLIGHT, lw=2.2, clip_on=False))
            _outline_safe_region(panel, heat, across, up)
            bar = add_colour_bar(figure, panel, image, metric)
            bar.yaxis.set_major_formatter(lambda value, _: format_score(metric, value))
        panel.set_xticks(np.arange(len(across)) + 0.5, [format_setting(value) for value in across])
        panel.set_yticks(np.arange(len(up)) + 0.5, [format_setting(value) for value in up])
        panel.tick_params(length=0)
        panel.spines[:].set_visible(False)
        panel.set_xlabel(x)
        panel.set_ylabel(y)
        safe = "; framed: the best, dashed: the safe region" if "within" in heat.columns else ""
        add_title(figure, title, f"{interval_caption(heat)}, validation split{safe}")
    return figure


def _outline_safe_region(panel: Axes, heat: pl.DataFrame, across: Sequence[float], up: Sequence[float]) -> None:
    """Draw a line round the cells within the margin of the best, if it is known which they are."""
    cells = heat.filter("within").select("x", "y").rows() if "within" in heat.columns else []
    inside = {(across.index(x), up.index(y)) for x, y in cells}
    for i, j in inside:
        sides = {(i - 1, j): [(i, j), (i, j + 1)], (i + 1, j): [(i + 1, j), (i + 1, j + 1)],
                 (i, j - 1): [(i, j), (i + 1, j)], (i, j + 1): [(i, j + 1), (i + 1, j + 1)]}  # fmt: skip
        for neighbour, ends in sides.items():
            if neighbour not in inside:
                panel.plot(
                    *zip(*ends, strict=True), color=HIGHLIGHT, ls=(0, (2.2, 1.4)), lw=1.6, clip_on=False, zorder=3
                )


def _draw_cell(
    panel: Axes, row: Mapping[str, Any], place: tuple[int, int], metric: str, shades: Normalize, roomy: bool
) -> None:
    """Write a cell's mean, how far its interval reaches, and of how many seeds it is where some have no score."""
    mean, low, high = (row[key] for key in ("mean", "low", "high"))
    left = f"{row['seeds']} of {row['seeds'] + row['failed']}" if row["failed"] else ""
    centre = place[0] + 0.5, place[1] + 0.5
    if mean is None:
        panel.add_patch(Rectangle(place, 1, 1, fc="#eeeeee", ec="white", hatch="////", lw=1))
        missing = "no score" if row["failed"] and roomy else DASH
        panel.text(*centre, missing, ha="center", va="center", fontsize=7, color=FAILURE_COLOUR)
        return
    # one end of an interval may be cut off
    reach = f"±{format_score(metric, max(high - mean, mean - low))}" if low is not None else ""
    words = [format_score(metric, mean), reach, left and f"{left} seeds"] if roomy else [left.replace(" of ", "/")]
    colour = "white" if shades(mean) < 0.55 else DARK
    text = "\n".join(filter(None, words))
    panel.text(*centre, text, ha="center", va="center", fontsize=7.5 if roomy else 6, color=colour)


def _colour_range(means: np.ndarray, metric: str) -> tuple[float, float]:
    """Return the ends of the colours, between which the metric can lie; round a single value a tenth of it."""
    if not np.isfinite(means).any():
        return 0.0, 1.0
    low, high = float(np.nanmin(means)), float(np.nanmax(means))
    reach = 0.0 if high > low else abs(low) / 10 or 0.1
    first, last = bounds(metric)
    return max(low - reach, first), min(high + reach, last)
