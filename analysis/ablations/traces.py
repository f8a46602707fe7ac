"""Training curves: how far the modalities are apart on the way."""

from collections.abc import Sequence

import polars as pl

from analysis.ablations.differences import said, some
from analysis.ablations.finding import Effect, Finding, drawn, point
from analysis.ablations.scores import Cells, Side, pairs, sample, scores, select, unit
from analysis.statistics import bounds


def apart(cells: Cells, *, metric: str, of: Side, minus: Side, epochs: Sequence[int], split: str = "train") -> Finding:
    """Return how much further the curves of the modalities lie apart on one side than on the other, in every cell.

    The distance at an epoch is the largest value less the smallest; its mean over the epochs, from the first to the
    last given, is the area between the outer curves. The lines are the distance over the epochs.
    """
    sides = {said(side): side for side in (of, minus)}
    tables = {e: spread(scores(cells, metric, split, [e, e])) for e in range(epochs[0], epochs[1] + 1)}
    whole = pl.concat([table.with_columns(epoch=pl.lit(e)) for e, table in tables.items()], how="diagonal_relaxed")
    ours, theirs = (some(select(whole, side), side) for side in (of, minus))
    effects, rows = [], []
    for cell in cells:
        compared = pairs(*(side.filter(pl.col("cell") == cell) for side in (ours, theirs)))
        effects.append(Effect(cell or cells[cell].name, *compared))
        for words, side in sides.items():
            for epoch, table in tables.items():
                numbers = sample(select(table.filter(pl.col("cell") == cell), side))
                rows.append(point(cell or cells[cell].name, words, epoch, numbers, bounds(unit(cells, metric))))
    return Finding(effects, f"distance in {unit(cells, metric)}", drawn(rows), "epoch")


def spread(table: pl.DataFrame) -> pl.DataFrame:
    """Return one row a trial, its value the largest of its modalities less the smallest."""
    value = pl.when(pl.col("value").is_null().any()).then(None).otherwise(pl.col("value").max() - pl.col("value").min())
    others = pl.exclude("value", "owner", "level", "cell", "trial").first()
    return (
        table.filter(pl.col("owner").is_not_null() | pl.col("value").is_null())
        .group_by("cell", "trial")
        .agg(others, value=value)
    )
