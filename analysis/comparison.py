"""Two runs beside each other: what was asked for differently, and what came of it, paired by seed."""

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
    "test": pl.Float64,  # mean over the seeds that both have finished; over all of its own where they are no pairs
    "other": pl.Float64,
    "difference": pl.Float64,  # the other minus the first
    "low": pl.Float64,
    "high": pl.Float64,
    "p": pl.Float64,  # corrected for the methods compared
    "pairs": pl.Int64,
    "shared": pl.Int64,  # of the pairs: the very same trial
}
TITLES = ("command", "planned", "study.name")  # differ between any two studies
SAMPLES = ("deal", "shots", "target")  # of an entry `data`: which samples of a file


def changes(run: Run, other: Run) -> dict[str, tuple[Any, Any]]:
    """Return what differs between two runs: settings of the study, data, versions, machine; None where one has none."""
    one, two = dict(entries(run.study)), dict(entries(other.study))
    names = [name for name in {**one, **two} if name not in TITLES]
    return {name: (one.get(name), two.get(name)) for name in names if one.get(name) != two.get(name)}


def entries(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what lies in nested mappings, under names with dots."""
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from entries(inner, f"{above}{name}.")
        else:
            yield f"{above}{name}", inner


def comparison(run: Run, other: Run) -> pl.DataFrame:
    """Return one row per method (and modality of `unimodal`) that both runs have, as COMPARISON says.

    Of each run it is the configuration chosen on validation, scored on test. Seeds of different data, and seeds that do
    not decide the same, are no pairs, and what they differ by has no interval.

    Raises:
        ValueError: the runs are scored by different metrics.
    """
    if run.metric != other.metric:
        raise ValueError(f"{run.name} is scored by {run.metric} and {other.name} by {other.metric}")
    keys = ["method", "modality"]
    choices = [best_configurations(each) for each in (run, other)]
    scores = [test_scores(each, choice).drop_nulls("score") for each, choice in zip((run, other), choices, strict=True)]
    rows = []
    for choice in choices[0].iter_rows(named=True):
        same = pl.col("method").eq(choice["method"]), pl.col("modality").eq_missing(choice["modality"])
        theirs = choices[1].filter(*same)
        if len(theirs):
            described = {"settings": format_settings(choice, run.vary)}
            described["other_settings"] = format_settings(theirs.row(0, named=True), other.vary)
            ours, others = (table.filter(*same).select("seed", "trial", "score", *LOSSES) for table in scores)
            found = _difference(ours, others, run.metric, pair=same_data(run, other))
            rows.append({key: choice[key] for key in keys} | described | found)
    table = table_from_rows(rows, COMPARISON)
    corrected = iter(holm(table["p"].drop_nulls().to_list()))
    return table.with_columns(
        p=pl.Series([None if p is None else next(corrected) for p in table["p"]], dtype=pl.Float64)
    )


def same_data(run: Run, other: Run) -> bool:
    """Say whether two runs are about the same samples, and seeds decide the same in both.

    Of the first kind of seeds one may have more: what is nested in each that both have is the same.
    """
    return _drawn(run) == _drawn(other)


def _drawn(run: Run) -> tuple[Any, ...]:
    """Return what samples a run is about, which kinds of seeds it has, and how many of each but the first."""
    asked = run.data
    which = [asked.get(key) or None for key in SAMPLES]
    which.append(asked.get("protocol", asked.get("split")))  # two spellings of one thing
    which.append(asked.get("groups") if asked.get("deal") or "split" in run.seed_counts else None)
    return run.study.get("data_sha256"), which, list(run.seed_counts), [*run.seed_counts.values()][1:]


def _difference(ours: pl.DataFrame, theirs: pl.DataFrame, metric: str, *, pair: bool) -> dict[str, Any]:
    """Return the difference over the seeds that both have, or that of the means over all of each if they are no pairs.

    Where seeds change neither of the two, all pairs are one, which has no interval.
    """
    if not pair:
        test, other = (estimate(side["score"]).mean for side in (ours, theirs))
        return {"test": test, "other": other, "difference": other - test, "pairs": 0, "shared": 0}
    pairs = ours.join(theirs, on="seed", suffix="_other")
    found = paired(pairs["score_other"], pairs["score"], bounds(metric, change=True))
    if is_seed_invariant(ours) and is_seed_invariant(theirs):
        found = found._replace(low=NAN, high=NAN, p=NAN)
    return {
        "test": pairs["score"].mean(), "other": pairs["score_other"].mean(), "difference": found.mean,
        "low": found.low, "high": found.high, "p": found.p, "pairs": found.pairs,
        "shared": (pairs["trial"] == pairs["trial_other"]).sum(),
    }  # fmt: skip
