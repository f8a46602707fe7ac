"""Forecasts for `ablate plan` and progress for `ablate status`; nothing is run."""

from collections import Counter
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any, NamedTuple

from ablate import store
from ablate.checkpoints import num_resumable, resumable_packs
from ablate.errors import UserError
from ablate.lock import read_driver
from ablate.outdated import changes_since_last_run
from ablate.preflight import available_gpus, check_trials, overwrite_warnings, preflight, write_warnings
from ablate.provenance import available_cpus
from ablate.schema import find_store, schema_version
from ablate.study import Study
from ablate.trial import Trial
from ablate.trial_queue import TrialQueue, concurrent_packs, num_distinct_trials, num_unfinished, open_queue

if TYPE_CHECKING:
    from analysis.tables import Run


class Forecast(NamedTuple):
    """What running a study would do."""

    study: str
    data: str
    trials: int  # in the end
    stored: int  # in the store already
    missing: int
    methods: dict[str, int]  # missing trials of the first round, by method
    packs: list[int]  # number of trials in each pack of the first round
    cpus: int  # packs that run in parallel
    seconds: float | None  # estimate from trials in the store or, with `measure`, from a few steps; None: neither
    megabytes: float | None  # estimate on disk from trials in the store
    memory: float | None  # estimated megabytes of the largest pack, with `measure`
    spent: str | None  # why the budget lets nothing run
    changed: dict[str, tuple[Any, Any]]  # why trials of the last run run again: name -> value then, value now
    damaged: list[str]  # notes, such as what of the store cannot be read and is skipped
    adds: bool = False  # `seeds: auto`: the study may end with fewer trials
    checkpoints: int = 0  # packs of the first round that resume from a checkpoint


class RunProgress(NamedTuple):
    """The progress of a run, as its tables show it."""

    planned: int
    done: int
    failed: int
    diverged: int
    pruned: int
    seconds: float | None  # median of a trial
    driver: str | None  # the process that runs it now, as far as this machine can tell
    checkpoints: int  # in the store, of packs that were interrupted; 0 while the run goes on or once it is finished


def forecast(study: Study, *, measure: bool = False) -> Forecast:
    """Return what running a study would do; raise a UserError if it cannot run here.

    With ``measure``, if none of its trials is stored, time and memory are measured on a few steps of a pack of every
    method.
    """
    preflight(study, available_cpus())
    if measure and study.file.resources.gpu:
        raise UserError("--measure: the steps run on a CPU, but this study needs GPUs")
    notes: list[str] = []
    if study.mirror:
        study.mirror.fetch(notes.append)
    notes += overwrite_warnings(study) + write_warnings(study)
    num_gpus = available_gpus(study)
    queue = open_queue(study, available_cpus(), on_damage=lambda damage: notes.append(f"{damage}."), gpus=num_gpus)
    missing = 0 if queue.stop_reason else num_unfinished(study, queue)
    planned = [trial for trial in queue.trials.values() if trial.id not in queue.results]
    by_method = Counter(trial.point_labels["method"] for trial in planned)
    if not queue.has_ended:
        check_trials(study, queue)
    cpus = concurrent_packs(study, available_cpus(), num_gpus)
    seconds, megabytes, memory = estimate_cost(study, queue, missing, cpus, measure=measure)
    return Forecast(
        study.file.name,
        study.sheet.name,
        num_distinct_trials(study, queue),
        queue.num_cached,
        missing,
        dict(by_method),
        [] if queue.stop_reason else [len(pack) for pack in queue.pending_packs],
        cpus,
        seconds,
        megabytes,
        memory,
        queue.stop_reason,
        changes_since_last_run(study, planned),
        notes,
        adds=len(study.looks) > 1 and not queue.is_finished,
        checkpoints=num_resumable(study.store, queue.pending_packs) if study.file.resources.checkpoint else 0,
    )


def estimate_cost(
    study: Study, queue: TrialQueue, missing: int, cpus: int, *, measure: bool
) -> tuple[float | None, float | None, float | None]:
    """Return estimates of seconds and megabytes on disk of the missing trials, and megabytes of the largest pack."""
    if known_trials := list(queue.results):
        folders = store.locate(study.store, known_trials[:: max(1, len(known_trials) // 50)])
        seconds = mean(trial_seconds(folder, trial) for trial, folder in folders.items())
        return missing * seconds / cpus, missing * mean(map(trial_bytes, folders.values())) / 1e6, None
    if measure and missing and queue.pending_packs:
        seconds, memory = measure_cost(study, queue.pending_packs)
        return missing * seconds / cpus, None, memory
    return None, None, None


def measure_cost(study: Study, queued: list[list[Trial]]) -> tuple[float, float]:
    """Return the mean seconds of a queued trial, and the megabytes of the largest queued pack.

    They are measured on a few steps of the first pack of every method, without the study's measurements.

    Raises:
        UserError: a method fails in these steps.
    """
    from trainables.data import load
    from trainables.dry_run import estimate_seconds
    from trainables.memory import footprint

    dataset, total, largest = load(study.data), 0.0, 0
    for method in study.methods:
        packs = [pack for pack in queued if pack[0].labels["method"] == method]
        if packs:
            configs = [trial.config for trial in packs[0]]
            try:
                seconds, bytes_each = estimate_seconds(configs, dataset), footprint(configs[0], dataset)
            except Exception as error:
                raise UserError(f"{method}: {type(error).__name__}: {error}") from None
            total, largest = total + seconds * sum(map(len, packs)), max(largest, bytes_each * max(map(len, packs)))
    return total / sum(map(len, queued)), largest / 1e6


def run_progress(folder: Path) -> RunProgress:
    """Return the progress of a run.

    Raises:
        UserError: the folder holds no run.
    """
    import polars as pl

    run = open_run(folder)
    trials = run.trials.select("status", "seconds").collect()
    count = Counter(trials["status"].to_list())
    median_seconds = trials.filter(pl.col("status") == "done")["seconds"].median()
    running_driver = read_driver(folder)
    seconds = float(median_seconds) if isinstance(median_seconds, int | float) else None
    counts = {status: count[status] for status in ("done", "failed", "diverged", "pruned")}
    is_interrupted = running_driver is None and sum(counts.values()) - counts["failed"] < run.study["planned"]
    checkpoints = len(resumable_packs(find_store(folder))) if is_interrupted else 0
    driver = running_driver and str(running_driver)
    return RunProgress(run.study["planned"], **counts, seconds=seconds, driver=driver, checkpoints=checkpoints)


def open_run(folder: Path) -> "Run":
    """Return the tables of a run; raise a UserError if there are none, or the store is of a later version."""
    from analysis import load

    schema_version(find_store(folder))
    try:
        return load(folder)
    except FileNotFoundError as error:
        cells = [str(file.parent) for file in sorted(folder.glob("*/study.yaml"))]
        is_store = find_store(folder / "cell") == folder.absolute()
        if cells and not is_store and not (folder / "study.yaml").exists():
            raise UserError(
                f"{folder} is the folder of a claim, not of a run; its runs are {', '.join(cells)}"
            ) from None
        raise UserError(str(error)) from None


def trial_seconds(folder: Path, trial: str) -> float:
    """Return the seconds that a stored trial took."""
    rows = store.read_table(folder, "trials")
    return float(rows.filter(rows["trial"] == trial)["seconds"][0])


def trial_bytes(folder: Path) -> float:
    """Return the bytes that each trial of a folder takes on disk, on average."""
    return sum(file.stat().st_size for file in folder.iterdir()) / len(store.trial_ids(folder))
