"""The lock by which only one process runs a study; the system releases it when the process dies.

It is `flock` on a file in the run's folder, which NFS supports from Linux 2.6.12. On a file system without locks (some
FUSE mounts) a note is given; where locks are local (a mirror of s3://) they exclude processes of one machine only.
"""

import getpass
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from ablate.errors import UserError
from ablate.files import atomic_write, is_process_alive, make_folder

LOCK_FILE = "lock"
STORE_LOCK_FILE = ".lock"
DRIVER_FILE = "driver.json"


class Driver(NamedTuple):
    """The process that runs a study."""

    host: str
    pid: int
    user: str
    since: str  # shown to people only

    def __str__(self) -> str:
        """Return it in words."""
        return f"process {self.pid} of {self.user} on {self.host}, since {self.since}"


@contextmanager
def run_lock(store: Path, folder: Path, note: Callable[[str], None]) -> Iterator[None]:
    """Lock the folder of a run, and remove it at the end if nothing was written to it.

    Args:
        store: the store that the run is in.
        folder: the run's folder.
        note: called if the file system has no locks.

    Raises:
        UserError: another process holds it.
    """
    from filelock import FileLock, Timeout

    with make_folder(folder):
        lock = FileLock(folder / LOCK_FILE, blocking=False, fallback_to_soft=False)
        try:
            lock.acquire()
        except Timeout:
            raise UserError(
                f"{folder}: is being run by {read_driver(folder) or 'another process'}; wait until it has finished"
            ) from None
        except (OSError, NotImplementedError) as error:
            note(f"{folder.parent} does not support file locks ({error}); let only one process run this study.")
        try:
            with store_lock(store):
                write_driver(folder)
            yield
        finally:
            (folder / DRIVER_FILE).unlink(missing_ok=True)
            if os.listdir(folder) == [LOCK_FILE]:  # noqa: PTH208
                (folder / LOCK_FILE).unlink()
            lock.release()


@contextmanager
def store_lock(store: Path) -> Iterator[None]:
    """Lock a store for a moment in which no run starts in it; without effect if the file system has no locks."""
    from filelock import FileLock

    lock = FileLock(store / STORE_LOCK_FILE, fallback_to_soft=False)
    with suppress(OSError, NotImplementedError):
        lock.acquire()
    try:
        yield
    finally:
        (store / STORE_LOCK_FILE).unlink(missing_ok=True)
        lock.release()


def write_driver(folder: Path) -> None:
    """Write that this process runs the study."""
    since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    with atomic_write(folder / DRIVER_FILE) as draft:
        draft.write_text(json.dumps(Driver(socket.gethostname(), os.getpid(), user_name(), since)._asdict()))


def user_name() -> str:
    """Return the user's name, or the id of a user without a name, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def read_driver(folder: Path) -> Driver | None:
    """Return the process that runs a study; None if there is none, as far as this machine can tell."""
    try:
        driver = Driver(**json.loads((folder / DRIVER_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return None if driver.host == socket.gethostname() and not is_process_alive(driver.pid) else driver
