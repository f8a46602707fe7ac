"""A finding drawn: its lines where it has some, else its effects with their intervals; and its ranks."""

from collections.abc import Iterator, Mapping

import polars as pl
from matplotlib.figure import Figure

from analysis.ablations.finding import GAIN, Finding
from analysis.axis_layout import axis_layout
from analysis.decisions import Decision
from analysis.drawing import Drawing
from analysis.formatting import GAIN_IN, lower_is_better
from analysis.plots import plot_forest, plot_ranks, ranks_table
from analysis.plots.curves import draw_line, format_axes
from analysis.plots.style import (
    LINE_STYLES,
    NARROW,
    WIDE,
    add_legend,
    add_title,
    display_factor,
    groups,
    interval_caption,
    new_figure,
    panel_grid,
    seed_count_range,
    shorten,
    style_context,
)
from analysis.rankings import said
from analysis.tables import table_from_rows


def drawings(finding: Finding, decisions: Mapping[str, Decision], name: str, words: str) -> Iterator[Drawing]:
    """Yield the figures of a claim's finding: what was found, in words; and the ranks, where they could be tested."""
    yield Drawing("verdict", "What was found", words, draw(finding, decisions, name), data(finding, decisions))
    found = finding.ranking
    if found is not None and len(found.pairs):
        caption = f"{said(found, 'block')} A block is a seed of a data set."
        figure = plot_ranks(found, title=f"{name}: ranks on test")
        yield Drawing("verdict-ranks", "Critical differences of ranks", caption, figure, ranks_table(found))


def draw(finding: Finding, decisions: Mapping[str, Decision], title: str) -> Figure:
    """Return the figure of a finding and what was decided of each of its effects."""
    return lines(finding, title) if len(finding.lines) else forest(finding, decisions, title)


def data(finding: Finding, decisions: Mapping[str, Decision]) -> pl.DataFrame:
    """Return the numbers that `draw` draws."""
    return finding.lines if len(finding.lines) else table(judged(finding, decisions))


def judged(finding: Finding, decisions: Mapping[str, Decision]) -> dict[str, Decision]:
    """Return the decisions without those of what is only shown beside, which may be in another unit."""
    beside = {effect.name for effect in finding.beside} - {effect.name for effect in finding.effects}
    return {name: one for name, one in decisions.items() if name not in beside}


def table(decisions: Mapping[str, Decision]) -> pl.DataFrame:
    """Return one row an effect; what could not be told is null."""
    return table_from_rows([{"name": name, **one._asdict()} for name, one in decisions.items()])


def forest(finding: Finding, decisions: Mapping[str, Decision], title: str) -> Figure:
    """Return each effect as a point with its 95 % interval, coloured by its verdict."""
    compared = any(effect.baseline is not None for effect in finding.effects)
    rows = table(judged(finding, decisions)).rename({"effect": "mean"})
    rows = rows.with_columns(pl.Series("metric", [gained(one, change=compared) for one in rows["metric"]], pl.String))
    tested = not rows["verdict"].is_in(["reported"]).all()
    subtitle = f"{repeated(rows, finding.noun)}{'; blue supports, orange refutes, grey neither' if tested else ''}"
    return plot_forest(
        rows, metric=gained(finding.metric, change=compared), title=title, subtitle=subtitle, change=compared
    )


def repeated(rows: pl.DataFrame, noun: str) -> str:
    """Return what intervals are over, also where it is no seeds; of numbers, of how many it is the largest."""
    words = f"the largest of {seed_count_range(rows)}" if noun == "number" else interval_caption(rows)
    return words.replace("seed", noun)


def gained(metric: str, *, change: bool) -> str:
    """Return what an axis is about: of a metric of which less is better, a change is what was gained."""
    return f"{GAIN_IN}{metric}" if change and lower_is_better(metric) else metric


def lines(finding: Finding, title: str) -> Figure:
    """Return the lines of a finding in their bands, a panel each group."""
    panels = list(groups(finding.lines, "panel"))
    rows, columns = panel_grid(len(panels))
    names = finding.lines["line"].unique(maintain_order=True).to_list()
    with style_context():
        figure = new_figure(NARROW if columns == 1 else WIDE, 1.1 + 2.2 * rows)
        for place, (group, part) in enumerate(panels, start=1):
            panel = figure.add_subplot(rows, columns, place)
            panel.set_title(shorten(group, 34))
            known = part.rename({"x": "value"}).filter(pl.col("value").is_finite()).drop_nulls("mean")
            places = axis_layout(known["value"], finding.scale)
            metric = finding.metrics.get(str(group), finding.metric).removeprefix("exponent of ")
            axis = finding.axes.get(str(group), finding.axis)
            change = finding.changes or str(group).rpartition(": ")[2] == GAIN
            for name, line in groups(known, "line"):
                draw_line(
                    panel, line, places, LINE_STYLES[names.index(name) % len(LINE_STYLES)], name, display_factor(metric)
                )
            format_axes(panel, places, axis, gained(metric, change=change), change=change)
        add_title(figure, title, interval_caption(finding.lines) + (finding.lines_of and f", {finding.lines_of}"))
        add_legend(figure, columns=4)
    return figure
