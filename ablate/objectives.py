"""The metrics of a search, by which the points of a round are told: means over the trials of a point."""

import math
from collections.abc import Sequence

from ablate.shards import stored_rows
from ablate.store import DamagedError, locate
from ablate.study import Study
from ablate.trial import Result, Trial


def measured(study: Study, asked: Sequence[Sequence[Trial]], results: dict[str, Result]) -> list[list[float] | None]:
    """Return the study's metrics at each point, given the trials that it took; None where one of them has no result."""
    done = {t.id for trials in asked for t in trials if t.id in results and results[t.id].status == "done"}
    values = {trial: [results[trial].score] for trial in done}
    if done and len(study.objectives) > 1:
        values = stored(study, done)
    return [mean([values.get(t.id, [None]) for t in trials]) for trials in asked]


def mean(values: Sequence[Sequence[float | None]]) -> list[float] | None:
    """Return the mean of each metric, given those of each trial; None unless all are finite."""
    known = [value for of_trial in values for value in of_trial if value is not None and math.isfinite(value)]
    if len(known) < sum(map(len, values)):
        return None
    return [math.fsum(column) / len(column) for column in zip(*values, strict=True)]


def stored(study: Study, trials: set[str]) -> dict[str, list[float | None]]:
    """Return the study's metrics of finished trials, from the store; none of those that cannot be read."""
    import polars as pl

    from analysis.pareto import objective_values

    try:
        where = locate(study.store, trials)
        rows, metrics = (
            pl.concat(stored_rows(where, table), how="diagonal_relaxed") for table in ("trials", "metrics")
        )
    except (DamagedError, ValueError):
        return {}
    table = objective_values(rows.lazy(), metrics.lazy(), study.objectives).collect()
    return {row[0]: list(row[1:]) for row in table.select("trial", *study.objectives).iter_rows()}
