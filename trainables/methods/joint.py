"""Joint training, and joint training with one more loss for each modality: the two baselines."""

from typing import NamedTuple

from trainables.signals import Params, Pull, Signals, Step, Task


class Joint(NamedTuple):
    """Plain joint training: one loss on the joint prediction, no modulation (METHODS.md 2.1).

    On one modality it is unimodal training; like all trials here it is measured after its last epoch, where some
    papers take the best epoch on validation (and the AGM release the best on test).
    """

    def init(self, params: Params) -> tuple[()]:
        """Return the empty state."""
        return ()

    def step(self, state: tuple[()], signals: Signals, task: Task, pull: Pull) -> Step:
        """Return the gradient of the joint loss."""
        return Step(pull(lambda s: task.objective(s.logits)), state, {})
