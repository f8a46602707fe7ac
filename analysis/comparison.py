"""Comparison of two runs: what differs in their studies, and the differences of their scores, paired by seed."""

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from analysis.choice import LOSSES, best_configurations, is_seed_invariant, test_scores
from analysis.formatting import format_settings
from analysis.statistics import NAN, bounds, estimate, holm, paired
from analysis.tables import Run, table_from_rows

COMPARISON = {
    "method": pl.String,
    "modality": pl.String,  # null but for `unimodal`
    "settings": pl.String,  # the chosen ones, of the first run
    "other_settings": pl.String,
    "test": pl.Float64,  # mean over the seeds that both have finished; over all of its own where seeds are not paired
    "other": pl.Float64,
    "difference": pl.Float64,  # the other minus the first
    "low": pl.Float64,
    "high": pl.Float64,
    "p": pl.Float64,  # corrected for the methods compared
    "pairs": pl.Int64,
    "shared": pl.Int64,  # of the pairs: the very same trial
}
IGNORED_ENTRIES = ("command", "planned", "study.name")  # that differ between any two studies
SAMPLE_ENTRIES = ("deal", "shots", "target")  # of an entry `data`: which samples of a file


def changes(run: Run, other: Run) -> dict[str, tuple[Any, Any]]:
    """Return the entries of study.yaml that differ between two runs, by name; None where a run has none."""
    left, right = dict(flatten_settings(run.study)), dict(flatten_settings(other.study))
    names = [name for name in {**left, **right} if name not in IGNORED_ENTRIES]
    return {name: (left.get(name), right.get(name)) for name in names if left.get(name) != right.get(name)}


def flatten_settings(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings under dotted names."""
    for name, entry in value.items():
        if isinstance(entry, Mapping):
            yield from flatten_settings(entry, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", entry


def comparison(run: Run, other: Run) -> pl.DataFrame:
    """Return one row per method (and modality of `unimodal`) that both runs have, with the columns of COMPARISON.

    Each run enters with its configuration chosen on validation, scored on test. Seeds are paired if both runs use the
    same data and their seeds determine the same; otherwise the difference has no interval.

    Raises:
        ValueError: the runs are scored by different metrics.
    """
    if run.metric != other.metric:
        raise ValueError(f"{run.name} is scored by {run.metric}, but {other.name} by {other.metric}")
    keys = ["method", "modality"]
    choices = [best_configurations(each) for each in (run, other)]
    scores = [test_scores(each, choice).drop_nulls("score") for each, choice in zip((run, other), choices, strict=True)]
    rows = []
    for choice in choices[0].iter_rows(named=True):
        same = pl.col("method").eq(choice["method"]), pl.col("modality").eq_missing(choice["modality"])
        match = choices[1].filter(*same)
        if len(match):
            described = {"settings": format_settings(choice, run.vary)}
            described["other_settings"] = format_settings(match.row(0, named=True), other.vary)
            left, right = (table.filter(*same).select("seed", "trial", "score", *LOSSES) for table in scores)
            difference = score_difference(left, right, run.metric, pair=same_data(run, other))
            rows.append({key: choice[key] for key in keys} | described | difference)
    table = table_from_rows(rows, COMPARISON)
    corrected = iter(holm(table["p"].drop_nulls().to_list()))
    return table.with_columns(
        p=pl.Series([None if p is None else next(corrected) for p in table["p"]], dtype=pl.Float64)
    )


def same_data(run: Run, other: Run) -> bool:
    """Return whether two runs use the same samples, and seeds determine the same in both.

    One run may have more seeds of the first kind: what is nested in each that both have is the same.
    """
    return sample_identity(run) == sample_identity(other)


def sample_identity(run: Run) -> tuple[Any, ...]:
    """Return the samples of a run, the kinds of its seeds, and the number of each kind but the first."""
    data = run.data
    samples = [data.get(key) or None for key in SAMPLE_ENTRIES]
    samples.append(data.get("protocol", data.get("split")))  # two spellings of one thing
    samples.append(data.get("groups") if data.get("deal") or "split" in run.seed_counts else None)
    return run.study.get("data_sha256"), samples, list(run.seed_counts), [*run.seed_counts.values()][1:]


def score_difference(left: pl.DataFrame, right: pl.DataFrame, metric: str, *, pair: bool) -> dict[str, Any]:
    """Return the mean difference over the seeds that both runs have, or without pairs that of the means of each run.

    Where seeds change neither run, all pairs are one, which has no interval.
    """
    if not pair:
        test, other = (estimate(side["score"]).mean for side in (left, right))
        return {"test": test, "other": other, "difference": other - test, "pairs": 0, "shared": 0}
    pairs = left.join(right, on="seed", suffix="_other")
    result = paired(pairs["score_other"], pairs["score"], bounds(metric, change=True))
    if is_seed_invariant(left) and is_seed_invariant(right):
        result = result._replace(low=NAN, high=NAN, p=NAN)
    return {
        "test": pairs["score"].mean(), "other": pairs["score_other"].mean(), "difference": result.mean,
        "low": result.low, "high": result.high, "p": result.p, "pairs": result.pairs,
        "shared": (pairs["trial"] == pairs["trial_other"]).sum(),
    }  # fmt: skip
