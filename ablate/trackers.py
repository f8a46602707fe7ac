"""Logging the curves of a run to TensorBoard, MLflow and W&B, in files in its folder; nothing leaves this machine.

A tracker shows the finite numbers of the tables. The process that runs the study logs each trial once, after its end:
trials train in packs, so that none could log by itself. `MLFLOW_TRACKING_URI` and `WANDB_MODE` select other
destinations.
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

MAX_FLOAT32 = 3.4e38  # the range of TensorBoard
Curves = dict[str, list[tuple[int, float]]]  # "validation/accuracy", "train/scale/audio" -> (epoch, value)


class FinishedTrial(NamedTuple):
    """A trial as it is logged."""

    id: str
    name: str
    settings: dict[str, str | int | float | bool]
    scores: dict[str, float]
    curves: Curves


class Tracker(Protocol):
    """A library that shows curves."""

    def logged_trials(self) -> set[str]:
        """Return the ids of the trials that are logged completely."""

    def log_trial(self, trial: FinishedTrial) -> None:
        """Log a trial."""


class TensorBoard:
    """`<run>/tensorboard/<trial>/`, for `tensorboard --logdir <run>/tensorboard`."""

    def __init__(self, run: Path) -> None:
        """Log into a run's folder."""
        self.folder = run / "tensorboard"

    def logged_trials(self) -> set[str]:
        """Return the ids of the trials that are logged completely."""
        return {path.name.rpartition(" ")[2] for path in self.folder.glob("* *")}

    def log_trial(self, trial: FinishedTrial) -> None:
        """Log a trial."""
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
        """Log into a run's folder, or to MLFLOW_TRACKING_URI; the experiment has the run's name."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        with warnings.catch_warnings(action="ignore"):
            from mlflow.tracking import MlflowClient

            for name in ("mlflow", "alembic"):
                logging.getLogger(name).setLevel(logging.ERROR)
            self.client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or self.address(run))
            existing = self.client.get_experiment_by_name(run.name)
            self.experiment = existing.experiment_id if existing else self.client.create_experiment(run.name)

    @staticmethod
    def address(run: Path) -> str:
        """Return the address of the database in a run's folder.

        Raises:
            ValueError: the path has characters with a meaning in an address, which MLflow does not unescape everywhere.
        """
        from sqlalchemy import make_url

        address = f"sqlite:///{run / 'mlflow.db'}"
        if make_url(address).database != str(run / "mlflow.db"):
            raise ValueError(f"the path of the run must not contain `?`, or `%` followed by two digits, got {run}")
        return address

    def logged_trials(self) -> set[str]:
        """Return the ids of the trials that are logged completely."""
        runs, token = set[str](), None
        while True:
            page = self.client.search_runs([self.experiment], "attributes.status = 'FINISHED'", page_token=token)
            runs |= {run.data.tags["trial"] for run in page if "trial" in run.data.tags}
            token = page.token
            if not token:
                return runs

    def log_trial(self, trial: FinishedTrial) -> None:
        """Log a trial."""
        from mlflow.entities import Metric, Param

        for partial in self.client.search_runs([self.experiment], f"tags.trial = '{trial.id}'"):  # of a killed process
            self.client.delete_run(partial.info.run_id)
        run = self.client.create_run(self.experiment, tags={"trial": trial.id}, run_name=trial.name).info.run_id
        points = [Metric(name, value, 0, epoch) for name, curve in trial.curves.items() for epoch, value in curve]
        points += [Metric(name, value, 0, 0) for name, value in trial.scores.items()]
        settings = [Param(name, str(value)) for name, value in trial.settings.items()]
        for start in range(0, max(len(points), len(settings)), 100):
            self.client.log_batch(run, points[start : start + 100], settings[start : start + 100])
        self.client.set_terminated(run)


class WandB:
    """`<run>/wandb/offline-run-*`, for `wandb sync`; WANDB_MODE=online sends them at once."""

    FINISHED_MARKER = "finished"  # an empty file in the folder of a run that is logged completely

    def __init__(self, run: Path) -> None:
        """Log into a run's folder; the project has the run's name."""
        os.environ.setdefault("WANDB_MODE", "offline")
        self.run = run

    def logged_trials(self) -> set[str]:
        """Return the ids of the trials that are logged completely."""
        return {
            path.parent.name.rpartition("-")[2]
            for path in (self.run / "wandb").glob(f"*run-*-*/{self.FINISHED_MARKER}")
        }

    def log_trial(self, trial: FinishedTrial) -> None:
        """Log a trial."""
        import wandb

        for partial in (self.run / "wandb").glob(f"*run-*-{trial.id}"):  # of a killed process
            shutil.rmtree(partial)
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
            (folder / self.FINISHED_MARKER).touch()


TRACKERS: dict[str, Callable[[Path], Tracker]] = {"tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WandB}


def check_installed(names: Sequence[str]) -> None:
    """Raise a UserError if the library of a tracker is not installed."""
    for name in names:
        if find_spec(name) is None:
            raise UserError(f"track: {name} is not installed; pip install 'ablate[{name}]'")


class Trackers:
    """The trackers of a study; one that fails is dropped, because the tables hold all results anyway."""

    def __init__(self, names: Sequence[str], folder: Path, note: Callable[[str], None]) -> None:
        """Take the trackers' names, the run's folder, and a function to call when one fails."""
        self.folder, self.note = folder, note
        self.names, self.trackers = list(names), dict[str, tuple[Tracker, set[str]]]()

    def update(self) -> None:
        """Log the trials that have finished since the last update, from the tables of the run."""
        for name in list(self.names):
            try:
                self.update_tracker(name)
            except Exception as error:
                self.names.remove(name)
                self.note(f"{name} stops logging this run: {type(error).__name__}: {error}")

    def update_tracker(self, name: str) -> None:
        """Log the trials that a tracker lacks; it is opened at its first update."""
        if name not in self.trackers:
            tracker = TRACKERS[name](self.folder)
            self.trackers[name] = tracker, tracker.logged_trials()
        tracker, logged = self.trackers[name]
        for trial in finished_trials(self.folder, logged):
            tracker.log_trial(trial)
            logged.add(trial.id)


def finished_trials(folder: Path, logged: set[str]) -> Iterator[FinishedTrial]:
    """Yield the trials of a run that are finished and not logged yet, except failed ones, which have no numbers.

    A trial that several points of its study request has the settings of the first.
    """
    import polars as pl

    run = load(folder)
    new = run.trials.filter(pl.col("status") != "failed", ~pl.col("trial").is_in(list(logged))).collect()
    rows = new.unique("trial", keep="first", maintain_order=True)
    metrics = run.metrics.filter(pl.col("trial").is_in(rows["trial"].to_list())).collect()
    by_trial = metrics.partition_by("trial", as_dict=True)
    scores = [name for name in rows.columns if name.partition(".")[0] in {"validation", "test"}]
    excluded = {"trial", "status", "error", "seconds", "steps", "params", *scores}
    for row in rows.iter_rows(named=True):
        settings = {
            name: tracker_value(value) for name, value in row.items() if value is not None and name not in excluded
        }
        final = {f"final/{name.replace('.', '/')}": row[name] for name in scores if row[name] is not None}
        name = " ".join(str(row[part]) for part in ("method", "modality", "seed") if row[part] is not None)
        curves: Curves = {}
        for point in by_trial[row["trial"],].iter_rows(named=True) if (row["trial"],) in by_trial else ():
            path = "/".join(filter(None, (point["split"], point["metric"], point["modality"])))
            if math.isfinite(point["value"]):
                curves.setdefault(path, []).append((point["epoch"], point["value"]))
        yield FinishedTrial(row["trial"], name, settings, final, curves)


def tracker_value(value: str | float | bool) -> str | int | float | bool:
    """Return a setting in a type that all trackers can show: text for an infinite number."""
    return str(value) if isinstance(value, float) and math.isinf(value) else value
