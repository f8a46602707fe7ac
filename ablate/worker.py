"""A process of Ray Tune that trains packs, and whom it asks which trials of a pack to end."""

import json
from math import ceil
from typing import Any

import ray
from ray import tune

from ablate.checkpoints import checkpointed_prefix
from ablate.errors import error_traceback
from ablate.pack_training import RetryableError, TrialReport, UnrecoverableError, pack_capacity, resolve_job, train_pack
from ablate.packs import split_evenly
from ablate.pruning import group_scores
from ablate.trial import Trial
from trainables.train import Prune

PRUNER_DIED = "the process that judges which trials to end has died"


class Worker(tune.Trainable):  # type: ignore[misc]
    """A process that trains one pack after another and puts them into the store."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take the first pack."""
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next pack."""
        self.asked = json.loads(new_config["job"])
        self.job = resolve_job(self.asked)
        return True

    def step(self) -> dict[str, Any]:
        """Train the pack, in parts where the memory is too small for it."""
        pack = [Trial(*trial) for trial in self.job["pack"]]
        told = {trial: told for part in self.parts(pack) for trial, told in self.trained(part).items()}
        return {"done": True, "told": json.dumps(told)}  # as text, which Tune leaves as it is

    def parts(self, pack: list[Trial]) -> list[list[Trial]]:
        """Return the parts of a pack that fit into the memory; one that was interrupted is the first, as it was."""
        most = pack_capacity(self.job, pack)
        first = checkpointed_prefix(self.job, pack[:most])
        rest = pack[first:]
        parts = split_evenly(rest, ceil(len(rest) / most)) if rest else []
        return [pack[:first], *parts] if first else parts

    def trained(self, pack: list[Trial]) -> dict[str, TrialReport]:
        """Train trials together and put them into the store.

        An error is the result of a trial, not the end of the process: where several trained together, halves of
        them do so again, until it is known whose error it is, and the others' numbers are what they would have been.

        Raises:
            LostError: the process is to end as if it had died.
        """
        try:
            return self.together(pack)
        except RetryableError:
            raise
        except UnrecoverableError as error:
            return {trial.id: ("failed", None, str(error)) for trial in pack}
        except Exception as error:
            if len(pack) > 1:
                return {trial: told for half in split_evenly(pack, 2) for trial, told in self.trained(half).items()}
            return {pack[0].id: ("failed", None, error_traceback(error))}

    def together(self, pack: list[Trial]) -> dict[str, TrialReport]:
        """Train trials in one pass, here or on several workers."""
        if self.job["workers"] == 1:
            return train_pack(self.job, pack, prune_callback(self.job, pack))
        from ablate.distributed import train_distributed

        return train_distributed(self.asked, pack)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing: a pack is in the store, or goes on from its own checkpoint."""


def prune_callback(job: dict[str, Any], pack: list[Trial]) -> Prune | None:
    """Return how to ask a job's judge about a pack; None where the study has none.

    Raises:
        StrandedError: the judge has died; so does asking it.
    """
    if job["judge"] is None:
        return None
    try:
        judge = ray.get_actor(job["judge"])
    except ValueError:
        raise UnrecoverableError(PRUNER_DIED) from None

    def ends(epoch: int, scores: dict[int, dict[str, float]]) -> set[int]:
        try:
            stops = ray.get(judge.ends.remote(epoch, group_scores(pack, scores)))
        except ray.exceptions.RayActorError:
            raise UnrecoverableError(PRUNER_DIED) from None
        return {i for i in scores if pack[i].id in stops}

    return ends
