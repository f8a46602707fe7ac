"""What a process asks the system for, and what a trial needs while it trains."""

import ctypes
import os
import sys
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trainables.data.dataset import Dataset
from trainables.measure import judge
from trainables.packs import over, pack
from trainables.setup import prepare, start
from trainables.train import advance, exercises

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # of malloc.h
CGROUP = Path("/sys/fs/cgroup/memory.max")  # what a container may have
SHARE = 0.6  # of the memory that packs may fill; the rest is for the data, the processes and rounding


def keep() -> None:
    """Keep memory that was freed, for what is allocated next.

    A step of a pack makes tensors of tens of megabytes and drops them. The C library gives each back to the system,
    which clears all its pages when they are asked for again: a tenth of a step, and a third where tensors are large.
    Only the GNU library can be told; elsewhere this does nothing.
    """
    library = ctypes.CDLL(None)
    if sys.platform == "linux" and hasattr(library, "gnu_get_libc_version"):
        library.mallopt(MMAP_MAX, 0)
        library.mallopt(TRIM_THRESHOLD, 2**31 - 1)


def capacity(device: str = "cpu") -> int:
    """Return the bytes that there are on this machine (or in its container), or on its first GPU."""
    if device != "cpu":
        return torch.cuda.get_device_properties(0).total_memory
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = CGROUP.read_text().strip() if CGROUP.is_file() else "max"
    return pages if limit == "max" else min(pages, int(limit))


class Living(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that are made within it, and how many live at once at most."""

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.held = self.most = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do as asked, and count what is new."""
        for storage in storages((args, kwargs)):
            self.note(storage, 0)  # not made here, if it is not known
        made = func(*args, **(kwargs or {}))
        for storage in storages(made):
            self.note(storage, storage.nbytes())
        return made

    def note(self, storage: torch.UntypedStorage, size: int) -> None:
        """Count so many bytes for a storage as long as it lives, unless it is known."""
        address = storage._cdata
        if address not in self.known:
            self.known.add(address)
            self.held += size
            self.most = max(self.most, self.held)
            weakref.finalize(storage, self.drop, address, size)

    def drop(self, address: int, size: int) -> None:
        """Forget a storage."""
        self.known.discard(address)
        self.held -= size


def storages(tree: Any) -> Iterator[torch.UntypedStorage]:
    """Yield what lies behind the tensors of a tree."""
    return (tensor.untyped_storage() for tensor in tree_leaves(tree) if isinstance(tensor, Tensor))


def footprint(trial: Mapping[str, Any], dataset: Dataset, device: str = "cpu") -> int:
    """Return the bytes that a trial needs, beside the data, to make a step and to be scored on validation."""
    setup = prepare(trial, dataset, device=device)
    alone = pack([setup])
    living = Living()
    with living:
        learner = start(setup)
        learner, _ = advance(alone, learner, next(exercises(alone, learner)), 1, full=True)
        over(alone, judge, learner)
    return living.most


def room(trial: Mapping[str, Any], dataset: Dataset, device: str = "cpu", part: float = 1.0) -> int:
    """Return how many such trials fit, at least one, into a part of the memory of this machine or its GPU."""
    return max(1, int(SHARE * part * capacity(device) / footprint(trial, dataset, device)))
