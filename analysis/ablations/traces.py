"""Distances between the training curves of the modalities."""

from collections.abc import Sequence

import polars as pl

from analysis.ablations.differences import require_rows, side_label
from analysis.ablations.finding import Effect, Finding, line_point, line_table
from analysis.ablations.scores import Cells, Side, paired_samples, scores, seed_sample, select_rows, unit_metric
from analysis.statistics import bounds


def curve_distance(
    cells: Cells, *, metric: str, of: Side, minus: Side, epochs: Sequence[int], split: str = "train"
) -> Finding:
    """Return how much further the curves of the modalities lie apart on one side than on the other, in every cell.

    The distance at an epoch is the largest value less the smallest; its mean over the epochs, from the first to the
    last given, is the area between the outer curves. The lines are the distance over the epochs.
    """
    sides = {side_label(side): side for side in (of, minus)}
    tables = {e: modality_ranges(scores(cells, metric, split, [e, e])) for e in range(epochs[0], epochs[1] + 1)}
    all_epochs = pl.concat([table.with_columns(epoch=pl.lit(e)) for e, table in tables.items()], how="diagonal_relaxed")
    treatment, baseline = (require_rows(select_rows(all_epochs, side), side) for side in (of, minus))
    effects, points = [], []
    for cell in cells:
        name = cell or cells[cell].name
        samples = paired_samples(*(rows.filter(pl.col("cell") == cell) for rows in (treatment, baseline)))
        effects.append(Effect(name, *samples))
        for line, side in sides.items():
            for epoch, table in tables.items():
                values = seed_sample(select_rows(table.filter(pl.col("cell") == cell), side))
                points.append(line_point(name, line, epoch, values, bounds(unit_metric(cells, metric))))
    return Finding(effects, f"distance in {unit_metric(cells, metric)}", line_table(points), "epoch")


def modality_ranges(table: pl.DataFrame) -> pl.DataFrame:
    """Return one row per trial, its value the largest of its modalities less the smallest."""
    value = pl.when(pl.col("value").is_null().any()).then(None).otherwise(pl.col("value").max() - pl.col("value").min())
    others = pl.exclude("value", "owner", "level", "cell", "trial").first()
    return (
        table.filter(pl.col("owner").is_not_null() | pl.col("value").is_null())
        .group_by("cell", "trial")
        .agg(others, value=value)
    )
