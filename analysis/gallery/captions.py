"""Shared parts of captions: final scores, safe regions, paired seeds, names of methods and files."""

import re

import polars as pl

from analysis.choice import best_configurations, configurations
from analysis.formatting import format_score, is_percent, plural
from analysis.plots.style import interval_caption, seed_count_range
from analysis.regions import Region
from analysis.tables import Run

GRID_SEARCHES = ("grid", "one-at-a-time", "ablate")  # searches over values that the study lists
MARGIN = 0.01  # of a safe region


def compared_methods(run: Run) -> list[str]:
    """Return the methods that have configurations, without `unimodal`."""
    return [method for method in best_configurations(run)["method"].unique(maintain_order=True) if method != "unimodal"]


def slug(name: str) -> str:
    """Return a name as a part of a file name."""
    return re.sub(r"[^\w.-]+", "_", name)[:60]


def safe_margin(run: Run, method: str) -> float:
    """Return the loss that does not matter: a point, or for a metric not in percent 1 % of the method's best score."""
    best = configurations(run).filter(pl.col("method") == method)["validation"].drop_nulls().head(1)
    return MARGIN if is_percent(run.metric) or best.is_empty() else MARGIN * abs(best.item())


def safe_share(region: Region) -> str:
    """Return how many configurations are within the margin as measured, and how many with their whole interval."""
    within, shown = region.table["within"].sum(), region.table["shown"].sum()
    return f"{within} of {plural(len(region.table), 'configuration')} by the mean, {shown} by the whole 95 % interval"


def final_scores(run: Run, table: pl.DataFrame, suffix: str = "") -> str:
    """Return the score at the end of each method's line; `suffix` is formatted with the fields of that row."""
    last = table.drop_nulls("mean").group_by("method", maintain_order=True).last()
    return "; ".join(
        f"{row['method']} {format_score(run.metric, row['mean'], row['low'], row['high'])}{suffix.format(**row)}"
        for row in last.iter_rows(named=True)
    )


def pairs_caption(table: pl.DataFrame) -> str:
    """Return the caption of paired intervals: their number of seeds, or that there is no interval."""
    pairs = table.select(seeds="pairs")
    has_interval = len(table.drop_nulls("low")) > 0
    return f"{interval_caption(pairs) if has_interval else f'{seed_count_range(pairs)}, no interval'}, paired by seed"
