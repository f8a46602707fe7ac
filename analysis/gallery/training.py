"""Figures of the training of the chosen configurations: learning curves and gradient coefficients."""

from collections.abc import Iterator

import polars as pl

from analysis import plots
from analysis.choice import best_configurations, validation_scores
from analysis.drawing import Drawing
from analysis.gallery.captions import final_scores
from analysis.plots.style import groups
from analysis.statistics import bounds, estimate
from analysis.summary import distinct_scores
from analysis.tables import Run, table_from_rows
from analysis.training import TRAINING, coefficient_curves, learning_curves


def learning(run: Run) -> Iterator[Drawing]:
    """Draw learning curves."""
    table = learning_curves(run)
    if table["epoch"].n_unique() < 2:
        return
    scores = final_scores(run, trained_scores(run))
    caption = f"Learning curves of the chosen configurations; after the last epoch, on validation: {scores}."
    if shorter := [method for method, lines in groups(table, "method") if lines["seeds"].n_unique() > 1]:
        caption += f" Some epochs of {', '.join(shorter)} are means over fewer seeds."
    title = f"{run.name}: learning curves"
    figure = plots.plot_learning(table, metric=run.metric, title=title, methods=run.methods)
    yield Drawing("learning", "Learning curves", caption, figure, table)


def trained_scores(run: Run) -> pl.DataFrame:
    """Return the validation score of each chosen configuration when its trials end, which may be in other epochs."""
    scores = validation_scores(run, best_configurations(run)).filter(pl.col("method") != "unimodal")
    rows = [
        {"method": method} | estimate(distinct_scores(part), bounds(run.metric))._asdict()
        for method, part in groups(scores, "method")
    ]
    return table_from_rows(rows, TRAINING)


def coefficients(run: Run) -> Iterator[Drawing]:
    """Draw the coefficients of each modality's gradients over training."""
    table = coefficient_curves(run)
    if table["epoch"].n_unique() < 2:
        return
    last = table.group_by("method", "modality", maintain_order=True).last()
    values = [f"{row['method']} {row['modality']} {row['mean']:.3g}" for row in last.iter_rows(named=True)]
    caption = (
        "Factors by which the chosen configurations multiply each modality's gradients (for AGM the ratio that follows "
        f"from its Shapley shares), means over the steps of an epoch; in the last epoch: {'; '.join(values)}."
    )
    figure = plots.plot_coefficients(table, title=f"{run.name}: coefficients over training")
    yield Drawing("coefficients", "Coefficients over training", caption, figure, table)
