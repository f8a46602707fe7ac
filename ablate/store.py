"""The store: finished trials, addressed by content and shared by all studies.

<store>/trials/<pack>/{trials,metrics,predictions}.parquet    the trials of a pack; the folder appears at once
<store>/trials/<pack>/index.json                              which trials these are, and the files' checksums

A pack of one is named by its trial, a larger one by a hash of its trials. A folder never changes once it exists. A
damaged one is renamed to `<pack>.damaged-1`, and its trials run again. Folders of one trial without an index are from
the first version of the store, and equally valid.
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

INTERNAL_COLUMNS = ("config", "weights", "origin")  # columns of the store that are not in the tables of a study
TABLES = ("trials", "metrics", "predictions")
INDEX = "index.json"


class DamagedError(Exception):
    """A folder of the store cannot be read; the message says why."""

    def __init__(self, folder: Path, reason: str) -> None:
        """Name the folder and what is wrong with it."""
        super().__init__(f"{folder} is damaged: {reason}")
        self.folder = folder


class Index(NamedTuple):
    """The content of a folder of the store."""

    trials: tuple[str, ...]
    files: dict[str, list[int]]  # name -> size in bytes and CRC-32; empty in the first version of the store


INDEX_ADAPTER = TypeAdapter(Index)


def write_pack(store: Path, members: "list[tuple[Trial, Outcome]]", origin: Mapping[str, Any] | None = None) -> Path:
    """Store trials that finished together, all or none, and return their folder; an intact one there stays as it is.

    ``origin`` is what `ablate.replay` needs to train them again.
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
    """Return the size and the CRC-32 of a file's content."""
    return [len(content), zlib.crc32(content)]


def write_index(file: Path, index: Index) -> None:
    """Write the index of a folder."""
    file.write_text(json.dumps(index._asdict()), encoding="utf-8")


def add_indexes(store: Path) -> None:
    """Write an index into each intact folder of the first version of the store."""
    for folder in pack_folders(store):
        if not holds_several_trials(folder) and not (folder / INDEX).exists() and find_damage(folder) is None:
            files = {f"{table}.parquet": checksum((folder / f"{table}.parquet").read_bytes()) for table in TABLES}
            with atomic_write(folder / INDEX) as draft:
                write_index(draft, Index((folder.name,), files))


def pack_name(trials: Sequence[str]) -> str:
    """Return the name of the folder that holds the given trials."""
    if len(trials) == 1:
        return trials[0]
    return f"{hashlib.sha256(' '.join(trials).encode()).hexdigest()[:20]}-{len(trials)}"


def trial_row(trial: Trial, outcome: "Outcome") -> dict[str, Any]:
    """Return a trial's row of the table `trials`."""
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
    """Return the measurements of trials as a long table."""
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
    """Return the final outputs of a trial, one row per sample; empty for dense outputs, which are large."""
    import polars as pl

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
        for p in outcome.predictions
        if p.outputs.ndim == 2
    ]
    return pl.concat(frames) if frames else pl.DataFrame(schema={"trial": pl.String})


def read_index(folder: Path) -> Index:
    """Return the index of a folder.

    Raises:
        DamagedError: it cannot be read, or does not match the folder's name.
    """
    try:
        index = INDEX_ADAPTER.validate_json((folder / INDEX).read_bytes())
    except FileNotFoundError:
        if holds_several_trials(folder):
            raise DamagedError(folder, f"it has no {INDEX}") from None
        return Index((folder.name,), {})  # from the first version of the store
    except (OSError, ValueError):
        raise DamagedError(folder, f"its {INDEX} cannot be read") from None
    if pack_name(index.trials) != folder.name:
        raise DamagedError(folder, f"its {INDEX} names other trials")
    return index


def holds_several_trials(folder: Path) -> bool:
    """Return whether a folder holds several trials; else it is named by its only trial."""
    return "-" in folder.name


def trial_ids(folder: Path) -> tuple[str, ...]:
    """Return the ids of a folder's trials; raise a DamagedError if its index cannot be read."""
    return indexed_trial_ids(folder) if holds_several_trials(folder) else (folder.name,)


def readable_trial_ids(folder: Path) -> tuple[str, ...]:
    """Return the ids of a folder's trials; none if its index cannot be read."""
    try:
        return trial_ids(folder)
    except DamagedError:
        return ()


@cache
def indexed_trial_ids(pack: Path) -> tuple[str, ...]:
    """Return the ids in the index of a pack of several; they are cached, because its name is a hash of them."""
    return read_index(pack).trials


def pack_folders(store: Path) -> list[Path]:
    """Return the folders of finished trials, sorted by name."""
    folder = store / "trials"
    names = os.listdir(folder) if folder.is_dir() else []  # noqa: PTH208  (there may be 100,000)
    return [folder / name for name in sorted(names) if "." not in name]


def locate(store: Path, trials: Iterable[str]) -> dict[str, Path]:
    """Return the folder of each given trial that is in the store; the first by name, if several hold it."""
    wanted = set(trials)
    folders: dict[str, Path] = {}
    for folder in pack_folders(store):
        for trial in readable_trial_ids(folder):
            if trial in wanted:
                folders.setdefault(trial, folder)
    return folders


def group_by_pack(folders: Mapping[str, Path]) -> dict[Path, list[str]]:
    """Return the trials of each folder, given the folder of each trial."""
    trials: dict[Path, list[str]] = {}
    for trial, folder in folders.items():
        trials.setdefault(folder, []).append(trial)
    return trials


def read_verified(folder: Path, table: str) -> tuple[bytes, bool]:
    """Return the content of a table's file, and whether the index has a checksum that it matches.

    Raises:
        DamagedError: it cannot be read, or does not match its checksum.
    """
    name = f"{table}.parquet"
    expected = read_index(folder).files.get(name)
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise DamagedError(folder, f"{name}: {error.strerror}") from None
    if expected and expected != checksum(content):
        size = len(content)
        reason = f"has {size} of {expected[0]} bytes" if size != expected[0] else "is not what was written"
        raise DamagedError(folder, f"{name} {reason}")
    return content, expected is not None


def read_table(folder: Path, table: str) -> "pl.DataFrame":
    """Return a table of all trials of a folder; raise a DamagedError if it cannot be read or was changed."""
    import polars as pl

    try:
        return pl.read_parquet(io.BytesIO(read_verified(folder, table)[0]))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
        raise DamagedError(folder, f"{table}.parquet is not a Parquet file") from None


def find_damage(folder: Path) -> DamagedError | None:
    """Return the error that reading a folder of the store raises; None if it is intact."""
    try:
        for table in TABLES:
            if not read_verified(folder, table)[1]:
                read_table(folder, table)
    except DamagedError as error:
        return error
    return None


def set_aside(folder: Path) -> Path:
    """Rename a damaged folder to `<pack>.damaged-1`, `.damaged-2`, ..., and return its new path."""
    number = 1
    while (target := folder.with_name(f"{folder.name}.damaged-{number}")).exists():
        number += 1
    if find_damage(folder):  # else another process has renamed it, and the trials ran again
        with suppress(FileNotFoundError):
            folder.rename(target)
    return target


def load_results(store: Path, trials: Iterable[str], metric: str) -> tuple[dict[str, Result], list[DamagedError]]:
    """Return the results of the given trials that the store holds, and the damage found on the way."""
    folders = locate(store, trials)
    results, damaged = {}, list(unreadable_packs(store))
    for folder in dict.fromkeys(folders.values()):
        if problem := find_damage(folder):
            damaged.append(problem)
            continue
        rows = read_table(folder, "trials")
        scores = rows[f"validation.{metric}"] if f"validation.{metric}" in rows.columns else [None] * len(rows)
        for trial, status, score in zip(rows["trial"], rows["status"], scores, strict=True):
            if folders.get(trial) == folder:
                results[trial] = Result(status, score if status == "done" else None)
    return results, damaged


def unreadable_packs(store: Path) -> Iterator[DamagedError]:
    """Yield the errors of packs whose index cannot be read."""
    for folder in pack_folders(store):
        try:
            trial_ids(folder)
        except DamagedError as error:
            yield error
