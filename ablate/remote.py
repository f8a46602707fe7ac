"""A store in an object store, such as s3://bucket/runs: a run works on a mirror of it, a folder of this machine.

Packs never change, so that each side needs but what it lacks. An object store moves no folder at once: the index of a
pack is written last, and a pack without one is not there yet. The files of a run are as the machine that ran it last
wrote them; object stores have no locks.
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
from uuid import uuid4

import fsspec

from ablate.errors import UserError, error_message
from ablate.files import temporary_folder
from ablate.lock import DRIVER_FILE, LOCK_FILE
from ablate.schema import MARKER, schema_version
from ablate.store import INDEX, DamagedError, find_damage, pack_folders

MARKER_PREFIX = ".seen-"  # begins the name of a file by which one tells that another sees the same store
BATCH_SIZE = 200  # packs that are moved at once
T = TypeVar("T")
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}  # scheme -> extra of this package


logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # what fails is told in our own words


def is_remote(place: str) -> bool:
    """Tell an address, such as s3://bucket/runs, from a folder of this machine."""
    return "://" in place


def local_folder(store: str) -> Path:
    """Return the folder of this machine that a store is worked on in: itself, or its mirror."""
    return mirror_of(store).folder if is_remote(store) else Path(store)


@cache
def mirror_of(url: str) -> "Mirror":
    """Return the mirror of a remote store.

    Raises:
        UserError: nothing knows how to reach it.
    """
    return Mirror(url, "stores")


def pull_copy(url: str, *patterns: str) -> "Mirror":
    """Return a copy of a remote run, or of the files of a store that have one of the patterns, as it is now.

    It lies beside the mirrors, so that it can be read, and a report of it be written, while the run goes on.
    """
    copied = Mirror(url, "copies")
    copied.pull(copied.folder, patterns)
    return copied


class Mirror:
    """A folder of this machine that follows a remote one."""

    def __init__(self, url: str, kind: str) -> None:
        """Follow an address; the folder lies in the user's cache, among others of its kind, and is not made yet."""
        scheme, _, place = url.partition("://")
        self.url = f"{scheme}://{place.rstrip('/')}"
        options = {"auto_mkdir": True} if scheme in {"file", "local"} else {}
        try:
            self.files, root = fsspec.core.url_to_fs(self.url, use_listings_cache=False, **options)
        except ImportError as error:
            extra = EXTRAS.get(scheme)
            advice = f"pip install 'ablate[{extra}]'" if extra else str(error)
            raise UserError(f"store: {url} needs a library that is not installed: {advice}") from None
        except ValueError as error:
            raise UserError(f"store: {url} is no address of a store: {error}") from None
        except OSError as error:
            raise UserError(f"store: {url} cannot be reached: {error_message(error)}") from None
        self.root = root.rstrip("/")
        parts = PurePosixPath(self.root.lstrip("/")).parts
        if not place.strip("/") or ".." in parts:
            raise UserError(f"store: {url} is no address of a store: it must be like s3://bucket/runs")
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self.folder = home.joinpath("ablate", kind, scheme, *parts)
        self.sent: dict[str, tuple[int, ...]] = {}  # file -> what it was when both sides had the same

    @contextmanager
    def marker(self) -> Iterator[str]:
        """Yield the address of a file that is there meanwhile.

        Raises:
            UserError: nothing can be written.
        """
        name = f"{MARKER_PREFIX}{uuid4().hex}"
        with self.reached():
            self.files.pipe_file(self.there(name), b"seen")
        try:
            yield f"{self.url}/{name}"
        finally:
            with self.reached():
                self.files.rm_file(self.there(name))

    def sync(self, note: Callable[[str], None]) -> None:
        """Let both sides have the same packs; ``note`` is told of what is damaged, and kept aside.

        Raises:
            UserError: the remote store cannot be reached, or is of a later version.
        """
        missing = self.fetch(note, repair=True)
        with self.reached():
            if (self.folder / MARKER).is_file() and not self.files.exists(self.there(MARKER)):
                self.files.put_file(str(self.folder / MARKER), self.there(MARKER))
        self.send(missing)

    def fetch(self, note: Callable[[str], None], *, repair: bool = False) -> list[Path]:
        """Get the packs that the mirror lacks; return those that the remote store lacks.

        ``note`` is told of what is damaged there. It is passed over, or with ``repair`` moved aside.
        """
        with self.reached():
            if self.files.exists(self.there(MARKER)):
                self.get([MARKER], self.folder)
        schema_version(self.folder)
        held: dict[str, list[str]] = {}
        for name in self.listing("trials"):
            pack, _, file = name.partition("/")
            held.setdefault(pack, []).append(file)
        whole = {pack for pack, files in held.items() if INDEX in files and "." not in pack}
        here = {folder.name for folder in pack_folders(self.folder)}
        for some in batches(sorted(whole - here)):
            with temporary_folder(self.folder / "trials" / "fetched") as drafts:
                self.get([f"{pack}/{file}" for pack in some for file in held[pack]], drafts, "trials")
                for pack in some:
                    if found := self.take(drafts / pack):
                        fate = self.set_aside(pack, held) if repair else "passed over"
                        note(f"{str(found).replace(str(drafts), f'{self.url}/trials')}; it is {fate}.")
        return [folder for folder in pack_folders(self.folder) if folder.name not in whole]

    def take(self, draft: Path) -> DamagedError | None:
        """Put a pack that was fetched into the mirror, or return what is wrong with it."""
        found = find_damage(draft)
        if found is None:
            with suppress(OSError):  # another process has fetched it meanwhile
                draft.replace(self.folder / "trials" / draft.name)
        return found

    def set_aside(self, pack: str, held: Container[str]) -> str:
        """Move a pack that is damaged out of the way, and return what has become of it."""
        kept = next(name for n in count(1) if (name := f"{pack}.damaged-{n}") not in held)
        with self.reached():
            self.files.mv(self.there("trials", pack), self.there("trials", kept), recursive=True)
        return f"kept as {kept}, and what it held runs again"

    def upload_new(self, folder: Path) -> None:
        """Send a pack that was trained here, unless another machine has sent it meanwhile."""
        with self.reached():
            there = self.files.exists(self.there("trials", folder.name, INDEX))
        if not there:
            self.send([folder])

    def send(self, folders: Sequence[Path]) -> None:
        """Put packs into the remote store; their indexes, without which they are not there, come last."""
        for some in batches([folder for folder in folders if find_damage(folder) is None]):
            files = [f"{folder.name}/{file.name}" for folder in some for file in folder.iterdir()]
            for last in (False, True):
                self.put([name for name in files if name.endswith(INDEX) == last], "trials")

    def pull(self, part: Path, patterns: Sequence[str] = ()) -> None:
        """Make a folder of the mirror what the remote store has of it, or of it the files that have a pattern."""
        place = self.within(part)
        names = {name for name in match_patterns(self.listing(place), patterns) if is_persistent(name)}
        for name in match_patterns(list_local_files(part), patterns) - names:
            (part / name).unlink(missing_ok=True)  # another process reads it, too
        if not names:
            return
        with temporary_folder(part / "fetched") as drafts:
            self.get(sorted(names), drafts, place)
            for name in names:
                (part / name).parent.mkdir(parents=True, exist_ok=True)
                (drafts / name).replace(part / name)
                self.sent[self.there(place, name)] = file_stamp(part / name)

    def push(self, part: Path, patterns: Sequence[str] = ()) -> None:
        """Send what has changed in a folder since it was pulled or pushed, and remove there what is gone here.

        Of it all, or the files that have a pattern. What others have put there meanwhile stays.
        """
        place = self.within(part)
        here = {self.there(place, name): name for name in match_patterns(list_local_files(part), patterns)}
        stamps = {file: file_stamp(part / name) for file, name in here.items()}
        changed = sorted(file for file in here if self.sent.get(file) != stamps[file])
        self.put([here[file] for file in changed], place)
        self.sent |= {file: stamps[file] for file in changed}
        start = f"{self.there(place)}/"
        sent = {file.removeprefix(start) for file in self.sent if file.startswith(start)}
        for file in {f"{start}{name}" for name in match_patterns(sent, patterns)} - here.keys():
            with self.reached(), suppress(FileNotFoundError):
                self.files.rm_file(file)
            del self.sent[file]

    def there(self, *parts: str) -> str:
        """Return how the file system calls a part of the remote store."""
        return "/".join([self.root, *filter(None, parts)])

    def within(self, part: Path) -> str:
        """Return a folder of the mirror relative to it; nothing if it is the whole of it."""
        return "" if part == self.folder else part.relative_to(self.folder).as_posix()

    def listing(self, part: str) -> list[str]:
        """Return the files below a part of the remote store, relative to it; none that would lead out of a folder."""
        with self.reached():
            self.files.invalidate_cache()
            found = [path.removeprefix(f"{self.there(part)}/") for path in self.files.find(self.there(part))]
        return [name for name in found if ".." not in name.split("/") and not name.startswith("/")]

    def get(self, names: Sequence[str], folder: Path, part: str = "") -> None:
        """Get files of a part of the remote store into a folder, many at once."""
        with self.reached():
            for name in names:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if names:
                self.files.get([self.there(part, name) for name in names], [str(folder / name) for name in names])

    def put(self, names: Sequence[str], part: str) -> None:
        """Put files of a part of the mirror into the remote store, many at once."""
        with self.reached():
            if names:
                here = [str(self.folder / part / name) for name in names]
                self.files.put(here, [self.there(part, name) for name in names])

    @contextmanager
    def reached(self) -> Iterator[None]:
        """Raise a UserError where the remote store, or the library that reaches it, refuses something."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # those of the libraries have nothing in common
            found = (error_message(error) or type(error).__name__).splitlines()[0]
            raise UserError(f"store: {self.url} cannot be used: {found}") from None


def file_exists(file: str) -> bool:
    """Tell whether this process sees a file of a remote store."""
    try:
        files, path = fsspec.core.url_to_fs(file, use_listings_cache=False)
        return bool(files.exists(path))
    except Exception:  # it has no credentials, no library, no network
        return False


def list_local_files(folder: Path) -> set[str]:
    """Return the files below a folder, relative to it, less those that are of this machine and of the moment."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name for name in found if is_persistent(name)}


def match_patterns(names: Iterable[str], patterns: Sequence[str]) -> set[str]:
    """Return those of some files that have one of the patterns; all of them where there is none."""
    return {name for name in names if not patterns or any(fnmatch(name, one) for one in patterns)}


def is_persistent(name: str) -> bool:
    """Tell a file of a run from one that is half written, or that says who runs it."""
    parts = PurePosixPath(name).parts
    return parts[-1] not in {LOCK_FILE, DRIVER_FILE} and not any(part.startswith(".") for part in parts)


def file_stamp(file: Path) -> tuple[int, ...]:
    """Return what changes when a file is replaced or written into."""
    found = file.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


def batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield items in portions of so many as are moved at once."""
    for first in range(0, len(items), BATCH_SIZE):
        yield items[first : first + BATCH_SIZE]
