"""The finding of a run in one sentence, and what it cannot tell."""

from typing import Any

import polars as pl

from analysis.blocks import held_kinds, seeds_text
from analysis.choice import configurations, without_dummy
from analysis.formatting import format_interval, format_p_value, format_score, is_percent
from analysis.statistics import LEVEL
from analysis.tables import Run

BASELINES = ("joint", "joint-uni", "unimodal")


def headline(run: Run, summary: pl.DataFrame) -> str:
    """Return the finding in one sentence: the method that is best on validation, on test, against joint training.

    That is among those that lost no seed, or else have most; `summary` is that of the run.
    """
    finished = summary.drop_nulls("test").filter(pl.col("method") != "unimodal")
    if finished.is_empty():
        failed, diverged = (int(summary[column].sum()) for column in ("failed", "diverged"))
        if summary["test"].drop_nulls().len():
            return "Each modality was trained alone; there is no joint prediction to compare."
        bad = f"No trial has a score: {failed} failed, {diverged} diverged."
        return bad if failed + diverged else "No trial has finished yet."
    best_is_high = finished["direction"][0] == "max"
    whole = _has_all_seeds(run)
    order = [whole, pl.when(~whole).then("seeds"), "validation"]  # one that lost seeds is not ahead
    ranked = finished.sort(order, descending=[True, True, best_is_high], maintain_order=True).to_dicts()
    methods = [row for row in ranked if row["method"] not in BASELINES]
    row = (methods or [row for row in ranked if row["method"] != "joint"] or ranked)[0]
    start = f"{_configuration(row)} reaches {_test_score(row)} on test"
    if len(ranked) == 1:
        return f"{start}; there is nothing to compare it with."
    if row["difference"] is None:
        return f"{start}; joint training has no finished trial with the same seed to compare it with."
    rival = f"; the baseline joint-uni reaches {_test_score(ranked[0])}" if ranked[0]["method"] == "joint-uni" else ""
    return f"{start}, {_joint_comparison(row)}: {_conclusion(run, row)}{rival if row != ranked[0] else ''}."


def _configuration(row: dict[str, Any]) -> str:
    return f"{row['method']} ({row['settings']})" if row["settings"] else str(row["method"])


def _test_score(row: dict[str, Any]) -> str:
    return format_score(row["metric"], row["test"]) + (" %" if is_percent(row["metric"]) else f" {row['metric']}")


def _joint_comparison(row: dict[str, Any]) -> str:
    unit = " points" if is_percent(row["metric"]) else ""
    text = f"{format_score(row['metric'], row['difference'], sign='+')}{unit} against joint"
    if row["p"] is None:
        return text
    if row["difference_low"] is not None:
        text += f" {format_interval(row['metric'], row['difference_low'], row['difference_high'])}"
    p = format_p_value(row["p"])
    equal = "" if p.startswith("<") else "="
    return f"{text}, p{equal}{p}"


def _conclusion(run: Run, row: dict[str, Any]) -> str:
    """Return what the corrected p-value allows to say, and over which seeds where some are held."""
    if row["p"] is None and row["pairs"] > 1:
        return "seeds change nothing here, and are one result"
    if row["p"] is None:
        return "one seed, which tells nothing about chance"
    seeds = seeds_text(run, row["pairs"])
    if row["p"] >= LEVEL:
        return f"not separated from joint training by {seeds}"
    better = (row["difference_low"] > 0) == (row["direction"] == "max")  # of the two sides p is of that of the interval
    return f"{'better' if better else 'worse'} than joint training{f' over {seeds}' if held_kinds(run) else ''}"


def limitations(run: Run, summary: pl.DataFrame) -> list[str]:
    """Return what a run cannot tell, and why, a sentence each; `summary` is that of the run."""
    table = configurations(without_dummy(run))
    joint = summary.filter(pl.col("method") != "unimodal")
    finished = joint.drop_nulls("test")
    empty = [row["method"] for row in joint.iter_rows(named=True) if row["test"] is None]
    flat = [
        str(method)
        for (method,), part in table.drop_nulls("validation").group_by("method", maintain_order=True)
        if len(part) > 1 and part["validation"].n_unique() == 1
    ]
    fewer = finished.filter(~_has_all_seeds(run))["method"].to_list()
    most = int(summary["seeds"].max() or 0)  # type: ignore[arg-type]
    said = {
        f"{_joined(empty)}: no trial has a score, so nothing is known of it.": bool(empty),
        "Joint training is not among the methods that finished: no difference to it can be told.": bool(
            len(finished) > 1 and "joint" not in finished["method"].to_list()
        ),
        f"{_joined(fewer)}: some seeds have no result. A mean is of those that have, a difference to joint training of "
        "those that both have, and the two need not agree.": bool(fewer),
        "One seed tells nothing about chance: there are no intervals, no p-values and no ranks.": most == 1,
        "Two seeds give intervals so wide that few differences can be told.": most == 2,
        "Ranks need three methods with a result: there are fewer.": 0 < len(finished) < min(3, len(joint)) and most > 1,
        f"{_joined(flat)}: all configurations score alike, so which setting matters cannot be told.": bool(flat),
        "Methods had unequal tuning budgets: more configurations are more chances to look good on validation.": (
            joint["configurations"].n_unique() > 1
        ),
    }
    return [sentence for sentence, holds in said.items() if holds]


def _has_all_seeds(run: Run) -> pl.Expr:
    """Return whether a method has the most seeds or, where they are added until it is told apart, those of a look."""
    seeds = pl.col("seeds")
    return seeds.is_in(run.looks) if len(run.looks) > 1 else seeds == seeds.max()


def _joined(names: list[str]) -> str:
    return ", ".join(dict.fromkeys(names))
