"""Load runs as lazy tables, from a local folder or a remote store; only the columns and rows in use are read."""

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
    "values": pl.UInt32,  # number of finite values
}
POLARS_SCHEMES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "http", "https")  # which Polars scans natively

PARQUET_MAGIC = b"PAR1"  # last bytes of every Parquet file

Options = Mapping[str, Any]


class Run(NamedTuple):
    """A study and its results so far."""

    folder: str  # path or URL
    study: dict[str, Any]  # study.yaml: study, modalities, planned, versions, machine
    trials: pl.LazyFrame  # one row per trial: TRIALS, a column per setting, the final joint metrics
    metrics: pl.LazyFrame  # long: METRICS

    @property
    def name(self) -> str:
        """Return the study's name."""
        return str(self.study["study"]["name"])

    @property
    def methods(self) -> list[str]:
        """Return the compared methods, named as in the tables: a user-defined `module:Name` is `Name`."""
        return [method.rpartition(":")[2] for method in self.study["study"]["methods"]]

    @property
    def metric(self) -> str:
        """Return the metric used for selection and reporting, such as `accuracy`."""
        return str(self.study["study"]["metric"])

    @property
    def looks(self) -> list[int]:
        """Return the looks of a sequential design, ascending numbers of independent seeds; one unless `seeds: auto`."""
        from analysis.sequential import looks

        seeds = self.study["study"].get("seeds", 1)
        if isinstance(seeds, int):
            return [seeds]
        return looks(*seeds["auto"]) if seeds.get("auto") else [next(iter(self.seed_counts.values()), 1)]

    @property
    def seed_counts(self) -> dict[str, int]:
        """Return the number of seeds of each kind (split, init, order) that has several, nested in those before it.

        Empty where one seed determines everything.
        """
        seeds = self.study["study"].get("seeds", 1)
        blocks = {} if isinstance(seeds, int) else seeds
        return {kind: blocks[kind] for kind in ("split", "init", "order") if (blocks.get(kind) or 1) > 1}

    @property
    def higher_is_better(self) -> bool:
        """Return whether the metric is to be maximised."""
        return bool(self.study["study"]["direction"] == "max")

    @property
    def objectives(self) -> dict[str, str]:
        """Return the metrics of the Pareto front, the one used for selection first: name -> max or min."""
        single = {self.metric: str(self.study["study"]["direction"])}
        return self.study["study"].get("objectives") or single

    @property
    def data(self) -> dict[str, Any]:
        """Return the data set of the study: a name or a path, and options."""
        data = self.study["study"]["data"]
        return {"name": data} if isinstance(data, str) else data

    @property
    def search(self) -> tuple[str, dict[str, Any]]:
        """Return the search algorithm and its options."""
        search = self.study["study"].get("search", "grid")
        return (search, {}) if isinstance(search, str) else next(iter(search.items()))

    @property
    def vary(self) -> dict[str, dict[str, Any]]:
        """Return the varied settings: axis -> {values, scale}."""
        return self.study["study"].get("vary") or {}


class Runs(NamedTuple):
    """Several runs; the column `run` of their tables holds a run's name, or its folder where names are equal."""

    runs: dict[str, Run]
    trials: pl.LazyFrame
    metrics: pl.LazyFrame


class Location(NamedTuple):
    """A local or remote path."""

    filesystem: fsspec.AbstractFileSystem
    path: str
    scheme: str
    options: Options

    def join(self, name: str) -> "Location":
        """Return the location of an entry of this folder."""
        return self._replace(path=f"{self.path.rstrip('/')}/{name}")

    def scan(self, path: str) -> pl.LazyFrame:
        """Return a Parquet file of this file system as a lazy table."""
        if self.scheme == "file":
            return pl.scan_parquet(path, glob=False)
        if self.scheme in POLARS_SCHEMES and not self.options:
            return pl.scan_parquet(self.filesystem.unstrip_protocol(path), glob=False)
        from pyarrow import dataset

        return pl.scan_pyarrow_dataset(dataset.dataset(path, filesystem=self.filesystem, format="parquet"))


@overload
def load(folder: str | Path, storage_options: Options | None = None) -> Run: ...
@overload
def load(folder: list[str] | list[Path], storage_options: Options | None = None) -> Runs: ...
def load(folder: str | Path | list[str] | list[Path], storage_options: Options | None = None) -> Run | Runs:
    """Return the run in a folder, or the runs in several.

    Args:
        folder: of a run, or a list of folders; local or in a remote store that fsspec supports, such as
            `s3://bucket/runs/a`.
        storage_options: passed to fsspec, such as `key`, `secret`, `endpoint_url`.

    Raises:
        FileNotFoundError: a folder is no run, or is damaged. A run without finished trials has empty tables.
    """
    options = storage_options or {}
    if isinstance(folder, list):
        return combine_runs([load_run(locate(path, options)) for path in folder])
    return load_run(locate(folder, options))


def load_store(store: str | Path, storage_options: Options | None = None) -> Runs:
    """Return all runs of a store: studies, and cells of claims.

    Raises:
        FileNotFoundError: the store has no runs.
    """
    location = locate(store, storage_options or {})
    subfolders = list(location.filesystem.walk(location.path, maxdepth=3))[1:]
    paths = [folder for folder, _, names in subfolders if "study.yaml" in names]
    if not paths:
        raise FileNotFoundError(f"{store} is not a store: no folder in it has a study.yaml.")
    paths.sort(key=lambda path: (path.count("/"), path))
    return combine_runs([load_run(location._replace(path=path)) for path in paths])


def traces(run: Run, metrics: Sequence[str] | None = None) -> pl.DataFrame:
    """Return mean and spread over the trials of each method at every epoch, with the columns of TRACE.

    The query is streamed and reads only the given metrics (None: all). Values that are not finite are left out.
    """
    keys = ["split", "modality", "metric", "epoch"]
    finite = pl.when(pl.col("value").is_finite()).then(pl.col("value"))
    value = pl.col("value")
    rows = run.metrics if metrics is None else run.metrics.filter(pl.col("metric").is_in(metrics))
    # a filter for each method takes half the time of a join with the trials
    method_tables = [
        rows.filter(pl.col("trial").is_in(trials["trial"].implode()))
        .with_columns(value=finite)
        .group_by(keys)
        .agg(mean=value.mean(), sd=value.std(), least=value.min(), most=value.max(), values=value.count())
        .with_columns(method=pl.lit(method))
        for (method,), trials in run.trials.select("method", "trial").collect().group_by("method")
    ]
    table = pl.concat(
        [pl.LazyFrame(schema=TRACE), *(part.select(list(TRACE)) for part in method_tables)], how="vertical_relaxed"
    )
    return table.sort("method", *keys).collect(engine="streaming")


def is_numeric(values: list[Any]) -> bool:
    """Return whether all values are numbers (a bool is none)."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def table_from_rows(rows: Sequence[Mapping[str, Any]], schema: Mapping[str, Any] | None = None) -> pl.DataFrame:
    """Return rows as a table, with nan replaced by null."""
    return pl.DataFrame(rows, schema=schema, infer_schema_length=None).with_columns(cs.float().fill_nan(None))


def locate(folder: str | Path, options: Options) -> Location:
    """Return the location of a folder, given by its path or URL."""
    filesystem, path = fsspec.core.url_to_fs(str(folder), **options)
    scheme = filesystem.protocol if isinstance(filesystem.protocol, str) else filesystem.protocol[0]
    return Location(filesystem, path if scheme != "file" else str(folder).removeprefix("file://"), scheme, options)


def load_run(location: Location) -> Run:
    """Return the run in a folder; raises FileNotFoundError if it is none, or is damaged."""
    file = location.join("study.yaml").path
    filesystem = location.filesystem
    address = location.path if location.scheme == "file" else filesystem.unstrip_protocol(location.path)
    if not filesystem.isfile(file):
        raise FileNotFoundError(f"{address} is not a run: it has no study.yaml.")
    try:
        record = yaml.safe_load(filesystem.cat_file(file))
    except yaml.YAMLError:
        record = None
    if not is_run_record(record):
        is_study_file = isinstance(record, dict) and "planned" not in record and "study" not in record
        reason = "is a study to run, not the record of a run" if is_study_file else "is damaged"
        raise FileNotFoundError(f"{address} cannot be read as a run: its study.yaml {reason}.")
    run = Run(address, dict(record), pl.LazyFrame(), pl.LazyFrame())
    seeds = {f"seed.{kind}": pl.Int64 for kind in run.seed_counts}
    columns = TRIALS | seeds | setting_columns(run) | dict.fromkeys(score_columns(run), pl.Float64)
    trials, metrics = (scan_folder(location.join(n), c) for n, c in (("trials", columns), ("metrics", METRICS)))
    return run._replace(trials=trials, metrics=metrics)


def is_run_record(record: Any) -> bool:
    """Return whether the content of a study.yaml is what a run writes."""
    study = record.get("study") if isinstance(record, Mapping) else None
    return isinstance(study, Mapping) and isinstance(record.get("planned"), int) and {"metric", "direction"} <= {*study}


def combine_runs(runs: Sequence[Run]) -> Runs:
    """Return several runs with their tables concatenated."""
    names = [run.name for run in runs]
    runs_by_name = {run.folder if names.count(run.name) > 1 else run.name: run for run in runs}
    tables = (
        [getattr(run, table).with_columns(run=pl.lit(name)) for name, run in runs_by_name.items()]
        for table in ("trials", "metrics")
    )
    empty = (pl.LazyFrame(schema={**columns, "run": pl.String}) for columns in (TRIALS, METRICS))
    trials, metrics = (pl.concat([e, *t], how="diagonal_relaxed") for e, t in zip(empty, tables, strict=True))
    return Runs(runs_by_name, trials, metrics)


def setting_columns(run: Run) -> dict[str, Any]:
    """Return the type of each varied setting's column; Null is cast to whatever type the choices have."""
    return {axis: pl.Float64 if is_numeric(spec["values"]) else pl.Null for axis, spec in run.vary.items()}


def score_columns(run: Run) -> list[str]:
    """Return the names of the final joint metrics among the columns of trials."""
    return [f"{split}.{metric}" for split in ("validation", "test") for metric in ("loss", run.metric)]


def scan_folder(location: Location, columns: dict[str, Any]) -> pl.LazyFrame:
    """Return all Parquet files of a folder as one table; files of different methods have different settings.

    Raises:
        FileNotFoundError: a file is truncated.
    """
    paths = sorted(location.filesystem.find(location.path, maxdepth=1))
    files = [file for file in paths if file.endswith(".parquet") and not Path(file).name.startswith(".")]
    for file in files if location.scheme == "file" else ():
        with Path(file).open("rb") as opened:
            opened.seek(-min(len(PARQUET_MAGIC), Path(file).stat().st_size), os.SEEK_END)
            if opened.read() != PARQUET_MAGIC:
                raise FileNotFoundError(
                    f"{file} is damaged; run its study again with `ablate run` to rewrite its tables."
                )
    return pl.concat([pl.LazyFrame(schema=columns), *map(location.scan, files)], how="diagonal_relaxed")
