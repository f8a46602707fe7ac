"""The store: finished trials by content, shared by all studies.

<store>/trials/<pack>/{trials,metrics,predictions}.parquet    the trials of a pack; the folder appears at once
<store>/trials/<pack>/index.json                              which trials these are, and the files' checksums

A pack of one is named by its trial, a larger one by a hash of its trials. A folder never changes once it is there. One
that is damaged is moved aside, as `<pack>.damaged-1`, and its trials run again. Folders of one trial without an index
are of the first version of the store, and as good.
"""

import hashlib
import io
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import TypeAdapter

from ablate.files import atomic_write
from ablate.trial import Result, Trial

if TYPE_CHECKING:
    import polars as pl

    from trainables.evaluation import Outcome

INTERNAL_COLUMNS = ("config", "weights", "origin")  # columns of the store that the tables of a study do not have
TABLES = ("trials", "metrics", "predictions")
INDEX = "index.json"


class DamagedError(Exception):
    """A folder of the store that cannot be read; the message says what is wrong with it."""

    def __init__(self, folder: Path, found: str) -> None:
        """Name the folder and what was found."""
        super().__init__(f"{folder} is damaged: {found}")
        self.folder = folder


class Index(NamedTuple):
    """What a folder says of itself."""

    trials: tuple[str, ...]
    files: dict[str, list[int]]  # name -> size in bytes and CRC-32; empty in the first version of the store


INDEX_ADAPTER = TypeAdapter(Index)


def write_pack(store: Path, members: "list[tuple[Trial, Outcome]]", origin: Mapping[str, Any] | None = None) -> Path:
    """Put trials that finished together into the store, all or none; one that is there already stays as it is.

    ``origin`` is what `ablate.replay` needs to train them again. Returns their folder.
    """
    import polars as pl

    folder = store / "trials" / pack_name([trial.id for trial, _ in members])
    tables = {
        "trials": pl.DataFrame(
            [trial_row(*member) | {"origin": json.dumps(origin)} for member in members],
            schema_overrides={"error": pl.String, "weights": pl.String},
            infer_schema_length=None,
        ),
        "metrics": metrics_table(members),
        "predictions": pl.concat([predictions_table(trial.id, outcome) for trial, outcome in members], how="diagonal"),
    }
    if folder.is_dir():
        set_aside(folder)
    with atomic_write(folder) as draft:
        draft.mkdir()
        files = {}
        for name, table in tables.items():
            buffer = io.BytesIO()
            table.write_parquet(buffer)
            (draft / f"{name}.parquet").write_bytes(buffer.getbuffer())
            files[f"{name}.parquet"] = checksum(buffer.getbuffer())
        write_index(draft / INDEX, Index(tuple(trial.id for trial, _ in members), files))
    return folder


def checksum(content: bytes | memoryview) -> list[int]:
    """Return size and CRC-32 of a file."""
    return [len(content), zlib.crc32(content)]


def write_index(file: Path, index: Index) -> None:
    """Write what a folder says of itself."""
    file.write_text(json.dumps(index._asdict()), encoding="utf-8")


def add_indexes(store: Path) -> None:
    """Give folders of the first version of the store, as far as they are whole, an index."""
    for folder in pack_folders(store):
        if not holds_several_trials(folder) and not (folder / INDEX).exists() and find_damage(folder) is None:
            files = {f"{table}.parquet": checksum((folder / f"{table}.parquet").read_bytes()) for table in TABLES}
            with atomic_write(folder / INDEX) as draft:
                write_index(draft, Index((folder.name,), files))


def pack_name(trials: Sequence[str]) -> str:
    """Return the name of the folder that holds some trials."""
    if len(trials) == 1:
        return trials[0]
    return f"{hashlib.sha256(' '.join(trials).encode()).hexdigest()[:20]}-{len(trials)}"


def trial_row(trial: Trial, outcome: "Outcome") -> dict[str, Any]:
    """Return a trial's row."""
    return {
        "trial": trial.id,
        "status": outcome.status,
        "error": outcome.error,
        "seconds": outcome.seconds,
        "steps": outcome.steps,
        "params": outcome.params,
        "weights": outcome.weights,
        "config": json.dumps(trial.config, sort_keys=True),
        **outcome.final,
    }


def metrics_table(members: "list[tuple[Trial, Outcome]]") -> "pl.DataFrame":
    """Return what was measured in the trials, long."""
    import polars as pl

    return pl.DataFrame(
        [(trial.id, *row) for trial, outcome in members for row in outcome.rows],
        schema={
            "trial": pl.String, "epoch": pl.Int32, "step": pl.Int64, "split": pl.String,
            "modality": pl.String, "metric": pl.String, "value": pl.Float64,
        },
        orient="row",
    )  # fmt: skip


def predictions_table(trial: str, outcome: "Outcome") -> "pl.DataFrame":
    """Return the final outputs, one row a sample; empty for large outputs, such as dense ones."""
    import polars as pl

    kept = [p for p in outcome.predictions if p.outputs.ndim == 2]
    frames = [
        pl.DataFrame(
            {
                "trial": [trial] * len(p.target),
                "split": [p.split] * len(p.target),
                "sample": range(len(p.target)),
                "target": p.target.reshape(len(p.target)).astype("float64"),
                "output": p.outputs,
            },
            schema_overrides={"sample": pl.Int32, "output": pl.Array(pl.Float32, p.outputs.shape[1])},
        )
        for p in kept
    ]
    return pl.concat(frames) if frames else pl.DataFrame(schema={"trial": pl.String})


def read_index(folder: Path) -> Index:
    """Return what a folder says of itself.

    Raises:
        DamagedError: it cannot be read, or names other trials than the folder's name does.
    """
    try:
        found = INDEX_ADAPTER.validate_json((folder / INDEX).read_bytes())
    except FileNotFoundError:
        if holds_several_trials(folder):
            raise DamagedError(folder, f"it has no {INDEX}") from None
        return Index((folder.name,), {})  # of the first version of the store
    except (OSError, ValueError):
        raise DamagedError(folder, f"its {INDEX} cannot be read") from None
    if pack_name(found.trials) != folder.name:
        raise DamagedError(folder, f"its {INDEX} names other trials")
    return found


def holds_several_trials(folder: Path) -> bool:
    """Tell a pack of several trials from one that is named by its only trial."""
    return "-" in folder.name


def trial_ids(folder: Path) -> tuple[str, ...]:
    """Return which trials a folder holds; a DamagedError if it cannot tell."""
    return indexed_trial_ids(folder) if holds_several_trials(folder) else (folder.name,)


def readable_trial_ids(folder: Path) -> tuple[str, ...]:
    """Return which trials a folder holds; none if it cannot tell."""
    try:
        return trial_ids(folder)
    except DamagedError:
        return ()


@cache
def indexed_trial_ids(pack: Path) -> tuple[str, ...]:
    """Return the trials of a pack of several; its name depends on nothing else, so that it need be read once."""
    return read_index(pack).trials


def pack_folders(store: Path) -> list[Path]:
    """Return the folders of finished trials, by name."""
    folder = store / "trials"
    names = os.listdir(folder) if folder.is_dir() else []  # noqa: PTH208  (names alone: there may be 100,000)
    return [folder / name for name in sorted(names) if "." not in name]


def locate(store: Path, trials: Iterable[str]) -> dict[str, Path]:
    """Return the folder of each of the trials that the store holds; the first by name, where several hold it."""
    wanted = set(trials)
    found: dict[str, Path] = {}
    for folder in pack_folders(store):
        for trial in readable_trial_ids(folder):
            if trial in wanted:
                found.setdefault(trial, folder)
    return found


def group_by_pack(where: Mapping[str, Path]) -> dict[Path, list[str]]:
    """Return the trials of each folder, given the folder of each trial."""
    found: dict[Path, list[str]] = {}
    for trial, folder in where.items():
        found.setdefault(folder, []).append(trial)
    return found


def read_verified(folder: Path, table: str) -> tuple[bytes, bool]:
    """Return the file of a table, and whether it was checked to be what was written.

    Raises:
        DamagedError: it cannot be read, or is not what was written.
    """
    name = f"{table}.parquet"
    written = read_index(folder).files.get(name)
    try:
        found = (folder / name).read_bytes()
    except OSError as error:
        raise DamagedError(folder, f"{name}: {error.strerror}") from None
    if written and written != checksum(found):
        cut = f"has {len(found)} of {written[0]} bytes" if len(found) != written[0] else "is not what was written"
        raise DamagedError(folder, f"{name} {cut}")
    return found, written is not None


def read_table(folder: Path, table: str) -> "pl.DataFrame":
    """Return a table of all trials of a folder; a DamagedError if it cannot be read, or is not what was written."""
    import polars as pl

    try:
        return pl.read_parquet(io.BytesIO(read_verified(folder, table)[0]))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
        raise DamagedError(folder, f"{table}.parquet is no Parquet file") from None


def find_damage(folder: Path) -> DamagedError | None:
    """Return what is wrong with a folder of the store, if anything is."""
    try:
        for table in TABLES:
            if not read_verified(folder, table)[1]:
                read_table(folder, table)
    except DamagedError as error:
        return error
    return None


def set_aside(folder: Path) -> Path:
    """Move a damaged folder out of the way, and return where it is kept: beside, as `.damaged-1`, `.damaged-2`, ..."""
    number = 1
    while (target := folder.with_name(f"{folder.name}.damaged-{number}")).exists():
        number += 1
    if find_damage(folder):  # else another process has done it, and the trials ran again
        with suppress(FileNotFoundError):
            folder.rename(target)
    return target


def load_results(store: Path, trials: Iterable[str], metric: str) -> tuple[dict[str, Result], list[DamagedError]]:
    """Return what the engine needs to know of those of the trials that the store holds, and what of it is damaged."""
    where = locate(store, trials)
    found, bad = {}, list(unreadable_packs(store))
    for folder in dict.fromkeys(where.values()):
        if problem := find_damage(folder):
            bad.append(problem)
            continue
        rows = read_table(folder, "trials")
        scores = rows[f"validation.{metric}"] if f"validation.{metric}" in rows.columns else [None] * len(rows)
        for trial, status, score in zip(rows["trial"], rows["status"], scores, strict=True):
            if where.get(trial) == folder:
                found[trial] = Result(status, score if status == "done" else None)
    return found, bad


def unreadable_packs(store: Path) -> Iterator[DamagedError]:
    """Yield the packs that cannot even tell what they hold."""
    for folder in pack_folders(store):
        try:
            trial_ids(folder)
        except DamagedError as error:
            yield error
