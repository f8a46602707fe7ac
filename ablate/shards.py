"""The shards of a study's tables: one Parquet file of each table for every SHARD_SIZE trials of its plan."""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ablate.files import atomic_write
from ablate.store import INTERNAL_COLUMNS, TABLES, group_by_pack, locate, read_table
from ablate.trial import Trial

if TYPE_CHECKING:
    import polars as pl

SHARD_SIZE = 500  # trials
Part = Literal["", "again"]


def write_shard(
    store: Path, folder: Path, plan: Sequence[Trial], failures: Mapping[str, str], number: int, part: Part = ""
) -> set[str]:
    """Write a shard of each table, and return the trials in it: those that have finished or failed.

    Args:
        store: the store that holds the trials.
        folder: the study's folder.
        plan: all trials of the study.
        failures: error messages of failed trials, which are rows without numbers.
        number: the shard's position in the plan.
        part: `again` if the plan is of trials that an earlier point has requested; these get another row of the table
            `trials` alone.

    Raises:
        DamagedError: the store holds one of the trials, and it cannot be read.
    """
    import polars as pl

    trials = plan[number * SHARD_SIZE : (number + 1) * SHARD_SIZE]
    folders = locate(store, (trial.id for trial in trials))
    failed = {t.id: failures[t.id] for t in trials if t.id in failures and t.id not in folders}
    listed = [trial for trial in trials if trial.id in folders or trial.id in failed]
    for table in ("trials",) if part else TABLES:
        frames = stored_rows(folders, table)
        if table == "trials":
            frames = [frame.drop(INTERNAL_COLUMNS, strict=False) for frame in frames]
            frames += [pl.DataFrame({"trial": [t], "status": ["failed"], "error": [e]}) for t, e in failed.items()]
        file = folder / table / f"{shard_name(number, part)}.parquet"
        if not frames:
            file.unlink(missing_ok=True)
            continue
        rows = pl.concat(frames, how="diagonal_relaxed")
        order = label_columns(listed) if table == "trials" else pl.DataFrame({"trial": [trial.id for trial in listed]})
        buffer = io.BytesIO()  # on a full disk, polars itself does not raise an OSError
        order.join(rows, on="trial", how="inner", maintain_order="left_right").write_parquet(buffer)
        with atomic_write(file) as draft:
            draft.write_bytes(buffer.getbuffer())
    return {trial.id for trial in listed}


def shard_name(number: int, part: Part = "") -> str:
    """Return the name of a shard's files, without suffix."""
    return f"{part}-{number:05}" if part else f"{number:05}"


def stored_rows(folders: Mapping[str, Path], table: str) -> "list[pl.DataFrame]":
    """Return the rows of trials, given the folder of each, as one data frame per folder."""
    frames = []
    for folder, trials in group_by_pack(folders).items():
        frame = read_table(folder, table)
        frames.append(frame.filter(frame["trial"].is_in(trials)))
    return frames


def label_columns(trials: Iterable[Trial]) -> "pl.DataFrame":
    """Return the ids of trials, and their labels as columns."""
    import polars as pl

    rows = [{"trial": trial.id, **trial.labels} for trial in trials]
    names = dict.fromkeys(name for row in rows for name in row)
    columns = [pl.Series(name, [table_cell(row.get(name)) for row in rows], strict=False) for name in names]
    return pl.DataFrame(columns).with_columns(pl.col("modality").cast(pl.String))


def table_cell(value: Any) -> Any:
    """Return a setting as a table cell: lists and mappings as JSON."""
    return json.dumps(value) if isinstance(value, list | dict) else value
