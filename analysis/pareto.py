"""Several metrics at once: a configuration on the Pareto front is not bettered in one without loss in another."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analysis.formatting import format_settings
from analysis.tables import Run

BALANCE_METRICS = ("probe_accuracy", "probe_mae", "shapley")  # the first that was measured compares modalities


def pareto_front(run: Run) -> pl.DataFrame:
    """Return one row per configuration whose trials are all done: its mean metrics on validation, and `front`.

    Columns: `method`, `settings`, `seeds`, `trials`, one per metric of the study, and whether the configuration lies on
    the Pareto front; methods in the order of the study, the best by its first metric first. `unimodal` has no joint
    prediction, and no row.
    """
    objectives = run.objectives
    joint = run.trials.filter(pl.col("modality").is_null()).unique(["trial", *run.vary], maintain_order=True)
    table = (
        joint.select("trial", "method", "seed", "status", *run.vary)
        .join(objective_values(run.trials, run.metrics, list(objectives)), on="trial", how="left")
        .group_by("method", *run.vary, maintain_order=True)
        .agg(
            pl.col("trial").sort().alias("trials"),
            pl.col("seed").n_unique().cast(pl.Int64).alias("seeds"),
            (pl.col("status") == "done").all().alias("complete"),
            pl.col(*objectives).mean(),
        )
        .filter("complete")
        .drop_nulls(list(objectives))
        .collect()
    )
    signs = np.array([1 if direction == "max" else -1 for direction in objectives.values()])
    first = next(iter(objectives))
    rows = table.with_columns(
        pl.Series("settings", [format_settings(row, run.vary) for row in table.iter_rows(named=True)], dtype=pl.String),
        pl.Series("front", is_nondominated(table.select(*objectives).to_numpy() * signs), dtype=pl.Boolean),
    ).select("method", "settings", "seeds", "trials", *objectives, "front")
    methods = pl.Enum(list(dict.fromkeys([*run.study["study"]["methods"], *rows["method"]])))
    order = [pl.col("method").cast(methods), first, "front"]
    return rows.sort(order, descending=[False, run.higher_is_better, True], maintain_order=True)


def is_nondominated(points: NDArray[np.float64]) -> list[bool]:
    """Return which of the points [N, D] no other dominates: more is better, and equal points do not dominate."""
    return [not bool(((points >= point).all(1) & (points > point).any(1)).any()) for point in points]


def objective_values(trials: pl.LazyFrame, metrics: pl.LazyFrame, objectives: Sequence[str]) -> pl.LazyFrame:
    """Return each trial's metrics on validation, one column each; `seconds` are those of its training."""
    table = with_balance(trials, metrics) if "balance" in objectives else trials
    columns = [pl.col("seconds" if name == "seconds" else f"validation.{name}").alias(name) for name in objectives]
    return table.select("trial", *columns).unique("trial")


def with_balance(trials: pl.LazyFrame, metrics: pl.LazyFrame) -> pl.LazyFrame:
    """Return trials with their `validation.balance`; rows that stand for several trials have their mean already."""
    if "validation.balance" in trials.collect_schema():
        return trials
    return trials.join(balance(metrics).rename({"balance": "validation.balance"}), on="trial", how="left")


def balance(metrics: pl.LazyFrame) -> pl.LazyFrame:
    """Return minus the gap between the best and the worst modality of each trial on validation, after its last epoch.

    The gap is between linear probes of their encoders or, without probes, between their Shapley values.
    """
    scores = metrics.filter(pl.col("split") == "validation", pl.col("metric").is_in(BALANCE_METRICS))
    last = scores.filter(pl.col("epoch") == pl.col("epoch").max().over("trial", "metric"))
    gaps = last.group_by("trial", "metric").agg(balance=pl.col("value").min() - pl.col("value").max())
    return gaps.sort(pl.col("metric").cast(pl.Enum(BALANCE_METRICS))).group_by("trial").agg(pl.col("balance").first())
