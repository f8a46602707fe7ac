"""The curves of a run, written to a tracker's own files in its folder while it goes on; nothing leaves this machine.

The tables are what counts; a tracker shows the finite numbers in them. It is given each trial once, when it has ended,
by whoever runs the study: trials train in packs, so none of them could report alone. `MLFLOW_TRACKING_URI` and
`WANDB_MODE` lead elsewhere.
"""

import logging
import math
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, Protocol

from ablate.errors import UserError
from ablate.files import atomic_write
from analysis import load

MAX_FLOAT32 = 3.4e38  # number that TensorBoard can hold
Curves = dict[str, list[tuple[int, float]]]  # "validation/accuracy", "train/scale/audio" -> (epoch, value)


class FinishedTrial(NamedTuple):
    """A trial as a tracker takes it."""

    id: str
    name: str
    settings: dict[str, str | int | float | bool]
    scores: dict[str, float]
    curves: Curves


class Tracker(Protocol):
    """Where curves go."""

    def known(self) -> set[str]:
        """Return the trials that it has."""

    def add(self, trial: FinishedTrial) -> None:
        """Take a trial."""


class TensorBoard:
    """`<run>/tensorboard/<trial>/`, for `tensorboard --logdir <run>/tensorboard`."""

    def __init__(self, run: Path) -> None:
        """Write below a run's folder."""
        self.folder = run / "tensorboard"

    def known(self) -> set[str]:
        """Return the trials that it has."""
        return {path.name.rpartition(" ")[2] for path in self.folder.glob("* *")}

    def add(self, trial: FinishedTrial) -> None:
        """Take a trial."""
        from tensorboardX import SummaryWriter

        with atomic_write(self.folder / f"{trial.name} {trial.id}") as draft, SummaryWriter(str(draft)) as writer:
            for name, points in trial.curves.items():
                for epoch, value in points:
                    if abs(value) < MAX_FLOAT32:
                        writer.add_scalar(name, value, epoch)
            writer.add_hparams(trial.settings, trial.scores, name=".")


class MLflow:
    """`<run>/mlflow.db`, for `mlflow ui --backend-store-uri sqlite:///<run>/mlflow.db`."""

    def __init__(self, run: Path) -> None:
        """Write to a run's folder, or to where MLFLOW_TRACKING_URI says; an experiment is named as the run."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        with warnings.catch_warnings(action="ignore"):
            from mlflow.tracking import MlflowClient

            for name in ("mlflow", "alembic"):
                logging.getLogger(name).setLevel(logging.ERROR)
            self.client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or self.address(run))
            found = self.client.get_experiment_by_name(run.name)
            self.experiment = found.experiment_id if found else self.client.create_experiment(run.name)

    @staticmethod
    def address(run: Path) -> str:
        """Return the address of the database in a run's folder.

        Raises:
            ValueError: another path would be read in it; escaped, MLflow would make a folder of the escaped name, too.
        """
        from sqlalchemy import make_url

        address = f"sqlite:///{run / 'mlflow.db'}"
        if make_url(address).database != str(run / "mlflow.db"):
            raise ValueError(f"it takes no path with `?`, or with `%` and two digits, got {run}")
        return address

    def known(self) -> set[str]:
        """Return the trials that it has."""
        runs, token = set[str](), None
        while True:
            page = self.client.search_runs([self.experiment], "attributes.status = 'FINISHED'", page_token=token)
            runs |= {run.data.tags["trial"] for run in page if "trial" in run.data.tags}
            token = page.token
            if not token:
                return runs

    def add(self, trial: FinishedTrial) -> None:
        """Take a trial."""
        from mlflow.entities import Metric, Param

        for cut in self.client.search_runs([self.experiment], f"tags.trial = '{trial.id}'"):  # by a kill
            self.client.delete_run(cut.info.run_id)
        run = self.client.create_run(self.experiment, tags={"trial": trial.id}, run_name=trial.name).info.run_id
        points = [Metric(name, value, 0, epoch) for name, curve in trial.curves.items() for epoch, value in curve]
        points += [Metric(name, value, 0, 0) for name, value in trial.scores.items()]
        settings = [Param(name, str(value)) for name, value in trial.settings.items()]
        for part in range(0, max(len(points), len(settings)), 100):
            self.client.log_batch(run, points[part : part + 100], settings[part : part + 100])
        self.client.set_terminated(run)


class WandB:
    """`<run>/wandb/offline-run-*`, for `wandb sync`; WANDB_MODE=online sends them at once."""

    WHOLE = "finished"  # an empty file in the folder of a run that was written to its end

    def __init__(self, run: Path) -> None:
        """Write to a run's folder; a project is named as the run."""
        os.environ.setdefault("WANDB_MODE", "offline")
        self.run = run

    def known(self) -> set[str]:
        """Return the trials that it has."""
        return {path.parent.name.rpartition("-")[2] for path in (self.run / "wandb").glob(f"*run-*-*/{self.WHOLE}")}

    def add(self, trial: FinishedTrial) -> None:
        """Take a trial."""
        import wandb

        for cut in (self.run / "wandb").glob(f"*run-*-{trial.id}"):  # by a kill
            shutil.rmtree(cut)
        quiet = wandb.Settings(silent=True, console="off")
        run = wandb.init(
            project=self.run.name, id=trial.id, name=trial.name, dir=self.run, config=trial.settings, settings=quiet
        )
        epochs: dict[int, dict[str, float]] = {}
        for name, points in trial.curves.items():
            for epoch, value in points:
                epochs.setdefault(epoch, {})[name] = value
        for epoch, values in sorted(epochs.items()):
            run.log(values, step=epoch)
        run.summary.update(trial.scores)
        folder = Path(run.dir).parent
        run.finish()
        if folder.is_dir():
            (folder / self.WHOLE).touch()


TRACKERS: dict[str, Callable[[Path], Tracker]] = {"tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WandB}


def check_installed(names: Sequence[str]) -> None:
    """Raise a UserError if the library of a tracker is missing."""
    for name in names:
        if find_spec(name) is None:
            raise UserError(f"track: {name} is not installed; pip install 'ablate[{name}]'")


class Trackers:
    """The trackers that a study names; one that fails is left out, because the tables are what counts."""

    def __init__(self, names: Sequence[str], folder: Path, note: Callable[[str], None]) -> None:
        """Take their names, the run's folder, and who is told of one that fails."""
        self.folder, self.note = folder, note
        self.names, self.trackers = list(names), dict[str, tuple[Tracker, set[str]]]()

    def update(self) -> None:
        """Give them what has ended since they were last told, from the tables of the run."""
        for name in list(self.names):
            try:
                self.tell(name)
            except Exception as error:
                self.names.remove(name)
                self.note(f"{name} no longer follows the run: {type(error).__name__}: {error}")

    def tell(self, name: str) -> None:
        """Give one of them, which is opened at first, what it does not have."""
        if name not in self.trackers:
            tracker = TRACKERS[name](self.folder)
            self.trackers[name] = tracker, tracker.known()
        tracker, known = self.trackers[name]
        for trial in finished_trials(self.folder, known):
            tracker.add(trial)
            known.add(trial.id)


def finished_trials(folder: Path, known: set[str]) -> Iterator[FinishedTrial]:
    """Yield the trials of a run that have ended and are not known yet; one that failed has nothing to show.

    One that is at several points of its study is shown at the first.
    """
    import polars as pl

    run = load(folder)
    new = run.trials.filter(pl.col("status") != "failed", ~pl.col("trial").is_in(list(known))).collect()
    rows = new.unique("trial", keep="first", maintain_order=True)
    metrics = run.metrics.filter(pl.col("trial").is_in(rows["trial"].to_list())).collect()
    by_trial = metrics.partition_by("trial", as_dict=True)
    scores = [name for name in rows.columns if name.partition(".")[0] in {"validation", "test"}]
    hidden = {"trial", "status", "error", "seconds", "steps", "params", *scores}
    for row in rows.iter_rows(named=True):
        settings = {
            name: tracker_value(value) for name, value in row.items() if value is not None and name not in hidden
        }
        found = {name.replace(".", "/"): row[name] for name in scores if row[name] is not None}
        name = " ".join(str(row[part]) for part in ("method", "modality", "seed") if row[part] is not None)
        curves: Curves = {}
        for point in by_trial[row["trial"],].iter_rows(named=True) if (row["trial"],) in by_trial else ():
            path = "/".join(filter(None, (point["split"], point["metric"], point["modality"])))
            if math.isfinite(point["value"]):
                curves.setdefault(path, []).append((point["epoch"], point["value"]))
        yield FinishedTrial(
            row["trial"], name, settings, {f"final/{key}": value for key, value in found.items()}, curves
        )


def tracker_value(value: str | float | bool) -> str | int | float | bool:
    """Return a setting as all trackers can show it: one that is infinite as text."""
    return str(value) if isinstance(value, float) and math.isinf(value) else value
