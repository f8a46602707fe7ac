"""What a run would do, and how far it is, without running anything."""

from collections import Counter
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from ablate import store
from ablate.errors import UserError
from ablate.plan import size
from ablate.run import available_cpus, open_agenda, preflight
from ablate.study import Study

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
    cpus: int
    seconds: float | None  # estimated, from trials of the same methods in the store; None if there are none
    megabytes: float | None  # estimated, on disk


class Progress(NamedTuple):
    """A run as its tables show it."""

    planned: int
    done: int
    failed: int
    diverged: int
    seconds: float | None  # median of a trial


def forecast(study: Study) -> Forecast:
    """Return what running a study would mean; raise a UserError where it cannot run here."""
    preflight(study, available_cpus())
    agenda = open_agenda(study)
    known = [agenda.proposed[trial] for trial in agenda.results]
    missing = size(study) - agenda.cached
    by_method = Counter(t.labels["method"] for t in agenda.proposed.values() if t.id not in agenda.results)
    seconds = megabytes = None
    cpus = max(1, int(available_cpus() / study.file.resources.cpu))
    if known:
        folders = [store.trial_folder(study.store, t.id) for t in known[:: max(1, len(known) // 50)]]
        seconds = missing * median(map(_seconds, folders)) / cpus
        megabytes = missing * median(sum(f.stat().st_size for f in folder.iterdir()) for folder in folders) / 1e6
    return Forecast(
        study.file.name,
        study.sheet.name,
        size(study),
        agenda.cached,
        missing,
        dict(by_method),
        cpus,
        seconds,
        megabytes,
    )


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
    seconds = float(middle) if isinstance(middle, int | float) else None
    return Progress(run.study["planned"], count["done"], count["failed"], count["diverged"], seconds)


def open_run(folder: Path) -> "Run":
    """Return the tables of a run; raise a UserError if the folder holds none."""
    from analysis import load

    try:
        return load(folder)
    except FileNotFoundError as error:
        raise UserError(str(error)) from None


def _seconds(folder: Path) -> float:
    import polars as pl

    return float(pl.read_parquet(folder / "trials.parquet", columns=["seconds"])["seconds"][0])
