"""A run folder as lazy tables: nothing is read that is not asked for."""

from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import yaml

TRIALS = {
    "trial": pl.String,
    "method": pl.String,
    "modality": pl.String,  # null but for `unimodal`
    "seed": pl.Int64,
    "status": pl.String,  # done | diverged | failed
    "error": pl.String,
    "seconds": pl.Float64,
    "steps": pl.Int64,
    "params": pl.Int64,
}
METRICS = {
    "trial": pl.String,
    "epoch": pl.Int32,
    "step": pl.Int64,
    "split": pl.String,
    "modality": pl.String,  # null: joint
    "metric": pl.String,
    "value": pl.Float64,
}


class Run(NamedTuple):
    """A study that was started: what was asked for, and what has come back so far."""

    folder: Path
    study: dict[str, Any]  # study.yaml: study, modalities, planned, versions, machine
    trials: pl.LazyFrame  # one row a trial: TRIALS, a column per setting, the final joint metrics
    metrics: pl.LazyFrame  # long: METRICS

    @property
    def name(self) -> str:
        """The study's name."""
        return str(self.study["study"]["name"])

    @property
    def metric(self) -> str:
        """The metric that is chosen by and reported, such as `accuracy`."""
        return str(self.study["study"]["metric"])

    @property
    def highest_is_best(self) -> bool:
        """Whether the metric is to be maximised."""
        return bool(self.study["study"]["direction"] == "max")

    @property
    def vary(self) -> dict[str, dict[str, Any]]:
        """The varied settings: axis -> {values, scale}."""
        return self.study["study"].get("vary") or {}


def load(folder: str | Path) -> Run:
    """Return the run in a folder; FileNotFoundError where there is none, empty tables where none has finished."""
    folder = Path(folder)
    if not (folder / "study.yaml").is_file():
        raise FileNotFoundError(f"{folder} is no run: it has no study.yaml.")
    run = Run(folder, yaml.safe_load((folder / "study.yaml").read_text("utf-8")), pl.LazyFrame(), pl.LazyFrame())
    columns = TRIALS | _settings(run) | dict.fromkeys(_finals(run), pl.Float64)
    return run._replace(trials=_scan(folder / "trials", columns), metrics=_scan(folder / "metrics", METRICS))


def numeric(values: list[Any]) -> bool:
    """Tell whether all values are numbers."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _settings(run: Run) -> dict[str, Any]:
    """Return a column per varied setting; Null gives way to whatever type the choices have."""
    return {axis: pl.Float64 if numeric(spec["values"]) else pl.Null for axis, spec in run.vary.items()}


def _finals(run: Run) -> list[str]:
    return [f"{split}.{metric}" for split in ("validation", "test") for metric in ("loss", run.metric)]


def _scan(folder: Path, columns: dict[str, Any]) -> pl.LazyFrame:
    """Return all files of a folder as one table; files of different methods have different settings."""
    files = sorted(folder.glob("[!.]*.parquet"))
    return pl.concat([pl.LazyFrame(schema=columns), *map(pl.scan_parquet, files)], how="diagonal_relaxed")
