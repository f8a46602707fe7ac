"""The objective values that a search reports to Optuna: means of the study's metrics over the trials of a point."""

import math
from collections.abc import Sequence

from ablate.shards import stored_rows
from ablate.store import DamagedError, locate
from ablate.study import Study
from ablate.trial import Result, Trial


def point_objectives(
    study: Study, points: Sequence[Sequence[Trial]], results: dict[str, Result]
) -> list[list[float] | None]:
    """Return the study's metrics at each point, given its trials; None if one of the trials has no result."""
    done = {t.id for trials in points for t in trials if t.id in results and results[t.id].status == "done"}
    values = {trial: [results[trial].score] for trial in done}
    if done and len(study.objectives) > 1:
        values = stored_objectives(study, done)
    return [mean_objectives([values.get(t.id, [None]) for t in trials]) for trials in points]


def mean_objectives(values: Sequence[Sequence[float | None]]) -> list[float] | None:
    """Return the mean of each metric over trials, [trial][metric] -> [metric]; None unless all values are finite."""
    finite = [value for trial_values in values for value in trial_values if value is not None and math.isfinite(value)]
    if len(finite) < sum(map(len, values)):
        return None
    return [math.fsum(column) / len(column) for column in zip(*values, strict=True)]


def stored_objectives(study: Study, trials: set[str]) -> dict[str, list[float | None]]:
    """Return the study's metrics of finished trials from the store; empty if it is damaged."""
    import polars as pl

    from analysis.pareto import objective_values

    try:
        folders = locate(study.store, trials)
        rows, metrics = (
            pl.concat(stored_rows(folders, table), how="diagonal_relaxed") for table in ("trials", "metrics")
        )
    except (DamagedError, ValueError):
        return {}
    table = objective_values(rows.lazy(), metrics.lazy(), study.objectives).collect()
    return {row[0]: list(row[1:]) for row in table.select("trial", *study.objectives).iter_rows()}
