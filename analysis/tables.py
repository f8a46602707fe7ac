"""Runs as lazy tables, from a folder or a remote store: nothing is read that is not asked for."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import fsspec
import polars as pl
import polars.selectors as cs
import yaml

TRIALS = {
    "trial": pl.String,
    "method": pl.String,
    "modality": pl.String,  # null but for `unimodal`
    "seed": pl.Int64,
    "status": pl.String,  # done | pruned | diverged | failed
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
TRACE = {
    "method": pl.String,
    "split": pl.String,
    "modality": pl.String,
    "metric": pl.String,
    "epoch": pl.Int32,
    "mean": pl.Float64,
    "sd": pl.Float64,
    "least": pl.Float64,
    "most": pl.Float64,
    "values": pl.UInt32,  # finite ones
}
SCANNED = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "http", "https")  # that Polars reads in part by itself

MAGIC = b"PAR1"  # the end of every Parquet file

Options = Mapping[str, Any]


class Run(NamedTuple):
    """A study that was started: what was asked for, and what has come back so far."""

    folder: str  # or address
    study: dict[str, Any]  # study.yaml: study, modalities, planned, versions, machine
    trials: pl.LazyFrame  # one row a trial: TRIALS, a column per setting, the final joint metrics
    metrics: pl.LazyFrame  # long: METRICS

    @property
    def name(self) -> str:
        """The study's name."""
        return str(self.study["study"]["name"])

    @property
    def methods(self) -> list[str]:
        """The methods that are compared, as the tables call them: a user-defined one, `module:Name`, by its name."""
        return [method.rpartition(":")[2] for method in self.study["study"]["methods"]]

    @property
    def metric(self) -> str:
        """The metric that is chosen by and reported, such as `accuracy`."""
        return str(self.study["study"]["metric"])

    @property
    def looks(self) -> list[int]:
        """The numbers of independent seeds at which it may end, rising: one but for `seeds: {auto: ...}`."""
        from analysis.sequential import looks

        asked = self.study["study"].get("seeds", 1)
        if isinstance(asked, int):
            return [asked]
        return looks(*asked["auto"]) if asked.get("auto") else [next(iter(self.kinds.values()), 1)]

    @property
    def kinds(self) -> dict[str, int]:
        """How many seeds there are of each kind with several, nested in those before; none where one decides all."""
        asked = self.study["study"].get("seeds", 1)
        blocks = {} if isinstance(asked, int) else asked
        return {kind: blocks[kind] for kind in ("split", "init", "order") if (blocks.get(kind) or 1) > 1}

    @property
    def highest_is_best(self) -> bool:
        """Whether the metric is to be maximised."""
        return bool(self.study["study"]["direction"] == "max")

    @property
    def objectives(self) -> dict[str, str]:
        """The metrics that are weighed against each other, that by which is chosen first: name -> max or min."""
        chosen_by = {self.metric: str(self.study["study"]["direction"])}
        return self.study["study"].get("objectives") or chosen_by

    @property
    def data(self) -> dict[str, Any]:
        """The data as they were asked for: a name, or a path, and options."""
        data = self.study["study"]["data"]
        return {"name": data} if isinstance(data, str) else data

    @property
    def search(self) -> tuple[str, dict[str, Any]]:
        """How configurations were found, and its options."""
        search = self.study["study"].get("search", "grid")
        return (search, {}) if isinstance(search, str) else next(iter(search.items()))

    @property
    def vary(self) -> dict[str, dict[str, Any]]:
        """The varied settings: axis -> {values, scale}."""
        return self.study["study"].get("vary") or {}


class Runs(NamedTuple):
    """Several runs side by side; the column `run` of their tables has its name, or its folder where names are equal."""

    runs: dict[str, Run]
    trials: pl.LazyFrame
    metrics: pl.LazyFrame


class Place(NamedTuple):
    """A folder, here or remote."""

    files: fsspec.AbstractFileSystem
    path: str
    scheme: str
    options: Options

    def join(self, name: str) -> "Place":
        """Return what lies in it."""
        return self._replace(path=f"{self.path.rstrip('/')}/{name}")

    def scan(self, path: str) -> pl.LazyFrame:
        """Return a Parquet file in this file system: only the columns and rows that are asked for are read."""
        if self.scheme == "file":
            return pl.scan_parquet(path, glob=False)
        if self.scheme in SCANNED and not self.options:
            return pl.scan_parquet(self.files.unstrip_protocol(path), glob=False)
        from pyarrow import dataset

        return pl.scan_pyarrow_dataset(dataset.dataset(path, filesystem=self.files, format="parquet"))


@overload
def load(folder: str | Path, storage_options: Options | None = None) -> Run: ...
@overload
def load(folder: list[str] | list[Path], storage_options: Options | None = None) -> Runs: ...
def load(folder: str | Path | list[str] | list[Path], storage_options: Options | None = None) -> Run | Runs:
    """Return the run in a folder, or the runs in several.

    Args:
        folder: of a run, or a list of folders; here or in a remote store that fsspec knows, such as `s3://bucket/runs/a`.
        storage_options: what fsspec needs to reach it, such as `key`, `secret`, `endpoint_url`.

    Raises:
        FileNotFoundError: a folder is no run, or is damaged. One in which no trial has finished has empty tables.
    """
    options = storage_options or {}
    if isinstance(folder, list):
        return _together([_load(_place(one, options)) for one in folder])
    return _load(_place(folder, options))


def load_store(store: str | Path, storage_options: Options | None = None) -> Runs:
    """Return all runs of a store: those of studies, and of the cells of claims.

    Raises:
        FileNotFoundError: there is none.
    """
    place = _place(store, storage_options or {})
    below = list(place.files.walk(place.path, maxdepth=3))[1:]
    found = [folder for folder, _, names in below if "study.yaml" in names]
    if not found:
        raise FileNotFoundError(f"{store} is no store: no folder in it has a study.yaml.")
    return _together([_load(place._replace(path=path)) for path in sorted(found, key=lambda p: (p.count("/"), p))])


def traces(run: Run, metrics: Sequence[str] | None = None) -> pl.DataFrame:
    """Return mean and spread over the trials of each method, at every epoch, as TRACE says.

    It is streamed, and reads the named metrics only. A value that is not finite is in none of them.
    """
    keys = ["split", "modality", "metric", "epoch"]
    finite = pl.when(pl.col("value").is_finite()).then(pl.col("value"))
    value = pl.col("value")
    rows = run.metrics if metrics is None else run.metrics.filter(pl.col("metric").is_in(metrics))
    # a filter for each method takes half the time of a join with the trials
    parts = [
        rows.filter(pl.col("trial").is_in(trials["trial"].implode()))
        .with_columns(value=finite)
        .group_by(keys)
        .agg(mean=value.mean(), sd=value.std(), least=value.min(), most=value.max(), values=value.count())
        .with_columns(method=pl.lit(method))
        for (method,), trials in run.trials.select("method", "trial").collect().group_by("method")
    ]
    table = pl.concat(
        [pl.LazyFrame(schema=TRACE), *(part.select(list(TRACE)) for part in parts)], how="vertical_relaxed"
    )
    return table.sort("method", *keys).collect(engine="streaming")


def numeric(values: list[Any]) -> bool:
    """Tell whether all values are numbers."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def tabled(rows: Sequence[Mapping[str, Any]], schema: Mapping[str, Any] | None = None) -> pl.DataFrame:
    """Return rows as a table in which what could not be computed is null."""
    return pl.DataFrame(rows, schema=schema, infer_schema_length=None).with_columns(cs.float().fill_nan(None))


def _place(folder: str | Path, options: Options) -> Place:
    files, path = fsspec.core.url_to_fs(str(folder), **options)
    scheme = files.protocol if isinstance(files.protocol, str) else files.protocol[0]
    return Place(files, path if scheme != "file" else str(folder).removeprefix("file://"), scheme, options)


def _load(place: Place) -> Run:
    study = place.join("study.yaml").path
    address = place.path if place.scheme == "file" else place.files.unstrip_protocol(place.path)
    if not place.files.isfile(study):
        raise FileNotFoundError(f"{address} is no run: it has no study.yaml.")
    try:
        about = yaml.safe_load(place.files.cat_file(study))
    except yaml.YAMLError:
        about = None
    if not _whole(about):
        asked = isinstance(about, dict) and "planned" not in about and "study" not in about
        why = "is a study that is to be run, not what a run wrote" if asked else "is damaged"
        raise FileNotFoundError(f"{address} is no run that can be read: its study.yaml {why}.")
    run = Run(address, dict(about), pl.LazyFrame(), pl.LazyFrame())
    kinds = {f"seed.{kind}": pl.Int64 for kind in run.kinds}
    columns = TRIALS | kinds | _settings(run) | dict.fromkeys(_finals(run), pl.Float64)
    trials, metrics = (_scan(place.join(n), c) for n, c in (("trials", columns), ("metrics", METRICS)))
    return run._replace(trials=trials, metrics=metrics)


def _whole(about: Any) -> bool:
    """Say whether this is what a run writes of itself."""
    study = about.get("study") if isinstance(about, Mapping) else None
    return isinstance(study, Mapping) and isinstance(about.get("planned"), int) and {"metric", "direction"} <= {*study}


def _together(runs: Sequence[Run]) -> Runs:
    names = [run.name for run in runs]
    named = {run.folder if names.count(run.name) > 1 else run.name: run for run in runs}
    tables = (
        [getattr(run, table).with_columns(run=pl.lit(name)) for name, run in named.items()]
        for table in ("trials", "metrics")
    )
    empty = (pl.LazyFrame(schema={**columns, "run": pl.String}) for columns in (TRIALS, METRICS))
    trials, metrics = (pl.concat([e, *t], how="diagonal_relaxed") for e, t in zip(empty, tables, strict=True))
    return Runs(named, trials, metrics)


def _settings(run: Run) -> dict[str, Any]:
    """Return a column per varied setting; Null gives way to whatever type the choices have."""
    return {axis: pl.Float64 if numeric(spec["values"]) else pl.Null for axis, spec in run.vary.items()}


def _finals(run: Run) -> list[str]:
    return [f"{split}.{metric}" for split in ("validation", "test") for metric in ("loss", run.metric)]


def _scan(place: Place, columns: dict[str, Any]) -> pl.LazyFrame:
    """Return all files of a folder as one table; files of different methods have different settings.

    Raises:
        FileNotFoundError: one was cut.
    """
    there = sorted(place.files.find(place.path, maxdepth=1))
    files = [file for file in there if file.endswith(".parquet") and not Path(file).name.startswith(".")]
    for file in files if place.scheme == "file" else ():
        with Path(file).open("rb") as opened:
            opened.seek(-min(len(MAGIC), Path(file).stat().st_size), os.SEEK_END)
            if opened.read() != MAGIC:
                raise FileNotFoundError(f"{file} is damaged; `ablate run` writes the tables of its study again.")
    return pl.concat([pl.LazyFrame(schema=columns), *map(place.scan, files)], how="diagonal_relaxed")
