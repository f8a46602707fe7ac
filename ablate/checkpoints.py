"""Checkpoints of packs in training, from which a killed run resumes.

<store>/trials/.checkpoints/<pack>.pt    the state of a pack between two epochs; removed once the pack is stored

Those of a remote store stay in its mirror, on the machine that trains.
"""

import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ablate.files import atomic_write
from ablate.remote import local_folder
from ablate.store import pack_name
from ablate.trial import Trial

CHECKPOINT_FOLDER = "trials/.checkpoints"
INTERVAL_RATIO = 20  # the interval is at least this many times as long as the last write took


def pack_checkpoint(job: dict[str, Any], pack: list[Trial]) -> "Checkpoint":
    """Return the checkpoint of a job's pack."""
    return Checkpoint(local_folder(job["store"]), [trial.id for trial in pack], job["checkpoint"])


def checkpointed_prefix(store: Path, pack: list[Trial]) -> int:
    """Return the length of the longest prefix of a pack that has a checkpoint; 0 if there is none."""
    lengths = range(len(pack), 0, -1)
    return next((n for n in lengths if checkpoint_file(store, [trial.id for trial in pack[:n]]).exists()), 0)


def resumable_packs(store: Path) -> set[str]:
    """Return the names of packs that have a checkpoint and are not in the store yet."""
    names = {file.stem for file in (store / CHECKPOINT_FOLDER).glob("*.pt")}
    return {name for name in names if not (store / "trials" / name).exists()}


def num_resumable(store: Path, packs: Iterable[list[Trial]]) -> int:
    """Return how many of the packs, or their first trials at least, have a checkpoint to resume from."""
    return sum(checkpointed_prefix(store, pack) > 0 for pack in packs) if resumable_packs(store) else 0


def checkpoint_file(store: Path, trials: list[str]) -> Path:
    """Return the file for the state of a pack, named by its trials in order."""
    return store / CHECKPOINT_FOLDER / f"{pack_name(trials)}.pt"


class Checkpoint:
    """The file of a pack's state, named by its trials in order, whose ids depend on code and data."""

    def __init__(self, store: Path, trials: list[str], seconds: float) -> None:
        """Write it at most every so many seconds."""
        self.file = checkpoint_file(store, trials)
        self.seconds = seconds
        self.next = time.monotonic() + seconds

    @property
    def exists(self) -> bool:
        """Return whether a state was written."""
        return self.file.exists()

    def is_due(self) -> bool:
        """Return whether it is time to write."""
        return time.monotonic() >= self.next

    def write(self, state: dict[str, Any]) -> None:
        """Replace the last state; training continues without a checkpoint where none can be written."""
        import torch

        start = time.monotonic()
        with suppress(OSError, RuntimeError), atomic_write(self.file) as draft:  # torch raises it on a full disk
            torch.save(state, draft)
        now = time.monotonic()
        self.next = now + max(self.seconds, INTERVAL_RATIO * (now - start))

    def read(self) -> dict[str, Any]:
        """Return the last state; it may hold tensors and plain containers only."""
        import torch

        state: dict[str, Any] = torch.load(self.file, map_location="cpu", weights_only=True)
        return state

    def remove(self) -> None:
        """Remove the file."""
        self.file.unlink(missing_ok=True)
