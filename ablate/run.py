"""Running studies: stored results are looked up, missing trials are run, and tables are written."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from itertools import chain
from typing import Any, NamedTuple, Protocol

from ablate.clusters import cluster_session
from ablate.errors import UserError, error_message
from ablate.lock import run_lock
from ablate.methods import module_folders
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
from ablate.trial_queue import RaySession, StudyRun, TrialQueue, concurrent_packs, num_unfinished, open_queue


class RunCallback(Protocol):
    """Called while a study runs, such as to show its progress."""

    def on_start(self, queue: TrialQueue) -> None:
        """Called before the first trial starts."""

    def on_result(self, trial: Trial, result: Result, error: str | None) -> None:
        """Called with each new result, and the error message of a failed trial."""

    def note(self, sentence: str) -> None:
        """Called with a warning that does not stop the run."""


class RunOutcome(NamedTuple):
    """How a run of a study ended."""

    trials: int  # with a result, stored or new
    diverged: int  # with a loss that is not finite; a result, which a further run would not change
    failed: int  # without a result: they run again with the same command
    pruned: int  # ended early
    interrupted: bool
    stop_reason: str | None  # why the budget ended it; None: it did not


def run_study(study: Study, cpus: int | None, callback: RunCallback, address: str | None = None) -> RunOutcome:
    """Run the missing trials of a study and write its tables.

    Args:
        study: the study to run.
        cpus: how many CPUs to use; None: all that there are.
        callback: called while it runs.
        address: of a Ray cluster; None starts a Ray on this machine.

    Raises:
        UserError: the machine or the cluster cannot run it, or cannot go on; what finished is in the store.
    """
    (outcome,) = run_studies([study], cpus, lambda study: callback, address=address)
    return outcome


def run_studies(
    studies: Sequence[Study],
    cpus: int | None,
    make_callback: Callable[[Study], RunCallback],
    on_study_end: Callable[[Study, RunOutcome], None] = lambda study, outcome: None,
    address: str | None = None,
) -> list[RunOutcome]:
    """Run several studies, each as `run_study` does one.

    On this machine they share a Ray and its workers: while one waits for its last trials, the next starts.

    Args:
        studies: what to run, in this order.
        cpus: how many CPUs to use; None: all that there are.
        make_callback: returns the callback of a study.
        on_study_end: called with each study that is finished or was stopped.
        address: of a Ray cluster; None starts a Ray on this machine.

    Returns:
        The outcomes of the studies that started, in the order of their ends.
    """
    outcomes: list[RunOutcome] = []

    def add_outcome(study: Study, outcome: RunOutcome) -> None:
        outcomes.append(outcome)
        on_study_end(study, outcome)

    if address is None:
        num_cpus, num_gpus = cpus or available_cpus(), max(map(available_gpus, studies))
        execute(studies, num_cpus, num_gpus, make_callback, add_outcome, local_session(num_cpus, num_gpus))
        return outcomes
    for study in studies:
        with cluster_session(study, address, cpus, make_callback(study).note) as session:
            execute([study], session.cpus, session.gpus, make_callback, add_outcome, nullcontext(session))
        if outcomes[-1].interrupted:
            break
    return outcomes


@contextmanager
def local_session(cpus: int, gpus: int) -> Iterator[RaySession]:
    """Start a Ray on this machine, with so many CPUs and GPUs."""
    from ablate.launch import local_ray

    with local_ray(cpus, gpus) as scratch:
        yield RaySession(cpus, gpus, scratch, {})


def execute(
    studies: Sequence[Study],
    cpus: int,
    gpus: float,
    make_callback: Callable[[Study], RunCallback],
    on_study_end: Callable[[Study, RunOutcome], None],
    session_context: AbstractContextManager[RaySession],
) -> None:
    """Run the missing trials of studies on a Ray, which is only started if there are some."""
    for study in studies:
        preflight(study, cpus)
        check_writable(study)
    share = cpus if len(studies) == 1 else 1  # several studies fill the CPUs with whole packs
    study_runs = (
        start_study(study, share, gpus, make_callback(study), on_study_end)._replace(
            max_packs=max_packs(study, cpus, gpus)
        )
        for study in studies
    )
    for first in study_runs:
        if not first.queue.has_ended:
            break
        first.close()
    else:
        return
    with ExitStack() as stack:
        try:
            from ablate.launch import run_on_ray

            session = stack.enter_context(session_context)
        except BaseException:
            first.queue.is_stopped = True
            first.close()
            raise
        run_on_ray(chain([first], study_runs), session.scratch, session.max_packs, session.job_overrides)


def max_packs(study: Study, cpus: int, gpus: float) -> int | None:
    """Return how many packs of a study may run at once; None: Ray limits them, as it can for packs of one worker."""
    return None if study.file.resources.workers == 1 else concurrent_packs(study, cpus, gpus)


def start_study(
    study: Study,
    cpus: int,
    gpus: float,
    callback: RunCallback,
    on_study_end: Callable[[Study, RunOutcome], None],
) -> StudyRun:
    """Lock a study's folder, look its results up in the store, check the missing trials and write the first tables.

    Args:
        study: the study to start.
        cpus: CPUs that its packs are formed for.
        gpus: GPUs that its packs are formed for.
        callback: called while it runs.
        on_study_end: called when it is closed.
    """
    with ExitStack() as stack:
        stack.enter_context(run_lock(study.store, study.folder, callback.note))
        if study.mirror:
            callback.note(
                f"{study.mirror.url} has no locks; make sure that no other machine runs this study at the same time."
            )
            study.mirror.sync(callback.note)
            study.mirror.pull(study.folder)
        migrate(study.store)
        storage_file, plan, warnings = study.folder / "search.log", list[Trial](), list[str]()
        queue = open_queue(study, cpus, storage_file, lambda damage: quarantine(damage, callback.note), plan, gpus)
        if not queue.has_ended:
            try:
                warnings = check_trials(study, queue)
            except BaseException:
                storage_file.unlink(missing_ok=True)
                raise
        write_version(study.store)
        warnings += overwrite_warnings(study)
        tables = TableWriter(study, queue, callback.note, plan)
        callback.on_start(queue)
        for sentence in warnings:
            callback.note(sentence)
        lock = stack.pop_all()

    def on_result(trial: Trial, result: Result, error: str | None) -> None:
        """Record a result; where it cannot be written, the run ends."""
        try:
            with resumable_errors():
                tables.add_result(trial, result, error)
                check_disk_space(study.store)
        finally:
            callback.on_result(trial, result, error)

    def close() -> None:
        """Write the last tables and release the folder."""
        with lock, resumable_errors():
            queue.close()
            tables.close()
        count = Counter(result.status for result in queue.results.values())
        numbers = (len(queue.results), count["diverged"], count["failed"], count["pruned"], queue.is_stopped)
        on_study_end(study, RunOutcome(*numbers, queue.stop_reason if num_unfinished(study, queue) else None))

    return StudyRun(queue, build_job(study), on_result, close)


@contextmanager
def resumable_errors() -> Iterator[None]:
    """Add to errors of writing that the same command resumes the run."""
    try:
        yield
    except (OSError, UserError) as failure:
        raise UserError(f"{error_message(failure)}; run the same command to continue") from None


def build_job(study: Study) -> dict[str, Any]:
    """Return the settings that a worker needs in addition to the trials."""
    pruner = {**study.pruning, "maximise": study.maximise} if study.pruning else None
    resources = study.file.resources
    return {
        "store": study.address, "folders": module_folders(study.document.file), "data": study.data,
        "metric": study.metric, "prune": pruner,
        **{key: getattr(resources, key) for key in ("cpu", "gpu", "workers", "compile", "checkpoint")},
    }  # fmt: skip
