"""What Ray Tune runs next, and what becomes of its results: the packs of queues, as a searcher of Tune."""

import itertools
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import ray
from ray.tune.search import Searcher
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ablate.checkpoints import checkpointed_prefix
from ablate.errors import UserError
from ablate.pack_training import TrialReport
from ablate.pruning import Pruner, stored_scores
from ablate.remote import local_folder
from ablate.trial import Result, Trial
from ablate.trial_queue import StudyRun

MAX_TUNE_TRIALS = 10_000  # trials after which Tune starts anew, because it forgets nothing (10 kB of each)


class PackDispatcher(Searcher):  # type: ignore[misc]
    """Hands the packs of queues to Tune, and their results back.

    The next study begins when those that have begun wait for their last packs, so that no worker waits for them.
    """

    def __init__(self, works: Iterator[StudyRun], most: int | None, beside: dict[str, Any]) -> None:
        """Feed from the queues of works, as `drive`; each is asked for when there is nothing else to run."""
        super().__init__(metric="done", mode="max")
        self.works, self.most, self.beside = works, most, beside
        self.begun = [self.begin(work) for work in itertools.islice(works, 1)]  # and not finished
        self.running: dict[str, tuple[StudyRun, list[Trial]]] = {}
        self.left = MAX_TUNE_TRIALS  # trials that Tune may still be given
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
            if self.packs(work) != work.most and (pack := work.queue.next()):
                self.running[trial_id] = work, pack
                self.left -= len(pack)
                reserve = {key: work.job[key] for key in ("cpu", "gpu", "workers")}
                return {**reserve, "job": json.dumps({**work.job, "pack": pack})}
        return None

    def mixes(self, work: StudyRun) -> bool:
        """Say whether packs of a study may run beside those that do: several workers reserve nothing, and want all."""
        others = [one for one, _ in self.running.values() if one is not work]
        return not others or all(one.job["workers"] == 1 for one in (work, *others))

    def packs(self, work: StudyRun) -> int:
        """Return how many packs of a study run."""
        return sum(one is work for one, _ in self.running.values())

    def begin(self, work: StudyRun) -> StudyRun:
        """Begin a study."""
        return start_pruner(work._replace(job=work.job | self.beside))

    def beginning(self) -> Iterator[StudyRun]:
        """Begin one study after another; one that finds all in the store is closed at once."""
        while not self.stopped:  # as it may be while one is made or closed
            work = next(self.works, None)
            if work is None:
                self.exhausted = True
                return
            self.begun.append(self.begin(work))
            if not self.stopped and not self.closed(self.begun[-1]):
                yield self.begun[-1]

    def closed(self, work: StudyRun) -> bool:
        """Close a study of which nothing runs any more and nothing is to start."""
        over = work.queue.over and not self.packs(work)
        if over:
            self.begun.remove(work)
            if work.judge:
                ray.kill(work.judge)
            work.close()
        return over

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Take the results of a pack, unless its process died: then it runs again, or its only trial has failed."""
        told: dict[str, TrialReport] = {} if error or not result else json.loads(result.get("told", "{}"))
        if self.stopped and not told:
            return  # it may be in the store yet when all is closed
        work, pack = self.running.pop(trial_id)
        try:
            self.take(work, pack, told or self.after_death(work, pack))
            self.closed(work)
        except Exception as failure:
            self.fail(failure)

    def take(self, work: StudyRun, pack: list[Trial], told: dict[str, TrialReport]) -> None:
        """Take what came of the trials of a pack, or of some of them."""
        for trial in pack:
            if trial.id in told:
                status, score, reason = told[trial.id]
                kept = Result(status, score)
                work.queue.complete(trial, kept)
                work.heard(trial, kept, reason)

    def after_death(self, work: StudyRun, pack: list[Trial]) -> dict[str, TrialReport]:
        """Return what the store has of a pack whose process died; the rest is to run again, or has failed."""
        stored = work.queue.stored(pack)
        told: dict[str, TrialReport] = {trial: (*result, None) for trial, result in stored.items()}
        rest = [trial for trial in pack if trial.id not in stored]
        if rest and not self.stopped and not work.queue.died(rest, kept=bool(checkpointed_prefix(work.job, rest))):
            told[rest[0].id] = "failed", None, "the process that trained it died"
        return told

    def fail(self, trouble: Exception) -> None:
        """Stop because of trouble."""
        self.trouble = self.trouble or trouble
        self.stop()

    def stop(self) -> None:
        """Hand out no more packs; what is not over is cut short."""
        self.stopped = True
        for work in self.begun:
            work.queue.stopped |= not work.queue.over or self.packs(work) > 0

    def close(self) -> None:
        """Close the studies that are not finished, and raise what was in the way.

        A pack that ended as the run was stopped is in the store, though Tune has not told.
        """
        self.stop()  # those that began meanwhile, or all, if Tune itself has failed
        for work, pack in self.running.values():
            try:
                self.take(work, pack, self.after_death(work, pack))
            except (OSError, UserError) as error:
                self.fail(error)
        for work in self.begun:
            try:
                work.close()
            except (OSError, UserError) as error:
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


def start_pruner(work: StudyRun) -> StudyRun:
    """Start the judge of a study that prunes, tell it what the store knows, and give its name to the workers.

    It sits on the node of this process, because another may be lost.
    """
    how, name = work.job["prune"], f"judge-{uuid4().hex}"
    if not how:
        return work._replace(job={**work.job, "judge": None})
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    judge = ray.remote(num_cpus=0)(Pruner).options(name=name, scheduling_strategy=here).remote(**how)
    results = {} if work.queue.over else work.queue.results

    def hear(results: dict[str, Result]) -> None:
        known = stored_scores(local_folder(work.job["store"]), work.queue.proposed, results, how["metric"])
        ray.get([judge.hear.remote(*where, scores) for where, scores in known.items()])

    hear(results)
    work.queue.found = hear  # what later rounds find
    return work._replace(judge=judge, job={**work.job, "judge": name})
