"""Configurations of a method: compared on validation, scored on test once chosen."""

import polars as pl

from analysis.tables import Run

FIRST, LAST = ("joint", "joint-uni"), ("unimodal",)


def configurations(run: Run) -> pl.DataFrame:
    """Return one row per method, modality and set of varied settings: methods in study order, best configuration first.

    Best is the one with the most finished seeds, and of those the one with the best mean validation metric: a
    configuration that fails for some seeds is not ahead of one that never does. Nothing here looks at test.
    """
    done = pl.col("status") == "done"
    keys = ["method", "modality", *run.vary]
    table = (
        run.trials.group_by(keys)
        .agg(
            trials=pl.col("trial").sort(),
            seeds=done.sum().cast(pl.Int64),
            failed=(pl.col("status") == "failed").sum().cast(pl.Int64),
            diverged=(pl.col("status") == "diverged").sum().cast(pl.Int64),
            validation=pl.col(f"validation.{run.metric}").filter(done).mean(),
            seconds=pl.col("seconds").median(),
        )
        .collect()
    )
    order = pl.col("method").replace_strict(_places(run), default=len(_places(run)), return_dtype=pl.Int64)
    best_first = [False, False, True, run.highest_is_best, *(False for _ in run.vary)]
    return table.sort(order, "modality", "seeds", "validation", *run.vary, descending=best_first, nulls_last=True)


def chosen(run: Run) -> pl.DataFrame:
    """Return the best configuration of each method, and of each modality of `unimodal`.

    `configurations` says how many were tried; `failed` and `diverged` count over all of them.
    """
    counts = pl.col("failed", "diverged")
    return (
        configurations(run)
        .group_by("method", "modality", maintain_order=True)
        .agg(pl.exclude("failed", "diverged").first(), counts.sum(), configurations=pl.len().cast(pl.Int64))
    )


def test_scores(run: Run, configurations: pl.DataFrame) -> pl.DataFrame:
    """Return the scores on test: the one function that reads them, to be called with what `chosen` returned."""
    return _scores(run, configurations, "test")


def validation_scores(run: Run, configurations: pl.DataFrame) -> pl.DataFrame:
    """Return the scores on validation."""
    return _scores(run, configurations, "validation")


def _scores(run: Run, configurations: pl.DataFrame, split: str) -> pl.DataFrame:
    """Return the configurations, one row a trial and score: the joint one (`encoder` null) and each encoder's probe.

    A trial that is not done has a joint row without `score`.
    """
    score = pl.when(pl.col("status") == "done").then(pl.col(f"{split}.{run.metric}"))
    joint = run.trials.select("trial", "seed", encoder=pl.lit(None, pl.String), score=score)
    probes = (
        run.metrics.filter(pl.col("split") == split, pl.col("metric") == f"probe_{run.metric}")
        .group_by("trial", encoder="modality")
        .agg(score=pl.col("value").sort_by("epoch").last())
        .join(joint.drop_nulls("score").select("trial", "seed"), on="trial")
        .sort("encoder")
    )
    members = configurations.explode("trials").rename({"trials": "trial"}).lazy()
    table = pl.concat([joint, probes], how="diagonal")
    return members.join(table, on="trial", maintain_order="left_right").collect()


def _places(run: Run) -> dict[str, int]:
    """Return each method's place in the tables: joint, joint-uni, the others as the study has them, unimodal."""
    others = [method for method in run.study["study"]["methods"] if method not in FIRST + LAST]
    return {method: place for place, method in enumerate([*FIRST, *others, *LAST])}
