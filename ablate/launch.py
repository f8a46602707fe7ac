"""Trials on Ray. A local one is started for a run and stopped after it, quietly; `ablate.clusters` joins another."""

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
from ablate.files import is_process_alive
from ablate.trial_queue import StudyRun
from ablate.worker import Worker

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopOnSignal(tune.Stopper):  # type: ignore[misc]
    """Ends the run at the first Ctrl-C, or when it is asked to end; the second does what it always does."""

    def __init__(self, feed: PackDispatcher) -> None:
        """Listen for the signals, but for those that are ignored, as by nohup."""
        self.feed = feed
        heard = [number for number in STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        self.before = {number: signal.signal(number, self.on_signal) for number in heard}

    def __getstate__(self) -> dict[str, Any]:
        """Leave nothing to Tune's own snapshots."""
        return {}

    def on_signal(self, number: int, frame: Any) -> None:
        """Ask Tune to stop."""
        self.feed.stop()
        self.restore()

    def restore(self) -> None:
        """Give the signals back."""
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Stop no trial by itself."""
        return False

    def stop_all(self) -> bool:
        """Stop all once the signal came."""
        return self.feed.stopped


def scratch_folder() -> Path:
    """Return a new temporary folder for Ray, and remove those that killed runs have left behind.

    Its path is short, because the names of Ray's sockets are limited to 107 characters.
    """
    shared = Path("/tmp") if Path("/tmp").is_dir() else Path(tempfile.gettempdir())  # noqa: S108
    for old in shared.glob("ablate-*-*"):
        owner = old.name.split("-")[1]
        if owner.isdecimal() and not is_process_alive(int(owner)):
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"ablate-{os.getpid()}-", dir=shared))


@contextlib.contextmanager
def local_ray(cpus: int, gpus: int = 0) -> Iterator[Path]:
    """Start a Ray of this machine alone, and stop it; its files lie in a temporary folder that goes with it."""
    scratch = scratch_folder()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            ray.init(
                address="local", num_cpus=cpus, num_gpus=gpus, include_dashboard=False, log_to_driver=False,
                logging_level="ERROR", _temp_dir=str(scratch / "ray"),
            )  # fmt: skip
        yield scratch
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


def trial_resources(config: dict[str, Any]) -> tune.PlacementGroupFactory:
    """Return what a Tune trial reserves: of several workers nothing that these need, and Ray wants something."""
    one = config["workers"] == 1
    return tune.PlacementGroupFactory([{"CPU": config["cpu"], "GPU": config["gpu"]} if one else {"memory": 2**20}])


def make_tuner(feed: PackDispatcher, interrupt: StopOnSignal, folder: Path) -> tune.Tuner:
    """Return what runs as many trials as Tune should remember, whose files go into a folder of their own."""
    feed.left = MAX_TUNE_TRIALS
    return tune.Tuner(
        tune.with_resources(Worker, trial_resources),
        tune_config=tune.TuneConfig(
            search_alg=feed, num_samples=10**9, reuse_actors=True, trial_dirname_creator=lambda trial: trial.trial_id
        ),
        run_config=tune.RunConfig(
            name="trials", storage_path=str(folder), verbose=0, stop=interrupt,
            failure_config=tune.FailureConfig(max_failures=0),  # the queue knows better what to do
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )  # fmt: skip


def run_on_ray(
    works: Iterator[StudyRun], scratch: Path, most: int | None = None, beside: dict[str, Any] | None = None
) -> None:
    """Run queues to their ends on the Ray that was started.

    Args:
        works: their jobs have `store`, `folders` of own code, `data` as `trainables.data` takes it, `metric`, how to
            `prune` or None, and of a pack `compile`, `checkpoint`, `workers` and what each reserves, `cpu` and `gpu`.
        scratch: a folder for Tune's own files.
        most: packs at once; None: as many as there is room for.
        beside: what the jobs have instead where workers reach it otherwise.

    Raises:
        Exception: what a work itself raised; nothing runs any more then.
    """
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # what fails is told to the queue, and by it to people
    feed = PackDispatcher(works, most, beside or {})
    interrupt = StopOnSignal(feed)
    try:
        while not feed.finished:
            with contextlib.redirect_stdout(io.StringIO()):
                make_tuner(feed, interrupt, scratch / uuid4().hex).fit()
    finally:
        interrupt.restore()
        feed.close()
