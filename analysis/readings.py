"""What was read of the test split of a run, and when: a record that grows with each report while a study changes.

A score on test is that of a configuration which was chosen without it. Who sees it, changes the study and looks again
chooses on test, however each report chose by itself; how often that was so only a record can tell.
"""

import io
import json
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl

from analysis import files
from analysis.formatting import method_label
from analysis.tables import Run

FILE = "readings.csv"
READINGS = {
    "time": pl.String,  # when it was read first, UTC
    "method": pl.String,
    "modality": pl.String,  # null but for `unimodal`
    "settings": pl.String,  # the chosen ones among those varied
    "seeds": pl.Int64,
    "metric": pl.String,
    "test": pl.Float64,
    "data": pl.String,  # sha256 of the data
    "configuration": pl.String,  # the same where data, model, training and all settings are
}
WHOSE = ("method", "modality")


def record(run: Run, choices: pl.DataFrame, summary: pl.DataFrame) -> pl.DataFrame:
    """Add to the record of a run's folder what a report of it reads on test, and return all of it, as READINGS says.

    A line is added where a method's configuration, its seeds or its score are not those of its last one.

    Args:
        run: in a folder of this machine.
        choices: its configurations, from `choice.chosen`.
        summary: its methods, from `summary.summary`, in the same order.

    Raises:
        FileNotFoundError: the record is damaged.
    """
    file = Path(run.folder) / FILE
    past = read(file)
    same = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "data": run.study.get("data_sha256")}
    ids = [configuration(run, choice) for choice in choices.iter_rows(named=True)]
    kept = [name for name in READINGS if name in summary.columns]
    known = {name: pl.lit(value) for name, value in same.items()}
    seen = summary.select(kept).with_columns(pl.Series("configuration", ids), **known)
    seen = seen.drop_nulls("test").select(pl.col(name).cast(kind) for name, kind in READINGS.items())
    last = past.unique(WHOSE, keep="last", maintain_order=True)
    told = ("data", "configuration", "seeds", "test")
    new = seen.join(last, on=[*WHOSE, *told], how="anti", nulls_equal=True, maintain_order="left")
    if new.is_empty():
        return past
    table = pl.concat([past, new])
    files.write_atomically(file, table.write_csv().encode())
    return table


def read(file: Path) -> pl.DataFrame:
    """Return a record; one that is not there is empty.

    Raises:
        FileNotFoundError: it is damaged.
    """
    if not file.is_file():
        return pl.DataFrame(schema=READINGS)
    try:
        table = pl.read_csv(io.BytesIO(file.read_bytes()), schema_overrides=READINGS)
        return table.select(list(READINGS))
    except pl.exceptions.PolarsError:
        raise FileNotFoundError(
            f"{file} is damaged: it recorded what reports read on test; without it, a new one begins."
        ) from None


def warning(run: Run, readings: pl.DataFrame) -> list[str]:
    """Return what is to be said where test scores of several configurations of a method were read on these data."""
    here = readings.filter(pl.col("data").eq_missing(pl.lit(run.study.get("data_sha256"), pl.String)))
    counts = here.group_by(WHOSE, maintain_order=True).agg(pl.col("configuration").n_unique(), pl.col("time").min())
    several = counts.filter(pl.col("configuration") > 1)
    if several.is_empty():
        return []
    counted = ", ".join(
        f"{method_label(method, modality)} {count}" for method, modality, count, _ in several.iter_rows()
    )
    return [
        "Reports in this folder have shown test scores of several configurations since "
        f"{str(several['time'].min())[:10]}: {counted} ({FILE}). "
        "Choosing among them by those scores is choosing on test."
    ]


def configuration(run: Run, choice: dict[str, Any]) -> str:
    """Return what tells a configuration from others: all that a study asks of it, in sixteen digits."""
    study, method = run.study["study"], choice["method"]
    own = {method, "train", "model"}
    asked = {f"{part}.{name}": value for part in ("train", "model") for name, value in (study.get(part) or {}).items()}
    asked |= (study.get("set") or {}) | {axis: choice[axis] for axis in run.vary if axis in choice}
    asked = {name: value for name, value in asked.items() if name.partition(".")[0] in own}
    return sha256(json.dumps([study.get("data"), asked], sort_keys=True, default=str).encode()).hexdigest()[:16]
