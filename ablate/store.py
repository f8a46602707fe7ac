"""The store: finished trials by content, shared by all studies, and the tables of each study.

<store>/trials/<id>/{trials,metrics,predictions}.parquet    a finished trial; the folder appears whole or not at all
<store>/<study>/study.yaml                                  the study as resolved, with versions and machine
<store>/<study>/{trials,metrics,predictions}/*.parquet      its tables, in the order of its plan
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.errors import UserError
from ablate.plan import Result, Trial

if TYPE_CHECKING:
    import polars as pl

    from trainables.train import Outcome

TABLES = ("trials", "metrics", "predictions")
WAVE = 500  # trials in one file of a study's tables


@contextmanager
def aside(target: Path) -> Iterator[Path]:
    """Yield a path to write a file or a folder to; on success it becomes ``target`` at once, else nothing remains.

    If ``target`` is a folder that another process has made meanwhile, that one stays.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    holder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        draft = holder / target.name
        yield draft
        for file in [draft] if draft.is_file() else sorted(draft.iterdir()):
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        try:
            draft.replace(target)
        except OSError:
            if not target.is_dir():
                raise
        parent = os.open(target.parent, os.O_RDONLY)
        os.fsync(parent)  # the rename itself
        os.close(parent)
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def trial_folder(store: Path, trial: str) -> Path:
    """Return where a finished trial lies."""
    return store / "trials" / trial


def finished(store: Path, trials: Iterable[str]) -> set[str]:
    """Return those of the trials that the store holds."""
    return {trial for trial in trials if trial_folder(store, trial).is_dir()}


def write_trial(store: Path, trial: Trial, outcome: "Outcome") -> None:
    """Put a finished trial into the store."""
    import polars as pl

    row = {
        "trial": trial.id,
        "status": outcome.status,
        "error": outcome.error,
        "seconds": outcome.seconds,
        "steps": outcome.steps,
        "params": outcome.params,
        "config": json.dumps(trial.config, sort_keys=True),
        **outcome.final,
    }
    metrics = pl.DataFrame(
        [(trial.id, *row) for row in outcome.rows],
        schema={
            "trial": pl.String, "epoch": pl.Int32, "step": pl.Int64, "split": pl.String,
            "modality": pl.String, "metric": pl.String, "value": pl.Float64,
        },
        orient="row",
    )  # fmt: skip
    with aside(trial_folder(store, trial.id)) as folder:
        folder.mkdir()
        pl.DataFrame([row], schema_overrides={"error": pl.String}).write_parquet(folder / "trials.parquet")
        metrics.write_parquet(folder / "metrics.parquet")
        predictions(trial.id, outcome).write_parquet(folder / "predictions.parquet")


def predictions(trial: str, outcome: "Outcome") -> "pl.DataFrame":
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


def result(store: Path, trial: str, metric: str) -> Result:
    """Return what the engine needs to know of a finished trial."""
    frame = read(store, trial, "trials")
    status = frame["status"][0]
    return Result(status, frame[f"validation.{metric}"][0] if status == "done" else None)


def read(store: Path, trial: str, table: str) -> "pl.DataFrame":
    """Return a table of a finished trial.

    Raises:
        UserError: it cannot be read.
    """
    import polars as pl

    folder = trial_folder(store, trial)
    try:
        return pl.read_parquet(folder / f"{table}.parquet")
    except (OSError, pl.exceptions.PolarsError):
        raise UserError(f"{folder}: is damaged; remove this folder, and the trial runs again") from None


def write_tables(store: Path, folder: Path, plan: list[Trial], failures: dict[str, str], *, wave: int) -> None:
    """Write one file of each of a study's tables: the trials of a wave that have finished or failed, as planned.

    ``failures`` maps a trial to its error; such a trial is a row without numbers.
    """
    import polars as pl

    members = plan[wave * WAVE : (wave + 1) * WAVE]
    held = finished(store, (t.id for t in members))
    done = [t for t in members if t.id in held]
    for table in TABLES:
        frames = [read(store, t.id, table) for t in done]
        if table == "trials":
            frames = [labelled(t, frame.drop("config")) for t, frame in zip(done, frames, strict=True)]
            frames += [
                labelled(t, pl.DataFrame({"trial": [t.id], "status": ["failed"], "error": [failures[t.id]]}))
                for t in members
                if t.id in failures and t.id not in held
            ]
        file = folder / table / f"{wave:05}.parquet"
        if not frames:
            file.unlink(missing_ok=True)
            continue
        with aside(file) as draft:
            pl.concat(frames, how="diagonal_relaxed").write_parquet(draft)


def labelled(trial: Trial, row: "pl.DataFrame") -> "pl.DataFrame":
    """Return a trial's row with the columns that tell it from others, after its id."""
    import polars as pl

    labels = {k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in trial.labels.items()}
    columns = pl.DataFrame([labels], schema_overrides={"modality": pl.String})
    return pl.concat([row.select("trial"), columns, row.drop("trial")], how="horizontal")


def write_study(folder: Path, content: dict[str, Any]) -> None:
    """Write study.yaml."""
    import yaml

    with aside(folder / "study.yaml") as draft:
        draft.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
