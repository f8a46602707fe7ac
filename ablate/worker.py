"""The Ray Tune actor that trains packs."""

import json
from math import ceil
from typing import Any

import ray
from ray import tune

from ablate.checkpoints import checkpointed_prefix
from ablate.errors import error_traceback
from ablate.pack_training import (
    RetryableError,
    TrialReport,
    UnrecoverableError,
    pack_capacity,
    resolve_job,
    train_pack,
)
from ablate.packs import split_evenly
from ablate.pruning import group_scores
from ablate.remote import local_folder
from ablate.trial import Trial
from trainables.train import PruneCallback

PRUNER_DIED = "the process that prunes trials has died"


class Worker(tune.Trainable):  # type: ignore[misc]
    """A process that trains one pack after another and stores the results."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take the first pack."""
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next pack."""
        self.sent_job = json.loads(new_config["job"])
        self.job = resolve_job(self.sent_job)
        return True

    def step(self) -> dict[str, Any]:
        """Train the pack, in parts where memory is too small for it."""
        pack = [Trial(*trial) for trial in self.job["pack"]]
        reports = {
            trial: report for part in self.memory_parts(pack) for trial, report in self.train_or_split(part).items()
        }
        return {"done": True, "reports": json.dumps(reports)}  # as text, which Tune leaves as it is

    def memory_parts(self, pack: list[Trial]) -> list[list[Trial]]:
        """Return the parts of a pack that fit into memory; one that has a checkpoint comes first, unchanged."""
        capacity = pack_capacity(self.job, pack)
        resumed = checkpointed_prefix(local_folder(self.job["store"]), pack[:capacity])
        remaining = pack[resumed:]
        parts = split_evenly(remaining, ceil(len(remaining) / capacity)) if remaining else []
        return [pack[:resumed], *parts] if resumed else parts

    def train_or_split(self, pack: list[Trial]) -> dict[str, TrialReport]:
        """Train trials together and store them; if one raises an error, train halves of them.

        An error becomes the result of its trial and does not end the process: a failed pack is halved until the trial
        that fails is alone, and the others get the results that they would have had.

        Raises:
            RetryableError: the process must end, and the pack run again.
        """
        try:
            return self.train_together(pack)
        except RetryableError:
            raise
        except UnrecoverableError as error:
            return {trial.id: ("failed", None, str(error)) for trial in pack}
        except Exception as error:
            if len(pack) > 1:
                halves = split_evenly(pack, 2)
                return {trial: report for half in halves for trial, report in self.train_or_split(half).items()}
            return {pack[0].id: ("failed", None, error_traceback(error))}

    def train_together(self, pack: list[Trial]) -> dict[str, TrialReport]:
        """Train trials in one pass, in this process or on several workers."""
        if self.job["workers"] == 1:
            return train_pack(self.job, pack, prune_callback(self.job, pack))
        from ablate.distributed import train_distributed

        return train_distributed(self.sent_job, pack)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing: a pack is in the store, or resumes from its own checkpoint."""


def prune_callback(job: dict[str, Any], pack: list[Trial]) -> PruneCallback | None:
    """Return the callback that asks the study's pruner about a pack; None if the study has none.

    Raises:
        UnrecoverableError: the pruner has died; the callback raises it, too.
    """
    if job["pruner"] is None:
        return None
    try:
        pruner = ray.get_actor(job["pruner"])
    except ValueError:
        raise UnrecoverableError(PRUNER_DIED) from None

    def prune(epoch: int, scores: dict[int, dict[str, float]]) -> set[int]:
        try:
            pruned = ray.get(pruner.trials_to_prune.remote(epoch, group_scores(pack, scores)))
        except ray.exceptions.RayActorError:
            raise UnrecoverableError(PRUNER_DIED) from None
        return {i for i in scores if pack[i].id in pruned}

    return prune
