"""Trials on Ray. A local one is started for a run and stopped after it, quietly; `ablate.clusters` joins another."""

import contextlib
import io
import json
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_MAX_PENDING_TRIALS_PG": "8",  # the next trial waits ready when one ends
}
os.environ |= {name: value for name, value in ENVIRONMENT.items() if name not in os.environ}

import ray  # noqa: E402  (reads the environment when imported)
from ray import tune  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402

from ablate.agenda import Agenda, Listener  # noqa: E402
from ablate.errors import traced  # noqa: E402
from ablate.packs import split  # noqa: E402
from ablate.plan import Result, Trial  # noqa: E402
from ablate.pruning import Judge  # noqa: E402
from ablate.study import Resources  # noqa: E402
from ablate.work import Told, settled, train_pack  # noqa: E402
from trainables.train import Prune  # noqa: E402

WAVE = 10_000  # trials after which Tune starts anew, because it forgets nothing (10 kB of each)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Worker(tune.Trainable):  # type: ignore[misc]
    """A process that trains one pack after another and puts them into the store."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take the first pack."""
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next pack."""
        self.asked = json.loads(new_config["job"])
        self.job = settled(self.asked)
        return True

    def step(self) -> dict[str, Any]:
        """Train the pack."""
        told = self.trained([Trial(*trial) for trial in self.job["pack"]])
        return {"done": True, "told": json.dumps(told)}  # as text, which Tune leaves as it is

    def trained(self, pack: list[Trial]) -> dict[str, Told]:
        """Train trials together and put them into the store.

        An error is the result of a trial, not the end of the process: where several trained together, halves of
        them do so again, until it is known whose error it is, and the others' numbers are what they would have been.
        """
        try:
            return self.together(pack)
        except Exception as error:
            if len(pack) > 1:
                return {trial: told for half in split(pack, 2) for trial, told in self.trained(half).items()}
            return {pack[0].id: ("failed", None, traced(error))}

    def together(self, pack: list[Trial]) -> dict[str, Told]:
        """Train trials in one pass, here or on several workers."""
        if self.job["workers"] == 1:
            return train_pack(self.job, pack, judged(self.job, pack))
        from ablate.crews import train_by_crew

        return train_by_crew(self.asked, pack)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing: a pack is in the store or starts again."""


def judged(job: dict[str, Any], pack: list[Trial]) -> Prune | None:
    """Return how to ask a job's judge about a pack; None where the study has none."""
    if job["judge"] is None:
        return None
    judge, group = ray.get_actor(job["judge"]), pack[0].labels["method"]
    return lambda epoch, scores: ray.get(judge.ends.remote(group, epoch, scores))


class Feed(Searcher):  # type: ignore[misc]
    """Hands the packs of an agenda to Tune, and their results back."""

    def __init__(self, agenda: Agenda, job: dict[str, Any], listener: Listener, most: int | None) -> None:
        """Feed from an agenda, as `drive`."""
        super().__init__(metric="done", mode="max")
        self.agenda, self.job, self.listener, self.most = agenda, job, listener, most
        self.running: dict[str, list[Trial]] = {}
        self.left = WAVE

    def suggest(self, trial_id: str) -> Any:
        """Return the next pack, None while a round waits for its last results, or that no other follows."""
        if self.agenda.over or self.left <= 0:
            return Searcher.FINISHED
        pack = None if len(self.running) == self.most else self.agenda.next()
        if pack is None:
            return None
        self.running[trial_id] = pack
        self.left -= len(pack)
        return {"job": json.dumps({**self.job, "pack": pack})}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Take the results of a pack, unless its process died: then it runs again, or its last trial has failed."""
        pack = self.running.pop(trial_id)
        told: dict[str, Told] = {} if error or not result else json.loads(result.get("told", "{}"))
        if not told:
            if self.agenda.stopped or self.agenda.died(pack):
                return
            told = {pack[0].id: ("failed", None, "the process that trained it died")}
        for trial in pack:
            status, score, reason = told[trial.id]
            kept = Result(status, score)
            self.agenda.complete(trial, kept)
            self.listener(trial, kept, reason)

    def __getstate__(self) -> dict[str, Any]:
        """Leave nothing to Tune's own snapshots: a run starts again from the store."""
        return {}

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Save nothing."""

    def save(self, checkpoint_path: str) -> None:
        """Save nothing."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""


class Interrupt(tune.Stopper):  # type: ignore[misc]
    """Ends the run at the first Ctrl-C, or when it is asked to end; the second does what it always does."""

    def __init__(self, agenda: Agenda) -> None:
        """Listen for the signals."""
        self.agenda = agenda
        self.before = {number: signal.signal(number, self.on_signal) for number in SIGNALS}

    def __getstate__(self) -> dict[str, Any]:
        """Leave nothing to Tune's own snapshots."""
        return {}

    def on_signal(self, number: int, frame: Any) -> None:
        """Ask Tune to stop."""
        self.agenda.stopped = True
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
        return self.agenda.stopped


def scratch_folder() -> Path:
    """Return a new temporary folder for Ray, and remove those that killed runs have left behind.

    Its path is short, because the names of Ray's sockets are limited to 107 characters.
    """
    shared = Path("/tmp") if Path("/tmp").is_dir() else Path(tempfile.gettempdir())  # noqa: S108
    for old in shared.glob("ablate-*-*"):
        owner = old.name.split("-")[1]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists() and Path("/proc/self").exists():
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


def reserved(asked: Resources) -> dict[str, float]:
    """Return what a Tune trial reserves: of several workers nothing that these need, and Ray wants something."""
    return {"cpu": asked.cpu, "gpu": asked.gpu} if asked.workers == 1 else {"cpu": 0, "memory": 2**20}


def wave(feed: Feed, interrupt: Interrupt, folder: Path, asked: Resources) -> tune.Tuner:
    """Return what runs as many trials as Tune should remember, whose files go into a folder of their own."""
    return tune.Tuner(
        tune.with_resources(Worker, reserved(asked)),
        tune_config=tune.TuneConfig(
            search_alg=feed, num_samples=10**9, reuse_actors=True, trial_dirname_creator=lambda trial: trial.trial_id
        ),
        run_config=tune.RunConfig(
            name="trials", storage_path=str(folder), verbose=0, stop=interrupt,
            failure_config=tune.FailureConfig(max_failures=0),  # the agenda knows better what to do
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )  # fmt: skip


def drive(
    agenda: Agenda,
    job: dict[str, Any],
    listener: Listener,
    scratch: Path,
    asked: Resources,
    most: int | None = None,
) -> None:
    """Run an agenda to its end on the Ray that was started.

    Args:
        agenda: what to run.
        job: what all packs share: `store`, `folders` of own code, `data` as `trainables.data` takes it, `metric`,
            and how to `prune`, or None.
        listener: is told of every result.
        scratch: a folder for Tune's own files.
        asked: what a pack reserves.
        most: packs at once; None: as many as there is room for.
    """
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # what fails is told to the agenda, and by it to people
    name = f"judge-{uuid4().hex}" if job["prune"] else None
    judge = ray.remote(num_cpus=0)(Judge).options(name=name).remote(**job["prune"]) if name else None
    job = {**job, "judge": name, **{key: getattr(asked, key) for key in ("cpu", "gpu", "workers", "compile")}}
    interrupt = Interrupt(agenda)
    try:
        while not agenda.over:
            with contextlib.redirect_stdout(io.StringIO()):
                wave(Feed(agenda, job, listener, most), interrupt, scratch / uuid4().hex, asked).fit()
    finally:
        interrupt.restore()
        if judge is not None:
            ray.kill(judge)
