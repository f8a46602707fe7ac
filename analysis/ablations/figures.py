"""A finding drawn: its lines where it has some, else its effects with their intervals."""

from collections.abc import Mapping

import polars as pl
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.ablations.finding import Finding
from analysis.decisions import Decision
from analysis.plots import PALETTE, STYLE
from analysis.text import is_percent

COLOURS = {"supported": "#0072B2", "refuted": "#D55E00", "inconclusive": "#777777", "reported": "#333333"}
MOST = 24  # effects in a figure


def draw(finding: Finding, decisions: Mapping[str, Decision], title: str) -> Figure:
    """Return the figure of a finding and what was decided of each of its effects."""
    with rc_context(STYLE):
        return lines(finding, title) if len(finding.lines) else forest(finding, decisions, title)


def data(finding: Finding, decisions: Mapping[str, Decision]) -> pl.DataFrame:
    """Return the numbers that `draw` draws."""
    return finding.lines if len(finding.lines) else table(decisions)


def table(decisions: Mapping[str, Decision]) -> pl.DataFrame:
    """Return one row an effect."""
    return pl.DataFrame([{"name": name, **one._asdict()} for name, one in decisions.items()])


def forest(finding: Finding, decisions: Mapping[str, Decision], title: str) -> Figure:
    """Return each effect as a point with its 95 % interval, coloured by its verdict."""
    shown = dict(list(decisions.items())[:MOST])
    figure = Figure(figsize=(7, 1.2 + 0.32 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.add_subplot()
    panel.set_title(title)
    factor = 100 if is_percent(finding.metric) else 1
    for row, decision in enumerate(shown.values()):
        colour = COLOURS[decision.verdict]
        panel.plot([factor * decision.low, factor * decision.high], [row, row], color=colour, lw=2.2, alpha=0.6)
        panel.plot(factor * decision.effect, row, "o", ms=6, color=colour)
    compared = any(effect.baseline is not None for effect in finding.effects)
    if compared:
        panel.axvline(0, color="#555555", lw=1)
    panel.set_yticks(range(len(shown)), list(shown))
    panel.invert_yaxis()
    panel.set_xlabel(unit(finding.metric, change=compared))
    panel.grid(axis="x", color="#e6e6e6", lw=0.8)
    return figure


def lines(finding: Finding, title: str) -> Figure:
    """Return the lines of a finding in their bands, a panel each group."""
    parts = finding.lines.partition_by("panel", maintain_order=True)
    columns = min(3, len(parts))
    rows = -(-len(parts) // columns)
    names = finding.lines["line"].unique(maintain_order=True).to_list()
    figure = Figure(figsize=(1.2 + 3.6 * columns, 1.3 + 2.7 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.01, ha="left")
    for place, part in enumerate(parts, start=1):
        panel = figure.add_subplot(rows, columns, place)
        panel.set_title(part["panel"][0])
        for line in part.partition_by("line", maintain_order=True):
            one_line(panel, line, PALETTE[names.index(line["line"][0]) % len(PALETTE)], finding.metric)
        panel.set_xscale("symlog" if finding.scale == "log" and part["x"].min() == 0 else finding.scale)
        panel.set_xlabel(finding.axis)
        panel.set_ylabel(unit(finding.metric, change=False))
        panel.grid(axis="y", color="#e6e6e6", lw=0.8)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if len(names) > 1:
        figure.legend(handles, labels, loc="outside lower left", ncols=4)
    return figure


def one_line(panel: Axes, line: pl.DataFrame, colour: str, metric: str) -> None:
    """Draw a line in its band."""
    factor = 100 if is_percent(metric) else 1
    line = line.sort("x").drop_nulls("mean").with_columns(pl.col("mean", "low", "high") * factor)
    panel.plot(line["x"], line["mean"], "-o", ms=4, lw=1.8, color=colour, label=line["line"].first())
    panel.fill_between(line["x"], line["low"], line["high"], color=colour, alpha=0.2, lw=0)


def unit(metric: str, *, change: bool) -> str:
    """Return the label of an axis."""
    if is_percent(metric):
        return f"{metric}, {'points' if change else '%'}"
    return f"difference in {metric}" if change and metric else metric
