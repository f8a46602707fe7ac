"""Keeps account of studies while they run: what is proposed, queued, running and known."""

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

ResultLookup = Callable[[list[Trial]], dict[str, Result]]  # what the store knows of some trials
ResultCallback = Callable[[Trial, Result, str | None], None]  # (trial, result, error)
DamageCallback = Callable[[store.DamagedError], None]

CPU_PACK_SIZE, GPU_PACK_SIZE = (
    64,
    1024,
)  # trials, at most, that train together if the study says nothing: on CPUs, on a GPU
MAX_ATTEMPTS = 3  # that a trial gets whose process dies when it is alone, or a pack that has a checkpoint


def one_per_pack(trials: Sequence[Trial]) -> list[list[Trial]]:
    """Return every trial as a pack of its own."""
    return [[trial] for trial in trials]


class TrialQueue:
    """The trials of a study: rounds open one after another, and what the store knows is not run again.

    Packs are made of a whole round before those are left out that the store knows, so that a study that was
    interrupted goes on with the packs that it had.
    """

    def __init__(
        self, rounds: Rounds, known: ResultLookup, packing: Packing = one_per_pack, budget: Budget | None = None
    ) -> None:
        """Open the first round, and all that follow from results in the store."""
        self.proposed: dict[str, Trial] = {}  # in the order of the plan
        self.results: dict[str, Result] = {}
        self.cached = 0
        self.asked = 0  # trials so far, each as often as it was asked for
        self.finished = False
        self.stopped = False
        self.found: Callable[[dict[str, Result]], None] = lambda known: None  # is told what a round finds in the store
        self.stored = known
        self._rounds, self._packing, self._budget = rounds, packing, budget
        self._queue: deque[list[Trial]] = deque()
        self._deaths: Counter[str] = Counter()
        self._open(next(rounds, []))  # a budget may be spent before the first

    @property
    def waiting(self) -> int:
        """Return how many proposed trials have no result yet."""
        return len(self.proposed) - len(self.results)

    @property
    def spent(self) -> str | None:
        """Return why the budget lets nothing more start; None while it does, or where there is none."""
        return self._budget.spent() if self._budget else None

    @property
    def over(self) -> bool:
        """Say whether nothing more is to start."""
        return self.finished or self.stopped or self.spent is not None

    @property
    def queued(self) -> list[list[Trial]]:
        """Return the packs of this round that wait for a worker."""
        return list(self._queue)

    def next(self) -> list[Trial] | None:
        """Return a pack to run; None while the round waits for those that run, or where it is over."""
        return self._queue.popleft() if self._queue and not self.over else None

    def complete(self, trial: Trial, result: Result) -> None:
        """Take the result of a trial."""
        self._take({trial.id: result})
        if not self.waiting:
            self._open(self._answer())

    def close(self) -> None:
        """Let the last round end with what is known of it; none follows."""
        if not self.finished:
            self._answer()

    def died(self, pack: list[Trial], *, kept: bool = False) -> bool:
        """Say whether a pack whose process died is to run again: in halves, and a trial alone a few times.

        So is a pack as a whole of which a checkpoint was kept: it goes on from there.
        """
        name = " ".join(trial.id for trial in pack)
        self._deaths[name] += 1
        if (kept or len(pack) == 1) and self._deaths[name] < MAX_ATTEMPTS:
            self._queue.appendleft(pack)
            return True
        if len(pack) > 1:
            self._queue.extendleft(reversed(split_evenly(pack, 2)))
        return len(pack) > 1

    def _open(self, proposals: list[Trial] | None) -> None:
        while proposals is not None:
            self._round = proposals
            self.asked += len(proposals)
            fresh = {t.id: t for t in proposals if t.id not in self.proposed}
            self.proposed |= fresh
            known = self.stored(list(fresh.values()))
            self.found(known)
            self._take(known)
            self.cached += len(known)
            packs = self._packing(list(fresh.values()))
            missing = ([t for t in pack if t.id not in known] for pack in packs)
            self._queue.extend(pack for pack in missing if pack)
            if self._queue:
                return
            proposals = self._answer()

    def _take(self, results: dict[str, Result]) -> None:
        self.results |= results
        if self._budget:
            for trial, result in results.items():
                self._budget.add(self.proposed[trial], result)

    def _answer(self) -> list[Trial] | None:
        try:
            return self._rounds.send({t.id: self.results[t.id] for t in self._round if t.id in self.results})
        except StopIteration:
            self.finished = True
            return None


class StudyRun(NamedTuple):
    """A study's part in a run."""

    queue: TrialQueue
    job: dict[str, Any]  # what its packs share
    heard: ResultCallback  # is told of every result
    close: Callable[[], None] = lambda: None  # is called when the queue is finished, or the run stops
    most: int | None = None  # packs of it at once; None: as many as there is room for
    judge: Any = None  # of trials that lag, if the job has `prune`


class RaySession(NamedTuple):
    """Where packs are trained."""

    cpus: int  # that they are made for
    gpus: float
    scratch: Path  # a temporary folder for Tune's own files
    job: dict[str, Any]  # `folders` of user-defined modules and `data`, where workers reach them otherwise than we do
    most: int | None = None  # packs at once; None: as many as there is room for


def open_queue(
    study: Study,
    cpus: float = 1,
    log: Path | None = None,
    note: DamageCallback = lambda damage: None,
    plan: list[Trial] | None = None,
    gpus: float = 1,
) -> TrialQueue:
    """Return what a study still has to run, given its store.

    Args:
        study: what to run.
        cpus: that it runs on.
        log: where a search keeps Optuna's storage.
        note: is told of what is damaged, and passed over.
        plan: grows by all that is proposed; the queue has a trial once, however many points ask for it.
        gpus: that it runs on, if it asks for any.
    """
    asked = study.file.resources
    most = asked.pack if asked.pack != "auto" else GPU_PACK_SIZE if asked.gpu else CPU_PACK_SIZE

    def known(asked: list[Trial]) -> dict[str, Result]:
        found, damaged = store.load_results(study.store, (t.id for t in asked), study.metric)
        for damage in damaged:
            note(damage)
        return found

    budget = Budget(study)
    proposals = record_proposals(rounds(study, log, budget.spent), [] if plan is None else plan)
    return TrialQueue(proposals, known, make_packing(most, concurrent_packs(study, cpus, gpus)), budget)


def concurrent_packs(study: Study, cpus: float, gpus: float) -> int:
    """Return how many packs of a study run at once on so many CPUs and, if it asks for any, GPUs; one at least."""
    asked = study.file.resources
    fit = [cpus / asked.cpus, *([gpus / (asked.gpu * asked.workers)] if asked.gpu else [])]
    return max(1, int(min(fit)))


def record_proposals(proposals: Rounds, plan: list[Trial]) -> Rounds:
    """Pass rounds on, and append to a plan what they propose."""
    proposed = next(proposals, None)
    while proposed is not None:
        plan += proposed
        results = yield proposed
        try:
            proposed = proposals.send(results)
        except StopIteration:
            return


def count_unfinished(study: Study, queue: TrialQueue) -> int:
    """Return how many trials of a study have no result yet, those included that a search has not proposed yet."""
    return queue.waiting + (0 if queue.finished else num_trials(study) - queue.asked)
