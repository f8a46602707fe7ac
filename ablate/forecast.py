"""What a run would do, and how far it is, without running anything."""

from collections import Counter
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from ablate import store
from ablate.errors import UserError
from ablate.lock import read_driver
from ablate.outdated import outdated
from ablate.plan import num_trials
from ablate.preflight import available_gpus, check_trials, overwrite_warnings, preflight
from ablate.provenance import available_cpus
from ablate.schema import find_store, schema_version
from ablate.study import Study
from ablate.trial import Trial
from ablate.trial_queue import TrialQueue, concurrent_packs, count_unfinished, open_queue

if TYPE_CHECKING:
    from analysis.tables import Run


class Forecast(NamedTuple):
    """A study before it runs."""

    study: str
    data: str
    trials: int  # in the end
    stored: int  # known already
    missing: int
    methods: dict[str, int]  # trials of the first round that are missing, by method
    packs: list[int]  # how many trials train together in each pack of the first round
    cpus: int  # packs at a time
    seconds: float | None  # estimated, from trials in the store or, if asked for, from a few steps; None: neither
    megabytes: float | None  # estimated, on disk; None if there is none in the store
    memory: float | None  # estimated megabytes of the largest pack; None unless asked for
    spent: str | None  # why the budget lets nothing run
    changed: dict[str, tuple[Any, Any]]  # since the last run, why some of its trials run again: before, now
    damaged: list[str]  # what of the store cannot be read, and is passed over
    adds: bool = False  # seeds where they are needed: there may be fewer trials


class Progress(NamedTuple):
    """A run as its tables show it."""

    planned: int
    done: int
    failed: int
    diverged: int
    pruned: int
    seconds: float | None  # median of a trial
    driver: str | None  # who runs it now, as far as this machine can tell


def forecast(study: Study, *, measure: bool = False) -> Forecast:
    """Return what running a study would mean; raise a UserError where it cannot run here.

    With ``measure``, where none of its trials is stored, what it takes is measured on a few steps of a pack of every
    method.
    """
    preflight(study, available_cpus())
    if measure and study.file.resources.gpu:
        raise UserError("--measure: steps are made on a CPU, and this study asks for GPUs")
    damaged: list[str] = []
    if study.mirror:
        study.mirror.fetch(damaged.append)
    damaged += overwrite_warnings(study)
    cards = available_gpus(study)
    queue = open_queue(study, available_cpus(), on_damage=lambda found: damaged.append(f"{found}."), gpus=cards)
    missing = 0 if queue.stop_reason else count_unfinished(study, queue)
    fresh = [trial for trial in queue.trials.values() if trial.id not in queue.results]
    by_method = Counter(trial.point_labels["method"] for trial in fresh)
    if not queue.has_ended:
        check_trials(study, queue)
    cpus = concurrent_packs(study, available_cpus(), cards)
    seconds, megabytes, memory = estimated(study, queue, missing, cpus, measure=measure)
    return Forecast(
        study.file.name,
        study.sheet.name,
        num_trials(study),
        queue.num_cached,
        missing,
        dict(by_method),
        [] if queue.stop_reason else [len(pack) for pack in queue.pending_packs],
        cpus,
        seconds,
        megabytes,
        memory,
        queue.stop_reason,
        outdated(study, fresh),
        damaged,
        adds=len(study.seed_counts) > 1,
    )


def estimated(
    study: Study, queue: TrialQueue, missing: int, cpus: int, *, measure: bool
) -> tuple[float | None, float | None, float | None]:
    """Return the seconds that missing trials take, their megabytes on disk, and those of the largest pack in memory."""
    if known := list(queue.results):
        where = store.locate(study.store, known[:: max(1, len(known) // 50)])
        each = median(_seconds(folder, trial) for trial, folder in where.items())
        return missing * each / cpus, missing * median(map(_bytes, where.values())) / 1e6, None
    if measure and missing and queue.pending_packs:
        each, memory = measured(study, queue.pending_packs)
        return missing * each / cpus, None, memory
    return None, None, None


def measured(study: Study, queued: list[list[Trial]]) -> tuple[float, float]:
    """Return the seconds that a trial takes on average, and the megabytes of the largest pack, of those that wait.

    A few steps are made of the first pack of every method; the study's measurements are not.

    Raises:
        UserError: a method fails in them.
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
                each, needed = estimate_seconds(configs, dataset), footprint(configs[0], dataset)
            except Exception as error:
                raise UserError(f"{method}: {type(error).__name__}: {error}") from None
            total, largest = total + each * sum(map(len, packs)), max(largest, needed * max(map(len, packs)))
    return total / sum(map(len, queued)), largest / 1e6


def progress(folder: Path) -> Progress:
    """Return how far a run is.

    Raises:
        UserError: the folder holds no run.
    """
    import polars as pl

    run = open_run(folder)
    trials = run.trials.select("status", "seconds").collect()
    count = Counter(trials["status"].to_list())
    middle = trials.filter(pl.col("status") == "done")["seconds"].median()
    who = read_driver(folder)
    seconds = float(middle) if isinstance(middle, int | float) else None
    ended = {status: count[status] for status in ("done", "failed", "diverged", "pruned")}
    return Progress(run.study["planned"], **ended, seconds=seconds, driver=who and str(who))


def open_run(folder: Path) -> "Run":
    """Return the tables of a run; raise a UserError if the folder holds none, or the store is of a later version."""
    from analysis import load

    schema_version(find_store(folder))
    try:
        return load(folder)
    except FileNotFoundError as error:
        cells = [str(file.parent) for file in sorted(folder.glob("*/study.yaml"))]
        is_store = find_store(folder / "cell") == folder.absolute()
        if cells and not is_store and not (folder / "study.yaml").exists():
            raise UserError(f"{folder} is the folder of a claim, and no run; its runs are {', '.join(cells)}") from None
        raise UserError(str(error)) from None


def _seconds(folder: Path, trial: str) -> float:
    rows = store.read_table(folder, "trials")
    return float(rows.filter(rows["trial"] == trial)["seconds"][0])


def _bytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.iterdir()) / len(store.trial_ids(folder))
