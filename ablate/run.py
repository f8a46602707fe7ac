"""Running a study: from what the store already knows, over the trials that are missing, to its tables."""

import json
import os
import platform
import shlex
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ablate import designs, store
from ablate.agenda import Agenda, Work
from ablate.budget import Budget
from ablate.errors import UserError, meant, spoken
from ablate.lock import alone
from ablate.methods import folders
from ablate.packs import packing
from ablate.plan import Result, Trial, size
from ablate.provenance import available_cpus, processor, versions
from ablate.schema import mark, migrate, version
from ablate.search import Rounds, rounds
from ablate.study import DIRECTIONS, LEARNING_RATES, Study, about_data
from ablate.tables import WAVE, Part, wave_name, write_study, write_wave
from ablate.trackers import Trackers, installed

FLUSH = 10.0  # seconds, at least, between two looks of the tables at what has finished
SHARE = 20  # and times as long as the last look took
PACK = 64  # trials, at most, that train together if the study says nothing
MOST = 1_000_000  # trials of a study
DISK = 200 * 2**20  # bytes that must be free before a run
Note = Callable[[store.DamagedError], None]


class Watcher(Protocol):
    """Who is told of what happens in a run."""

    def begin(self, agenda: Agenda) -> None:
        """Hear what will run, before the first trial starts."""

    def heard(self, trial: Trial, result: Result, error: str | None) -> None:
        """Hear a result."""

    def note(self, sentence: str) -> None:
        """Hear of something that is not as it should be, and does not stop the run."""


class Outcome(NamedTuple):
    """How a run ended."""

    trials: int  # known now
    cached: int  # known before the run
    diverged: int  # a result: a loss was not finite, and would not be if it ran again
    failed: int  # no result: runs again with the same command
    interrupted: bool
    spent: str | None  # why the budget ended it; None: it did not


class Place(NamedTuple):
    """Where packs are trained."""

    cpus: int  # that they are made for
    scratch: Path  # a temporary folder for Tune's own files
    job: dict[str, Any]  # `folders` of modules of one's own and `data`, where workers reach them otherwise than we do
    most: int | None = None  # packs at once; None: as many as there is room for


def open_agenda(
    study: Study,
    cpus: float = 1,
    log: Path | None = None,
    note: Note = lambda damage: None,
    plan: list[Trial] | None = None,
) -> Agenda:
    """Return what a study still has to run, given its store.

    Args:
        study: what to run.
        cpus: that it runs on.
        log: where a search keeps Optuna's storage.
        note: is told of what is damaged, and passed over.
        plan: grows by all that is proposed; the agenda has a trial once, however many points ask for it.
    """
    asked = study.file.resources
    most = PACK if asked.pack == "auto" else asked.pack

    def known(asked: list[Trial]) -> dict[str, Result]:
        found, damaged = store.results(study.store, (t.id for t in asked), study.metric)
        for damage in damaged:
            note(damage)
        return found

    budget = Budget(study)
    proposals = noted(rounds(study, log, budget.spent), [] if plan is None else plan)
    return Agenda(proposals, known, packing(most, max(1, int(cpus / asked.cpus))), budget)


def noted(proposals: Rounds, plan: list[Trial]) -> Rounds:
    """Pass rounds on, and append to a plan what they propose."""
    proposed = next(proposals, None)
    while proposed is not None:
        plan += proposed
        results = yield proposed
        try:
            proposed = proposals.send(results)
        except StopIteration:
            return


def run(study: Study, cpus: int | None, watcher: Watcher, address: str | None = None) -> Outcome:
    """Run what is missing and write the study's tables.

    Args:
        study: what to run.
        cpus: how many to use; None: all that there are.
        watcher: is told of what happens.
        address: of a Ray cluster; None starts a Ray of this machine alone.

    Raises:
        UserError: the machine or the cluster cannot run it, or cannot go on; what finished is in the store.
    """
    (outcome,) = run_all([study], cpus, lambda study: watcher, address=address)
    return outcome


def run_all(
    studies: Sequence[Study],
    cpus: int | None,
    watch: Callable[[Study], Watcher],
    ended: Callable[[Study, Outcome], None] = lambda study, outcome: None,
    address: str | None = None,
) -> list[Outcome]:
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
    outcomes: list[Outcome] = []

    def closed(study: Study, outcome: Outcome) -> None:
        outcomes.append(outcome)
        ended(study, outcome)

    if address is None:
        count, cards = cpus or available_cpus(), max(map(gpus, studies))
        conduct(studies, count, watch, closed, here(count, cards))
        return outcomes
    from ablate.clusters import joined

    for study in studies:
        with joined(study, address, cpus, watch(study).note) as place:
            conduct([study], place.cpus, watch, closed, nullcontext(place))
        if outcomes[-1].interrupted:
            break
    return outcomes


@contextmanager
def here(cpus: int, gpus: int) -> Iterator[Place]:
    """Start a Ray of this machine alone, with so many CPUs and GPUs."""
    from ablate.launch import local_ray

    with local_ray(cpus, gpus) as scratch:
        yield Place(cpus, scratch, {})


def gpus(study: Study) -> int:
    """Return how many GPUs of this machine a study uses.

    Raises:
        UserError: it asks for more than there are.
    """
    asked = study.file.resources
    if not asked.gpu:
        return 0
    import torch

    has = torch.cuda.device_count()
    if asked.gpu * asked.workers > has:
        raise UserError(
            f"resources.gpu: a trial asks for {asked.gpu * asked.workers:g} GPUs, and this machine has {has}"
        )
    return has


def conduct(
    studies: Sequence[Study],
    cpus: int,
    watch: Callable[[Study], Watcher],
    closed: Callable[[Study, Outcome], None],
    place: AbstractContextManager[Place],
) -> None:
    """Run what is missing on so many CPUs; the place is entered only if something is."""
    for study in studies:
        preflight(study, cpus)
    share = cpus if len(studies) == 1 else 1  # several studies fill the CPUs with whole packs
    works = (begun(study, share, watch(study), closed)._replace(most=most(study, cpus)) for study in studies)
    for first in works:
        if not first.agenda.over:
            break
        first.close()
    else:
        return
    from ablate.launch import drive

    with ExitStack() as stack:
        try:
            entered = stack.enter_context(place)
        except BaseException:
            first.agenda.stopped = True
            first.close()
            raise
        drive(chain([first], works), entered.scratch, entered.most, entered.job)


def most(study: Study, cpus: int) -> int | None:
    """Return how many packs of a study may run at once: those of several workers reserve CPUs for themselves."""
    asked = study.file.resources
    return None if asked.workers == 1 else max(1, int(cpus / asked.cpus))


def begun(study: Study, share: int, watcher: Watcher, closed: Callable[[Study, Outcome], None]) -> Work:
    """Begin a study: hold its folder, see what the store knows, check the rest and write the tables."""
    with ExitStack() as stack:
        stack.enter_context(alone(study.folder, watcher.note))
        if study.mirror:
            watcher.note(f"{study.mirror.url} has no locks; see to it that no other machine runs this study meanwhile.")
            study.mirror.sync(watcher.note)
            study.mirror.pull(study.folder)
        migrate(study.store)
        log, plan = study.folder / "search.log", list[Trial]()
        agenda = open_agenda(study, share, log, lambda damage: pass_over(damage, watcher), plan)
        if not agenda.over:
            try:
                check_models(study, agenda)
                check_methods(study, agenda)
            except UserError:
                log.unlink(missing_ok=True)
                raise
        mark(study.store)
        tables = Tables(study, agenda, watcher, plan)
        watcher.begin(agenda)
        held = stack.pop_all()

    def heard(trial: Trial, result: Result, error: str | None) -> None:
        """Take a result; where it cannot be written, the run ends."""
        try:
            tables.add(trial, result, error)
            room(study.store)
        except (OSError, UserError) as failure:
            raise UserError(f"{spoken(failure)}; the same command continues with what is missing") from None
        finally:
            watcher.heard(trial, result, error)

    def close() -> None:
        """Write what is left and let the folder go."""
        with held:
            agenda.close()
            tables.close()
        count = Counter(result.status for result in agenda.results.values())
        ended = (len(agenda.results), agenda.cached, count["diverged"], count["failed"], agenda.stopped)
        closed(study, Outcome(*ended, agenda.spent if unasked(study, agenda, plan) else None))

    return Work(agenda, job(study), heard, close)


def unasked(study: Study, agenda: Agenda, plan: list[Trial]) -> int:
    """Return how many trials of a study have no result yet, those included that a search has not proposed yet."""
    return size(study) - len(plan) + agenda.waiting


def job(study: Study) -> dict[str, Any]:
    """Return what a worker has to know beside the trials."""
    judged = {**study.pruning, "metric": study.metric, "maximise": study.maximise} if study.pruning else None
    asked = study.file.resources
    return {
        "store": study.address, "folders": folders(study.document.file), "data": study.data, "metric": study.metric,
        "prune": judged, **{key: getattr(asked, key) for key in ("cpu", "gpu", "workers", "compile", "checkpoint")},
    }  # fmt: skip


def pass_over(damage: store.DamagedError, watcher: Watcher) -> None:
    """Move what is damaged aside, and say so once."""
    kept = store.set_aside(damage.folder)
    watcher.note(f"{damage}; it is kept as {kept.name}, and what it held runs again.")


class Tables:
    """The tables of a study while it runs: rewritten wave by wave, so that another shell can read them."""

    def __init__(self, study: Study, agenda: Agenda, watcher: Watcher, plan: list[Trial]) -> None:
        """Write what is known at the start; nothing of an earlier form of the study stays under its name."""
        self.study, self.agenda, self.watcher, self.plan = study, agenda, watcher, plan
        self.failures: dict[str, str] = {}
        self.changed: set[str] = set(agenda.proposed)
        write_study(study.folder, described(study))
        self.trackers = Trackers(study.file.track, study.folder, watcher.note)
        self.write()

    def add(self, trial: Trial, result: Result, error: str | None) -> None:
        """Take note of a result, and write now and then."""
        if result.status == "failed":
            self.failures[trial.id] = error or "no reason was given"
        self.changed.add(trial.id)
        if time.monotonic() > self.due:
            try:
                self.write()
            except UserError as error:
                self.watcher.note(f"{error}; it is tried again.")

    def write(self) -> None:
        """Write the waves that have changed; a UserError where a remote store cannot be reached."""
        began = time.monotonic()
        self.due = began + FLUSH  # where it fails
        if self.study.mirror:
            self.study.mirror.sync(self.watcher.note)
        for part, plan in self.parts().items():
            waves = {i // WAVE for i, trial in enumerate(plan) if trial.id in self.changed}
            for wave in sorted(waves):
                self.write_wave(plan, wave, part)
        self.changed.clear()
        self.trackers.follow()
        if self.study.mirror:
            self.study.mirror.push(self.study.folder)
        now = time.monotonic()
        self.due = now + max(FLUSH, SHARE * (now - began))

    def parts(self) -> dict[Part, list[Trial]]:
        """Return the trials of the study, and those that another point had asked for before."""
        proposed = self.agenda.proposed
        return {"": list(proposed.values()), "again": [t for t in self.plan if t is not proposed[t.id]]}

    def write_wave(self, plan: list[Trial], wave: int, part: Part) -> None:
        """Write a wave; a folder of the store that was damaged since it was read fails its trials for this time."""
        try:
            write_wave(self.study.store, self.study.folder, plan, self.failures, wave, part)
        except store.DamagedError as damage:
            lost = store.trials_of(damage.folder)
            pass_over(damage, self.watcher)
            for trial in self.agenda.results.keys() & set(lost):
                self.agenda.results[trial] = Result("failed", None)
                self.failures[trial] = "what the store held of it was damaged while the study ran"
            self.write_wave(plan, wave, part)

    def close(self) -> None:
        """Write what is left, and remove waves of an earlier, larger form of the study."""
        self.write()
        kept = {wave_name(i, part) for part, plan in self.parts().items() for i in range(-(-len(plan) // WAVE))}
        for table in store.TABLES:
            for file in (self.study.folder / table).glob("*.parquet"):
                if file.stem not in kept:
                    file.unlink()
        if self.study.mirror:
            self.study.mirror.push(self.study.folder)


def described(study: Study) -> dict[str, Any]:
    """Return what study.yaml holds: the study as resolved, with versions and machine."""
    file = study.file.model_dump(mode="json")
    if file["train"]["lr"] is None and not any(one.key == "train.optimizer" for one in study.vary):
        file["train"]["lr"] = LEARNING_RATES[file["train"]["optimizer"]]
    vary = {one.key: {"values": one.values, "scale": one.scale, "low": one.low, "high": one.high} for one in study.vary}
    resolved = {**file, "vary": vary | designs.switched(study), "set": study.set, "measure": study.measure}
    resolved["metric"], resolved["direction"] = study.metric, DIRECTIONS[study.metric]
    resolved["objectives"] = {metric: DIRECTIONS[metric] for metric in study.objectives}
    resolved["search"] = {study.search.name: study.search.options.model_dump()}
    resolved["design"] = designs.described(study)
    return {
        "command": f"ablate run {shlex.quote(study.given)}",
        "study": resolved,
        "modalities": list(study.sheet.modalities),
        "task": study.sheet.task,
        "data_sha256": study.sheet.sha256,
        "planned": size(study),
        "versions": versions(),
        "machine": {"system": platform.platform(), "processor": processor(), "cpus": available_cpus()},
    }


def preflight(study: Study, cpus: int) -> None:
    """Refuse what could never run, before anything is created."""
    asked = study.file.resources
    if asked.cpus > cpus:
        key = "cpu" if asked.workers == 1 else f"workers: {asked.workers} of {asked.cpu:g} CPU each"
        raise UserError(f"resources.{key}: a trial asks for {asked.cpus:g} CPUs, and this run has {cpus}")
    if size(study) > MOST:
        raise UserError(
            f"{study.document.file}: has {size(study):,} trials; {MOST:,} are the most that one study may have"
        )
    for folder in (study.folder, study.store / "trials"):
        if folder.exists() and not folder.is_dir():
            raise UserError(f"store: {folder} is in the way; it must be a folder")
    for folder in (study.folder, study.store / "trials"):
        existing = next(p for p in [folder, *folder.parents] if p.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK):
            raise UserError(f"store: cannot write to {existing}")
    installed(study.file.track)
    version(study.store)
    room(study.store)
    if study.mirror:
        with study.mirror.marker():
            pass


def room(store: Path) -> None:
    """Raise a UserError where too little of the disk is free."""
    free = shutil.disk_usage(next(p for p in [store, *store.parents] if p.exists())).free
    if free < DISK:
        raise UserError(f"store: {free // 2**20} MB are free on the disk of {store}; a run needs {DISK // 2**20}")


def check_models(study: Study, agenda: Agenda) -> None:
    """Refuse proposed models that cannot read the data, before anything is created."""
    from trainables.data import DataError, load
    from trainables.model import build

    try:
        dataset = load(study.data)
        shapes = {m: x.shape[1:] for m, x in dataset.train.inputs.items()}
        first = {json.dumps(t.config["model"]): t.config["model"] for t in agenda.proposed.values()}
        for model in first.values():
            build(model, shapes, dataset.outputs, dense=dataset.task == "segmentation")
    except DataError as error:
        raise about_data(study.document, error) from None
    except ValueError as error:
        raise study.document.error(("model",), str(error)) from None


def check_methods(study: Study, agenda: Agenda) -> None:
    """Refuse settings of a method that contradict each other, before anything is created."""
    from trainables.rehearsal import silent
    from trainables.setup import load_method
    from trainables.signals import REVEALED, attributes, needs

    order = list(study.methods)
    seen = set()
    for trial in agenda.proposed.values():
        fixed = {k: v for k, v in trial.config["settings"].items() if isinstance(v, str | bool)}
        if (shape := json.dumps([trial.config["method"], fixed])) not in seen:
            seen.add(shape)
            where = ("methods", order.index(trial.labels["method"]))
            try:
                method = load_method(trial.config["method"])(**trial.config["settings"])
                asked = frozenset(needs(method))
                if attributes(method) and not trial.config["settings"].get("samples"):
                    method.coalitions(1 if trial.config["modality"] else len(study.sheet.modalities), silent())
            except ValueError as error:
                raise study.document.error(where, str(error)) from None
            except Exception as error:
                raise study.document.error(where, f"cannot be set up: {type(error).__name__}: {error}") from None
            for name in asked - REVEALED:
                raise study.document.error(where, f"needs `{name}`, which is no signal {meant(name, REVEALED)}")
