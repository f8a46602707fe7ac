"""Summaries on the test split: each method's chosen configuration against joint training, and encoder probes."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from analysis.choice import LOSSES, best_configurations, is_seed_invariant, test_probes, test_scores
from analysis.formatting import format_settings
from analysis.pareto import pareto_front
from analysis.sequential import sequential_difference
from analysis.statistics import NAN, bounds, estimate, holm, paired
from analysis.tables import Run, table_from_rows

SUMMARY = {
    "method": pl.String,
    "modality": pl.String,  # null but for `unimodal`
    "settings": pl.String,  # the varied ones, of the chosen configuration
    "configurations": pl.Int64,  # tried
    "seeds": pl.Int64,
    "metric": pl.String,
    "direction": pl.String,
    "validation": pl.Float64,
    "test": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "difference": pl.Float64,  # to joint, paired by seed; null for joint and unimodal
    "difference_low": pl.Float64,
    "difference_high": pl.Float64,
    "p": pl.Float64,  # of the difference, corrected for the methods compared
    "pairs": pl.Int64,
    "failed": pl.Int64,
    "diverged": pl.Int64,
    "seconds": pl.Float64,  # median of a trial
    "front": pl.Boolean,  # the chosen configuration is on the Pareto front; null if the study has one metric
}
ENCODERS = {
    "method": pl.String,
    "modality": pl.String,
    "probe": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "seeds": pl.Int64,
    "gap": pl.Float64,  # to the same encoder trained alone, paired by seed
    "gap_sd": pl.Float64,
    "gap_low": pl.Float64,
    "gap_high": pl.Float64,
    "pairs": pl.Int64,
}


def summary(run: Run) -> pl.DataFrame:
    """Return one row per method, and per modality of `unimodal`, with the columns of SUMMARY.

    Differences are in the metric's unit.
    """
    choices = best_configurations(run)
    scores = test_scores(run, choices).drop_nulls("score")
    joint = scores.filter(pl.col("method") == "joint").select("seed", *LOSSES, baseline="score")
    on_front = (
        {tuple(row["trials"]): row["front"] for row in pareto_front(run).to_dicts()} if len(run.objectives) > 1 else {}
    )
    rows = []
    for choice in choices.iter_rows(named=True):
        chosen_scores = scores.filter(pl.col("trial").is_in(choice["trials"]))
        row = configuration_columns(run, choice) | test_columns(chosen_scores, run.metric)
        row |= joint_difference(run, choice["method"], chosen_scores, joint)
        rows.append(row | {"front": on_front.get(tuple(choice["trials"]))})
    return with_corrected_p(table_from_rows(rows, SUMMARY))


def encoder_summary(run: Run) -> pl.DataFrame:
    """Return the probe scores of each encoder after training by each method, with the columns of ENCODERS."""
    scores = test_probes(run, best_configurations(run))
    rows = []
    for (method, encoder), group in scores.group_by("method", "encoder", maintain_order=True):
        mean, low, high, _ = estimate(distinct_scores(group), bounds(run.metric))
        row = {"method": method, "modality": encoder, "probe": mean, "low": low, "high": high, "seeds": len(group)}
        alone = scores.filter(pl.col("method") == "unimodal", pl.col("encoder") == encoder)
        rows.append(row | (unimodal_gap(group, alone, run.metric) if method != "unimodal" else {}))
    return table_from_rows(rows, ENCODERS)


def configuration_columns(run: Run, choice: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of SUMMARY that describe a chosen configuration."""
    keys = ("method", "modality", "configurations", "seeds", "validation", "failed", "diverged", "seconds")
    return {key: choice[key] for key in keys} | {
        "settings": format_settings(choice, run.vary) if choice["seeds"] else None,
        "metric": run.metric,
        "direction": run.study["study"]["direction"],
    }


def test_columns(scores: pl.DataFrame, metric: str) -> dict[str, Any]:
    """Return the test score with its interval."""
    mean, low, high, _ = estimate(distinct_scores(scores), bounds(metric))
    return {"test": mean, "low": low, "high": high}


def distinct_scores(scores: pl.DataFrame) -> pl.Series:
    """Return the scores of the seeds, or only one where the seeds change nothing."""
    return scores["score"].head(1) if is_seed_invariant(scores) else scores["score"]


def joint_difference(run: Run, method: str, scores: pl.DataFrame, joint: pl.DataFrame) -> dict[str, Any]:
    """Return the difference to joint training, paired by the seeds that both have finished.

    In a sequential design p and interval are valid at every look. Where the seeds change neither method there is only
    one distinct pair, and no p or interval.
    """
    if method in ("joint", "unimodal"):
        return {}
    pairs, within = scores.join(joint, on="seed"), bounds(run.metric, change=True)
    if is_seed_invariant(scores) and is_seed_invariant(joint):
        difference = paired(pairs["score"], pairs["baseline"], within)
        return {"difference": difference.mean, "pairs": difference.pairs}
    if len(run.looks) > 1:
        values, baseline = (dict(zip(pairs["seed"], pairs[side], strict=True)) for side in ("score", "baseline"))
        mean, _, low, high, p, count = sequential_difference(values, baseline, run.looks, within)
    else:
        mean, _, low, high, p, count = paired(pairs["score"], pairs["baseline"], within)
    return {"difference": mean, "difference_low": low, "difference_high": high, "p": p, "pairs": count}


def unimodal_gap(scores: pl.DataFrame, alone: pl.DataFrame, metric: str) -> dict[str, Any]:
    """Return the difference to the same encoder trained alone, without interval where the seeds change neither."""
    pairs = scores.join(alone.select("seed", alone="score"), on="seed")
    mean, sd, low, high, _, count = paired(pairs["score"], pairs["alone"], bounds(metric, change=True))
    if is_seed_invariant(scores) and is_seed_invariant(alone):
        return {"gap": mean, "pairs": count}
    return {"gap": mean, "gap_sd": sd, "gap_low": low, "gap_high": high, "pairs": count}


def with_corrected_p(table: pl.DataFrame) -> pl.DataFrame:
    """Return the table with `p` corrected by Holm's method for all its comparisons."""
    p = holm(table["p"].fill_null(NAN).to_list())
    return table.with_columns(p=pl.Series(p, dtype=pl.Float64).fill_nan(None))
