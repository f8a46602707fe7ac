"""What packs have done so far, on disk: what is killed goes on from there.

<store>/trials/.checkpoints/<pack>.pt    the state of a pack between two epochs; removed once the pack is in the store

Those of a remote store stay in its mirror, on the machine that trains.
"""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ablate.files import atomic_write
from ablate.remote import local_folder
from ablate.store import pack_name
from ablate.trial import Trial

CHECKPOINT_FOLDER = "trials/.checkpoints"
INTERVAL_RATIO = 20  # times as long as the last one took, at least, lie between two


def pack_checkpoint(job: dict[str, Any], pack: list[Trial]) -> "Checkpoint":
    """Return the checkpoint of a job's pack."""
    return Checkpoint(local_folder(job["store"]), [trial.id for trial in pack], job["checkpoint"])


def checkpointed_prefix(job: dict[str, Any], pack: list[Trial]) -> int:
    """Return how many trials of a pack, from its first on, have a checkpoint together; 0: none."""
    return next((many for many in range(len(pack), 0, -1) if pack_checkpoint(job, pack[:many]).exists), 0)


class Checkpoint:
    """The file of a pack's state, known by its trials and their order, and thereby by their code and data."""

    def __init__(self, store: Path, trials: list[str], seconds: float) -> None:
        """Write it at most every so many seconds."""
        self.file = store / CHECKPOINT_FOLDER / f"{pack_name(trials)}.pt"
        self.seconds = seconds
        self.next = time.monotonic() + seconds

    @property
    def exists(self) -> bool:
        """Say whether a state was written."""
        return self.file.exists()

    def is_due(self) -> bool:
        """Say whether it is time to write."""
        return time.monotonic() >= self.next

    def write(self, state: dict[str, Any]) -> None:
        """Keep a state in place of the one before; where that cannot be written, training goes on without."""
        import torch

        began = time.monotonic()
        with suppress(OSError, RuntimeError), atomic_write(self.file) as draft:  # torch says so of a full disk
            torch.save(state, draft)
        now = time.monotonic()
        self.next = now + max(self.seconds, INTERVAL_RATIO * (now - began))

    def read(self) -> dict[str, Any]:
        """Return what was written last; of tensors and plain containers, and of nothing else."""
        import torch

        state: dict[str, Any] = torch.load(self.file, map_location="cpu", weights_only=True)
        return state

    def remove(self) -> None:
        """Remove it."""
        self.file.unlink(missing_ok=True)
