"""Figures of the training of the chosen configurations: learning curves and gradient coefficients."""

from collections.abc import Iterator

from analysis import plots
from analysis.drawing import Drawing
from analysis.gallery.captions import final_scores
from analysis.plots.style import groups
from analysis.tables import Run
from analysis.training import coefficient_curves, final_validation, learning_curves


def learning(run: Run) -> Iterator[Drawing]:
    """Draw learning curves."""
    table = learning_curves(run)
    if table["epoch"].n_unique() < 2:
        return
    scores = final_scores(run, final_validation(run))
    caption = f"Learning curves of the chosen configurations; after the last epoch, on validation: {scores}."
    if shorter := [method for method, lines in groups(table, "method") if lines["seeds"].n_unique() > 1]:
        caption += f" Some epochs of {', '.join(shorter)} are means over fewer seeds."
    title = f"{run.name}: learning curves"
    figure = plots.plot_learning(table, metric=run.metric, title=title, methods=run.methods)
    yield Drawing("learning", "Learning curves", caption, figure, table)


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
