"""Plot a response surface over two axes: its contours, the configurations and the safe region."""

from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Stroke, withStroke

from analysis.axis_layout import AxisLayout
from analysis.formatting import format_amount
from analysis.plots.curves import format_x_axis
from analysis.plots.style import (
    DARK,
    HIGHLIGHT,
    add_colour_bar,
    add_legend,
    add_title,
    display_factor,
    new_figure,
    shorten,
    style_context,
)

LEVELS = 12  # of the contours, about


def plot_surface(
    surface: pl.DataFrame,
    points: pl.DataFrame,
    *,
    axes: dict[str, AxisLayout],
    metric: str,
    margin: float,
    title: str,
    subtitle: str,
    higher_is_better: bool = True,
) -> Figure:
    """Return the contours of a surface, with a line round the region within a margin of its best.

    Args:
        surface: as `surfaces.surface_slice` returns it.
        points: position `x`, `y` of each configuration, and whether it is `within` the margin of the best as measured.
        axes: the x axis and the y axis, each with its layout.
        metric: its name.
        margin: in its unit.
        title: of the figure.
        subtitle: the quality of the fit and the number of seeds.
        higher_is_better: whether the metric is to be maximised.
    """
    flat, factor = surface.filter(kind="surface"), display_factor(metric)
    columns, rows = (flat[side].unique().sort() for side in ("x", "y"))
    heights = flat.sort("y", "x")["mean"].to_numpy().reshape(len(rows), len(columns)) * factor
    edge = heights.max() - margin * factor if higher_is_better else heights.min() + margin * factor
    with style_context():
        figure = new_figure(5.6, 4.4)
        panel = figure.add_subplot()
        contours = panel.contourf(columns, rows, heights, levels=LEVELS, cmap="cividis")
        contours.set_edgecolor("face")  # no seams between the bands
        panel.contour(columns, rows, heights, levels=contours.levels, colors="white", linewidths=0.4, alpha=0.5)
        ring = panel.contour(columns, rows, heights, levels=[edge], colors=HIGHLIGHT, linewidths=2.2)
        ring.set_path_effects(
            [Stroke(linewidth=3.6, foreground="white"), withStroke(linewidth=0, foreground=HIGHLIGHT)]
        )
        size = format_amount(metric, margin)
        panel.add_line(Line2D([], [], color=HIGHLIGHT, lw=2.2, label=f"surface within {size} of its best"))
        draw_points(panel, points.filter(~pl.col("within")), "configuration", c="#222222", ec="white", s=20, lw=0.6)
        draw_points(
            panel, points.filter("within"), f"within {size} of the best by the mean", c="white", ec=DARK, s=42, lw=1.1
        )
        best = surface.filter(kind="optimum")
        draw_points(panel, best, "optimum of one seed's surface", c=HIGHLIGHT, ec="white", s=60, lw=0.8, marker="P")
        add_colour_bar(figure, panel, contours, metric)
        (x, x_layout), (y, y_layout) = axes.items()
        format_x_axis(panel, x_layout, x)
        panel.set_yticks(list(y_layout.ticks), list(y_layout.ticks.values()))
        panel.set_ylabel(shorten(y))
        panel.grid(visible=False)
        panel.margins(0.03)
        add_title(figure, title, subtitle)
        add_legend(figure, columns=2)
    return figure


def draw_points(panel: Axes, points: pl.DataFrame, label: str, **style: Any) -> None:
    """Draw points, if there are any, so that the legend lists only what is shown."""
    if len(points):
        panel.scatter(points["x"], points["y"], label=label, clip_on=False, zorder=4, **style)
