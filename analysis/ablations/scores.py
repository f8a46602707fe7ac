"""The numbers of several runs side by side: one row a trial, and a modality or a level where a metric has them."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl

from analysis.ablations.finding import Sample
from analysis.blocks import nested
from analysis.choice import LOSSES, alike
from analysis.formatting import lower_is_better
from analysis.tables import Run

Cells = Mapping[str, Run]
Side = Mapping[str, Any]  # column -> value or list of values; `choose`: columns whose value is chosen on validation
OWN = ("owner", "variant", "level")  # columns of a measured number, which a trial without a result does not have


def scores(
    cells: Cells, metric: str = "score", split: str = "test", epochs: Sequence[int] | None = None
) -> pl.DataFrame:
    """Return `cell`, `data.*`, settings, `seed`, `owner` (a modality), `variant` and `value`, null without a result.

    Of seeds that are nested in each other `seed` is the independent one, and `draw` which of those within it a trial
    has. A cell in which seeds change nothing has one.

    Args:
        cells: the runs, by name.
        metric: `score` (each run's own), a column of its trials (`seconds`), or a name of its metrics; `name_*` are
            all that begin so, `variant` is what follows, and `level` the same as a number.
        split: whose metric.
        epochs: first and last of those to average over, or of `*_max` and `*_min` to take the extreme of; the last one
            alone by default.
    """
    tables = [_scores(cell, run, metric, split, epochs) for cell, run in cells.items()]
    kept = [one.filter(seed=one.drop_nulls(LOSSES)["seed"].min()) if alike(one) else one for one in tables]
    return pl.concat(kept, how="diagonal_relaxed")


def unit(cells: Cells, metric: str, group: Mapping[str, Any] = MappingProxyType({})) -> str:
    """Return the name of the metric that values are in the unit of, those of a group's own cell; of several, none."""
    own = [run for cell, run in cells.items() if cell == group.get("cell", cell)]
    names = {run.metric if metric == "score" else metric.removesuffix("_*") for run in own}
    return names.pop() if len(names) == 1 else ""


def flipped(table: pl.DataFrame, cells: Cells, metric: str = "score") -> pl.DataFrame:
    """Return a table of a metric in which more is better in every cell, also in one that is scored by an error."""
    lower = {c: not run.higher_is_better if metric == "score" else lower_is_better(metric) for c, run in cells.items()}
    turned = pl.col("cell").is_in([cell for cell, is_lower in lower.items() if is_lower])
    return table.with_columns(value=pl.when(turned).then(-pl.col("value")).otherwise("value"))


def select(table: pl.DataFrame, side: Side) -> pl.DataFrame:
    """Return the rows of one side of a comparison; of `choose`, those that are best on validation.

    A trial without a result has no modality of its own, and belongs to all.
    """
    for column, wanted in side.items():
        if column == "choose":
            continue
        if column not in table.columns:
            raise ValueError(f"no trial has `{column}`")
        listed = wanted if isinstance(wanted, list) else [wanted]
        match = pl.any_horizontal([pl.col(column).eq_missing(pl.lit(value)) for value in listed])
        if column in OWN and wanted is not None:
            match = match | (pl.col(column).is_null() & pl.col("value").is_null())
        table = table.filter(match)
    return table


def by_seed(table: pl.DataFrame) -> dict[tuple[str, int], float]:
    """Return the mean of each cell and seed; nan where a trial that belongs in it has no result."""
    value = pl.when(pl.col("value").is_null().any()).then(float("nan")).otherwise(pl.col("value").mean())
    rows = table.group_by("cell", "seed").agg(value).sort("cell", "seed").iter_rows()
    return {(cell, seed): value for cell, seed, value in rows}


def pairs(ours: pl.DataFrame, theirs: pl.DataFrame) -> tuple[Sample, Sample]:
    """Return two sides in the order of the seeds, [N] each; several cells are averaged, seed by seed.

    Those are the seeds that all cells have on both sides, so that every cell weighs the same. Where seeds change
    nothing on either side, all pairs are one.
    """
    left, right = by_seed(ours), by_seed(theirs)
    both = left.keys() & right.keys()
    cells = sorted({cell for cell, _ in both})
    seeds = [s for s in sorted({seed for _, seed in both}) if all((cell, s) in both for cell in cells)]
    sides = np.array([[np.mean([side[cell, seed] for cell in cells]) for seed in seeds] for side in (left, right)])
    if alike(ours) and alike(theirs):
        known = np.flatnonzero(np.isfinite(sides).all(axis=0))
        sides = sides[:, known[:1] if len(known) else slice(1)]
    return sides[0], sides[1]


def sample(table: pl.DataFrame) -> Sample:
    """Return one number a seed, [N]; several cells are averaged."""
    return pairs(table, table)[0]


def draws(table: pl.DataFrame) -> list[pl.DataFrame]:
    """Return a table for each of the seeds nested in one, as far as all cells have them; one, where none are."""
    shared = table.filter(pl.col("draw") <= pl.col("draw").max().over("cell").min())
    return shared.sort("draw", maintain_order=True).partition_by("draw", maintain_order=True) or [table]


def averaged(table: pl.DataFrame, numbers: Callable[[pl.DataFrame], Mapping[int, float]]) -> dict[int, float]:
    """Return by seed what is not the same of a mean: the mean of what the trials of each draw have by themselves."""
    found = [numbers(part) for part in draws(table)]
    seeds = sorted({seed for one in found for seed in one})
    return {seed: float(np.mean([one.get(seed, float("nan")) for one in found])) for seed in seeds}


def groups(table: pl.DataFrame, per: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the combinations of values that some columns take in a table, each with its label.

    One all of whose trials failed or diverged is among them; one that was never measured is not.
    """
    for column in per:
        if column not in table.columns:
            raise ValueError(f"no trial has `{column}`")
    if not per:
        yield "all", {}
        return
    meant = pl.col("value").is_not_null() | (pl.col("status") != "done")
    own, others = ([column for column in per if (column in OWN) == is_own] for is_own in (True, False))
    asked = table.filter(meant).select(per).unique(maintain_order=True).drop_nulls(others)
    found = asked.drop_nulls()
    if own and others:  # where all are lost, none can tell which modalities there are: the same as elsewhere
        without = table.filter(pl.col("value").is_null(), status="done").select(others)
        lost = asked.select(others).unique(maintain_order=True)
        lost = lost.join(found, on=others, how="anti").join(without, on=others, how="anti")
        found = pl.concat([found, lost.join(found.select(own).unique(maintain_order=True), how="cross").select(per)])
    for row in found.sort([column for column in per if column != "cell"], maintain_order=True).iter_rows(named=True):
        yield label(row), row


def label(row: Mapping[str, Any]) -> str:
    """Return `mfeat, fusion=sum`."""
    parts = [
        shown(value) if column in {"cell", "owner", "method"} else f"{column.rpartition('.')[2]}={shown(value)}"
        for column, value in row.items()
        if value != ""
    ]
    return ", ".join(parts) or "all"


def shown(value: Any) -> str:
    """Return a setting as a label has it; several, of which one is chosen or all are meant, with strokes between."""
    if isinstance(value, list):
        return "/".join(map(shown, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _scores(cell: str, run: Run, metric: str, split: str, epochs: Sequence[int] | None) -> pl.DataFrame:
    trials = nested(run).collect()
    name = run.metric if metric == "score" else metric
    data = run.study["study"]["data"]
    options = {f"data.{k}": v for k, v in data.items()} if isinstance(data, dict) else {}
    known = [pl.lit(json.dumps(v) if isinstance(v, list | dict) else v).alias(k) for k, v in options.items()]
    trials = trials.with_columns(pl.lit(cell).alias("cell"), *known)
    final = f"{split}.{name}"
    if epochs is None and (final in trials.columns or name in {"seconds", "params", "steps"}):
        value = pl.when(pl.col("status") == "done").then(pl.col(final if final in trials.columns else name))
        nothing = [
            pl.lit(None, kind).alias(n)
            for n, kind in (("owner", pl.String), ("variant", pl.String), ("level", pl.Float64))
        ]
        return trials.with_columns(value.cast(pl.Float64).alias("value"), *nothing)
    done = trials.filter(pl.col("status") == "done").select("trial")
    rows = _metric(run, name, split, epochs).join(done, on="trial")
    return trials.join(rows, on="trial", how="left", maintain_order="left")


def _metric(run: Run, name: str, split: str, epochs: Sequence[int] | None) -> pl.DataFrame:
    """Return `trial`, `owner`, `level` and `value` of a metric."""
    stem = name.removesuffix("*")
    wanted = pl.col("metric").str.starts_with(stem) if name.endswith("*") else pl.col("metric") == name
    suffix = pl.col("metric").str.strip_prefix(stem) if name.endswith("*") else pl.lit(None, pl.String)
    rows = run.metrics.filter(wanted, pl.col("split") == split)
    if epochs:
        rows = rows.filter(pl.col("epoch").is_between(epochs[0], epochs[1]))
    value = pl.col("value")
    over = {"max": value.max(), "min": value.min()}.get(stem.rpartition("_")[2], value.mean())
    value = over if epochs else value.sort_by("epoch").last()
    return (
        rows.with_columns(owner="modality", variant=suffix, level=suffix.cast(pl.Float64, strict=False))
        .group_by("trial", "owner", "variant", "level", maintain_order=True)
        .agg(value)
        .collect()
    )
