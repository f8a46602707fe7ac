"""A method of your own: a NamedTuple of its settings with two pure functions."""

from typing import NamedTuple

import torch

from trainables.signals import Params, Pull, Signals, Step, Task, scale_encoders


class Half(NamedTuple):
    """Multiplies the gradients of all encoders by ``factor``."""

    factor: float = 0.5

    neutral = {"factor": 1.0}  # with these it is joint training: `ablate doctor study.yaml` checks it

    def init(self, params: Params) -> tuple[()]:
        """Return the state before the first step: all that the method remembers, as tensors."""
        return ()

    def step(self, state: tuple[()], signals: Signals, task: Task, pull: Pull) -> Step:
        """Return the gradients to train with, the next state, and the metrics to record.

        ``pull(f)`` is the gradient of any scalar of the signals: ``logits``, and those listed in `needs`.
        """
        grads = pull(lambda s: task.objective(s.logits))
        scale = task.faded(self.factor * torch.ones(len(grads.encoders)).to(signals.logits))  # [M]
        return Step(scale_encoders(grads, scale), state, {"scale": scale})
