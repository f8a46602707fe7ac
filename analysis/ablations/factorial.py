"""Component factorials: main effects of several switches, and their interactions."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import prod
from typing import Any

import numpy as np
import polars as pl

from analysis.ablations.differences import require_rows
from analysis.ablations.finding import Effect, Finding, Sample
from analysis.ablations.scores import (
    MEASUREMENT_KEYS,
    Cells,
    Side,
    groups,
    orient_scores,
    scores,
    select_rows,
    unit_metric,
)


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
    """Return main effects and interactions of factors of two levels, in every group, one number per seed.

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
    table = require_rows(select_rows(scores(cells, metric, split, epochs), side), side)
    orders = ((1, main), (2, interactions))
    terms = [term for order, included in orders if included for term in combinations(factors, order)]
    effects = []
    for name, group in groups(table, per):
        part = table.filter(*(pl.col(column) == value for column, value in group.items()))
        part = orient_scores(part, cells, metric)
        group_metric = unit_metric(cells, metric, group)
        for term in terms:
            term_label = " x ".join(column.rpartition(".")[2] for column in term)
            gain = contrast(part, factors, term)
            effect_name = term_label if name == "all" else f"{name}: {term_label}"
            effects.append(Effect(effect_name, gain, np.zeros_like(gain), metric=group_metric))
    return Finding(effects, unit_metric(cells, metric))


def contrast(table: pl.DataFrame, factors: Mapping[str, Sequence[Any]], term: Sequence[str]) -> Sample:
    """Return the contrast of a term, [N] by seed: nan where a trial of the design has no result.

    What a trial has of each modality or level is averaged, and so are trials that differ in nothing of the design; and
    cells, over the seeds that all of them have.
    """
    corners = 2 ** len(factors)
    by_seed: dict[int, list[float]] = {}
    mean = pl.col("value").implode().list.sort().list.mean()  # added up in one order: the same bit for bit
    mean_if_complete = pl.when(pl.col("value").is_not_null().all()).then(mean)
    keys = ["cell", "trial"]
    rows = table.unique([*keys, *MEASUREMENT_KEYS])
    trials = rows.group_by(keys).agg(pl.exclude("value", *MEASUREMENT_KEYS, *keys).first(), value=mean_if_complete)
    corner_means = trials.group_by("seed", "cell", *factors).agg(value=mean_if_complete).sort("seed", "cell", *factors)
    for (seed, _), part in corner_means.group_by("seed", "cell", maintain_order=True):
        signs = [prod(1 if row[c] == factors[c][1] else -1 for c in term) for row in part.iter_rows(named=True)]
        values = part["value"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        is_complete = len(values) == corners
        gain = float(np.dot(signs, values)) / (corners / 2) if is_complete else float("nan")
        by_seed.setdefault(int(str(seed)), []).append(gain)
    cells = max(map(len, by_seed.values()), default=0)
    return np.array([np.mean(gains) for gains in by_seed.values() if len(gains) == cells])
