"""The searcher through which Ray Tune gets packs to train, and through which their results come back."""

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

MAX_TUNE_TRIALS = 10_000  # after which a new Tuner starts, because Tune forgets no trial (10 kB each)


class PackDispatcher(Searcher):  # type: ignore[misc]
    """Suggests packs to Tune as its trials, and passes their results on.

    The next study starts when those that have started wait for their last packs, so that no worker idles.
    """

    def __init__(self, study_runs: Iterator[StudyRun], max_packs: int | None, job_overrides: dict[str, Any]) -> None:
        """Dispatch the packs of studies, as `run_on_ray`; the next study is requested when nothing else can run."""
        super().__init__(metric="done", mode="max")
        self.study_runs, self.max_packs, self.job_overrides = study_runs, max_packs, job_overrides
        self.active = [self.start(run) for run in itertools.islice(study_runs, 1)]  # started and not closed
        self.running: dict[str, tuple[StudyRun, list[Trial]]] = {}
        self.remaining = MAX_TUNE_TRIALS  # trials that this Tuner may still be given
        self.stopped = self.exhausted = False
        self.error: Exception | None = None  # raised once Ray has stopped, and not in its event loop

    def suggest(self, trial_id: str) -> Any:
        """Return the next pack, None while a round waits for its last results, or that no other follows."""
        if self.remaining <= 0:
            return Searcher.FINISHED
        config = None
        try:
            config = None if self.stopped or len(self.running) == self.max_packs else self.next_config(trial_id)
        except Exception as error:
            self.fail(error)
        return Searcher.FINISHED if config is None and self.finished else config

    @property
    def finished(self) -> bool:
        """Return whether nothing is left to run."""
        return self.stopped or (self.exhausted and not self.active)

    def next_config(self, trial_id: str) -> dict[str, Any] | None:
        """Return the next pack, as a Tune trial's config, of an active study or else of one that is started now."""
        for run in list(self.active):
            self.close_if_done(run)  # one whose budget is spent
        for run in itertools.chain(self.active, self.start_waiting()):
            if not self.can_share(run):
                return None
            if self.num_running(run) != run.max_packs and (pack := run.queue.next_pack()):
                self.running[trial_id] = run, pack
                self.remaining -= len(pack)
                resources = {key: run.job[key] for key in ("cpu", "gpu", "workers")}
                return {**resources, "job": json.dumps({**run.job, "pack": pack})}
        return None

    def can_share(self, run: StudyRun) -> bool:
        """Return whether packs of a study may run while others do: packs of several workers reserve no resources."""
        others = [other for other, _ in self.running.values() if other is not run]
        return not others or all(study.job["workers"] == 1 for study in (run, *others))

    def num_running(self, run: StudyRun) -> int:
        """Return how many packs of a study run."""
        return sum(other is run for other, _ in self.running.values())

    def start(self, run: StudyRun) -> StudyRun:
        """Return a study with the job that workers get, its pruner started."""
        return start_pruner(run._replace(job=run.job | self.job_overrides))

    def start_waiting(self) -> Iterator[StudyRun]:
        """Start one study after another, and yield it; one whose results are all in the store is closed at once."""
        while not self.stopped:  # a signal may come while one is started or closed
            run = next(self.study_runs, None)
            if run is None:
                self.exhausted = True
                return
            self.active.append(self.start(run))
            if not self.stopped and not self.close_if_done(self.active[-1]):
                yield self.active[-1]

    def close_if_done(self, run: StudyRun) -> bool:
        """Close a study of which nothing runs and nothing will start; return whether it was closed."""
        is_done = run.queue.has_ended and not self.num_running(run)
        if is_done:
            self.active.remove(run)
            if run.pruner:
                ray.kill(run.pruner)
            run.close()
        return is_done

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Record the results of a pack; if its process died, queue it again, or fail its only trial."""
        reports: dict[str, TrialReport] = {} if error or not result else json.loads(result.get("reports", "{}"))
        if self.stopped and not reports:
            return  # `close` looks for its results in the store
        run, pack = self.running.pop(trial_id)
        try:
            self.record(run, pack, reports or self.recover(run, pack))
            self.close_if_done(run)
        except Exception as failure:
            self.fail(failure)

    def record(self, run: StudyRun, pack: list[Trial], reports: dict[str, TrialReport]) -> None:
        """Record the results of those trials of a pack that have a report."""
        for trial in pack:
            if trial.id in reports:
                status, score, error = reports[trial.id]
                result = Result(status, score)
                run.queue.complete(trial, result)
                run.on_result(trial, result, error)

    def recover(self, run: StudyRun, pack: list[Trial]) -> dict[str, TrialReport]:
        """Return the stored results of a pack whose process died; requeue the missing trials, or report a failure."""
        stored = run.queue.lookup(pack)
        reports: dict[str, TrialReport] = {trial: (*result, None) for trial, result in stored.items()}
        missing = [trial for trial in pack if trial.id not in stored]
        if missing and not self.stopped:
            has_checkpoint = bool(checkpointed_prefix(local_folder(run.job["store"]), missing))
            if not run.queue.requeue(missing, has_checkpoint=has_checkpoint):
                reports[missing[0].id] = "failed", None, "the process that trained it died"
        return reports

    def fail(self, error: Exception) -> None:
        """Stop because of an error."""
        self.error = self.error or error
        self.stop()

    def stop(self) -> None:
        """Dispatch no more packs, and mark the studies that have not ended as stopped."""
        self.stopped = True
        for run in self.active:
            run.queue.is_stopped |= not run.queue.has_ended or self.num_running(run) > 0

    def close(self) -> None:
        """Close the studies that are not finished, and raise the first error.

        A pack that ended while the run was stopped is in the store, though Tune has not reported it.
        """
        self.stop()  # studies that started meanwhile, or all, if Tune itself has failed
        for run, pack in self.running.values():
            try:
                self.record(run, pack, self.recover(run, pack))
            except (OSError, UserError) as error:
                self.fail(error)
        for run in self.active:
            try:
                run.close()
            except (OSError, UserError) as error:
                self.fail(error)
        if self.error:
            raise self.error

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing for Tune's snapshots: a run resumes from the store."""
        return {}

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Save nothing."""

    def save(self, checkpoint_path: str) -> None:
        """Save nothing."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""


def start_pruner(run: StudyRun) -> StudyRun:
    """Start the pruner of a study that prunes, give it the scores in the store, and its name to the workers.

    It runs on the node of this process, because another node may be lost.
    """
    options, name = run.job["prune"], f"pruner-{uuid4().hex}"
    if not options:
        return run._replace(job={**run.job, "pruner": None})
    same_node = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    pruner = ray.remote(num_cpus=0)(Pruner).options(name=name, scheduling_strategy=same_node).remote(**options)
    results = {} if run.queue.has_ended else run.queue.results

    def add_stored(results: dict[str, Result]) -> None:
        scores = stored_scores(local_folder(run.job["store"]), run.queue.trials, results, options["metric"])
        ray.get([pruner.add_scores.remote(*key, values) for key, values in scores.items()])

    add_stored(results)
    run.queue.on_stored_results = add_stored  # those of later rounds
    return run._replace(pruner=pruner, job={**run.job, "pruner": name})
