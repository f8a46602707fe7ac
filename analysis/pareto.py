"""Several metrics at once: what lies on the front cannot be bettered in one of them without loss in another."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analysis.formatting import format_settings
from analysis.tables import Run

UNITS = ("probe_accuracy", "probe_mae", "shapley")  # by which modalities are compared, the first that was measured


def front(run: Run) -> pl.DataFrame:
    """Return one row a configuration whose trials are all done: its metrics, means on validation, and `front`.

    Columns: `method`, `settings`, `seeds`, `trials`, one a metric of the study, and whether the configuration lies on
    the Pareto front; methods in the order of the study, the best by its first metric first. `unimodal` has no joint
    prediction, and no row.
    """
    objectives = run.objectives
    joint = run.trials.filter(pl.col("modality").is_null()).unique(["trial", *run.vary], maintain_order=True)
    table = (
        joint.select("trial", "method", "seed", "status", *run.vary)
        .join(values(run.trials, run.metrics, list(objectives)), on="trial", how="left")
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
        pl.Series("front", undominated(table.select(*objectives).to_numpy() * signs), dtype=pl.Boolean),
    ).select("method", "settings", "seeds", "trials", *objectives, "front")
    methods = pl.Enum(list(dict.fromkeys([*run.study["study"]["methods"], *rows["method"]])))
    order = [pl.col("method").cast(methods), first, "front"]
    return rows.sort(order, descending=[False, run.higher_is_better, True], maintain_order=True)


def undominated(points: NDArray[np.float64]) -> list[bool]:
    """Say which of the points [N, D] no other beats: more is better, and equal points do not beat each other."""
    return [not bool(((points >= point).all(1) & (points > point).any(1)).any()) for point in points]


def values(trials: pl.LazyFrame, metrics: pl.LazyFrame, objectives: Sequence[str]) -> pl.LazyFrame:
    """Return each trial's metrics on validation, one column each; `seconds` are those of its training."""
    told = balanced(trials, metrics) if "balance" in objectives else trials
    columns = [pl.col("seconds" if name == "seconds" else f"validation.{name}").alias(name) for name in objectives]
    return told.select("trial", *columns).unique("trial")


def balanced(trials: pl.LazyFrame, metrics: pl.LazyFrame) -> pl.LazyFrame:
    """Return trials with their `validation.balance`; rows that stand for several have the mean of theirs already."""
    if "validation.balance" in trials.collect_schema():
        return trials
    return trials.join(balance(metrics).rename({"balance": "validation.balance"}), on="trial", how="left")


def balance(metrics: pl.LazyFrame) -> pl.LazyFrame:
    """Return minus the gap between the best and the worst modality of each trial on validation, after its last epoch.

    It is that of a linear probe of their encoders, or where none was taken, of their Shapley values.
    """
    scores = metrics.filter(pl.col("split") == "validation", pl.col("metric").is_in(UNITS))
    last = scores.filter(pl.col("epoch") == pl.col("epoch").max().over("trial", "metric"))
    gaps = last.group_by("trial", "metric").agg(balance=pl.col("value").min() - pl.col("value").max())
    return gaps.sort(pl.col("metric").cast(pl.Enum(UNITS))).group_by("trial").agg(pl.col("balance").first())
