"""What a Sobol or Morris design of a run says about the settings of each of its methods."""

from typing import Any

import numpy as np
import polars as pl

from analysis.indices import morris, responses, sobol
from analysis.tables import Run


def indices(run: Run) -> dict[str, pl.DataFrame]:
    """Return the indices of the metric on validation by method, as `analysis.indices` has them.

    There are none where the study has no such design, and none of a method of which no trial is known yet.
    """
    about, search = run.study["study"].get("design", {}), run.study["study"]["search"]
    options = search.get("sobol") or search.get("morris") if about else None
    if not options:
        return {}
    score = pl.when(pl.col("status") == "done").then(pl.col(f"validation.{run.metric}"))
    table = run.trials.select("method", "point", "seed", score=score).collect()
    return {name: of_method(one, about[name], options) for (name,), one in table.group_by("method") if name in about}


def of_method(table: pl.DataFrame, about: dict[str, Any], options: dict[str, Any]) -> pl.DataFrame:
    """Return the indices of one method, as far as its points are known; groups that lack one are dropped.

    Args:
        table: of the method, with columns `point`, `seed` and `score`.
        about: its design, as study.yaml has it.
        options: those of the search.
    """
    names, found = about["names"], responses(table)
    if "trajectories" in options:
        points = np.asarray(about["points"])
        return morris(padded(found, len(points)), points, names, levels=options["levels"])
    size = options["samples"] * (len(names) * (2 if options["second_order"] else 1) + 2)
    return sobol(padded(found, size), names, second_order=options["second_order"])


def padded(results: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
    """Return results [P, S] with rows of nan behind them, up to so many."""
    return np.pad(results, ((0, size - len(results)), (0, 0)), constant_values=np.nan)
