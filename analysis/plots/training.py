"""Curves over the epochs of training: what is learned, and what a method does to each modality."""

from collections.abc import Sequence

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.plots.style import (
    LABELS,
    NARROW,
    OTHERS,
    WIDE,
    Look,
    bounded,
    factor,
    grid,
    head,
    intervals,
    legend,
    looks,
    parts,
    plain,
    sheet,
    short,
    styled,
    unit,
)  # fmt: skip

FEW = 6  # markers of a line, about
HUGE = 50  # a coefficient beyond which the axis is logarithmic outside -10 to 10


def plot_learning(learning: pl.DataFrame, *, metric: str, title: str, methods: Sequence[str] = ()) -> Figure:
    """Return learning curves: loss of training, loss and metric of validation.

    Args:
        learning: as `training.learning` returns it.
        metric: by which configurations were chosen.
        title: of the figure.
        methods: of the study, so that each looks the same in all of its figures.
    """
    panels = learning.partition_by("split", "metric", maintain_order=True)
    shades = looks([*methods, *learning["method"]])
    with styled():
        figure = _figure(len(panels))
        for place, part in enumerate(panels, start=1):
            split, name = part.row(0, named=True)["split"], part.row(0, named=True)["metric"]
            panel = _panel(figure, len(panels), place, f"{name}, {split}", unit(name))
            for method, line in parts(part, "method"):
                _line(panel, line, shades[method], LABELS.get(method, method), factor(name))
            bounded(panel, name)
        head(figure, title, f"{intervals(learning)}, configurations chosen by {metric} on validation")
        legend(figure)
    return figure


def plot_coefficients(coefficients: pl.DataFrame, *, title: str) -> Figure:
    """Return what each method multiplies the gradients of each modality by, over training; at 1 it does nothing."""
    panels = list(parts(coefficients, "method"))
    names = coefficients["modality"].unique(maintain_order=True).to_list()
    with styled():
        figure = _figure(len(panels))
        for place, (method, part) in enumerate(panels, start=1):
            panel = _panel(figure, len(panels), place, method, "coefficient, ratio")
            panel.axhline(1, color="#555555", lw=1, zorder=1)
            for name, line in parts(part, "modality"):
                _line(panel, line, OTHERS[names.index(name) % len(OTHERS)], name, 1)
            if part.select(pl.max_horizontal(pl.col("mean", "low", "high").abs()).max()).item() > HUGE:
                panel.set_yscale("symlog", linthresh=10)
                plain(panel.yaxis)
        head(figure, title, f"{intervals(coefficients)}; at 1 (line) the gradient is left as it is")
        legend(figure)
    return figure


def _figure(panels: int) -> Figure:
    rows, _ = grid(panels)
    return sheet(NARROW if panels == 1 else WIDE, 1.0 + 2.2 * rows)


def _panel(figure: Figure, panels: int, place: int, title: str, label: str) -> Axes:
    panel = figure.add_subplot(*grid(panels), place)
    panel.set_title(short(title, 34))
    panel.set_xlabel("epoch")
    panel.set_ylabel(label)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.grid(axis="y")
    return panel


def _line(panel: Axes, line: pl.DataFrame, look: Look, label: str, times: float) -> None:
    line = line.sort("epoch").drop_nulls("mean").with_columns(pl.col("mean", "low", "high") * times)
    every = max(1, len(line) // FEW)
    panel.plot(
        line["epoch"], line["mean"], look.dash, color=look.colour, label=label, marker=look.marker, markevery=every
    )
    panel.fill_between(line["epoch"], line["low"], line["high"], color=look.colour, alpha=0.18, lw=0)
