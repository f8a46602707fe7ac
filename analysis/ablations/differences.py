"""One thing against another, paired by seed; and one quantity by itself."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from analysis.ablations.finding import Effect, Finding, drawn, point
from analysis.ablations.scores import (
    OWN,
    Cells,
    Side,
    flipped,
    groups,
    label,
    pairs,
    sample,
    scores,
    select,
    unit,
)
from analysis.statistics import bounds

NOUNS = {"cell": "data set"}  # what is repeated, as a sentence has it


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

    Rows of a side that belong together (a group may hold several levels of a corruption, say) are averaged before
    they are compared: the mean over evenly spaced levels is the area under their curve. Where cells are, each is turned
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
        ValueError: a side means no trial.
    """
    tables = [scores(cells, name, split, epochs) for name in (metric, against or metric)]
    if less_score:
        tables = [changed(table, scores(cells, split=split)) for table in tables]
    ours, theirs = (some(chosen(cells, table, side), side) for table, side in zip(tables, (of, minus), strict=True))
    own, ends = {*minus, *minus.get("choose", ())}, bounds(unit(cells, metric), change=less_score)
    effects, rows = [], []
    for name, group in groups(ours, per):
        mine, other = among(ours, group), among(theirs, {k: v for k, v in group.items() if k not in own})
        one_cell = [pl.lit("").alias("cell")] if "cell" in minus else []  # seeds are paired over cells
        compared = (flipped(side, cells, metric).with_columns(one_cell) for side in (mine, other))
        effects.append(Effect(name, *pairs(*compared), metric=unit(cells, metric, group)))
        for words, side in ((said(of) or metric, mine), (said(minus) if minus != of else str(against), other)):
            rows += [point(name, words, x, sample(among(side, {str(along): x})), ends) for x in places(mine, along)]
    words = "less each trial's own score" if less_score else ""
    return Finding(effects, unit(cells, metric), drawn(rows), along or "", changes=less_score, lines_of=words)


def changed(table: pl.DataFrame, without: pl.DataFrame) -> pl.DataFrame:
    """Return a table of a metric less what each trial has without the condition that it is measured under."""
    own = without.select("cell", "trial", own="value")
    joined = table.join(own, on=["cell", "trial"], how="left", maintain_order="left")
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
        over: what is repeated: `seed`; `cell`, each with the mean of its seeds, as where cells are drawn data sets; or
            `number`, each of any trial, modality and level by itself.

    Raises:
        ValueError: no trial is meant.
    """
    table = scores(cells, metric, split, epochs)
    mine, effects, rows = some(chosen(cells, table, of or {}), of or {}), [], []
    if over == "cell":  # the cells take the seeds' place
        mine = mine.with_columns(
            seed=pl.col("cell").replace_strict({c: i for i, c in enumerate(cells)}), cell=pl.lit("")
        )
    for name, group in groups(mine, per):
        members = among(mine, group)
        each = members["value"].fill_null(float("nan")).to_numpy()
        values = each if over == "number" else sample(members)
        effects.append(Effect(name, values, metric=unit(cells, metric, group)))
        rows += [
            point(unit(cells, metric), name, x, sample(among(members, {str(along): x})), bounds(unit(cells, metric)))
            for x in places(members, along)
        ]
    return Finding(effects, unit(cells, metric), drawn(rows), along or "", scale, noun=NOUNS.get(over, over))


def some(rows: pl.DataFrame, side: Side) -> pl.DataFrame:
    """Return the rows of a side, which has some, at each of the values that it lists and none is chosen of.

    Raises:
        ValueError: it has none; a setting that does nothing beside another has no value there.
    """
    if rows.is_empty():
        raise ValueError(f"no trial is of {said(side)}")
    free = {"choose", *OWN, *side.get("choose", ())}
    for column, wanted in side.items():
        for value in wanted if isinstance(wanted, list) and column not in free else []:
            if rows.filter(pl.col(column).eq_missing(pl.lit(value))).is_empty():
                raise ValueError(f"no trial is of {said({**side, column: value})}")
    return rows


def chosen(cells: Cells, table: pl.DataFrame, side: Side) -> pl.DataFrame:
    """Return the rows of a side; of the values of its columns `choose`, in each cell those best on validation.

    Those that lack fewer results come first: one that fails for some seeds is not chosen before one that never does.
    """
    rows = select(table, side)
    columns = side.get("choose")
    if not columns:
        return rows
    on_validation = select(scores(cells, split="validation"), side)
    kept = []
    for (cell,), part in on_validation.group_by("cell", maintain_order=True):
        run = cells[str(cell)]
        value = pl.col("value")
        ranked = part.group_by(columns, maintain_order=True).agg(value.mean(), lost=value.null_count())
        order = [False, run.higher_is_better]
        best = ranked.sort("lost", "value", descending=order, nulls_last=True).head(1).select(columns)
        kept.append(rows.filter(pl.col("cell") == cell).join(best, on=columns, nulls_equal=True))
    return pl.concat(kept) if kept else rows.clear()


def among(table: pl.DataFrame, group: dict[str, Any]) -> pl.DataFrame:
    """Return the rows of a group; those that lack one of its columns belong to every group.

    But for a trial of which the metric was never measured, as of a method that has none: it belongs to no modality.
    """
    for column, value in group.items():
        never = pl.lit(column in OWN) & pl.col("value").is_null() & (pl.col("status") == "done")
        table = table.filter((pl.col(column) == value) | (pl.col(column).is_null() & ~never))
    return table


def places(table: pl.DataFrame, along: str | None) -> list[float]:
    """Return the values of a column in order; none if there is no column to draw along."""
    return sorted(table[along].drop_nulls().unique()) if along else []


def said(side: Side) -> str:
    """Return a side in words, such as `agm, score_attr=shapley`."""
    return label({column: value for column, value in side.items() if column != "choose"})
