"""Joint training, the baseline without modulation."""

from typing import NamedTuple

from trainables.signals import Params, Pull, Signals, Step, Task


class Joint(NamedTuple):
    """Plain joint training: one loss on the joint prediction, no modulation (METHODS.md 2.1).

    With one modality it is unimodal training. Like all trials here it is evaluated after its last epoch, where some
    papers take the best epoch on validation (and the AGM release the best on test).
    """

    def init(self, params: Params) -> tuple[()]:
        """Return the empty state."""
        return ()

    def step(self, state: tuple[()], signals: Signals, task: Task, pull: Pull) -> Step:
        """Return the gradient of the joint loss."""
        return Step(pull(lambda s: task.objective(s.logits)), state, {})
