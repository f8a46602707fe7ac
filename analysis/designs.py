"""What a Sobol or Morris design of a run says about the settings of each of its methods."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from analysis.formatting import method_label
from analysis.indices import morris, responses, sobol
from analysis.tables import Run


def indices(run: Run) -> dict[str, pl.DataFrame]:
    """Return the indices of the metric on validation by method, as `analysis.indices` has them.

    Each modality of `unimodal` is a method of its own. There are none where the study has no such design, and none of a
    method of which no trial is known yet.
    """
    kind, options = run.search
    if kind not in ("sobol", "morris") or "point" not in run.trials.collect_schema():
        return {}
    score = pl.when(pl.col("status") == "done").then(pl.col(f"validation.{run.metric}"))
    table = run.trials.select("method", "modality", "point", "seed", score=score).sort("modality").collect()
    found = {}
    for method, about in run.study["study"].get("design", {}).items():
        choices = [len(run.vary[name]["values"]) for name in about["names"]]
        for (modality,), part in table.filter(method=method).group_by("modality", maintain_order=True):
            found[method_label(method, str(modality) if modality else None)] = of_method(
                part, about | {"choices": choices}, options
            )
    return found


def of_method(table: pl.DataFrame, about: dict[str, Any], options: dict[str, Any]) -> pl.DataFrame:
    """Return the indices of one method, as far as its points are known; groups that lack one are dropped.

    Args:
        table: of the method, with columns `point`, `seed` and `score`.
        about: its design, as study.yaml has it, and how many `choices` each axis has.
        options: those of the search.
    """
    names, found = about["names"], responses(table)
    if "trajectories" in options:
        axes = list(zip(about["scales"], about["bounds"], about["choices"], strict=True))
        points = np.array([[place(s, *axis) for s, axis in zip(p, axes, strict=True)] for p in about["points"]])
        return morris(padded(found, len(points)), points, names, levels=options["levels"])
    size = options["samples"] * (len(names) * (2 if options["second_order"] else 1) + 2)
    return sobol(padded(found, size), names, second_order=options["second_order"])


def place(share: float, scale: str, ends: Sequence[Any], choices: int) -> float:
    """Return where on its axis, from 0 to 1, the value lies that a design has at a share of it.

    Choices lie side by side and whole numbers are rounded, so that a value may move farther than its share, or not at
    all.

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


def padded(results: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
    """Return results [P, S] with rows of nan behind them, up to so many."""
    return np.pad(results, ((0, size - len(results)), (0, 0)), constant_values=np.nan)
