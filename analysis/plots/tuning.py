"""Plot the results of a search: expected best of n, configurations along each axis, Pareto front."""

from collections.abc import Mapping, Sequence

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.axis_layout import axis_layout
from analysis.plots.curves import format_axes
from analysis.plots.style import (
    NARROW,
    WIDE,
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
    style_context,
)


def plot_best_of(best: pl.DataFrame, *, metric: str, title: str, methods: Sequence[str] = ()) -> Figure:
    """Return the expected best of n configurations: compare methods at equal n.

    Args:
        best: as `tuning.best_of` returns it.
        metric: its name.
        title: of the figure.
        methods: of the study, so that each looks the same in all of its figures.
    """
    factor, styles = display_factor(metric), method_styles([*methods, *best["method"]])
    with style_context():
        figure = new_figure(NARROW, 3.3)
        panel = figure.add_subplot()
        for method, line in groups(best.drop_nulls("mean"), "method"):
            line = line.with_columns(pl.col("mean", "low", "high") * factor)
            style, every = styles[method], max(1, len(line) // 8)
            panel.plot(
                line["n"],
                line["mean"],
                style.dash,
                marker=style.marker,
                color=style.colour,
                label=method,
                markevery=every,
            )
            if len(line) > 1:
                panel.fill_between(line["n"], line["low"], line["high"], color=style.colour, alpha=0.18, lw=0)
            else:
                panel.vlines(line["n"], line["low"], line["high"], color=style.colour, lw=1.6, alpha=0.5)
        panel.set_xlabel("configurations tried, n")
        panel.set_ylabel(f"best of n, {axis_label(metric)}")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.grid(axis="y")
        clip_to_bounds(panel, metric)
        add_title(figure, title, f"{interval_caption(best)}, validation split")
        add_legend(figure)
    return figure


def plot_slices(
    points: pl.DataFrame, axes: Mapping[str, str], *, metric: str, title: str, methods: Sequence[str] = ()
) -> Figure:
    """Return all configurations along each axis, for a search without a grid to draw lines along.

    Args:
        points: `method`, the axes, `mean`, `low`, `high`, `seeds`.
        axes: axis -> its scale, log or linear.
        metric: its name.
        title: of the figure.
        methods: of the study, so that each looks the same in all of its figures.
    """
    factor, styles = display_factor(metric), method_styles([*methods, *points["method"]])
    rows, columns = panel_grid(len(axes))
    with style_context():
        figure = new_figure(NARROW if columns == 1 else WIDE, 1.0 + 2.2 * rows)
        for place, (axis, scale) in enumerate(axes.items(), start=1):
            panel = figure.add_subplot(rows, columns, place)
            layout = axis_layout(points[axis].drop_nulls(), scale)
            for method, part in groups(points.drop_nulls([axis, "mean"]), "method"):
                style, x = styles[method], part[axis].replace_strict(layout.positions, return_dtype=pl.Float64)
                panel.vlines(x, part["low"] * factor, part["high"] * factor, color=style.colour, lw=1, alpha=0.35)
                panel.plot(x, part["mean"] * factor, style.marker, color=style.colour, alpha=0.8, label=method)
            crop_intervals(panel, points, factor)
            format_axes(panel, layout, axis, metric)
        add_title(figure, title, f"one point per configuration, {interval_caption(points)}, validation split")
        add_legend(figure)
    return figure


def crop_intervals(panel: Axes, points: pl.DataFrame, factor: float) -> None:
    """Cut off intervals that are so wide that the points could not be distinguished."""
    width, mean = pl.col("high") - pl.col("low"), pl.col("mean")
    low, high, median_width = points.select(
        low=mean.min(), high=mean.max(), median_width=width.median().fill_null(0)
    ).row(0)
    margin = max(median_width, (high - low) / 10)
    if margin:
        panel.set_ylim((low - margin) * factor, (high + margin) * factor)


def plot_front(
    front: pl.DataFrame,
    metrics: Sequence[str],
    *,
    directions: Mapping[str, str],
    title: str,
    methods: Sequence[str] = (),
) -> Figure:
    """Return the configurations by their first two metrics; the Pareto front is filled, and joined if there are two.

    Args:
        front: as `pareto.pareto_front` returns it, with METRIC_low and METRIC_high.
        metrics: the names of all objectives.
        directions: metric -> max or min.
        title: of the figure.
        methods: of the study, so that each looks the same in all of its figures.
    """
    first, second = metrics[:2]
    styles = method_styles([*methods, *front["method"]])
    with style_context():
        figure = new_figure(NARROW + 0.6, 3.8)
        panel = figure.add_subplot()
        if len(metrics) == 2:
            line = front.filter("front").sort(first)
            panel.plot(
                line[first] * display_factor(first),
                line[second] * display_factor(second),
                color="#999999",
                lw=1,
                zorder=1,
            )
        for row in front.iter_rows(named=True):
            style, factors = styles[row["method"]], (display_factor(first), display_factor(second))
            at = row[first] * factors[0], row[second] * factors[1]
            low, high = ([row[f"{metric}_{end}"] for metric in (first, second)] for end in ("low", "high"))
            if low[0] is not None:
                panel.hlines(at[1], low[0] * factors[0], high[0] * factors[0], color=style.colour, lw=1, alpha=0.3)
            if low[1] is not None:
                panel.vlines(at[0], low[1] * factors[1], high[1] * factors[1], color=style.colour, lw=1, alpha=0.3)
            filled = style.colour if row["front"] else "white"
            panel.plot(*at, style.marker, ms=5.5, color=style.colour, mfc=filled, label=row["method"], zorder=3)
        better = {"max": "higher is better", "min": "lower is better"}
        panel.set_xlabel(f"{axis_label(first)} ({better[directions[first]]})")
        panel.set_ylabel(f"{axis_label(second)} ({better[directions[second]]})")
        panel.grid()
        clip_to_bounds(panel, first, side="x")
        clip_to_bounds(panel, second)
        add_title(figure, title, f"{interval_caption(front)}, validation split; filled: on the Pareto front")
        add_legend(figure)
    return figure
