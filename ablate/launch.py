"""Trials on Ray. A local one is started for a run and stopped after it, quietly; `ablate.clusters` joins another."""

import contextlib
import io
import itertools
import json
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from math import ceil
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

from ablate.agenda import Work  # noqa: E402
from ablate.checkpoints import checkpoint  # noqa: E402
from ablate.errors import UserError, traced  # noqa: E402
from ablate.packs import split  # noqa: E402
from ablate.plan import Result, Trial  # noqa: E402
from ablate.pruning import Judge, heard, races  # noqa: E402
from ablate.remote import local  # noqa: E402
from ablate.work import LostError, StrandedError, Told, fitting, settled, train_pack  # noqa: E402
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
        """Train the pack, in parts where the memory is too small for it."""
        pack = [Trial(*trial) for trial in self.job["pack"]]
        parts = split(pack, ceil(len(pack) / fitting(self.job, pack)))
        told = {trial: told for part in parts for trial, told in self.trained(part).items()}
        return {"done": True, "told": json.dumps(told)}  # as text, which Tune leaves as it is

    def trained(self, pack: list[Trial]) -> dict[str, Told]:
        """Train trials together and put them into the store.

        An error is the result of a trial, not the end of the process: where several trained together, halves of
        them do so again, until it is known whose error it is, and the others' numbers are what they would have been.

        Raises:
            LostError: the process is to end as if it had died.
        """
        try:
            return self.together(pack)
        except LostError:
            raise
        except StrandedError as error:
            return {trial.id: ("failed", None, str(error)) for trial in pack}
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
        """Save nothing: a pack is in the store, or goes on from its own checkpoint."""


def judged(job: dict[str, Any], pack: list[Trial]) -> Prune | None:
    """Return how to ask a job's judge about a pack; None where the study has none."""
    if job["judge"] is None:
        return None
    judge = ray.get_actor(job["judge"])

    def ends(epoch: int, scores: dict[int, dict[str, float]]) -> set[int]:
        stops = ray.get(judge.ends.remote(epoch, races(pack, scores)))
        return {i for i in scores if pack[i].id in stops}

    return ends


class Feed(Searcher):  # type: ignore[misc]
    """Hands the packs of agendas to Tune, and their results back.

    The next study begins when those that have begun wait for their last packs, so that no worker waits for them.
    """

    def __init__(self, works: Iterator[Work], most: int | None, beside: dict[str, Any]) -> None:
        """Feed from the agendas of works, as `drive`; each is asked for when there is nothing else to run."""
        super().__init__(metric="done", mode="max")
        self.works, self.most, self.beside = works, most, beside
        self.begun: list[Work] = []  # and not finished
        self.running: dict[str, tuple[Work, list[Trial]]] = {}
        self.left = WAVE  # trials that Tune may still be given
        self.stopped = self.exhausted = False
        self.trouble: Exception | None = None  # raised once Ray has stopped, and not in its event loop

    def suggest(self, trial_id: str) -> Any:
        """Return the next pack, None while a round waits for its last results, or that no other follows."""
        if self.left <= 0:
            return Searcher.FINISHED
        pack = None
        try:
            pack = None if self.stopped or len(self.running) == self.most else self.next(trial_id)
        except Exception as error:
            self.fail(error)
        return Searcher.FINISHED if pack is None and self.finished else pack

    @property
    def finished(self) -> bool:
        """Say whether all has run that is to run."""
        return self.stopped or (self.exhausted and not self.begun)

    def next(self, trial_id: str) -> dict[str, Any] | None:
        """Return the next pack of a study that has begun, or else of one that begins now."""
        for work in list(self.begun):
            self.closed(work)  # one whose budget is spent
        for work in itertools.chain(self.begun, self.beginning()):
            if not self.mixes(work):
                return None
            if self.packs(work) != work.most and (pack := work.agenda.next()):
                self.running[trial_id] = work, pack
                self.left -= len(pack)
                reserve = {key: work.job[key] for key in ("cpu", "gpu", "workers")}
                return {**reserve, "job": json.dumps({**work.job, "pack": pack})}
        return None

    def mixes(self, work: Work) -> bool:
        """Say whether packs of a study may run beside those that do: several workers reserve nothing, and want all."""
        others = [one for one, _ in self.running.values() if one is not work]
        return not others or all(one.job["workers"] == 1 for one in (work, *others))

    def packs(self, work: Work) -> int:
        """Return how many packs of a study run."""
        return sum(one is work for one, _ in self.running.values())

    def beginning(self) -> Iterator[Work]:
        """Begin one study after another; one that finds all in the store is closed at once."""
        for work in self.works:
            self.begun.append(supervised(work._replace(job=work.job | self.beside)))
            if not self.closed(self.begun[-1]):
                yield self.begun[-1]
        self.exhausted = True

    def closed(self, work: Work) -> bool:
        """Close a study of which nothing runs any more and nothing is to start."""
        over = work.agenda.over and not self.packs(work)
        if over:
            self.begun.remove(work)
            if work.judge:
                ray.kill(work.judge)
            work.close()
        return over

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Take the results of a pack, unless its process died: then it runs again, or its only trial has failed."""
        told: dict[str, Told] = {} if error or not result else json.loads(result.get("told", "{}"))
        if self.stopped and not told:
            return  # it may be in the store yet when all is closed
        work, pack = self.running.pop(trial_id)
        try:
            self.take(work, pack, told or self.after_death(work, pack))
            self.closed(work)
        except Exception as failure:
            self.fail(failure)

    def take(self, work: Work, pack: list[Trial], told: dict[str, Told]) -> None:
        """Take what came of the trials of a pack, or of some of them."""
        for trial in pack:
            if trial.id in told:
                status, score, reason = told[trial.id]
                kept = Result(status, score)
                work.agenda.complete(trial, kept)
                work.heard(trial, kept, reason)

    def after_death(self, work: Work, pack: list[Trial]) -> dict[str, Told]:
        """Return what the store has of a pack whose process died; the rest is to run again, or has failed."""
        stored = work.agenda.stored(pack)
        told: dict[str, Told] = {trial: (*result, None) for trial, result in stored.items()}
        rest = [trial for trial in pack if trial.id not in stored]
        if rest and not self.stopped and not work.agenda.died(rest, kept=checkpoint(work.job, rest).exists):
            told[rest[0].id] = "failed", None, "the process that trained it died"
        return told

    def fail(self, trouble: Exception) -> None:
        """Stop because of trouble."""
        self.trouble = self.trouble or trouble
        self.stop()

    def stop(self) -> None:
        """Hand out no more packs."""
        self.stopped = True
        for work in self.begun:
            work.agenda.stopped = True

    def close(self) -> None:
        """Close the studies that are not finished, and raise what was in the way.

        A pack that ended as the run was stopped is in the store, though Tune has not told.
        """
        for work, pack in self.running.values():
            try:
                self.take(work, pack, self.after_death(work, pack))
            except (OSError, UserError) as error:
                self.fail(error)
        for work in self.begun:
            try:
                work.close()
            except OSError as error:
                self.fail(error)
        if self.trouble:
            raise self.trouble

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

    def __init__(self, feed: Feed) -> None:
        """Listen for the signals."""
        self.feed = feed
        self.before = {number: signal.signal(number, self.on_signal) for number in SIGNALS}

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


def reserved(config: dict[str, Any]) -> tune.PlacementGroupFactory:
    """Return what a Tune trial reserves: of several workers nothing that these need, and Ray wants something."""
    one = config["workers"] == 1
    return tune.PlacementGroupFactory([{"CPU": config["cpu"], "GPU": config["gpu"]} if one else {"memory": 2**20}])


def wave(feed: Feed, interrupt: Interrupt, folder: Path) -> tune.Tuner:
    """Return what runs as many trials as Tune should remember, whose files go into a folder of their own."""
    feed.left = WAVE
    return tune.Tuner(
        tune.with_resources(Worker, reserved),
        tune_config=tune.TuneConfig(
            search_alg=feed, num_samples=10**9, reuse_actors=True, trial_dirname_creator=lambda trial: trial.trial_id
        ),
        run_config=tune.RunConfig(
            name="trials", storage_path=str(folder), verbose=0, stop=interrupt,
            failure_config=tune.FailureConfig(max_failures=0),  # the agenda knows better what to do
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )  # fmt: skip


def supervised(work: Work) -> Work:
    """Start the judge of a study that prunes, tell it what the store knows, and give its name to the workers."""
    how, name = work.job["prune"], f"judge-{uuid4().hex}"
    if not how:
        return work._replace(job={**work.job, "judge": None})
    judge = ray.remote(num_cpus=0)(Judge).options(name=name).remote(**how)
    results = {} if work.agenda.over else work.agenda.results

    def hear(results: dict[str, Result]) -> None:
        known = heard(local(work.job["store"]), work.agenda.proposed, results, how["metric"])
        ray.get([judge.hear.remote(*where, scores) for where, scores in known.items()])

    hear(results)
    work.agenda.found = hear  # what later rounds find
    return work._replace(judge=judge, job={**work.job, "judge": name})


def drive(works: Iterator[Work], scratch: Path, most: int | None = None, beside: dict[str, Any] | None = None) -> None:
    """Run agendas to their ends on the Ray that was started.

    Args:
        works: their jobs have `store`, `folders` of own code, `data` as `trainables.data` takes it, `metric`, how to
            `prune` or None, and of a pack `compile`, `checkpoint`, `workers` and what each reserves, `cpu` and `gpu`.
        scratch: a folder for Tune's own files.
        most: packs at once; None: as many as there is room for.
        beside: what the jobs have instead where workers reach it otherwise.

    Raises:
        Exception: what a work itself raised; nothing runs any more then.
    """
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # what fails is told to the agenda, and by it to people
    feed = Feed(works, most, beside or {})
    interrupt = Interrupt(feed)
    try:
        while not feed.finished:
            with contextlib.redirect_stdout(io.StringIO()):
                wave(feed, interrupt, scratch / uuid4().hex).fit()
    finally:
        interrupt.restore()
        feed.close()
