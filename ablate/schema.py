"""The version of a store: an older one is read, and brought up to date by the next run; a newer one is refused."""

from collections.abc import Callable
from pathlib import Path

from ablate.errors import UserError
from ablate.files import aside
from ablate.store import add_indexes

SCHEMA = 2
MARKER = "schema"  # the first version had none

MIGRATIONS: dict[int, Callable[[Path], None]] = {1: add_indexes}  # version -> what makes it the next; can be repeated


def version(store: Path) -> int:
    """Return the version of a store; a new one has ours.

    Raises:
        UserError: the store is of a later version than we know.
    """
    if not (store / MARKER).is_file():
        return 1 if (store / "trials").is_dir() else SCHEMA
    text = (store / MARKER).read_text(encoding="utf-8", errors="replace").strip()
    if not text.isdecimal() or not 1 <= int(text) <= SCHEMA:
        rule = f"is a store of version {text or '(none)'}, and this release reads up to {SCHEMA}"
        raise UserError(f"{store}: {rule}; install the newer release, or name another --store")
    return int(text)


def migrate(store: Path) -> None:
    """Bring an older store up to date."""
    for number in range(version(store), SCHEMA):
        MIGRATIONS[number](store)
        mark(store, number + 1)


def mark(store: Path, number: int = SCHEMA) -> None:
    """Write the version of a store."""
    with aside(store / MARKER) as draft:
        draft.write_text(f"{number}\n", encoding="utf-8")


def store_of(run: Path) -> Path:
    """Return the store that a run's folder lies in, at whatever depth."""
    above = run.absolute().parents
    return next((folder for folder in above if (folder / MARKER).is_file()), above[0])
