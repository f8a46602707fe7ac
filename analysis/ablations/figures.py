"""Figures of a finding: its lines where it has some, else its effects with their intervals; and its ranks."""

from collections.abc import Iterator, Mapping

import polars as pl
from matplotlib.figure import Figure

from analysis.ablations.finding import GAIN_PANEL, Finding
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
from analysis.rankings import ranking_text
from analysis.tables import table_from_rows


def drawings(finding: Finding, decisions: Mapping[str, Decision], name: str, caption: str) -> Iterator[Drawing]:
    """Yield the figures of a claim's finding: its lines or effects, and its ranks where they could be tested."""
    figure, numbers = draw_finding(finding, decisions, name), figure_table(finding, decisions)
    yield Drawing("verdict", "Result", caption, figure, numbers)
    ranking = finding.ranking
    if ranking is not None and len(ranking.pairs):
        ranks_caption = f"{ranking_text(ranking, 'block')} A block is a seed of a data set."
        figure = plot_ranks(ranking, title=f"{name}: ranks on test")
        yield Drawing("verdict-ranks", "Critical differences of ranks", ranks_caption, figure, ranks_table(ranking))


def draw_finding(finding: Finding, decisions: Mapping[str, Decision], title: str) -> Figure:
    """Return the figure of a finding, with the decision on each of its effects."""
    return draw_lines(finding, title) if len(finding.lines) else draw_forest(finding, decisions, title)


def figure_table(finding: Finding, decisions: Mapping[str, Decision]) -> pl.DataFrame:
    """Return the numbers that `draw_finding` draws."""
    return finding.lines if len(finding.lines) else decision_table(without_beside(finding, decisions))


def without_beside(finding: Finding, decisions: Mapping[str, Decision]) -> dict[str, Decision]:
    """Return the decisions without those on effects that are shown without a test, which may be in another unit."""
    beside = {effect.name for effect in finding.beside} - {effect.name for effect in finding.effects}
    return {name: decision for name, decision in decisions.items() if name not in beside}


def decision_table(decisions: Mapping[str, Decision]) -> pl.DataFrame:
    """Return one row an effect; what could not be computed is null."""
    return table_from_rows([{"name": name, **decision._asdict()} for name, decision in decisions.items()])


def draw_forest(finding: Finding, decisions: Mapping[str, Decision], title: str) -> Figure:
    """Return each effect as a point with its 95 % interval, coloured by its verdict."""
    change = any(effect.baseline is not None for effect in finding.effects)
    rows = decision_table(without_beside(finding, decisions)).rename({"effect": "mean"})
    rows = rows.with_columns(
        pl.Series("metric", [axis_metric(metric, change=change) for metric in rows["metric"]], pl.String)
    )
    is_tested = not rows["verdict"].is_in(["reported"]).all()
    colours = "; blue supports, orange refutes, grey neither" if is_tested else ""
    subtitle = f"{interval_note(rows, finding.noun)}{colours}"
    return plot_forest(
        rows, metric=axis_metric(finding.metric, change=change), title=title, subtitle=subtitle, change=change
    )


def interval_note(rows: pl.DataFrame, noun: str) -> str:
    """Return the note on the intervals, with the noun for the replicates; of numbers, of how many it is the largest."""
    note = f"the largest of {seed_count_range(rows)}" if noun == "number" else interval_caption(rows)
    return note.replace("seed", noun)


def axis_metric(metric: str, *, change: bool) -> str:
    """Return the metric of an axis: a change of a metric of which less is better is a gain in it."""
    return f"{GAIN_IN}{metric}" if change and lower_is_better(metric) else metric


def draw_lines(finding: Finding, title: str) -> Figure:
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
            layout = axis_layout(known["value"], finding.scale)
            metric = finding.panel_metrics.get(str(group), finding.metric).removeprefix("exponent of ")
            axis = finding.panel_axes.get(str(group), finding.axis)
            change = finding.lines_are_changes or str(group).rpartition(": ")[2] == GAIN_PANEL
            for name, line in groups(known, "line"):
                line_style = LINE_STYLES[names.index(name) % len(LINE_STYLES)]
                draw_line(panel, line, layout, line_style, name, display_factor(metric))
            format_axes(panel, layout, axis, axis_metric(metric, change=change), change=change)
        add_title(figure, title, interval_caption(finding.lines) + (finding.lines_label and f", {finding.lines_label}"))
        add_legend(figure, columns=4)
    return figure
