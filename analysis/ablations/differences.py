"""Paired differences of two sides, and one quantity by itself."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from analysis.ablations.finding import Effect, Finding, line_point, line_table
from analysis.ablations.scores import (
    MEASUREMENT_KEYS,
    Cells,
    Side,
    groups,
    label,
    orient_scores,
    paired_samples,
    scores,
    seed_sample,
    select_rows,
    unit_metric,
)
from analysis.statistics import bounds

NOUNS = {"cell": "data set"}  # for the replicates, where it is not the option itself


def difference(
    cells: Cells,
    *,
    of: Side,
    minus: Side,
    metric: str = "score",
    against: str | None = None,
    split: str = "test",
    epochs: Sequence[int] | None = None,
    less_score: bool = False,
    per: Sequence[str] = ("cell",),
    along: str | None = None,
) -> Finding:
    """Return how much better one side is than the other, in every group; less of an error or a loss is better.

    Rows of a side that belong together, such as several levels of a corruption in a group, are averaged before they
    are compared: the mean over evenly spaced levels is the area under their curve. Where cells are, each is turned
    by its own score's sign first.

    Args:
        cells: the runs.
        of: which trials.
        minus: which trials they are compared with; where these lack a column of ``per``, in every group. With a
            ``cell``, those of this one are compared with each, seed by seed.
        metric: see `scores`.
        against: metric of the other side, if that is another one.
        split: whose metric.
        epochs: first and last of those that are read; see `scores`.
        less_score: of a metric that is a score under another condition, such as noise, only what it is above the
            trial's own score, so that a side that is better without noise gains nothing by that.
        per: columns, one effect for each combination of their values; the other side's own columns are left to it.
        along: a column with numbers; both sides are drawn along it.

    Raises:
        ValueError: a side selects no trial.
    """
    tables = [scores(cells, name, split, epochs) for name in (metric, against or metric)]
    if less_score:
        tables = [subtract_own_score(table, scores(cells, split=split)) for table in tables]
    treatment, baseline = (
        require_rows(select_tuned(cells, table, side), side) for table, side in zip(tables, (of, minus), strict=True)
    )
    baseline_keys, within = {*minus, *minus.get("choose", ())}, bounds(unit_metric(cells, metric), change=less_score)
    one_cell = [pl.lit("").alias("cell")] if "cell" in minus else []  # seeds are paired over cells
    baseline_label = side_label(minus) if minus != of else str(against)
    effects, points = [], []
    for name, group in groups(treatment, per):
        left = group_rows(treatment, group)
        right = group_rows(baseline, {k: v for k, v in group.items() if k not in baseline_keys})
        oriented = (orient_scores(rows, cells, metric).with_columns(one_cell) for rows in (left, right))
        effects.append(Effect(name, *paired_samples(*oriented), metric=unit_metric(cells, metric, group)))
        sides = (side_label(of) or metric, left), (baseline_label, right)
        points += [
            line_point(name, line, x, seed_sample(group_rows(rows, {str(along): x})), within)
            for line, rows in sides
            for x in axis_values(left, along)
        ]
    return Finding(
        effects, unit_metric(cells, metric), line_table(points), along or "",
        lines_are_changes=less_score, lines_label="minus each trial's own score" if less_score else "",
    )  # fmt: skip


def subtract_own_score(table: pl.DataFrame, own_scores: pl.DataFrame) -> pl.DataFrame:
    """Return a table of a metric under some condition, such as noise, less each trial's own score without it."""
    renamed = own_scores.select("cell", "trial", own="value")
    joined = table.join(renamed, on=["cell", "trial"], how="left", maintain_order="left")
    return joined.with_columns(value=pl.col("value") - pl.col("own")).drop("own")


def quantity(
    cells: Cells,
    *,
    metric: str,
    of: Side | None = None,
    split: str = "test",
    epochs: Sequence[int] | None = None,
    per: Sequence[str] = ("cell",),
    along: str | None = None,
    scale: str = "linear",
    over: str = "seed",
) -> Finding:
    """Return a metric of some trials by itself, one effect for each combination of the values of ``per``.

    Args:
        cells: the runs.
        metric: see `scores`.
        of: which trials.
        split: whose metric.
        epochs: first and last of those that are read; see `scores`.
        per: columns, one effect for each combination of their values.
        along: a column with numbers that each group is drawn along.
        scale: of that axis, linear or log.
        over: the replicates: `seed`; `cell`, each with the mean of its seeds, as where cells are drawn data sets; or
            `number`, each of any trial, modality and level by itself.

    Raises:
        ValueError: no trial is selected.
    """
    table = scores(cells, metric, split, epochs)
    selected, effects, points = require_rows(select_tuned(cells, table, of or {}), of or {}), [], []
    if over == "cell":  # the cells take the seeds' place
        selected = selected.with_columns(
            seed=pl.col("cell").replace_strict({c: i for i, c in enumerate(cells)}), cell=pl.lit("")
        )
    panel, within = unit_metric(cells, metric), bounds(unit_metric(cells, metric))
    for name, group in groups(selected, per):
        rows = group_rows(selected, group)
        all_values = rows["value"].fill_null(float("nan")).to_numpy()
        values = all_values if over == "number" else seed_sample(rows)
        effects.append(Effect(name, values, metric=unit_metric(cells, metric, group)))
        points += [
            line_point(panel, name, x, seed_sample(group_rows(rows, {str(along): x})), within)
            for x in axis_values(rows, along)
        ]
    return Finding(effects, panel, line_table(points), along or "", scale, noun=NOUNS.get(over, over))


def require_rows(rows: pl.DataFrame, side: Side) -> pl.DataFrame:
    """Return the rows of a side after checking that it has some at each value that it lists, but in columns `choose`.

    Raises:
        ValueError: it has none; a setting that another one makes inactive has no value there.
    """
    if rows.is_empty():
        raise ValueError(f"no trial matches {side_label(side)}")
    unchecked = {"choose", *MEASUREMENT_KEYS, *side.get("choose", ())}
    for column, wanted in side.items():
        for value in wanted if isinstance(wanted, list) and column not in unchecked else []:
            if rows.filter(pl.col(column).eq_missing(pl.lit(value))).is_empty():
                raise ValueError(f"no trial matches {side_label({**side, column: value})}")
    return rows


def select_tuned(cells: Cells, table: pl.DataFrame, side: Side) -> pl.DataFrame:
    """Return the rows of a side with, in each cell, the values of its columns `choose` that are best on validation.

    Values with fewer missing results come first: one that fails for some seeds is not chosen before one that never
    does.
    """
    rows = select_rows(table, side)
    columns = side.get("choose")
    if not columns:
        return rows
    on_validation = select_rows(scores(cells, split="validation"), side)
    kept = []
    for (cell,), part in on_validation.group_by("cell", maintain_order=True):
        run = cells[str(cell)]
        value = pl.col("value")
        means = part.group_by(columns, maintain_order=True).agg(value.mean(), lost=value.null_count())
        descending = [False, run.higher_is_better]
        best = means.sort("lost", "value", descending=descending, nulls_last=True).head(1).select(columns)
        kept.append(rows.filter(pl.col("cell") == cell).join(best, on=columns, nulls_equal=True))
    return pl.concat(kept) if kept else rows.clear()


def group_rows(table: pl.DataFrame, group: dict[str, Any]) -> pl.DataFrame:
    """Return the rows of a group; those that lack one of its columns belong to every group.

    A trial of which the metric was never measured, as of a method that has none, belongs to no modality.
    """
    for column, value in group.items():
        is_unmeasured = pl.lit(column in MEASUREMENT_KEYS) & pl.col("value").is_null() & (pl.col("status") == "done")
        table = table.filter((pl.col(column) == value) | (pl.col(column).is_null() & ~is_unmeasured))
    return table


def axis_values(table: pl.DataFrame, along: str | None) -> list[float]:
    """Return the values of a column in order; none if there is no column to draw along."""
    return sorted(table[along].drop_nulls().unique()) if along else []


def side_label(side: Side) -> str:
    """Return `agm, score_attr=shapley`."""
    return label({column: value for column, value in side.items() if column != "choose"})
