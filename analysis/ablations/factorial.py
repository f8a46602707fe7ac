"""Component factorials: what each of several switches does on the average over the others, and what they add up to."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import prod
from typing import Any

import numpy as np
import polars as pl

from analysis.ablations.differences import some
from analysis.ablations.finding import Effect, Finding, Sample
from analysis.ablations.scores import OWN, Cells, Side, flipped, groups, scores, select, unit


def factorial(
    cells: Cells,
    *,
    factors: Mapping[str, Sequence[Any]],
    of: Side | None = None,
    metric: str = "score",
    split: str = "test",
    epochs: Sequence[int] | None = None,
    per: Sequence[str] = ("cell",),
    main: bool = True,
    interactions: bool = True,
) -> Finding:
    """Return main effects and interactions of factors of two levels, in every group, one number a seed.

    A main effect is the mean at the second level less that at the first; an interaction of two is half of what the
    effect of one changes by when the other is switched. Of an error or a loss, less is better.

    Args:
        cells: the runs.
        factors: column -> [level without, level with].
        of: which trials.
        metric: see `scores`.
        split: whose metric.
        epochs: first and last of those that are read; see `scores`.
        per: columns, one set of effects for each combination of their values.
        main: the main effects.
        interactions: those of two factors.

    Raises:
        ValueError: no trial is at some level of a factor.
    """
    side = {**(of or {}), **{column: list(levels) for column, levels in factors.items()}}
    table = some(select(scores(cells, metric, split, epochs), side), side)
    terms = [term for size, asked in ((1, main), (2, interactions)) if asked for term in combinations(factors, size)]
    effects = []
    for name, group in groups(table, per):
        part = flipped(table.filter(*(pl.col(column) == value for column, value in group.items())), cells, metric)
        own = unit(cells, metric, group)
        for term in terms:
            words = " x ".join(column.rpartition(".")[2] for column in term)
            gain = contrast(part, factors, term)
            named = words if name == "all" else f"{name}: {words}"
            effects.append(Effect(named, gain, np.zeros_like(gain), metric=own))
    return Finding(effects, unit(cells, metric))


def contrast(table: pl.DataFrame, factors: Mapping[str, Sequence[Any]], term: Sequence[str]) -> Sample:
    """Return the contrast of a term, [N] by seed: nan where a trial of the design has no result.

    What a trial has of each modality or level is averaged, and so are trials that differ in nothing of the design; and
    cells, over the seeds that all of them have.
    """
    corners = 2 ** len(factors)
    found: dict[int, list[float]] = {}
    mean = pl.col("value").implode().list.sort().list.mean()  # added up in one order: the same bit for bit
    whole = pl.when(pl.col("value").is_not_null().all()).then(mean)
    keys = ["cell", "trial"]
    trials = table.unique([*keys, *OWN]).group_by(keys).agg(pl.exclude("value", *OWN, *keys).first(), value=whole)
    at = trials.group_by("seed", "cell", *factors).agg(value=whole)
    for (seed, _), runs in at.sort("seed", "cell", *factors).group_by("seed", "cell", maintain_order=True):
        signs = [prod(1 if row[c] == factors[c][1] else -1 for c in term) for row in runs.iter_rows(named=True)]
        values = runs["value"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        complete = len(values) == corners
        gain = float(np.dot(signs, values)) / (corners / 2) if complete else float("nan")
        found.setdefault(int(str(seed)), []).append(gain)
    cells = max(map(len, found.values()), default=0)
    return np.array([np.mean(gains) for gains in found.values() if len(gains) == cells])
