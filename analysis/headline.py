"""The main finding of a run in one sentence, and the limitations of its design."""

from typing import Any

import polars as pl

from analysis.blocks import held_kinds, seeds_text
from analysis.choice import configurations, without_dummy
from analysis.formatting import format_interval, format_p_value, format_score, is_percent
from analysis.statistics import LEVEL
from analysis.tables import Run

BASELINES = ("joint", "joint-uni", "unimodal")


def headline(run: Run, summary: pl.DataFrame) -> str:
    """Return the finding in one sentence: the test score of the best method on validation, against joint training.

    The best is among the methods with a result for every seed, or else for the most; `summary` is that of the run.
    """
    finished = summary.drop_nulls("test").filter(pl.col("method") != "unimodal")
    if finished.is_empty():
        failed, diverged = (int(summary[column].sum()) for column in ("failed", "diverged"))
        if summary["test"].drop_nulls().len():
            return "Each modality was trained alone; there is no joint prediction to compare."
        sentence = f"No trial has a score: {failed} failed, {diverged} diverged."
        return sentence if failed + diverged else "No trial has finished yet."
    higher_is_better = finished["direction"][0] == "max"
    complete = has_all_seeds(run)
    order = [complete, pl.when(~complete).then("seeds"), "validation"]  # a method that lost seeds is not ahead
    ranked = finished.sort(order, descending=[True, True, higher_is_better], maintain_order=True).to_dicts()
    methods = [row for row in ranked if row["method"] not in BASELINES]
    row = (methods or [row for row in ranked if row["method"] != "joint"] or ranked)[0]
    start = f"{configuration_text(row)} reaches {test_score_text(row)} on test"
    if len(ranked) == 1:
        return f"{start}; there is nothing to compare it with."
    if row["difference"] is None:
        return f"{start}; joint training has no finished trial with the same seed to compare it with."
    rival = (
        f"; the baseline joint-uni reaches {test_score_text(ranked[0])}" if ranked[0]["method"] == "joint-uni" else ""
    )
    return f"{start}, {joint_comparison_text(row)}: {conclusion_text(run, row)}{rival if row != ranked[0] else ''}."


def configuration_text(row: dict[str, Any]) -> str:
    """Return `agm (alpha=0.3)`, the method of a row with its chosen settings."""
    return f"{row['method']} ({row['settings']})" if row["settings"] else str(row["method"])


def test_score_text(row: dict[str, Any]) -> str:
    """Return the test score of a row with its unit."""
    return format_score(row["metric"], row["test"]) + (" %" if is_percent(row["metric"]) else f" {row['metric']}")


def joint_comparison_text(row: dict[str, Any]) -> str:
    """Return `+1.2 points against joint [0.3, 2.1], p=0.01`, as far as the row has them."""
    unit = " points" if is_percent(row["metric"]) else ""
    text = f"{format_score(row['metric'], row['difference'], sign='+')}{unit} against joint"
    if row["p"] is None:
        return text
    if row["difference_low"] is not None:
        text += f" {format_interval(row['metric'], row['difference_low'], row['difference_high'])}"
    p = format_p_value(row["p"])
    equal = "" if p.startswith("<") else "="
    return f"{text}, p{equal}{p}"


def conclusion_text(run: Run, row: dict[str, Any]) -> str:
    """Return the conclusion from the corrected p-value, with its seeds where some kinds are held."""
    if row["p"] is None and row["pairs"] > 1:
        return "all seeds have the same result, which counts once"
    if row["p"] is None:
        return "one seed, so significance cannot be tested"
    seeds = seeds_text(run, row["pairs"])
    if row["p"] >= LEVEL:
        return f"no significant difference from joint training over {seeds}"
    better = (row["difference_low"] > 0) == (row["direction"] == "max")  # p is two-sided
    return f"{'better' if better else 'worse'} than joint training{f' over {seeds}' if held_kinds(run) else ''}"


def limitations(run: Run, summary: pl.DataFrame) -> list[str]:
    """Return the limitations of a run, one sentence each; `summary` is that of the run."""
    table = configurations(without_dummy(run))
    joint = summary.filter(pl.col("method") != "unimodal")
    finished = joint.drop_nulls("test")
    without_score = [row["method"] for row in joint.iter_rows(named=True) if row["test"] is None]
    parts = table.drop_nulls("validation").partition_by("method", "modality", maintain_order=True)
    flat = list(
        dict.fromkeys(part["method"][0] for part in parts if len(part) > 1 and part["validation"].n_unique() == 1)
    )
    incomplete = finished.filter(~has_all_seeds(run))["method"].to_list()
    max_seeds = int(summary["seeds"].max() or 0)  # type: ignore[arg-type]
    conditions = {
        f"{join_names(without_score)}: no trial has a score.": bool(without_score),
        "Joint training has no result, so there are no differences to it.": bool(
            len(finished) > 1 and "joint" not in finished["method"].to_list()
        ),
        f"{join_names(incomplete)}: some seeds have no result. Means are over the seeds with a result, differences "
        "to joint training over the seeds that both have, so the two need not agree.": bool(incomplete),
        "There is only one seed, so there are no intervals, p-values or ranks.": max_seeds == 1,
        "There are only two seeds: intervals are so wide that few differences can be detected.": max_seeds == 2,
        "Fewer than three methods have a result, so there are no ranks.": (
            0 < len(finished) < min(3, len(joint)) and max_seeds > 1
        ),
        f"{join_names(flat)}: all configurations have the same score, so no setting is shown to matter.": bool(flat),
        "Methods have unequal tuning budgets: more configurations give more chances of a good validation score, by "
        "luck that the test scores of the same trials partly share. The p-values do not account for it.": (
            joint["configurations"].n_unique() > 1
        ),
    }
    return [sentence for sentence, holds in conditions.items() if holds]


def has_all_seeds(run: Run) -> pl.Expr:
    """Return whether a method has the most seeds or, in a sequential design, as many as one of its looks."""
    seeds = pl.col("seeds")
    return seeds.is_in(run.looks) if len(run.looks) > 1 else seeds == seeds.max()


def join_names(names: list[str]) -> str:
    """Return names with commas between them, each once."""
    return ", ".join(dict.fromkeys(names))
