"""Plot curves over the epochs of training: learning curves and gradient coefficients."""

from collections.abc import Sequence

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.plots.style import (
    LINE_STYLES,
    METHOD_LABELS,
    NARROW,
    WIDE,
    LineStyle,
    add_legend,
    add_title,
    axis_label,
    clip_to_bounds,
    display_factor,
    groups,
    interval_caption,
    method_styles,
    new_figure,
    panel_grid,
    shorten,
    style_context,
    use_plain_ticks,
)

MARKERS = 6  # on a line, about
MAX_TICK_INTERVALS = 5  # few, as three panels stand side by side
LINEAR_LIMIT = 50  # of a coefficient; beyond it the axis is logarithmic outside [-10, 10]


def plot_learning(learning: pl.DataFrame, *, metric: str, title: str, methods: Sequence[str] = ()) -> Figure:
    """Return learning curves: training loss, validation loss and validation metric.

    Args:
        learning: as `training.learning_curves` returns it.
        metric: by which configurations were chosen.
        title: of the figure.
        methods: of the study, so that each looks the same in all of its figures.
    """
    panels = learning.partition_by("split", "metric", maintain_order=True)
    styles = method_styles([*methods, *learning["method"]])
    with style_context():
        figure = new_grid_figure(len(panels))
        for place, part in enumerate(panels, start=1):
            split, name = part.row(0, named=True)["split"], part.row(0, named=True)["metric"]
            panel = add_panel(figure, len(panels), place, f"{name}, {split}", axis_label(name))
            for method, line in groups(part, "method"):
                draw_line(panel, line, styles[method], METHOD_LABELS.get(method, method), display_factor(name))
            clip_to_bounds(panel, name)
        add_title(figure, title, f"{interval_caption(learning)}, configurations chosen by {metric} on validation")
        add_legend(figure)
    return figure


def plot_coefficients(coefficients: pl.DataFrame, *, title: str) -> Figure:
    """Return the coefficients of each modality's gradients over training, a panel for each method; 1 does nothing."""
    panels = list(groups(coefficients, "method"))
    names = coefficients["modality"].unique(maintain_order=True).to_list()
    with style_context():
        figure = new_grid_figure(len(panels))
        for place, (method, part) in enumerate(panels, start=1):
            panel = add_panel(figure, len(panels), place, method, "coefficient, ratio")
            panel.axhline(1, color="#555555", lw=1, zorder=1)
            for name, line in groups(part, "modality"):
                draw_line(panel, line, LINE_STYLES[names.index(name) % len(LINE_STYLES)], name, 1)
            if part.select(pl.max_horizontal(pl.col("mean", "low", "high").abs()).max()).item() > LINEAR_LIMIT:
                panel.set_yscale("symlog", linthresh=10)
                use_plain_ticks(panel.yaxis)
        add_title(figure, title, f"{interval_caption(coefficients)}; 1 (line) leaves the gradient unchanged")
        add_legend(figure)
    return figure


def new_grid_figure(panels: int) -> Figure:
    """Return an empty figure for a number of panels."""
    rows, _ = panel_grid(panels)
    return new_figure(NARROW if panels == 1 else WIDE, 1.0 + 2.2 * rows)


def add_panel(figure: Figure, panels: int, place: int, title: str, label: str) -> Axes:
    """Add the panel at a place, from 1, of a grid of panels over the epochs."""
    panel = figure.add_subplot(*panel_grid(panels), place)
    panel.set_title(shorten(title, 34))
    panel.set_xlabel("epoch")
    panel.set_ylabel(label)
    panel.xaxis.set_major_locator(MaxNLocator(MAX_TICK_INTERVALS, integer=True))
    panel.grid(axis="y")
    return panel


def draw_line(panel: Axes, line: pl.DataFrame, style: LineStyle, label: str, factor: float) -> None:
    """Draw `mean` over `epoch` with a band for its interval."""
    line = line.sort("epoch").drop_nulls("mean").with_columns(pl.col("mean", "low", "high") * factor)
    every = max(1, len(line) // MARKERS)
    panel.plot(
        line["epoch"], line["mean"], style.dash, color=style.colour, label=label, marker=style.marker, markevery=every
    )
    panel.fill_between(line["epoch"], line["low"], line["high"], color=style.colour, alpha=0.18, lw=0)
