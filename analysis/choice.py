"""Configurations of a method: compared on validation, scored on test once chosen."""

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analysis.axis_layout import axis_layout
from analysis.tables import Run

FIRST, LAST = ("joint", "joint-uni"), ("unimodal",)
DUMMY = "dummy"  # an axis that does nothing
LOSSES = ("validation.loss", "test.loss")  # both equal only where training was the same
DIGITS = 5  # to which they are compared


def configurations(run: Run) -> pl.DataFrame:
    """Return one row per method, modality and set of varied settings: methods in study order, best configuration first.

    Best is the one with the most finished seeds, and of those the one with the best mean validation metric: a
    configuration that fails for some seeds is not ahead of one that never does. Nothing here looks at test. A trial
    counts once, however many points of a design asked for it.
    """
    done = (pl.col("status") == "done") & pl.col(f"validation.{run.metric}").is_finite()
    counted = run.trials.collect_schema().names()  # a row that stands for several trials counts its own
    lost = {way: pl.col(way) if way in counted else pl.col("status") == way for way in ("failed", "diverged")}
    keys = ["method", "modality", *run.vary]
    table = (
        run.trials.unique(["trial", *run.vary], maintain_order=True)
        .group_by(keys)
        .agg(
            trials=pl.col("trial").sort(),
            seeds=done.sum().cast(pl.Int64),
            **{way: count.sum().cast(pl.Int64) for way, count in lost.items()},
            pruned=(pl.col("status") == "pruned").sum().cast(pl.Int64),
            validation=pl.col(f"validation.{run.metric}").filter(done).mean(),
            seconds=pl.col("seconds").median(),
        )
        .collect()
    )
    order = pl.col("method").replace_strict(_places(run), default=len(_places(run)), return_dtype=pl.Int64)
    best_first = [False, False, True, run.higher_is_better, *(False for _ in run.vary)]
    return table.sort(order, "modality", "seeds", "validation", *run.vary, descending=best_first, nulls_last=True)


def merged(run: Run) -> Run:
    """Return a run without the axis that does nothing: configurations that differ in it alone are one."""
    vary = {axis: spec for axis, spec in run.vary.items() if axis != DUMMY}
    return run._replace(study=run.study | {"study": run.study["study"] | {"vary": vary}})


def chosen(run: Run) -> pl.DataFrame:
    """Return the best configuration of each method, and of each modality of `unimodal`.

    `configurations` says how many were tried, of `merged` ones; `failed` and `diverged` count over all of them.
    """
    counts = pl.col("failed", "diverged")
    return (
        configurations(merged(run))
        .group_by("method", "modality", maintain_order=True)
        .agg(pl.exclude("failed", "diverged", "pruned").first(), counts.sum(), configurations=pl.len().cast(pl.Int64))
    )


def test_scores(run: Run, configurations: pl.DataFrame) -> pl.DataFrame:
    """Return the joint scores on test, a row a trial; one that is not done, or not finite, has none in it.

    A report reads test here and in `test_probes` alone, and both are to be given what `chosen` returned.
    """
    return _members(configurations, _joint(run, "test"))


def validation_scores(run: Run, configurations: pl.DataFrame) -> pl.DataFrame:
    """Return the same on validation."""
    return _members(configurations, _joint(run, "validation"))


def test_probes(run: Run, configurations: pl.DataFrame) -> pl.DataFrame:
    """Return what a probe of each `encoder` scores on test, a row each of a trial that has a score."""
    return _members(configurations, _probes(run, "test"))


def validation_probes(run: Run, configurations: pl.DataFrame) -> pl.DataFrame:
    """Return the same on validation."""
    return _members(configurations, _probes(run, "validation"))


def alike(scores: pl.DataFrame) -> bool:
    """Tell whether several seeds ended the same but for rounding: nothing that is drawn tells them apart.

    That is also so of orders where a batch holds all samples, which are added up in another order.
    """
    told = [*LOSSES, *(name for name in ("value",) if name in scores.columns)]
    rounded = scores.drop_nulls(LOSSES).with_columns(pl.col(told).round_sig_figs(DIGITS))
    ends = rounded.sort(told).group_by("seed").agg(pl.col(told))
    return len(ends) > 1 and len(ends.unique(told)) == 1


class Design(NamedTuple):
    """The joint validation scores of a method's configurations, best first."""

    points: pl.DataFrame  # `method` and the axes
    axes: list[str]  # that the method has several values of
    scores: NDArray[np.float64]  # [N, S], nan without a result
    seeds: list[int]
    pruned: NDArray[np.bool_]  # [N], ended for lagging behind, for one seed at least, and lost for none

    def places(self, axis: str, scale: str) -> NDArray[np.float64]:
        """Return where the points stand on an axis, [N]: as in a figure, 0 and infinity one step outside a log axis."""
        at = axis_layout(self.points[axis], scale).positions
        return np.array([at[value] for value in self.points[axis]])


def design(run: Run, method: str) -> Design:
    """Return what a method's configurations score on validation, seed by seed."""
    table = configurations(run).filter(pl.col("method") == method)
    axes = [axis for axis in run.vary if table[axis].n_unique() > 1]
    joint = validation_scores(run, table)
    seeds = joint["seed"].unique().sort()
    keys = axes or ["method"]
    points = joint.unique(keys, keep="first", maintain_order=True).select("method", *axes)
    placed = joint.join(points.select(keys).with_row_index("place"), on=keys, nulls_equal=True, maintain_order="left")
    scores = np.full((len(points), len(seeds)), np.nan)
    scores[placed["place"], seeds.search_sorted(placed["seed"])] = placed["score"].cast(float).fill_null(np.nan)
    lost = pl.col("failed") + pl.col("diverged")
    ended = table.group_by(keys).agg(pruned=(pl.col("pruned").sum() > 0) & (lost.sum() == 0))
    pruned = points.join(ended, on=keys, nulls_equal=True, how="left", maintain_order="left")["pruned"].to_numpy()
    return Design(points, axes, np.where(np.isfinite(scores), scores, np.nan), seeds.to_list(), pruned)


def held(run: Run, group: pl.DataFrame, axes: list[str]) -> pl.DataFrame:
    """Return the configurations along some axes, the other varied settings as in the chosen configuration.

    Where the design has several values of the axes only elsewhere, as in one-at-a-time designs: as in the best of those
    that have most. `group` is one method's, best first.
    """
    others = [other for other in run.vary if other not in axes]
    lines = group.partition_by(others, maintain_order=True) if others else [group]
    return max(lines, key=lambda line: line.select(axes).n_unique())


def _joint(run: Run, split: str) -> pl.LazyFrame:
    found = pl.col(f"{split}.{run.metric}")
    score = pl.when(pl.col("status") == "done", found.is_finite()).then(found)
    return run.trials.unique("trial", maintain_order=True).select("trial", "seed", *LOSSES, score=score)


def _probes(run: Run, split: str) -> pl.LazyFrame:
    return (
        run.metrics.filter(pl.col("split") == split, pl.col("metric") == f"probe_{run.metric}")
        .group_by("trial", encoder="modality")
        .agg(score=pl.col("value").sort_by("epoch").last())
        .join(_joint(run, split).drop_nulls("score").drop("score"), on="trial")
        .sort("encoder")
    )


def _members(configurations: pl.DataFrame, scores: pl.LazyFrame) -> pl.DataFrame:
    """Return the configurations with the scores of their trials, a row each."""
    members = configurations.explode("trials").rename({"trials": "trial"}).lazy()
    return members.join(scores, on="trial", maintain_order="left_right").collect()


def _places(run: Run) -> dict[str, int]:
    """Return each method's place in the tables: joint, joint-uni, the others as the study has them, unimodal."""
    others = [method for method in run.methods if method not in FIRST + LAST]
    return {method: place for place, method in enumerate([*FIRST, *others, *LAST])}
