"""Figures of the search: all configurations along each axis, and the expected best of n."""

from collections.abc import Iterator

import polars as pl

from analysis import plots
from analysis.choice import configurations, validation_scores
from analysis.drawing import Drawing
from analysis.formatting import format_score, format_settings, plural
from analysis.gallery.captions import GRID_SEARCHES, final_scores
from analysis.plots.style import ranked_points
from analysis.sensitivity import axes
from analysis.statistics import bounds, estimate
from analysis.tables import Run, table_from_rows
from analysis.tuning import best_of


def slices(run: Run) -> Iterator[Drawing]:
    """Draw all configurations of a search along each axis."""
    if run.search[0] in GRID_SEARCHES or not axes(run):
        return
    scores = validation_scores(run, configurations(run)).filter(pl.col("method") != "unimodal")
    rows = [
        dict(zip(["method", *run.vary], key, strict=True))
        | estimate(group["score"].drop_nulls(), bounds(run.metric))._asdict()
        for key, group in scores.group_by("method", *run.vary, maintain_order=True)
    ]
    if not rows:
        return
    points = table_from_rows(rows).drop_nulls("mean")
    scales = {axis: run.vary[axis]["scale"] for axis in axes(run) if points[axis].n_unique() > 1}
    if not scales:
        return
    best = ranked_points(points, higher_is_better=run.higher_is_better).row(0, named=True)
    at = f" at {settings}" if (settings := format_settings(best, run.vary)) else ""
    caption = (
        f"All {plural(len(points), 'configuration')} with a result, along each axis, on validation. Best: "
        f"{best['method']}{at}, {format_score(run.metric, best['mean'], best['low'], best['high'])}."
    )
    title = f"{run.name}: all configurations"
    figure = plots.plot_slices(points, scales, metric=run.metric, title=title, methods=run.methods)
    yield Drawing("search", "All configurations of the search", caption, figure, points)


def best_of_n(run: Run) -> Iterator[Drawing]:
    """Draw the expected best of n configurations."""
    table = best_of(run)
    if table["n"].max() in (None, 1) or table["mean"].drop_nulls().is_empty():
        return
    scores = final_scores(run, table, " (n={n})")
    caption = f"Expected validation score of the best of n configurations; at the full budget: {scores}."
    title = f"{run.name}: best of n configurations"
    figure = plots.plot_best_of(table, metric=run.metric, title=title, methods=run.methods)
    yield Drawing("best-of-n", "Best of n configurations", caption + pruned_caption(table), figure, table)


def pruned_caption(table: pl.DataFrame) -> str:
    """Return how many configurations of each method were pruned, and how they count; empty if none was."""
    last = table.group_by("method", maintain_order=True).last().filter(pl.col("pruned") > 0)
    counts = "; ".join(f"{row['method']} {row['pruned']} of {row['n']}" for row in last.iter_rows(named=True))
    if not counts:
        return ""
    return (
        f" Pruned, and counted as worse than every configuration with a score: {counts}. "
        "Their lines begin at the smallest n of which one must have a score."
    )
