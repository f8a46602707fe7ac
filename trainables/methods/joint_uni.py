"""Joint training with unimodal losses."""

from typing import NamedTuple

import torch
from torch import Tensor

from trainables.signals import Params, Pull, Signals, Step, Task


class JointUni(NamedTuple):
    r"""Joint training plus :math:`w \sum_m L(g_m(h_m))`, one loss a modality on a linear head of its own.

    The simple remedy that every rebalancing method has to beat; the heads are discarded after training.
    ``weight=0``: joint training.
    """

    weight: float | Tensor = 1.0

    @property
    def needs(self) -> frozenset[str]:
        """Return the signals it reads beside the logits."""
        return frozenset({"heads"})

    def init(self, params: Params) -> tuple[()]:
        """Return the empty state."""
        return ()

    def step(self, state: tuple[()], signals: Signals, task: Task, pull: Pull) -> Step:
        """Return the gradient of the joint loss and the weighted unimodal losses."""

        def loss(s: Signals) -> Tensor:
            joint = task.objective(s.logits)
            return torch.where(task.active, joint + self.weight * task.objective(s.heads).sum(0), joint)

        grads = pull(loss)
        return Step(grads, state, {"score": task.mean(task.loss(signals.heads.detach()))})
