"""Joint training with unimodal losses."""

from typing import NamedTuple

import torch
from torch import Tensor

from trainables.signals import Params, Pull, Signals, Step, Task

PREDICTION_SIGNALS = {"head": "heads", "split": "unimodal", "single": "muted"}  # source -> signal of its predictions


class JointUni(NamedTuple):
    r"""Joint training plus :math:`w \sum_m L_m`, one loss for each modality on its unimodal prediction.

    The simple baseline that every rebalancing method has to beat. ``weight=0``: joint training. ``source`` selects the
    unimodal prediction: that of a linear ``head`` on the modality's feature (the default; discarded after training),
    the modality's part of the joint head (``split``, :math:`u_m`), or that of the network with all other modalities
    muted (``single``, :math:`f(\{m\})`).
    """

    weight: float | Tensor = 1.0
    source: str = "head"

    @property
    def needs(self) -> frozenset[str]:
        """Return the signals that the method reads in addition to the logits."""
        return frozenset({PREDICTION_SIGNALS[self.source]})

    def init(self, params: Params) -> tuple[()]:
        """Return the empty state."""
        return ()

    def coalitions(self, modalities: int, task: Task) -> Tensor:
        """Return the coalitions of one modality each, [M, M] bool."""
        return torch.eye(modalities, dtype=torch.bool, device=task.device)

    def step(self, state: tuple[()], signals: Signals, task: Task, pull: Pull) -> Step:
        """Return the gradient of the joint loss and the weighted unimodal losses."""
        weight = (self.weight * task.strength).to(signals.logits)

        def loss(s: Signals) -> Tensor:
            return task.objective(s.logits) + weight * task.objectives(unimodal_predictions(s, self.source)).sum(0)

        grads = pull(loss)
        return Step(grads, state, {"score": task.heard(task.loss(unimodal_predictions(signals, self.source).detach()))})


def unimodal_predictions(signals: Signals, source: str) -> Tensor:
    """Return the unimodal prediction of each modality, [M, B, C]; ``source`` as in `JointUni`."""
    predictions: Tensor = getattr(signals, PREDICTION_SIGNALS[source])
    return predictions
