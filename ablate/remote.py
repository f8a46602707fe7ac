"""Stores in an object store, such as s3://bucket/runs: a run works on a mirror of it, a folder of this machine.

Packs never change, so that a synchronisation only copies those that one side lacks. An object store cannot create a
folder atomically: the index of a pack is written last, and a pack without an index is ignored. The files of a run are
those of the machine that ran it last; object stores have no locks.
"""

import logging
import os
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from functools import cache
from itertools import count
from pathlib import Path, PurePosixPath
from typing import TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import fsspec

from ablate.errors import UserError, error_message
from ablate.files import temporary_folder
from ablate.lock import DRIVER_FILE, LOCK_FILE
from ablate.schema import VERSION_FILE, schema_version
from ablate.store import INDEX, DamagedError, find_damage, pack_folders, set_aside

MARKER_PREFIX = ".seen-"  # of files by which machines check that they reach the same store
BATCH_SIZE = 200  # packs that are transferred at once
T = TypeVar("T")
S3_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")  # environment variables of botocore, by precedence
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}  # scheme -> extra of this package
SCHEMES = {*EXTRAS, "file", "local", "memory"}  # the last three need no library, and stand for a remote store in tests


logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # errors get messages of our own


def is_remote(address: str) -> bool:
    """Return whether a store or file is given by an address, such as s3://bucket/runs, and not by a local path."""
    return "://" in address


def local_folder(store: str) -> Path:
    """Return the local folder of a store: itself, or its mirror."""
    return mirror_of(store).folder if is_remote(store) else Path(store)


@cache
def mirror_of(url: str) -> "Mirror":
    """Return the mirror of a remote store.

    Raises:
        UserError: its address cannot be used.
    """
    return Mirror(url, "stores")


def pull_copy(url: str, *patterns: str) -> "Mirror":
    """Return a copy of the present files of a remote run or store, or of those that match one of the patterns.

    It is separate from the mirrors, so that it can be read, and a report of it be written, while the run goes on.
    """
    copy = Mirror(url, "copies")
    copy.pull(copy.folder, patterns)
    return copy


def server_suffix(scheme: str) -> str:
    """Return `@host` if the environment names another S3 server than the default one; its buckets are others."""
    urls = [os.environ.get(variable) for variable in S3_ENDPOINTS] if EXTRAS.get(scheme) == "s3" else []
    url = next(filter(None, urls), None)
    return f"@{urlsplit(url).netloc}" if url else ""


class Mirror:
    """A local folder that is synchronised with a remote one."""

    def __init__(self, url: str, kind: str) -> None:
        """Mirror an address in a folder of the user's cache, among others of its kind, which is not created yet."""
        scheme, _, path = url.partition("://")
        self.url = f"{scheme}://{path.rstrip('/')}"
        if scheme not in SCHEMES:
            raise UserError(
                f"store: {url} is not the address of a store: it must begin with s3:// or gs://, or be a folder"
            )
        options = {"auto_mkdir": True} if scheme in {"file", "local"} else {}
        try:
            self.filesystem, root = fsspec.core.url_to_fs(self.url, use_listings_cache=False, **options)
        except ImportError as error:
            extra = EXTRAS.get(scheme)
            advice = f"pip install 'ablate[{extra}]'" if extra else str(error)
            raise UserError(f"store: {url} needs a library that is not installed: {advice}") from None
        except ValueError as error:
            raise UserError(f"store: {url} is not the address of a store: {error}") from None
        except OSError as error:
            raise UserError(f"store: {url} cannot be reached: {error_message(error)}") from None
        self.root = root.rstrip("/")
        parts = PurePosixPath(self.root.lstrip("/")).parts
        if not path.strip("/") or ".." in parts:
            raise UserError(f"store: {url} is not the address of a store: it must be like s3://bucket/runs")
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self.folder = home.joinpath("ablate", kind, f"{scheme}{server_suffix(scheme)}", *parts)
        self.synced: dict[str, tuple[int, ...]] = {}  # remote path -> stamp of the local file when both were equal

    @contextmanager
    def marker(self) -> Iterator[str]:
        """Yield the address of a temporary file in the remote store.

        Raises:
            UserError: it cannot be written.
        """
        name = f"{MARKER_PREFIX}{uuid4().hex}"
        with self.translate_errors():
            self.filesystem.pipe_file(self.remote_path(name), b"seen")
        try:
            yield f"{self.url}/{name}"
        finally:
            with self.translate_errors():
                self.filesystem.rm_file(self.remote_path(name))

    def sync(self, note: Callable[[str], None]) -> None:
        """Copy the packs that one side lacks from the other; ``note`` is called with damaged ones, which are renamed.

        Raises:
            UserError: the remote store cannot be reached, or is of a later version.
        """
        missing = self.fetch(note, repair=True)
        with self.translate_errors():
            if (self.folder / VERSION_FILE).is_file() and not self.filesystem.exists(self.remote_path(VERSION_FILE)):
                self.filesystem.put_file(str(self.folder / VERSION_FILE), self.remote_path(VERSION_FILE))
        self.upload(missing)

    def fetch(self, note: Callable[[str], None], *, repair: bool = False) -> list[Path]:
        """Download the packs that the mirror lacks or holds in part; return those that the remote store lacks.

        ``note`` is called with damaged packs of the remote store. They are skipped, or with ``repair`` renamed.
        """
        with self.translate_errors():
            if self.filesystem.exists(self.remote_path(VERSION_FILE)):
                self.download_files([VERSION_FILE], self.folder)
        schema_version(self.folder)
        files_of: dict[str, list[str]] = {}
        for name in self.list_files("trials"):
            pack, _, file = name.partition("/")
            files_of.setdefault(pack, []).append(file)
        remote = {pack for pack, files in files_of.items() if INDEX in files and "." not in pack}
        local = {folder.name: folder for folder in pack_folders(self.folder)}
        for pack in remote & local.keys():
            if not all((local[pack] / file).exists() for file in files_of[pack]):
                set_aside(local.pop(pack))  # a cache may be cleaned in part
        for batch in batches(sorted(remote - local.keys())):
            with temporary_folder(self.folder / "trials" / "fetched") as drafts:
                self.download_files([f"{pack}/{file}" for pack in batch for file in files_of[pack]], drafts, "trials")
                for pack in batch:
                    if damage := self.add_pack(drafts / pack):
                        action = self.set_aside(pack, files_of) if repair else "ignored"
                        note(f"{str(damage).replace(str(drafts), f'{self.url}/trials')}; it is {action}.")
        return [folder for folder in pack_folders(self.folder) if folder.name not in remote]

    def add_pack(self, draft: Path) -> DamagedError | None:
        """Move a downloaded pack into the mirror; if it is damaged, return its error instead."""
        damage = find_damage(draft)
        if damage is None:
            with suppress(OSError):  # another process has downloaded it meanwhile
                draft.replace(self.folder / "trials" / draft.name)
        return damage

    def set_aside(self, pack: str, names: Container[str]) -> str:
        """Rename a damaged pack of the remote store to a name that is not taken, and return what was done, in words."""
        new_name = next(name for n in count(1) if (name := f"{pack}.damaged-{n}") not in names)
        with self.translate_errors():
            self.filesystem.mv(self.remote_path("trials", pack), self.remote_path("trials", new_name), recursive=True)
        return f"renamed to {new_name}, and its trials run again"

    def upload_new(self, folder: Path) -> None:
        """Upload a pack unless the remote store has it already."""
        with self.translate_errors():
            exists = self.filesystem.exists(self.remote_path("trials", folder.name, INDEX))
        if not exists:
            self.upload([folder])

    def upload(self, folders: Sequence[Path]) -> None:
        """Upload packs; their indexes, without which they are ignored, come last."""
        for batch in batches([folder for folder in folders if find_damage(folder) is None]):
            files = [f"{folder.name}/{file.name}" for folder in batch for file in folder.iterdir()]
            for indexes in (False, True):
                self.upload_files([name for name in files if name.endswith(INDEX) == indexes], "trials")

    def pull(self, part: Path, patterns: Sequence[str] = ()) -> None:
        """Make the files of a folder of the mirror, or those that match a pattern, equal to the remote ones."""
        path = self.relative_path(part)
        names = {name for name in match_patterns(self.list_files(path), patterns) if is_persistent(name)}
        for name in match_patterns(list_local_files(part), patterns) - names:
            (part / name).unlink(missing_ok=True)  # another process may have removed it, too
        if not names:
            return
        with temporary_folder(part / "fetched") as drafts:
            self.download_files(sorted(names), drafts, path)
            for name in names:
                (part / name).parent.mkdir(parents=True, exist_ok=True)
                (drafts / name).replace(part / name)
                self.synced[self.remote_path(path, name)] = file_stamp(part / name)

    def push(self, part: Path, patterns: Sequence[str] = ()) -> None:
        """Upload the files of a folder that changed since the last pull or push; remove remote ones whose file is gone.

        All files, or those that match a pattern. Files that others have uploaded meanwhile stay.
        """
        path = self.relative_path(part)
        local = {self.remote_path(path, name): name for name in match_patterns(list_local_files(part), patterns)}
        stamps = {file: file_stamp(part / name) for file, name in local.items()}
        changed = sorted(file for file in local if self.synced.get(file) != stamps[file])
        self.upload_files([local[file] for file in changed], path)
        self.synced |= {file: stamps[file] for file in changed}
        prefix = f"{self.remote_path(path)}/"
        synced = {file.removeprefix(prefix) for file in self.synced if file.startswith(prefix)}
        for file in {f"{prefix}{name}" for name in match_patterns(synced, patterns)} - local.keys():
            with self.translate_errors(), suppress(FileNotFoundError):
                self.filesystem.rm_file(file)
            del self.synced[file]

    def remote_path(self, *parts: str) -> str:
        """Return the path of a file or folder of the remote store in its file system."""
        return "/".join([self.root, *filter(None, parts)])

    def relative_path(self, part: Path) -> str:
        """Return the path of a folder relative to the mirror; empty for the mirror itself."""
        return "" if part == self.folder else part.relative_to(self.folder).as_posix()

    def list_files(self, part: str) -> list[str]:
        """Return the files below a folder of the remote store, relative to it, but none whose path leads out of it."""
        with self.translate_errors():
            self.filesystem.invalidate_cache()
            names = [
                path.removeprefix(f"{self.remote_path(part)}/") for path in self.filesystem.find(self.remote_path(part))
            ]
        return [name for name in names if ".." not in name.split("/") and not name.startswith("/")]

    def download_files(self, names: Sequence[str], folder: Path, part: str = "") -> None:
        """Download files of a folder of the remote store, many at once."""
        with self.translate_errors():
            for name in names:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if names:
                self.filesystem.get(
                    [self.remote_path(part, name) for name in names], [str(folder / name) for name in names]
                )

    def upload_files(self, names: Sequence[str], part: str) -> None:
        """Upload files of a folder of the mirror, many at once."""
        with self.translate_errors():
            if names:
                paths = [str(self.folder / part / name) for name in names]
                self.filesystem.put(paths, [self.remote_path(part, name) for name in names])

    @contextmanager
    def translate_errors(self) -> Iterator[None]:
        """Turn any error of the remote store, or of the library that reaches it, into a UserError."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # the libraries' errors have no common base class
            message = (error_message(error) or type(error).__name__).splitlines()[0]
            raise UserError(f"store: {self.url} cannot be used: {message}") from None


def file_exists(file: str) -> bool:
    """Return whether this process can reach a file of a remote store."""
    try:
        files, path = fsspec.core.url_to_fs(file, use_listings_cache=False)
        return bool(files.exists(path))
    except Exception:  # it has no credentials, no library, no network
        return False


def list_local_files(folder: Path) -> set[str]:
    """Return the files below a folder, relative to it, except temporary ones."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name for name in names if is_persistent(name)}


def match_patterns(names: Iterable[str], patterns: Sequence[str]) -> set[str]:
    """Return the names that match one of the patterns; all of them if there are none."""
    return {name for name in names if not patterns or any(fnmatch(name, pattern) for pattern in patterns)}


def is_persistent(name: str) -> bool:
    """Return whether a file belongs to a run's results: it is no draft, lock or record of the driver."""
    parts = PurePosixPath(name).parts
    return parts[-1] not in {LOCK_FILE, DRIVER_FILE} and not any(part.startswith(".") for part in parts)


def file_stamp(file: Path) -> tuple[int, ...]:
    """Return values that change when a file is replaced or written to."""
    status = file.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


def batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield items in batches of BATCH_SIZE."""
    for first in range(0, len(items), BATCH_SIZE):
        yield items[first : first + BATCH_SIZE]
