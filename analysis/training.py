"""Curves over the epochs, of each method's chosen configuration, and where they end."""

from collections.abc import Sequence

import polars as pl

from analysis.choice import best_configurations, validation_scores
from analysis.statistics import bounds, estimate
from analysis.summary import distinct_scores
from analysis.tables import Run, table_from_rows

TRAINING = {
    "method": pl.String,
    "split": pl.String,
    "modality": pl.String,  # null: the joint prediction
    "metric": pl.String,
    "epoch": pl.Int32,
    "mean": pl.Float64,
    "low": pl.Float64,  # 95 % interval over seeds
    "high": pl.Float64,
    "seeds": pl.Int64,
}
COEFFICIENT = "scale"  # what a method multiplies the gradients of a modality by


def learning_curves(run: Run) -> pl.DataFrame:
    """Return training loss, validation loss and validation metric at every epoch, with the columns of TRAINING."""
    joint = pl.col("modality").is_null() & pl.col("split").is_in(["train", "validation"])
    table = epoch_curves(run, ["loss", run.metric], joint).filter(pl.col("method") != "unimodal")
    order = [pl.col("metric") == "loss", pl.col("split") != "validation"]
    return table.sort(order, maintain_order=True)


def final_validation(run: Run) -> pl.DataFrame:
    """Return the validation score of each chosen configuration when its trials end, which may be in other epochs."""
    scores = validation_scores(run, best_configurations(run)).filter(pl.col("method") != "unimodal")
    rows = [
        {"method": method} | estimate(distinct_scores(part), bounds(run.metric))._asdict()
        for (method,), part in scores.group_by("method", maintain_order=True)
    ]
    return table_from_rows(rows, TRAINING)


def coefficient_curves(run: Run) -> pl.DataFrame:
    """Return the gradient coefficient of each modality at every epoch, with the columns of TRAINING."""
    return epoch_curves(run, [COEFFICIENT], pl.col("modality").is_not_null() & (pl.col("split") == "train"))


def epoch_curves(run: Run, metrics: Sequence[str], condition: pl.Expr) -> pl.DataFrame:
    """Return means and intervals over finished trials of the chosen configurations, at each epoch that one has."""
    members = best_configurations(run).select("method", trial="trials").explode("trial")
    done = run.trials.filter(status="done").select("trial")
    rows = (
        run.metrics.filter(pl.col("metric").is_in(metrics), condition, pl.col("value").is_finite())
        .join(members.lazy(), on="trial")
        .join(done, on="trial", how="semi")
        .select("method", "split", "modality", "metric", "epoch", "value")
        .collect()
    )
    keys = ["method", "split", "modality", "metric", "epoch"]
    methods = pl.Enum(members["method"].unique(maintain_order=True))
    sorted_rows = rows.sort(pl.col("method").cast(methods), *keys[1:], maintain_order=True)
    curve_rows = [
        dict(zip(keys, key, strict=True)) | estimate(group["value"], bounds(str(key[3])))._asdict()
        for key, group in sorted_rows.group_by(keys, maintain_order=True)
    ]
    return table_from_rows(curve_rows, TRAINING)
