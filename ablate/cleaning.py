"""What a store holds, and what of it may go."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ablate.checkpoints import CHECKPOINT_FOLDER
from ablate.errors import UserError
from ablate.files import is_abandoned
from ablate.lock import DRIVER_FILE, read_driver, store_lock
from ablate.schema import MARKER, schema_version
from ablate.store import DamagedError, pack_folders, trial_ids

DAMAGED_SUFFIX = re.compile(r"\.damaged-\d+$")


class Part(NamedTuple):
    """Folders and files of a store of one kind."""

    what: str
    folders: list[Path]  # or files
    size: int  # bytes
    may_go: bool


class Inventory(NamedTuple):
    """What a store holds."""

    parts: list[Part]
    unfinished: list[str]  # studies; what they have finished may not be in their tables yet
    running: list[str]  # and by whom


def run_folders(store: Path) -> Iterator[Path]:
    """Yield the folders of runs: those of studies, and of the cells of claims."""
    yield from folders_with(store, "study.yaml")


def folders_with(store: Path, name: str) -> Iterator[Path]:
    """Yield those folders of studies and of cells that hold a file of this name."""
    for depth in ("*", "*/*"):
        yield from sorted(file.parent for file in store.glob(f"{depth}/{name}"))


def check_store(store: Path) -> Path:
    """Return a folder that is a store; raise a UserError if it is none, or of a later version."""
    if not (store / "trials").is_dir() and not (store / MARKER).is_file():
        raise UserError(f"{store}: is no store; it has no folder `trials`")
    schema_version(store)
    return store


def take_inventory(store: Path) -> Inventory:
    """Return what a store holds; trials that no study names may go only if all studies are finished.

    Raises:
        UserError: it is no store, or of a later version.
    """
    named, unfinished = survey_studies(check_store(store))
    drivers = ((folder.relative_to(store), read_driver(folder)) for folder in folders_with(store, DRIVER_FILE))
    running = [f"{name}, by {by}" for name, by in drivers if by]
    used: list[Path] = []
    unused: list[Path] = []
    for folder in pack_folders(store):
        try:
            (used if named.intersection(trial_ids(folder)) else unused).append(folder)
        except DamagedError:
            used.append(folder)  # the next run sets it aside
    every = list((store / "trials").glob("*"))
    kept = sorted((store / CHECKPOINT_FOLDER).glob("*.pt"))
    wanted = [file for file in kept if unfinished and not (store / "trials" / file.stem).exists()]
    parts = [
        make_part("trials of its studies", used),
        make_part("trials that no study names", unused, may_go=not unfinished),
        make_part("checkpoints of packs that are to go on", wanted),
        make_part("checkpoints that no study goes on from", [f for f in kept if f not in wanted], may_go=True),
        make_part(
            "damaged, kept aside", [folder for folder in every if DAMAGED_SUFFIX.search(folder.name)], may_go=True
        ),
        make_part(
            "written half by processes that died", [p for p in store.rglob(".*") if is_abandoned(p)], may_go=True
        ),
        make_part("tables and figures", list(run_folders(store))),
    ]
    return Inventory([one for one in parts if one.folders], unfinished, running)


def survey_studies(store: Path) -> tuple[set[str], list[str]]:
    """Return the trials that studies name, and the studies that are not finished."""
    import polars as pl

    from analysis import load

    named: set[str] = set()
    unfinished = []
    for folder in run_folders(store):
        run = load(folder)
        trials = run.trials.select("trial", "status").collect()
        named.update(trials["trial"])
        if len(trials.filter(pl.col("status") != "failed")) < run.study["planned"]:  # those that failed run again
            unfinished.append(str(folder.relative_to(store)))
    return named, unfinished


def make_part(what: str, folders: list[Path], *, may_go: bool = False) -> Part:
    """Return folders, or files, with their size."""
    files = (file for folder in folders for file in [folder, *folder.rglob("*")] if file.is_file())
    return Part(what, folders, sum(file.stat().st_size for file in files), may_go)


def delete_unused(store: Path) -> Inventory:
    """Remove what may go, and return what was there; a run that begins waits for it.

    Raises:
        UserError: a study of the store is being run, or as in `inventory`.
    """
    with store_lock(check_store(store)):
        found = take_inventory(store)
        if found.running:
            raise UserError(f"gc: {found.running[0]}, is being run; wait for it")
        for one in found.parts:
            if one.may_go:
                for path in one.folders:
                    remove_path(path)
    return found


def remove_path(path: Path) -> None:
    """Remove a file or a folder."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
