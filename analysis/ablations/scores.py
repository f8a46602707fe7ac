"""Scores of several runs in one table: one row per trial, or one per modality or level where a metric has them."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl

from analysis.ablations.finding import Sample
from analysis.blocks import trials_with_draws
from analysis.choice import LOSSES, is_seed_invariant
from analysis.formatting import lower_is_better
from analysis.tables import Run

Cells = Mapping[str, Run]
Side = Mapping[str, Any]  # column -> value or list of values; `choose`: columns whose value is chosen on validation
MEASUREMENT_KEYS = ("owner", "variant", "level")  # columns that are null for a trial without a result


def scores(
    cells: Cells, metric: str = "score", split: str = "test", epochs: Sequence[int] | None = None
) -> pl.DataFrame:
    """Return `cell`, `data.*`, settings, `seed`, `owner` (a modality), `variant` and `value`, null without a result.

    Of nested seeds, `seed` is the independent one, and `draw` numbers those within it. Of a cell in which seeds change
    nothing, one seed is kept.

    Args:
        cells: the runs, by name.
        metric: `score` (each run's own), a column of its trials (`seconds`), or a name of its metrics; `name_*` are
            all that begin so, `variant` is what follows, and `level` the same as a number.
        split: whose metric.
        epochs: first and last of those to average over, or of `*_max` and `*_min` to take the extreme of; the last one
            alone by default.
    """
    tables = [cell_scores(cell, run, metric, split, epochs) for cell, run in cells.items()]
    kept = [
        table.filter(seed=table.drop_nulls(LOSSES)["seed"].min()) if is_seed_invariant(table) else table
        for table in tables
    ]
    return pl.concat(kept, how="diagonal_relaxed")


def unit_metric(cells: Cells, metric: str, group: Mapping[str, Any] = MappingProxyType({})) -> str:
    """Return the metric in whose unit the values of a group are; an empty name where its cells have several."""
    runs = [run for cell, run in cells.items() if cell == group.get("cell", cell)]
    names = {run.metric if metric == "score" else metric.removesuffix("_*") for run in runs}
    return names.pop() if len(names) == 1 else ""


def orient_scores(table: pl.DataFrame, cells: Cells, metric: str = "score") -> pl.DataFrame:
    """Return a table with the values negated in cells where less is better: more is better in all of it."""
    lower = {c: not run.higher_is_better if metric == "score" else lower_is_better(metric) for c, run in cells.items()}
    negated = pl.col("cell").is_in([cell for cell, is_lower in lower.items() if is_lower])
    return table.with_columns(value=pl.when(negated).then(-pl.col("value")).otherwise("value"))


def select_rows(table: pl.DataFrame, side: Side) -> pl.DataFrame:
    """Return the rows of one side of a comparison, with all values of its columns `choose`.

    A trial without a result has no modality of its own, and belongs to all.
    """
    for column, wanted in side.items():
        if column == "choose":
            continue
        if column not in table.columns:
            raise ValueError(f"no trial has `{column}`")
        values = wanted if isinstance(wanted, list) else [wanted]
        match = pl.any_horizontal([pl.col(column).eq_missing(pl.lit(value)) for value in values])
        if column in MEASUREMENT_KEYS and wanted is not None:
            match = match | (pl.col(column).is_null() & pl.col("value").is_null())
        table = table.filter(match)
    return table


def seed_means(table: pl.DataFrame) -> dict[tuple[str, int], float]:
    """Return the mean value by cell and seed; nan where one of its trials has no result."""
    value = pl.when(pl.col("value").is_null().any()).then(float("nan")).otherwise(pl.col("value").mean())
    rows = table.group_by("cell", "seed").agg(value).sort("cell", "seed").iter_rows()
    return {(cell, seed): value for cell, seed, value in rows}


def paired_samples(rows: pl.DataFrame, baseline: pl.DataFrame) -> tuple[Sample, Sample]:
    """Return the values of two sides in the order of the seeds, [N] each; several cells are averaged, seed by seed.

    The seeds are those that all cells have on both sides, so that every cell weighs the same. Where seeds change
    nothing on either side, there is one pair.
    """
    left, right = seed_means(rows), seed_means(baseline)
    shared = left.keys() & right.keys()
    cells = sorted({cell for cell, _ in shared})
    seeds = [s for s in sorted({seed for _, seed in shared}) if all((cell, s) in shared for cell in cells)]
    sides = np.array([[np.mean([side[cell, seed] for cell in cells]) for seed in seeds] for side in (left, right)])
    if is_seed_invariant(rows) and is_seed_invariant(baseline):
        known = np.flatnonzero(np.isfinite(sides).all(axis=0))
        sides = sides[:, known[:1] if len(known) else slice(1)]
    return sides[0], sides[1]


def seed_sample(table: pl.DataFrame) -> Sample:
    """Return one value per seed, [N]; several cells are averaged."""
    return paired_samples(table, table)[0]


def partition_draws(table: pl.DataFrame) -> list[pl.DataFrame]:
    """Return a table for each draw that all cells have: one where seeds are not nested."""
    shared = table.filter(pl.col("draw") <= pl.col("draw").max().over("cell").min())
    return shared.sort("draw", maintain_order=True).partition_by("draw", maintain_order=True) or [table]


def mean_over_draws(table: pl.DataFrame, statistic: Callable[[pl.DataFrame], Mapping[int, float]]) -> dict[int, float]:
    """Return a statistic by seed, the mean of its values in each draw; for one that is not linear in the values."""
    by_draw = [statistic(part) for part in partition_draws(table)]
    seeds = sorted({seed for values in by_draw for seed in values})
    return {seed: float(np.mean([values.get(seed, float("nan")) for values in by_draw])) for seed in seeds}


def groups(table: pl.DataFrame, per: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the combinations of values that the columns `per` take in a table, each with its label.

    A combination whose trials all failed or diverged is among them; one that was never measured is not.
    """
    for column in per:
        if column not in table.columns:
            raise ValueError(f"no trial has `{column}`")
    if not per:
        yield "all", {}
        return
    is_measured = pl.col("value").is_not_null() | (pl.col("status") != "done")
    keys, settings = ([column for column in per if (column in MEASUREMENT_KEYS) == is_key] for is_key in (True, False))
    expected = table.filter(is_measured).select(per).unique(maintain_order=True).drop_nulls(settings)
    combinations = expected.drop_nulls()
    if keys and settings:  # where all are lost, none can tell which modalities there are: the same as elsewhere
        without = table.filter(pl.col("value").is_null(), status="done").select(settings)
        lost = expected.select(settings).unique(maintain_order=True)
        lost = lost.join(combinations, on=settings, how="anti").join(without, on=settings, how="anti")
        modalities = combinations.select(keys).unique(maintain_order=True)
        combinations = pl.concat([combinations, lost.join(modalities, how="cross").select(per)])
    by = [column for column in per if column != "cell"]
    for row in combinations.sort(by, maintain_order=True).iter_rows(named=True):
        yield label(row), row


def label(row: Mapping[str, Any]) -> str:
    """Return `mfeat, fusion=sum`."""
    parts = [
        format_value(value)
        if column in {"cell", "owner", "method"}
        else f"{column.rpartition('.')[2]}={format_value(value)}"
        for column, value in row.items()
        if value != ""
    ]
    return ", ".join(parts) or "all"


def format_value(value: Any) -> str:
    """Return a setting as a label has it; several, of which one is chosen or all are meant, with strokes between."""
    if isinstance(value, list):
        return "/".join(map(format_value, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def cell_scores(cell: str, run: Run, metric: str, split: str, epochs: Sequence[int] | None) -> pl.DataFrame:
    """Return the rows of `scores` for one run."""
    trials = trials_with_draws(run).collect()
    name = run.metric if metric == "score" else metric
    data = run.study["study"]["data"]
    options = {f"data.{k}": v for k, v in data.items()} if isinstance(data, dict) else {}
    literals = [pl.lit(json.dumps(v) if isinstance(v, list | dict) else v).alias(k) for k, v in options.items()]
    trials = trials.with_columns(pl.lit(cell).alias("cell"), *literals)
    final = f"{split}.{name}"
    if epochs is None and (final in trials.columns or name in {"seconds", "params", "steps"}):
        value = pl.when(pl.col("status") == "done").then(pl.col(final if final in trials.columns else name))
        null_keys = [
            pl.lit(None, kind).alias(n)
            for n, kind in (("owner", pl.String), ("variant", pl.String), ("level", pl.Float64))
        ]
        return trials.with_columns(value.cast(pl.Float64).alias("value"), *null_keys)
    done = trials.filter(pl.col("status") == "done").select("trial")
    rows = metric_values(run, name, split, epochs).join(done, on="trial")
    return trials.join(rows, on="trial", how="left", maintain_order="left")


def metric_values(run: Run, name: str, split: str, epochs: Sequence[int] | None) -> pl.DataFrame:
    """Return `trial`, `owner`, `variant`, `level` and `value` of a metric."""
    stem = name.removesuffix("*")
    match = pl.col("metric").str.starts_with(stem) if name.endswith("*") else pl.col("metric") == name
    suffix = pl.col("metric").str.strip_prefix(stem) if name.endswith("*") else pl.lit(None, pl.String)
    rows = run.metrics.filter(match, pl.col("split") == split)
    if epochs:
        rows = rows.filter(pl.col("epoch").is_between(epochs[0], epochs[1]))
    value = pl.col("value")
    over_epochs = {"max": value.max(), "min": value.min()}.get(stem.rpartition("_")[2], value.mean())
    value = over_epochs if epochs else value.sort_by("epoch").last()
    return (
        rows.with_columns(owner="modality", variant=suffix, level=suffix.cast(pl.Float64, strict=False))
        .group_by("trial", "owner", "variant", "level", maintain_order=True)
        .agg(value)
        .collect()
    )
