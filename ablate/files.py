"""Files and folders that appear whole or not at all, and what of a path is there already."""

import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def hidden(target: Path) -> Iterator[Path]:
    """Yield a new folder beside ``target``, whose name tells who made it; it goes with all that is left in it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    owner = f"{os.getpid()}@{socket.gethostname()}"
    holder = Path(tempfile.mkdtemp(prefix=f".{target.name}.{owner}.", dir=target.parent))
    try:
        yield holder
    finally:
        shutil.rmtree(holder, ignore_errors=True)


@contextmanager
def aside(target: Path) -> Iterator[Path]:
    """Yield a path to write a file or a folder to; on success it becomes ``target`` at once, else nothing remains.

    If ``target`` is a folder that another process has made meanwhile, that one stays.
    """
    with hidden(target) as holder:
        draft = holder / target.name
        yield draft
        for path in [draft] if draft.is_file() else [*sorted(draft.iterdir()), draft]:
            flush(path)
        try:
            draft.replace(target)
        except OSError:
            if not target.is_dir():
                raise
        flush(target.parent)  # the rename itself


def flush(path: Path) -> None:
    """Wait until a file, or the list of a folder's entries, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def abandoned(path: Path) -> bool:
    """Tell whether a path is what `aside` of a process of this machine wrote to, which has died."""
    found = re.search(r"^\..*\.(\d+)@(.+)\.[^.]+$", path.name)
    return found is not None and found[2] == socket.gethostname() and not alive(int(found[1]))


def alive(pid: int) -> bool:
    """Tell whether a process of this machine lives."""
    try:
        with suppress(PermissionError):  # it is another user's
            os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # none has so large a number
        return False
    return True


def nearest(path: Path) -> Path:
    """Return a path or, where it is not there yet, the nearest folder above it that is."""
    return next(place for place in (path, *path.parents) if place.exists())


def free(path: Path) -> int:
    """Return how many bytes are free on the disk that a path is, or would be, on."""
    return shutil.disk_usage(nearest(path)).free


@contextmanager
def made(folder: Path) -> Iterator[None]:
    """Make a folder; it and those above it that were made, too, are gone afterwards if nothing is in them."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with suppress(OSError):
            for path in missing:
                path.rmdir()
