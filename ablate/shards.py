"""A wave: so many trials of a study's plan, as one file of each of its tables."""

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

SHARD_SIZE = 500  # trials in one file
Part = Literal["", "again"]


def write_shard(
    store: Path, folder: Path, plan: Sequence[Trial], failures: Mapping[str, str], wave: int, part: Part = ""
) -> set[str]:
    """Write one file of each table: the trials of a wave that have finished or failed, and return those.

    Args:
        store: where they are.
        folder: of the study.
        plan: all trials of the study.
        failures: trial -> its error; such a trial is a row without numbers.
        wave: which of the plan.
        part: `again` if other points have asked for these trials before; they have a row more, and nothing else.

    Raises:
        DamagedError: the store holds one of the trials, and it cannot be read.
    """
    import polars as pl

    chosen = plan[wave * SHARD_SIZE : (wave + 1) * SHARD_SIZE]
    where = locate(store, (trial.id for trial in chosen))
    failed = {t.id: failures[t.id] for t in chosen if t.id in failures and t.id not in where}
    listed = [trial for trial in chosen if trial.id in where or trial.id in failed]
    for table in ("trials",) if part else TABLES:
        frames = stored_rows(where, table)
        if table == "trials":
            frames = [frame.drop(INTERNAL_COLUMNS, strict=False) for frame in frames]
            frames += [pl.DataFrame({"trial": [t], "status": ["failed"], "error": [e]}) for t, e in failed.items()]
        file = folder / table / f"{shard_name(wave, part)}.parquet"
        if not frames:
            file.unlink(missing_ok=True)
            continue
        rows = pl.concat(frames, how="diagonal_relaxed")
        order = label_columns(listed) if table == "trials" else pl.DataFrame({"trial": [trial.id for trial in listed]})
        buffer = io.BytesIO()  # of a full disk, polars itself raises no OSError
        order.join(rows, on="trial", how="inner", maintain_order="left_right").write_parquet(buffer)
        with atomic_write(file) as draft:
            draft.write_bytes(buffer.getbuffer())
    return {trial.id for trial in listed}


def shard_name(wave: int, part: Part = "") -> str:
    """Return the name of a wave's files."""
    return f"{part}-{wave:05}" if part else f"{wave:05}"


def stored_rows(where: Mapping[str, Path], table: str) -> "list[pl.DataFrame]":
    """Return the rows of trials, given the folder of each: one frame a folder."""
    frames = []
    for folder, trials in group_by_pack(where).items():
        frame = read_table(folder, table)
        frames.append(frame.filter(frame["trial"].is_in(trials)))
    return frames


def label_columns(trials: Iterable[Trial]) -> "pl.DataFrame":
    """Return the columns that tell trials from each other, after their ids."""
    import polars as pl

    rows = [{"trial": trial.id, **trial.labels} for trial in trials]
    names = dict.fromkeys(name for row in rows for name in row)
    columns = [pl.Series(name, [table_cell(row.get(name)) for row in rows], strict=False) for name in names]
    return pl.DataFrame(columns).with_columns(pl.col("modality").cast(pl.String))


def table_cell(value: Any) -> Any:
    """Return a setting as a cell of a table."""
    return json.dumps(value) if isinstance(value, list | dict) else value
