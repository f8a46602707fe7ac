"""Record of the test scores that the reports of a run have shown, and when.

Each report chooses configurations without their test scores. But whoever sees these, changes the study and reports
again chooses on test; how often this was done, only a record over all reports can say.
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
    "time": pl.String,  # of the first report that showed it, UTC
    "method": pl.String,
    "modality": pl.String,  # null but for `unimodal`
    "settings": pl.String,  # the chosen ones among those varied
    "seeds": pl.Int64,
    "metric": pl.String,
    "test": pl.Float64,
    "data": pl.String,  # sha256 of the data
    "configuration": pl.String,  # a hash of data, model, training and all settings
}
METHOD_KEYS = ("method", "modality")


def record_readings(run: Run, choices: pl.DataFrame, summary: pl.DataFrame) -> pl.DataFrame:
    """Add the test scores that a report shows to the record in a run's folder, and return the whole record: READINGS.

    A row is added where a method's configuration, seeds or score differ from those of its last row.

    Args:
        run: in a folder of this machine.
        choices: its chosen configurations, from `choice.best_configurations`.
        summary: its methods, from `summary.summary`, in the same order.

    Raises:
        FileNotFoundError: the record is damaged.
    """
    file = Path(run.folder) / FILE
    previous = read_readings(file)
    constants = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "data": run.study.get("data_sha256")}
    ids = [configuration_id(run, choice) for choice in choices.iter_rows(named=True)]
    kept = [name for name in READINGS if name in summary.columns]
    literals = {name: pl.lit(value) for name, value in constants.items()}
    readings = summary.select(kept).with_columns(pl.Series("configuration", ids), **literals)
    readings = readings.drop_nulls("test").select(pl.col(name).cast(kind) for name, kind in READINGS.items())
    last = previous.unique(METHOD_KEYS, keep="last", maintain_order=True)
    compared = ("data", "configuration", "seeds", "test")
    new = readings.join(last, on=[*METHOD_KEYS, *compared], how="anti", nulls_equal=True, maintain_order="left")
    if new.is_empty():
        return previous
    table = pl.concat([previous, new])
    files.write_atomically(file, table.write_csv().encode())
    return table


def read_readings(file: Path) -> pl.DataFrame:
    """Return the record in a file; an empty one if there is no such file.

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
            f"{file} is damaged: it records the test scores that reports have shown; delete it to start a new record."
        ) from None


def selection_warning(run: Run, readings: pl.DataFrame) -> list[str]:
    """Return a warning where test scores of several configurations of a method were shown on these data."""
    same_data = readings.filter(pl.col("data").eq_missing(pl.lit(run.study.get("data_sha256"), pl.String)))
    counts = same_data.group_by(METHOD_KEYS, maintain_order=True).agg(
        pl.col("configuration").n_unique(), pl.col("time").min()
    )
    several = counts.filter(pl.col("configuration") > 1)
    if several.is_empty():
        return []
    counted = ", ".join(
        f"{method_label(method, modality)} {count}" for method, modality, count, _ in several.iter_rows()
    )
    return [
        "Reports in this folder have shown test scores of several configurations since "
        f"{str(several['time'].min())[:10]}: {counted} ({FILE}). "
        "Choosing among them by these scores is selection on the test split."
    ]


def configuration_id(run: Run, choice: dict[str, Any]) -> str:
    """Return a hash of all settings of a configuration, in sixteen digits."""
    study, method = run.study["study"], choice["method"]
    prefixes = {method, "train", "model"}
    settings = {
        f"{part}.{name}": value for part in ("train", "model") for name, value in (study.get(part) or {}).items()
    }
    settings |= (study.get("set") or {}) | {axis: choice[axis] for axis in run.vary if axis in choice}
    settings = {name: value for name, value in settings.items() if name.partition(".")[0] in prefixes}
    return sha256(json.dumps([study.get("data"), settings], sort_keys=True, default=str).encode()).hexdigest()[:16]
