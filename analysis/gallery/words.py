"""What the captions of figures share: names of files, and what is safe."""

import re

import polars as pl

from analysis.choice import chosen, configurations
from analysis.formatting import is_percent, plural
from analysis.regions import Region
from analysis.tables import Run

LISTED = ("grid", "one-at-a-time", "ablate")  # designs of the values that the study names
POINT = 0.01  # the margin of a safe region


def methods(run: Run) -> list[str]:
    """Return the methods that have configurations, without the modalities alone."""
    return [method for method in chosen(run)["method"].unique(maintain_order=True) if method != "unimodal"]


def slug(name: str) -> str:
    """Return a name that is a file's."""
    return re.sub(r"[^\w.-]+", "_", name)[:60]


def margin_of(run: Run, method: str) -> float:
    """Return what does not matter: a point, or of a metric that is no share a hundredth of the method's best."""
    best = configurations(run).filter(pl.col("method") == method)["validation"].drop_nulls().head(1)
    return POINT if is_percent(run.metric) or best.is_empty() else POINT * abs(best.item())


def share(region: Region) -> str:
    """Return how many of the configurations are within the margin as measured, and how many surely are."""
    within, shown = region.table["within"].sum(), region.table["shown"].sum()
    return f"{within} of {plural(len(region.table), 'configuration')} as measured, {shown} with the whole 95 % interval"
