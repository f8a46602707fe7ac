"""Memory: the allocator's settings, the capacity of the machine, and what a trial needs while it trains."""

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
from trainables.evaluation import validation_scores
from trainables.packs import build_pack, map_members
from trainables.setup import build_setup, init_learner
from trainables.train import example_step_inputs, step_pack

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # of malloc.h
CGROUP = Path("/sys/fs/cgroup/memory.max")  # the limit of a container
SHARE = 0.6  # of the memory that packs may fill; the rest is for the data, the processes and rounding


def retain_freed_memory() -> None:
    """Make the C library keep freed memory for the next allocation.

    A step of a pack makes tensors of tens of megabytes and drops them. The C library gives each back to the system,
    which clears all its pages when they are allocated again: a tenth of a step, and a third where tensors are large.
    Only the GNU library has this setting; elsewhere nothing is done.
    """
    library = ctypes.CDLL(None)
    if sys.platform == "linux" and hasattr(library, "gnu_get_libc_version"):
        library.mallopt(MMAP_MAX, 0)
        library.mallopt(TRIM_THRESHOLD, 2**31 - 1)


def capacity(device: str = "cpu") -> int:
    """Return the bytes of memory of this machine (or its container), or of its first GPU."""
    if device != "cpu":
        return torch.cuda.get_device_properties(0).total_memory
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = CGROUP.read_text().strip() if CGROUP.is_file() else "max"
    return pages if limit == "max" else min(pages, int(limit))


class MemoryTracker(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that are allocated within it: those alive now, and their peak."""

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.current = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and count the storages that it allocates."""
        for storage in storages((args, kwargs)):
            self.add(storage, 0)  # one that is not known yet was allocated elsewhere
        result = func(*args, **(kwargs or {}))
        for storage in storages(result):
            self.add(storage, storage.nbytes())
        return result

    def add(self, storage: torch.UntypedStorage, size: int) -> None:
        """Count ``size`` bytes for a storage as long as it lives, unless it is known."""
        address = storage._cdata
        if address not in self.known:
            self.known.add(address)
            self.current += size
            self.peak = max(self.peak, self.current)
            weakref.finalize(storage, self.remove, address, size)

    def remove(self, address: int, size: int) -> None:
        """Stop counting a storage."""
        self.known.discard(address)
        self.current -= size


def storages(tree: Any) -> Iterator[torch.UntypedStorage]:
    """Yield the storages of the tensors of a tree."""
    return (tensor.untyped_storage() for tensor in tree_leaves(tree) if isinstance(tensor, Tensor))


def footprint(trial: Mapping[str, Any], dataset: Dataset, device: str = "cpu") -> int:
    """Return the bytes that a trial needs, apart from the data, for a step and an evaluation on validation."""
    setup = build_setup(trial, dataset, device=device)
    pack = build_pack([setup])
    tracker = MemoryTracker()
    with tracker:
        learner = init_learner(setup)
        learner, _ = step_pack(pack, learner, next(example_step_inputs(pack, learner)), 1, full=True)
        map_members(pack, validation_scores, learner)
    return tracker.peak


def max_pack_size(trial: Mapping[str, Any], dataset: Dataset, device: str = "cpu", part: float = 1.0) -> int:
    """Return how many such trials, at least one, fit into a part of the memory of this machine or its GPU."""
    return max(1, int(SHARE * part * capacity(device) / footprint(trial, dataset, device)))
