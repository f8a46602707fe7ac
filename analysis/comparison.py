"""Two runs beside each other: what was asked for differently, and what came of it, paired by seed."""

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl
import polars.selectors as cs

from analysis.choice import chosen, test_scores
from analysis.statistics import NAN, bounds, holm, paired
from analysis.tables import Run
from analysis.text import settings

COMPARISON = {
    "method": pl.String,
    "modality": pl.String,  # null but for `unimodal`
    "settings": pl.String,  # the chosen ones, of the first run
    "other_settings": pl.String,
    "test": pl.Float64,  # mean over the seeds that both have finished
    "other": pl.Float64,
    "difference": pl.Float64,  # the other minus the first
    "low": pl.Float64,
    "high": pl.Float64,
    "p": pl.Float64,  # corrected for the methods compared
    "pairs": pl.Int64,
    "shared": pl.Int64,  # of the pairs: the very same trial
}
TITLES = ("command", "planned", "study.name")  # differ between any two studies


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

    Of each run it is the configuration chosen on validation, scored on test. Seeds of different data are no pairs, and
    what they differ by has no interval.

    Raises:
        ValueError: the runs are scored by different metrics.
    """
    if run.metric != other.metric:
        raise ValueError(f"{run.name} is scored by {run.metric} and {other.name} by {other.metric}")
    keys = ["method", "modality"]
    choices = [chosen(each) for each in (run, other)]
    scores = [
        test_scores(each, choice).filter(pl.col("encoder").is_null()).select(*keys, "seed", "trial", "score")
        for each, choice in zip((run, other), choices, strict=True)
    ]
    pairs = scores[0].join(scores[1], on=[*keys, "seed"], nulls_equal=True, suffix="_other").drop_nulls("score")
    rows = []
    for choice in choices[0].iter_rows(named=True):
        same = pl.col("method").eq(choice["method"]), pl.col("modality").eq_missing(choice["modality"])
        theirs = choices[1].filter(*same)
        if len(theirs):
            of_choice = pairs.filter(*same).drop_nulls("score_other")
            described = {"settings": settings(choice, run.vary)}
            described["other_settings"] = settings(theirs.row(0, named=True), other.vary)
            rows.append(
                {key: choice[key] for key in keys}
                | described
                | _difference(of_choice, run.metric, pair=same_data(run, other))
            )
    table = pl.DataFrame(rows, schema=COMPARISON).with_columns(cs.float().fill_nan(None))
    corrected = iter(holm(table["p"].drop_nulls().to_list()))
    return table.with_columns(
        p=pl.Series([None if p is None else next(corrected) for p in table["p"]], dtype=pl.Float64)
    )


def same_data(run: Run, other: Run) -> bool:
    """Say whether two runs are about the same samples, and seeds decide the same in both."""
    return run.kinds == other.kinds and run.study.get("data_sha256") == other.study.get("data_sha256")


def _difference(pairs: pl.DataFrame, metric: str, *, pair: bool) -> dict[str, Any]:
    found = paired(pairs["score_other"], pairs["score"], bounds(metric, change=True))
    if not pair:
        found = found._replace(low=NAN, high=NAN, p=NAN, pairs=0)
    return {
        "test": pairs["score"].mean(), "other": pairs["score_other"].mean(), "difference": found.mean,
        "low": found.low, "high": found.high, "p": found.p, "pairs": found.pairs,
        "shared": (pairs["trial"] == pairs["trial_other"]).sum(),
    }  # fmt: skip
