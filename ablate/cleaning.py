"""Taking inventory of a store, and deleting what nothing needs any more."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ablate.checkpoints import CHECKPOINT_FOLDER
from ablate.errors import UserError
from ablate.files import is_abandoned
from ablate.lock import DRIVER_FILE, read_driver, store_lock
from ablate.schema import VERSION_FILE, schema_version
from ablate.store import DamagedError, pack_folders, trial_ids

DAMAGED_SUFFIX = re.compile(r"\.damaged-\d+$")


class InventoryPart(NamedTuple):
    """The folders, or files, of one kind in a store."""

    what: str
    folders: list[Path]  # or files
    size: int  # bytes
    may_go: bool


class Inventory(NamedTuple):
    """The content of a store."""

    parts: list[InventoryPart]
    unfinished: list[str]  # studies, whose tables may lack trials that have finished
    running: list[str]  # studies and their drivers


def run_folders(store: Path) -> Iterator[Path]:
    """Yield the folders of runs: of studies, and of the cells of claims."""
    yield from folders_with(store, "study.yaml")


def folders_with(store: Path, name: str) -> Iterator[Path]:
    """Yield the folders of studies and of cells that contain a file of the given name."""
    for depth in ("*", "*/*"):
        yield from sorted(file.parent for file in store.glob(f"{depth}/{name}"))


def check_store(store: Path) -> Path:
    """Return the folder of a store; raise a UserError if it is no store, or of a later version."""
    if not (store / "trials").is_dir() and not (store / VERSION_FILE).is_file():
        raise UserError(f"{store}: is not a store; it has no folder `trials`")
    schema_version(store)
    return store


def take_inventory(store: Path) -> Inventory:
    """Return the content of a store; trials that no study names may go only if all studies are finished.

    Raises:
        UserError: it is no store, or of a later version.
    """
    referenced, unfinished = survey_studies(check_store(store))
    drivers = ((folder.relative_to(store), read_driver(folder)) for folder in folders_with(store, DRIVER_FILE))
    running = [f"{name}, by {process}" for name, process in drivers if process]
    used: list[Path] = []
    unused: list[Path] = []
    for folder in pack_folders(store):
        try:
            (used if referenced.intersection(trial_ids(folder)) else unused).append(folder)
        except DamagedError:
            used.append(folder)  # the next run renames it
    entries = list((store / "trials").glob("*"))
    checkpoints = sorted((store / CHECKPOINT_FOLDER).glob("*.pt"))
    resumable = [file for file in checkpoints if unfinished and not (store / "trials" / file.stem).exists()]
    parts = [
        make_part("trials used by studies", used),
        make_part("unused trials", unused, may_go=not unfinished),
        make_part("checkpoints of unfinished packs", resumable),
        make_part("unused checkpoints", [f for f in checkpoints if f not in resumable], may_go=True),
        make_part("damaged trials", [folder for folder in entries if DAMAGED_SUFFIX.search(folder.name)], may_go=True),
        make_part(
            "partial files of processes that died", [p for p in store.rglob(".*") if is_abandoned(p)], may_go=True
        ),
        make_part("tables and figures", list(run_folders(store))),
    ]
    return Inventory([part for part in parts if part.folders], unfinished, running)


def survey_studies(store: Path) -> tuple[set[str], list[str]]:
    """Return the ids of the trials in studies' tables, and the names of the studies that are not finished."""
    import polars as pl

    from analysis import load

    referenced: set[str] = set()
    unfinished = []
    for folder in run_folders(store):
        run = load(folder)
        trials = run.trials.select("trial", "status").collect()
        referenced.update(trials["trial"])
        if len(trials.filter(pl.col("status") != "failed")) < run.study["planned"]:  # those that failed run again
            unfinished.append(str(folder.relative_to(store)))
    return referenced, unfinished


def make_part(what: str, folders: list[Path], *, may_go: bool = False) -> InventoryPart:
    """Return folders, or files, with their total size."""
    files = (file for folder in folders for file in [folder, *folder.rglob("*")] if file.is_file())
    return InventoryPart(what, folders, sum(file.stat().st_size for file in files), may_go)


def delete_unused(store: Path) -> Inventory:
    """Delete the parts that may go, and return the inventory before; a run that starts meanwhile waits.

    Raises:
        UserError: a study of the store is being run, or as in `take_inventory`.
    """
    with store_lock(check_store(store)):
        inventory = take_inventory(store)
        if inventory.running:
            raise UserError(f"gc: {inventory.running[0]}, is being run; wait until it has finished")
        for part in inventory.parts:
            if part.may_go:
                for path in part.folders:
                    remove_path(path)
    return inventory


def remove_path(path: Path) -> None:
    """Remove a file or a folder."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
