"""Choice of configurations: the best of each method on validation, and their scores on test."""

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analysis.axis_layout import axis_layout
from analysis.tables import Run

FIRST_METHODS, LAST_METHODS = ("joint", "joint-uni"), ("unimodal",)
DUMMY_AXIS = "dummy"  # an axis that has no effect
LOSSES = ("validation.loss", "test.loss")  # equal in both only where training was the same
DIGITS = 5  # significant ones, to which losses are compared


def configurations(run: Run) -> pl.DataFrame:
    """Return one row per method, modality and set of varied settings: methods in study order, best configuration first.

    Best is the one with the most finished seeds, and of those the one with the best mean validation metric: a
    configuration that fails for some seeds is not ahead of one that never does. Test scores are not read. A trial
    counts once, however many points of a design share it.
    """
    done = (pl.col("status") == "done") & pl.col(f"validation.{run.metric}").is_finite()
    columns = run.trials.collect_schema().names()  # a row that stands for several trials has counts of its own
    lost = {s: pl.col(s) if s in columns else pl.col("status") == s for s in ("failed", "diverged")}
    keys = ["method", "modality", *run.vary]
    table = (
        run.trials.unique(["trial", *run.vary], maintain_order=True)
        .group_by(keys)
        .agg(
            trials=pl.col("trial").sort(),
            seeds=done.sum().cast(pl.Int64),
            **{status: count.sum().cast(pl.Int64) for status, count in lost.items()},
            pruned=(pl.col("status") == "pruned").sum().cast(pl.Int64),
            validation=pl.col(f"validation.{run.metric}").filter(done).mean(),
            seconds=pl.col("seconds").median(),
        )
        .collect()
    )
    order = pl.col("method").replace_strict(method_order(run), default=len(method_order(run)), return_dtype=pl.Int64)
    best_first = [False, False, True, run.higher_is_better, *(False for _ in run.vary)]
    return table.sort(order, "modality", "seeds", "validation", *run.vary, descending=best_first, nulls_last=True)


def without_dummy(run: Run) -> Run:
    """Return a run without the dummy axis: configurations that differ in it alone are one."""
    vary = {axis: spec for axis, spec in run.vary.items() if axis != DUMMY_AXIS}
    return run._replace(study=run.study | {"study": run.study["study"] | {"vary": vary}})


def best_configurations(run: Run) -> pl.DataFrame:
    """Return the best configuration of each method, and of each modality of `unimodal`.

    The column `configurations` counts those that were tried, the dummy axis left out; `failed` and `diverged` count
    trials over all of them.
    """
    counts = pl.col("failed", "diverged")
    return (
        configurations(without_dummy(run))
        .group_by("method", "modality", maintain_order=True)
        .agg(pl.exclude("failed", "diverged", "pruned").first(), counts.sum(), configurations=pl.len().cast(pl.Int64))
    )


def test_scores(run: Run, configurations: pl.DataFrame) -> pl.DataFrame:
    """Return the joint scores on test, one row per trial; null if it is not done, or its score is not finite.

    A report reads test here and in `test_probes` alone, and both must be given the `best_configurations`.
    """
    return with_trial_scores(configurations, joint_scores(run, "test"))


def validation_scores(run: Run, configurations: pl.DataFrame) -> pl.DataFrame:
    """Return the joint scores on validation, one row per trial, as `test_scores` does on test."""
    return with_trial_scores(configurations, joint_scores(run, "validation"))


def test_probes(run: Run, configurations: pl.DataFrame) -> pl.DataFrame:
    """Return the score of a probe of each `encoder` on test, a row each of a trial that has a joint score."""
    return with_trial_scores(configurations, probe_scores(run, "test"))


def validation_probes(run: Run, configurations: pl.DataFrame) -> pl.DataFrame:
    """Return the probe scores on validation, as `test_probes` does on test."""
    return with_trial_scores(configurations, probe_scores(run, "validation"))


def is_seed_invariant(scores: pl.DataFrame) -> bool:
    """Return whether several seeds have the same results but for rounding, so that they are one result.

    Orders of the samples do where a batch holds all of them: only the order of summation differs.
    """
    columns = [*LOSSES, *(name for name in ("value",) if name in scores.columns)]
    rounded = scores.drop_nulls(LOSSES).with_columns(pl.col(columns).round_sig_figs(DIGITS))
    results = rounded.sort(columns).group_by("seed").agg(pl.col(columns))
    return len(results) > 1 and len(results.unique(columns)) == 1


class Design(NamedTuple):
    """The joint validation scores of a method's configurations, best first."""

    points: pl.DataFrame  # `method` and the axes
    axes: list[str]  # that the method has several values of
    scores: NDArray[np.float64]  # [N, S], nan without a result
    seeds: list[int]
    pruned: NDArray[np.bool_]  # [N], by the pruner for one seed at least, and not failed or diverged for any

    def positions(self, axis: str, scale: str) -> NDArray[np.float64]:
        """Return the positions of the points on an axis, [N]: 0 and infinity are one step outside a log axis."""
        positions = axis_layout(self.points[axis], scale).positions
        return np.array([positions[value] for value in self.points[axis]])


def design(run: Run, method: str) -> Design:
    """Return the configurations of a method with their validation scores by seed."""
    table = configurations(run).filter(pl.col("method") == method)
    axes = [axis for axis in run.vary if table[axis].n_unique() > 1]
    joint = validation_scores(run, table)
    seeds = joint["seed"].unique().sort()
    keys = axes or ["method"]
    points = joint.unique(keys, keep="first", maintain_order=True).select("method", *axes)
    indexed = joint.join(points.select(keys).with_row_index("index"), on=keys, nulls_equal=True, maintain_order="left")
    scores = np.full((len(points), len(seeds)), np.nan)
    scores[indexed["index"], seeds.search_sorted(indexed["seed"])] = indexed["score"].cast(float).fill_null(np.nan)
    lost = pl.col("failed") + pl.col("diverged")
    pruning = table.group_by(keys).agg(pruned=(pl.col("pruned").sum() > 0) & (lost.sum() == 0))
    pruned = points.join(pruning, on=keys, nulls_equal=True, how="left", maintain_order="left")["pruned"].to_numpy()
    return Design(points, axes, np.where(np.isfinite(scores), scores, np.nan), seeds.to_list(), pruned)


def configurations_along(run: Run, group: pl.DataFrame, axes: list[str]) -> pl.DataFrame:
    """Return the configurations along some axes, with the other varied settings as in the best configuration.

    Where the design has several values of the axes only elsewhere, as in one-at-a-time designs, they are as in the best
    of the configurations that have most values. `group` is one method's configurations, best first.
    """
    others = [other for other in run.vary if other not in axes]
    lines = group.partition_by(others, maintain_order=True) if others else [group]
    return max(lines, key=lambda line: line.select(axes).n_unique())


def joint_scores(run: Run, split: str) -> pl.LazyFrame:
    """Return the final joint score and losses of each trial on a split."""
    final = pl.col(f"{split}.{run.metric}")
    score = pl.when(pl.col("status") == "done", final.is_finite()).then(final)
    return run.trials.unique("trial", maintain_order=True).select("trial", "seed", *LOSSES, score=score)


def probe_scores(run: Run, split: str) -> pl.LazyFrame:
    """Return the last probe score of each encoder on a split, of trials that have a joint score."""
    return (
        run.metrics.filter(pl.col("split") == split, pl.col("metric") == f"probe_{run.metric}")
        .group_by("trial", encoder="modality")
        .agg(score=pl.col("value").sort_by("epoch").last())
        .join(joint_scores(run, split).drop_nulls("score").drop("score"), on="trial")
        .sort("encoder")
    )


def with_trial_scores(configurations: pl.DataFrame, scores: pl.LazyFrame) -> pl.DataFrame:
    """Return the configurations with the scores of their trials, a row each."""
    members = configurations.explode("trials").rename({"trials": "trial"}).lazy()
    return members.join(scores, on="trial", maintain_order="left_right").collect()


def method_order(run: Run) -> dict[str, int]:
    """Return the rank of each method in the tables: joint, joint-uni, the others as in the study, unimodal."""
    others = [method for method in run.methods if method not in FIRST_METHODS + LAST_METHODS]
    return {method: rank for rank, method in enumerate([*FIRST_METHODS, *others, *LAST_METHODS])}
