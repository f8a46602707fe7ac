"""What searching finds: the best of n configurations, all of them along each axis, and the front of several metrics."""

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
)  # fmt: skip


def plot_best_of(best: pl.DataFrame, *, metric: str, title: str, methods: Sequence[str] = ()) -> Figure:
    """Return the expected best of n configurations: compare methods at equal n.

    Args:
        best: as `tuning.best_of` returns it.
        metric: its name.
        title: of the figure.
        methods: of the study, so that each looks the same in all of its figures.
    """
    times, shades = display_factor(metric), method_styles([*methods, *best["method"]])
    with style_context():
        figure = new_figure(NARROW, 3.3)
        panel = figure.add_subplot()
        for method, line in groups(best.drop_nulls("mean"), "method"):
            line = line.with_columns(pl.col("mean", "low", "high") * times)
            look, every = shades[method], max(1, len(line) // 8)
            panel.plot(
                line["n"], line["mean"], look.dash, marker=look.marker, color=look.colour, label=method, markevery=every
            )
            if len(line) > 1:
                panel.fill_between(line["n"], line["low"], line["high"], color=look.colour, alpha=0.18, lw=0)
            else:
                panel.vlines(line["n"], line["low"], line["high"], color=look.colour, lw=1.6, alpha=0.5)
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
    """Return every configuration along each axis, where a search has no grid to draw lines along.

    Args:
        points: `method`, the axes, `mean`, `low`, `high`, `seeds`.
        axes: axis -> its scale, log or linear.
        metric: its name.
        title: of the figure.
        methods: of the study, so that each looks the same in all of its figures.
    """
    times, shades = display_factor(metric), method_styles([*methods, *points["method"]])
    rows, columns = panel_grid(len(axes))
    with style_context():
        figure = new_figure(NARROW if columns == 1 else WIDE, 1.0 + 2.2 * rows)
        for place, (axis, scale) in enumerate(axes.items(), start=1):
            panel = figure.add_subplot(rows, columns, place)
            places = axis_layout(points[axis].drop_nulls(), scale)
            for method, part in groups(points.drop_nulls([axis, "mean"]), "method"):
                look, x = shades[method], part[axis].replace_strict(places.positions, return_dtype=pl.Float64)
                panel.vlines(x, part["low"] * times, part["high"] * times, color=look.colour, lw=1, alpha=0.35)
                panel.plot(x, part["mean"] * times, look.marker, color=look.colour, alpha=0.8, label=method)
            _crop_intervals(panel, points, times)
            format_axes(panel, places, axis, metric)
        add_title(figure, title, f"a point a configuration, {interval_caption(points)}, validation split")
        add_legend(figure)
    return figure


def _crop_intervals(panel: Axes, points: pl.DataFrame, times: float) -> None:
    """Cut intervals off that reach so far that the points could not be told apart."""
    width, mean = pl.col("high") - pl.col("low"), pl.col("mean")
    low, high, usual = points.select(low=mean.min(), high=mean.max(), usual=width.median().fill_null(0)).row(0)
    reach = max(usual, (high - low) / 10)
    if reach:
        panel.set_ylim((low - reach) * times, (high + reach) * times)


def plot_front(
    front: pl.DataFrame,
    metrics: Sequence[str],
    *,
    directions: Mapping[str, str],
    title: str,
    methods: Sequence[str] = (),
) -> Figure:
    """Return the configurations by their first two metrics; those on the Pareto front are filled, and of two joined.

    Args:
        front: as `pareto.front` returns it, and METRIC_low and METRIC_high.
        metrics: the names of all that are weighed.
        directions: metric -> max or min.
        title: of the figure.
        methods: of the study, so that each looks the same in all of its figures.
    """
    one, other = metrics[:2]
    shades = method_styles([*methods, *front["method"]])
    with style_context():
        figure = new_figure(NARROW + 0.6, 3.8)
        panel = figure.add_subplot()
        if len(metrics) == 2:
            line = front.filter("front").sort(one)
            panel.plot(
                line[one] * display_factor(one), line[other] * display_factor(other), color="#999999", lw=1, zorder=1
            )
        for row in front.iter_rows(named=True):
            look, times = shades[row["method"]], (display_factor(one), display_factor(other))
            at = row[one] * times[0], row[other] * times[1]
            if row[f"{one}_low"] is not None:
                pairs = zip((one, other), times, strict=True)
                sides = [(row[f"{metric}_low"] * t, row[f"{metric}_high"] * t) for metric, t in pairs]
                panel.hlines(at[1], *sides[0], color=look.colour, lw=1, alpha=0.3)
                panel.vlines(at[0], *sides[1], color=look.colour, lw=1, alpha=0.3)
            filled = look.colour if row["front"] else "white"
            panel.plot(*at, look.marker, ms=5.5, color=look.colour, mfc=filled, label=row["method"], zorder=3)
        better = {"max": "more is better", "min": "less is better"}
        panel.set_xlabel(f"{axis_label(one)} ({better[directions[one]]})")
        panel.set_ylabel(f"{axis_label(other)} ({better[directions[other]]})")
        panel.grid()
        clip_to_bounds(panel, one, side="x")
        clip_to_bounds(panel, other)
        add_title(figure, title, f"{interval_caption(front)}, validation split; filled: on the Pareto front")
        add_legend(figure)
    return figure
