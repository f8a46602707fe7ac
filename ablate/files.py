"""Atomic writes of files and folders, temporary folders, and queries about paths and disks."""

import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def temporary_folder(target: Path) -> Iterator[Path]:
    """Yield a new hidden folder beside ``target``, named after this process; it is removed with its content."""
    target.parent.mkdir(parents=True, exist_ok=True)
    owner = f"{os.getpid()}@{socket.gethostname()}"
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.{owner}.", dir=target.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def atomic_write(target: Path) -> Iterator[Path]:
    """Yield a path to write a file or a folder to; it is renamed to ``target`` on success, and removed on failure.

    If another process has created the folder ``target`` meanwhile, that one is kept.
    """
    with temporary_folder(target) as folder:
        draft = folder / target.name
        yield draft
        for path in [draft] if draft.is_file() else [*sorted(draft.iterdir()), draft]:
            fsync_path(path)
        try:
            draft.replace(target)
        except OSError:
            if not target.is_dir():
                raise
        fsync_path(target.parent)  # the rename itself


def fsync_path(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_abandoned(path: Path) -> bool:
    """Return whether a path is a `temporary_folder` left behind by a dead process of this machine."""
    match = re.search(r"^\..*\.(\d+)@(.+)\.[^.]+$", path.name)
    return match is not None and match[2] == socket.gethostname() and not is_process_alive(int(match[1]))


def is_process_alive(pid: int) -> bool:
    """Return whether a process of this machine is running."""
    try:
        with suppress(PermissionError):  # the process of another user
            os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # OverflowError: larger than any process id
        return False
    return True


def nearest_existing(path: Path) -> Path:
    """Return a path if it exists, else its nearest parent that does."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def free_bytes(path: Path) -> int:
    """Return the free bytes on the disk of a path, which need not exist."""
    return shutil.disk_usage(nearest_existing(path)).free


@contextmanager
def make_folder(folder: Path) -> Iterator[None]:
    """Create a folder and its parents; on exit, remove those created here that are empty."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with suppress(OSError):
            for path in missing:
                path.rmdir()
