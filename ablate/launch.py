"""Running packs on Ray: a local one is started for a run and shut down after it; `ablate.clusters` joins others."""

import contextlib
import io
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import ray
from ray import tune

from ablate.dispatcher import MAX_TUNE_TRIALS, PackDispatcher
from ablate.errors import UserError, error_message
from ablate.files import is_process_alive
from ablate.trial_queue import StudyRun
from ablate.worker import Worker

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopOnSignal(tune.Stopper):  # type: ignore[misc]
    """Stops the run at the first Ctrl-C, SIGTERM or SIGHUP; the second has its usual effect."""

    def __init__(self, dispatcher: PackDispatcher) -> None:
        """Install the handlers, except for signals that are ignored, as by nohup."""
        self.dispatcher = dispatcher
        numbers = [number for number in STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        self.previous = {number: signal.signal(number, self.on_signal) for number in numbers}

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing for Tune's snapshots."""
        return {}

    def on_signal(self, number: int, frame: Any) -> None:
        """Ask Tune to stop."""
        self.dispatcher.stop()
        self.restore()

    def restore(self) -> None:
        """Reinstall the previous handlers."""
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return False: no single trial is stopped."""
        return False

    def stop_all(self) -> bool:
        """Return whether the run was stopped."""
        return self.dispatcher.stopped


def scratch_folder() -> Path:
    """Return a new temporary folder for Ray, and remove those that killed runs have left behind.

    Its path is short, because the names of Ray's sockets are limited to 107 characters.
    """
    parent = Path("/tmp") if Path("/tmp").is_dir() else Path(tempfile.gettempdir())  # noqa: S108
    for old in parent.glob("ablate-*-*"):
        owner = old.name.split("-")[1]
        if owner.isdecimal() and not is_process_alive(int(owner)):
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"ablate-{os.getpid()}-", dir=parent))


@contextlib.contextmanager
def local_ray(cpus: int, gpus: int = 0) -> Iterator[Path]:
    """Start a Ray on this machine, shut it down at the end, and yield its temporary folder, which is removed then.

    Raises:
        UserError: Ray does not start, as on a machine with too little memory, or one too busy to start it in time.
    """
    scratch = scratch_folder()
    try:
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                ray.init(
                    address="local", num_cpus=cpus, num_gpus=gpus, include_dashboard=False, log_to_driver=False,
                    logging_level="ERROR", _temp_dir=str(scratch / "ray"),
                )  # fmt: skip
        except Exception as error:  # a late start is a plain Exception
            message = (error_message(error) or type(error).__name__).splitlines()[0]
            raise UserError(f"Ray does not start on this machine: {message}") from None
        yield scratch
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


def trial_resources(config: dict[str, Any]) -> tune.PlacementGroupFactory:
    """Return what a Tune trial reserves; if it has several workers a token, as Ray Train reserves what these need."""
    single = config["workers"] == 1
    return tune.PlacementGroupFactory([{"CPU": config["cpu"], "GPU": config["gpu"]} if single else {"memory": 2**20}])


def make_tuner(dispatcher: PackDispatcher, stopper: StopOnSignal, folder: Path) -> tune.Tuner:
    """Return a tuner that runs up to MAX_TUNE_TRIALS trials, and keeps its files in the given folder."""
    dispatcher.remaining = MAX_TUNE_TRIALS
    return tune.Tuner(
        tune.with_resources(Worker, trial_resources),
        tune_config=tune.TuneConfig(
            search_alg=dispatcher, num_samples=10**9, reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="trials", storage_path=str(folder), verbose=0, stop=stopper,
            failure_config=tune.FailureConfig(max_failures=0),  # the trial queue decides what runs again
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )  # fmt: skip


def run_on_ray(
    study_runs: Iterator[StudyRun],
    scratch: Path,
    max_packs: int | None = None,
    job_overrides: dict[str, Any] | None = None,
) -> None:
    """Run studies to their ends on the Ray that this process is connected to.

    Args:
        study_runs: the studies; a job has `store`, `folders` of user-defined modules, `data` as `trainables.data` takes
            it, `metric`, the pruner's options `prune` or None, and of a pack `compile`, `checkpoint`, `workers` and the
            resources of each worker, `cpu` and `gpu`.
        scratch: a folder for Tune's own files.
        max_packs: packs at once; None: as many as there is room for.
        job_overrides: settings of the jobs whose values differ on the workers.

    Raises:
        Exception: what the queue or a callback of a study raised; nothing runs any more then.
    """
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # failures are reported through the trial queue instead
    dispatcher = PackDispatcher(study_runs, max_packs, job_overrides or {})
    stopper = StopOnSignal(dispatcher)
    try:
        while not dispatcher.finished:
            with contextlib.redirect_stdout(io.StringIO()):
                make_tuner(dispatcher, stopper, scratch / uuid4().hex).fit()
    finally:
        stopper.restore()
        dispatcher.close()
