"""The trials of a study while it runs: which are proposed, waiting, running and finished."""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ablate import store
from ablate.budget import Budget
from ablate.packs import Packing, make_packing, split_evenly
from ablate.plan import num_trials
from ablate.search import Rounds, rounds
from ablate.study import Study
from ablate.trial import Result, Trial

ResultLookup = Callable[[list[Trial]], dict[str, Result]]  # the results of some trials that the store holds
ResultCallback = Callable[[Trial, Result, str | None], None]  # called with trial, result and error message
DamageCallback = Callable[[store.DamagedError], None]

CPU_PACK_SIZE, GPU_PACK_SIZE = 64, 1024  # most trials that train together unless the study sets `resources.pack`
MAX_ATTEMPTS = 3  # for a single trial, or a pack with a checkpoint, whose process dies


def one_per_pack(trials: Sequence[Trial]) -> list[list[Trial]]:
    """Return a pack of one for every trial."""
    return [[trial] for trial in trials]


class TrialQueue:
    """The trials of a study, proposed in rounds; those whose results the store holds are not queued.

    Packs are formed from all trials of a round before the stored ones are removed, so that an interrupted study
    resumes with the same packs.
    """

    def __init__(
        self, rounds: Rounds, lookup: ResultLookup, packing: Packing = one_per_pack, budget: Budget | None = None
    ) -> None:
        """Open the first round, and every further one that results in the store complete."""
        self.trials: dict[str, Trial] = {}  # proposed so far, in the order of the plan
        self.results: dict[str, Result] = {}
        self.num_cached = 0  # results taken from the store
        self.num_proposed = 0  # counts a trial as often as it was proposed
        self.is_finished = False
        self.is_stopped = False
        self.lookup = lookup
        self.on_stored_results: Callable[[dict[str, Result]], None] = lambda results: None  # called once a round
        self._rounds, self._packing, self._budget = rounds, packing, budget
        self._queue: deque[list[Trial]] = deque()
        self._deaths: Counter[str] = Counter()
        self._open_round(next(rounds, []))  # a budget may be spent before the first round

    @property
    def num_pending(self) -> int:
        """Return the number of proposed trials without a result."""
        return len(self.trials) - len(self.results)

    @property
    def stop_reason(self) -> str | None:
        """Return why the budget ends the study; None while it does not, or if there is no budget."""
        return self._budget.stop_reason() if self._budget else None

    @property
    def has_ended(self) -> bool:
        """Return whether no further pack will start."""
        return self.is_finished or self.is_stopped or self.stop_reason is not None

    @property
    def pending_packs(self) -> list[list[Trial]]:
        """Return the packs of this round that wait for a worker."""
        return list(self._queue)

    def next_pack(self) -> list[Trial] | None:
        """Return the next pack to run; None while the round waits for running packs, and after the end."""
        return self._queue.popleft() if self._queue and not self.has_ended else None

    def complete(self, trial: Trial, result: Result) -> None:
        """Record the result of a trial, and open the next round after the last one."""
        self._add_results({trial.id: result})
        if not self.num_pending:
            self._open_round(self._send_results())

    def close(self) -> None:
        """End the last round with the results there are; no other follows."""
        if not self.is_finished:
            self._send_results()

    def requeue(self, pack: list[Trial], *, has_checkpoint: bool = False) -> bool:
        """Queue a pack whose process died again, and return whether it was queued.

        A pack of several is split in halves; a single trial, or a pack with a checkpoint to resume from, is queued
        as it is up to MAX_ATTEMPTS times.
        """
        name = " ".join(trial.id for trial in pack)
        self._deaths[name] += 1
        if (has_checkpoint or len(pack) == 1) and self._deaths[name] < MAX_ATTEMPTS:
            self._queue.appendleft(pack)
            return True
        if len(pack) > 1:
            self._queue.extendleft(reversed(split_evenly(pack, 2)))
        return len(pack) > 1

    def _open_round(self, proposals: list[Trial] | None) -> None:
        while proposals is not None:
            self._round = proposals
            self.num_proposed += len(proposals)
            new = {t.id: t for t in proposals if t.id not in self.trials}
            self.trials |= new
            stored = self.lookup(list(new.values()))
            self.on_stored_results(stored)
            self._add_results(stored)
            self.num_cached += len(stored)
            packs = self._packing(list(new.values()))
            missing = ([t for t in pack if t.id not in stored] for pack in packs)
            self._queue.extend(pack for pack in missing if pack)
            if self._queue:
                return
            proposals = self._send_results()

    def _add_results(self, results: dict[str, Result]) -> None:
        self.results |= results
        if self._budget:
            for trial, result in results.items():
                self._budget.add_result(self.trials[trial], result)

    def _send_results(self) -> list[Trial] | None:
        """Send the results of the round to the search, and return what it proposes next; None at its end."""
        try:
            return self._rounds.send({t.id: self.results[t.id] for t in self._round if t.id in self.results})
        except StopIteration:
            self.is_finished = True
            return None


class StudyRun(NamedTuple):
    """One study of a run."""

    queue: TrialQueue
    job: dict[str, Any]  # the settings that its packs share
    on_result: ResultCallback
    close: Callable[[], None] = lambda: None  # called when the queue is finished, or the run stops
    max_packs: int | None = None  # packs of it at once; None: as many as there is room for
    pruner: Any = None  # actor handle, if the job has `prune`


class RaySession(NamedTuple):
    """A Ray that packs can be trained on."""

    cpus: int  # that packs are formed for
    gpus: float
    scratch: Path  # a temporary folder for Tune's own files
    job_overrides: dict[str, Any]  # `folders` of user-defined modules and `data` as workers reach them, if otherwise
    max_packs: int | None = None  # packs at once; None: as many as there is room for


def open_queue(
    study: Study,
    cpus: float = 1,
    storage_file: Path | None = None,
    on_damage: DamageCallback = lambda damage: None,
    plan: list[Trial] | None = None,
    gpus: float = 1,
) -> TrialQueue:
    """Return the queue of a study's trials, given the results in its store.

    Args:
        study: the study to run.
        cpus: CPUs that it runs on.
        storage_file: of Optuna's storage, if the study is a search.
        on_damage: called with each damaged folder of the store, which is skipped.
        plan: extended by every proposal, in order; the queue holds a trial once, however many points request it.
        gpus: GPUs that it runs on, if it uses any.
    """
    resources = study.file.resources
    size_limit = resources.pack if resources.pack != "auto" else GPU_PACK_SIZE if resources.gpu else CPU_PACK_SIZE

    def lookup(trials: list[Trial]) -> dict[str, Result]:
        results, damaged = store.load_results(study.store, (t.id for t in trials), study.metric)
        for damage in damaged:
            on_damage(damage)
        return results

    budget = Budget(study)
    proposals = record_proposals(rounds(study, storage_file, budget.stop_reason), [] if plan is None else plan)
    return TrialQueue(proposals, lookup, make_packing(size_limit, concurrent_packs(study, cpus, gpus)), budget)


def concurrent_packs(study: Study, cpus: float, gpus: float) -> int:
    """Return how many packs of a study fit on the CPUs and, if it uses any, GPUs at once; at least one."""
    resources = study.file.resources
    fit = [cpus / resources.total_cpus, *([gpus / (resources.gpu * resources.workers)] if resources.gpu else [])]
    return max(1, int(min(fit)))


def record_proposals(proposals: Rounds, plan: list[Trial]) -> Rounds:
    """Forward the rounds of a search, and append what they propose to a plan."""
    proposed = next(proposals, None)
    while proposed is not None:
        plan += proposed
        results = yield proposed
        try:
            proposed = proposals.send(results)
        except StopIteration:
            return


def num_distinct_trials(study: Study, queue: TrialQueue) -> int:
    """Return the number of different trials of a study, as far as its points are known to coincide."""
    return len(queue.trials) + num_unproposed(study, queue)


def num_unfinished(study: Study, queue: TrialQueue) -> int:
    """Return how many trials of a study lack a result, including those that a search has yet to propose."""
    return queue.num_pending + num_unproposed(study, queue)


def num_unproposed(study: Study, queue: TrialQueue) -> int:
    """Return how many trials of a study are yet to be proposed; none once fewer seeds than the most were enough.

    A search ends before its last proposal only if the run is stopped, or by its budget.
    """
    is_complete = queue.is_finished and study.search.batch is None
    return 0 if is_complete else num_trials(study) - queue.num_proposed
