"""Running a study: from what the store already knows, over the trials that are missing, to its tables."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from itertools import chain
from typing import Any, NamedTuple, Protocol

from ablate.clusters import cluster_session
from ablate.errors import UserError, error_message
from ablate.lock import run_lock
from ablate.methods import folders
from ablate.preflight import (
    available_gpus,
    check_disk_space,
    check_trials,
    check_writable,
    overwrite_warnings,
    preflight,
)
from ablate.provenance import available_cpus
from ablate.schema import migrate, write_version
from ablate.study import Study
from ablate.tables import TableWriter, quarantine
from ablate.trial import Result, Trial
from ablate.trial_queue import RaySession, StudyRun, TrialQueue, concurrent_packs, count_unfinished, open_queue


class RunCallback(Protocol):
    """Who is told of what happens in a run."""

    def begin(self, queue: TrialQueue) -> None:
        """Hear what will run, before the first trial starts."""

    def heard(self, trial: Trial, result: Result, error: str | None) -> None:
        """Hear a result."""

    def note(self, sentence: str) -> None:
        """Hear of something that is not as it should be, and does not stop the run."""


class RunOutcome(NamedTuple):
    """How a run ended."""

    trials: int  # known now
    diverged: int  # a result: a loss was not finite, and would not be if it ran again
    failed: int  # no result: runs again with the same command
    pruned: int  # ended early, for lagging behind
    interrupted: bool
    spent: str | None  # why the budget ended it; None: it did not


def run_study(study: Study, cpus: int | None, watcher: RunCallback, address: str | None = None) -> RunOutcome:
    """Run what is missing and write the study's tables.

    Args:
        study: what to run.
        cpus: how many to use; None: all that there are.
        watcher: is told of what happens.
        address: of a Ray cluster; None starts a Ray of this machine alone.

    Raises:
        UserError: the machine or the cluster cannot run it, or cannot go on; what finished is in the store.
    """
    (outcome,) = run_studies([study], cpus, lambda study: watcher, address=address)
    return outcome


def run_studies(
    studies: Sequence[Study],
    cpus: int | None,
    watch: Callable[[Study], RunCallback],
    ended: Callable[[Study, RunOutcome], None] = lambda study, outcome: None,
    address: str | None = None,
) -> list[RunOutcome]:
    """Run several studies, each as `run` does one.

    On this machine they share a Ray and its workers: while one waits for its last trials, the next begins.

    Args:
        studies: what to run, in this order.
        cpus: how many to use; None: all that there are.
        watch: returns who is told of what happens to a study.
        ended: is told of each study that is finished or was stopped.
        address: of a Ray cluster; None starts a Ray of this machine alone.

    Returns:
        How those ended that began, in the order of ending.
    """
    outcomes: list[RunOutcome] = []

    def closed(study: Study, outcome: RunOutcome) -> None:
        outcomes.append(outcome)
        ended(study, outcome)

    if address is None:
        count, cards = cpus or available_cpus(), max(map(available_gpus, studies))
        execute(studies, count, cards, watch, closed, local_session(count, cards))
        return outcomes
    for study in studies:
        with cluster_session(study, address, cpus, watch(study).note) as place:
            execute([study], place.cpus, place.gpus, watch, closed, nullcontext(place))
        if outcomes[-1].interrupted:
            break
    return outcomes


@contextmanager
def local_session(cpus: int, gpus: int) -> Iterator[RaySession]:
    """Start a Ray of this machine alone, with so many CPUs and GPUs."""
    from ablate.launch import local_ray

    with local_ray(cpus, gpus) as scratch:
        yield RaySession(cpus, gpus, scratch, {})


def execute(
    studies: Sequence[Study],
    cpus: int,
    gpus: float,
    watch: Callable[[Study], RunCallback],
    closed: Callable[[Study, RunOutcome], None],
    place: AbstractContextManager[RaySession],
) -> None:
    """Run what is missing on so many CPUs and GPUs; the place is entered only if something is."""
    for study in studies:
        preflight(study, cpus)
        check_writable(study)
    share = cpus if len(studies) == 1 else 1  # several studies fill the CPUs with whole packs
    works = (
        start_study(study, share, gpus, watch(study), closed)._replace(most=max_packs(study, cpus, gpus))
        for study in studies
    )
    for first in works:
        if not first.queue.over:
            break
        first.close()
    else:
        return
    with ExitStack() as stack:
        try:
            from ablate.launch import run_on_ray

            entered = stack.enter_context(place)
        except BaseException:
            first.queue.stopped = True
            first.close()
            raise
        run_on_ray(chain([first], works), entered.scratch, entered.most, entered.job)


def max_packs(study: Study, cpus: int, gpus: float) -> int | None:
    """Return how many packs of a study may run at once; None: Ray knows, but not of those of several workers."""
    return None if study.file.resources.workers == 1 else concurrent_packs(study, cpus, gpus)


def start_study(
    study: Study, share: int, gpus: float, watcher: RunCallback, closed: Callable[[Study, RunOutcome], None]
) -> StudyRun:
    """Begin a study: hold its folder, see what the store knows, check the rest and write the tables."""
    with ExitStack() as stack:
        stack.enter_context(run_lock(study.store, study.folder, watcher.note))
        if study.mirror:
            watcher.note(f"{study.mirror.url} has no locks; see to it that no other machine runs this study meanwhile.")
            study.mirror.sync(watcher.note)
            study.mirror.pull(study.folder)
        migrate(study.store)
        log, plan, odd = study.folder / "search.log", list[Trial](), list[str]()
        queue = open_queue(study, share, log, lambda damage: quarantine(damage, watcher.note), plan, gpus)
        if not queue.over:
            try:
                odd = check_trials(study, queue)
            except BaseException:
                log.unlink(missing_ok=True)
                raise
        write_version(study.store)
        odd += overwrite_warnings(study)
        tables = TableWriter(study, queue, watcher.note, plan)
        watcher.begin(queue)
        for sentence in odd:
            watcher.note(sentence)
        held = stack.pop_all()

    def heard(trial: Trial, result: Result, error: str | None) -> None:
        """Take a result; where it cannot be written, the run ends."""
        try:
            with resumable_errors():
                tables.add(trial, result, error)
                check_disk_space(study.store)
        finally:
            watcher.heard(trial, result, error)

    def close() -> None:
        """Write what is left and let the folder go."""
        with held, resumable_errors():
            queue.close()
            tables.close()
        count = Counter(result.status for result in queue.results.values())
        ended = (len(queue.results), count["diverged"], count["failed"], count["pruned"], queue.stopped)
        closed(study, RunOutcome(*ended, queue.spent if count_unfinished(study, queue) else None))

    return StudyRun(queue, build_job(study), heard, close)


@contextmanager
def resumable_errors() -> Iterator[None]:
    """Say of what cannot be written that nothing is lost."""
    try:
        yield
    except (OSError, UserError) as failure:
        raise UserError(f"{error_message(failure)}; the same command continues with what is missing") from None


def build_job(study: Study) -> dict[str, Any]:
    """Return what a worker has to know beside the trials."""
    judged = {**study.pruning, "maximise": study.maximise} if study.pruning else None
    asked = study.file.resources
    return {
        "store": study.address, "folders": folders(study.document.file), "data": study.data, "metric": study.metric,
        "prune": judged, **{key: getattr(asked, key) for key in ("cpu", "gpu", "workers", "compile", "checkpoint")},
    }  # fmt: skip
