"""Sensitivity indices of the settings of each method, from the Sobol or Morris design of a run."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from analysis.formatting import method_label
from analysis.indices import morris, responses, sobol
from analysis.tables import Run


def indices(run: Run) -> dict[str, pl.DataFrame]:
    """Return the sensitivity indices of the validation metric by method, with the columns of `analysis.indices`.

    Each modality of `unimodal` is a method of its own. The mapping is empty where the study has no such design, and
    lacks methods without a finished trial.
    """
    kind, options = run.search
    if kind not in ("sobol", "morris") or "point" not in run.trials.collect_schema():
        return {}
    score = pl.when(pl.col("status") == "done").then(pl.col(f"validation.{run.metric}"))
    table = run.trials.select("method", "modality", "point", "seed", score=score).sort("modality").collect()
    tables: dict[str, pl.DataFrame] = {}
    for method, design in run.study["study"].get("design", {}).items():
        choices = [len(run.vary[name]["values"]) for name in design["names"]]
        for (modality,), part in table.filter(method=method).group_by("modality", maintain_order=True):
            tables[method_label(method, str(modality) if modality else None)] = method_indices(
                part, design | {"choices": choices}, options
            )
    return tables


def method_indices(table: pl.DataFrame, design: dict[str, Any], options: dict[str, Any]) -> pl.DataFrame:
    """Return the indices of one method from the points with results; groups that lack one are dropped.

    Args:
        table: scores of the method, with columns `point`, `seed` and `score`.
        design: of the method, as in study.yaml, with the number of `choices` of each axis.
        options: of the search.
    """
    names, results = design["names"], responses(table)
    if "trajectories" in options:
        axes = list(zip(design["scales"], design["bounds"], design["choices"], strict=True))
        points = np.array(
            [[axis_position(s, *axis) for s, axis in zip(p, axes, strict=True)] for p in design["points"]]
        )
        return morris(pad_results(results, len(points)), points, names, levels=options["levels"])
    size = options["samples"] * (len(names) * (2 if options["second_order"] else 1) + 2)
    return sobol(pad_results(results, size), names, second_order=options["second_order"])


def axis_position(share: float, scale: str, ends: Sequence[Any], choices: int) -> float:
    """Return the position on its axis, from 0 to 1, of the value that a design takes at a share of the axis.

    Choices are spaced evenly and whole numbers are rounded: a value may move farther than its share, or not at all.

    Args:
        share: of the axis, from 0 to 1.
        scale: log, linear or choice.
        ends: the least and the largest value, which are integers where all are.
        choices: how many there are.
    """
    if scale == "choice":
        return min(int(share * choices), choices - 1) / max(choices - 1, 1)
    low, high = ends
    if not isinstance(low, int):
        return share
    if low == high:
        return 0.0
    first, last = low - 0.5, high + 0.5
    value = first * (last / first) ** share if scale == "log" else first + (last - first) * share
    value = min(max(round(value), low), high)
    return math.log(value / low) / math.log(high / low) if scale == "log" else (value - low) / (high - low)


def pad_results(results: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
    """Return results [P, S] padded with rows of nan up to `size` rows."""
    return np.pad(results, ((0, size - len(results)), (0, 0)), constant_values=np.nan)
