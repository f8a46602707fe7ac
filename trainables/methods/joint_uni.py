"""Joint training with unimodal losses."""

from typing import NamedTuple

import torch
from torch import Tensor

from trainables.signals import Params, Pull, Signals, Step, Task

SOURCES = {"head": "heads", "split": "unimodal", "single": "muted"}  # what a modality predicts alone -> its signal


class JointUni(NamedTuple):
    r"""Joint training plus :math:`w \sum_m L_m`, one loss a modality on what it predicts alone.

    The simple remedy that every rebalancing method has to beat. ``weight=0``: joint training. By ``source`` a modality
    predicts by a linear ``head`` of its own on its feature (the default; discarded after training), by its part of the
    joint head (``split``, :math:`u_m`), or by the network with all others muted (``single``, :math:`f(\{m\})`).
    """

    weight: float | Tensor = 1.0
    source: str = "head"

    @property
    def needs(self) -> frozenset[str]:
        """Return the signals it reads beside the logits."""
        return frozenset({SOURCES[self.source]})

    def init(self, params: Params) -> tuple[()]:
        """Return the empty state."""
        return ()

    def coalitions(self, modalities: int, task: Task) -> Tensor:
        """Return each modality alone, [M, M] bool."""
        return torch.eye(modalities, dtype=torch.bool, device=task.device)

    def step(self, state: tuple[()], signals: Signals, task: Task, pull: Pull) -> Step:
        """Return the gradient of the joint loss and the weighted unimodal losses."""
        weight = (self.weight * task.strength).to(signals.logits)

        def loss(s: Signals) -> Tensor:
            return task.objective(s.logits) + weight * task.objectives(alone(s, self.source)).sum(0)

        grads = pull(loss)
        return Step(grads, state, {"score": task.heard(task.loss(alone(signals, self.source).detach()))})


def alone(signals: Signals, source: str) -> Tensor:
    """Return what each modality predicts alone, [M, B, C]; see `JointUni`."""
    predictions: Tensor = getattr(signals, SOURCES[source])
    return predictions
