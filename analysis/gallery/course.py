"""How it went: the search, and the training of what it chose."""

from collections.abc import Iterator

import polars as pl

from analysis import plots
from analysis.choice import configurations, validation_scores
from analysis.drawing import Drawing
from analysis.formatting import format_score, format_settings, plural
from analysis.gallery.words import LISTED
from analysis.plots.style import ranked
from analysis.sensitivity import axes
from analysis.statistics import bounds, estimate
from analysis.tables import Run, table_from_rows
from analysis.training import coefficients, learning
from analysis.tuning import best_of


def slices(run: Run) -> Iterator[Drawing]:
    """Draw all configurations of a search along each axis."""
    if run.search[0] in LISTED or not axes(run):
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
    best = ranked(points, higher_is_better=run.higher_is_better).row(0, named=True)
    where = f" at {held}" if (held := format_settings(best, run.vary)) else ""
    caption = (
        f"Each of {plural(len(points), 'configuration')} that has a result, along each axis, on validation. Best: "
        f"{best['method']}{where}, {format_score(run.metric, best['mean'], best['low'], best['high'])}."
    )
    title = f"{run.name}: all configurations"
    figure = plots.plot_slices(points, scales, metric=run.metric, title=title, methods=run.methods)
    yield Drawing("search", "All configurations of the search", caption, figure, points)


def budgets(run: Run) -> Iterator[Drawing]:
    """Draw the best of n configurations."""
    table = best_of(run)
    if table["n"].max() in (None, 1) or table["mean"].drop_nulls().is_empty():
        return
    caption = (
        f"What the best of n configurations scores on validation; at the whole budget: {_ends(run, table, ' of {n}')}."
        f"{_lagging(table)}"
    )
    title = f"{run.name}: what tuning buys"
    figure = plots.plot_best_of(table, metric=run.metric, title=title, methods=run.methods)
    yield Drawing("best-of-n", "Best of n configurations", caption, figure, table)


def learned(run: Run) -> Iterator[Drawing]:
    """Draw learning curves."""
    table = learning(run)
    if table["epoch"].n_unique() < 2:
        return
    ends = _ends(run, table.filter(split="validation", metric=run.metric))
    caption = f"Learning curves of the chosen configurations; after the last epoch, on validation: {ends}."
    title = f"{run.name}: learning curves"
    figure = plots.plot_learning(table, metric=run.metric, title=title, methods=run.methods)
    yield Drawing("learning", "Learning curves", caption, figure, table)


def modulation(run: Run) -> Iterator[Drawing]:
    """Draw the coefficients of each modality over training."""
    table = coefficients(run)
    if table["epoch"].n_unique() < 2:
        return
    last = table.group_by("method", "modality", maintain_order=True).last()
    words = [f"{row['method']} {row['modality']} {row['mean']:.3g}" for row in last.iter_rows(named=True)]
    caption = (
        "What the chosen configurations multiply each modality's gradients by (for AGM the ratio that follows from its "
        f"Shapley shares), mean over the steps of an epoch; in the last one: {'; '.join(words)}."
    )
    figure = plots.plot_coefficients(table, title=f"{run.name}: coefficients over training")
    yield Drawing("coefficients", "Coefficients over training", caption, figure, table)


def _lagging(table: pl.DataFrame) -> str:
    """Return how many configurations of each method were ended for lagging behind, and what that means; or nothing."""
    ended = table.group_by("method", maintain_order=True).last().filter(pl.col("pruned") > 0)
    counts = "; ".join(f"{row['method']} {row['pruned']} of {row['n']}" for row in ended.iter_rows(named=True))
    if not counts:
        return ""
    return (
        f" Ended for lagging behind, and counted as worse than every one that was scored: {counts}. "
        "Such a line begins where one of n must have a score."
    )


def _ends(run: Run, table: pl.DataFrame, more: str = "") -> str:
    """Return where the line of each method ends; `more` is filled from its last row."""
    last = table.drop_nulls("mean").group_by("method", maintain_order=True).last()
    return "; ".join(
        f"{row['method']} {format_score(run.metric, row['mean'], row['low'], row['high'])}{more.format(**row)}"
        for row in last.iter_rows(named=True)
    )
