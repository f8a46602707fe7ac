"""The version of a store's layout: an older store is readable and migrated by the next run; a newer one is refused."""

from collections.abc import Callable
from pathlib import Path

from ablate.errors import UserError
from ablate.files import atomic_write
from ablate.store import add_indexes

SCHEMA = 2
VERSION_FILE = "schema"  # the file that holds the version; version 1 has none

MIGRATIONS: dict[int, Callable[[Path], None]] = {1: add_indexes}  # version -> idempotent migration to the next one


def schema_version(store: Path) -> int:
    """Return the version of a store; a new store has the current one.

    Raises:
        UserError: the store is of a version later than `SCHEMA`.
    """
    if not (store / VERSION_FILE).is_file():
        return 1 if (store / "trials").is_dir() else SCHEMA
    text = (store / VERSION_FILE).read_text(encoding="utf-8", errors="replace").strip()
    if not text.isdecimal() or not 1 <= int(text) <= SCHEMA:
        rule = f"has store version {text or '(none)'}, and this release reads versions up to {SCHEMA}"
        raise UserError(f"{store}: {rule}; install a newer release, or use another --store")
    return int(text)


def migrate(store: Path) -> None:
    """Migrate an older store to the current version."""
    for version in range(schema_version(store), SCHEMA):
        MIGRATIONS[version](store)
        write_version(store, version + 1)


def write_version(store: Path, version: int = SCHEMA) -> None:
    """Write the version file of a store."""
    with atomic_write(store / VERSION_FILE) as draft:
        draft.write_text(f"{version}\n", encoding="utf-8")


def find_store(run: Path) -> Path:
    """Return the store that contains a run's folder, at any depth."""
    parents = run.absolute().parents
    return next((folder for folder in parents if (folder / VERSION_FILE).is_file()), parents[0])
