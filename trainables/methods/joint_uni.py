"""Joint training with unimodal losses."""

from typing import NamedTuple

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
        weight = (self.weight * task.strength).to(signals.logits)

        def loss(s: Signals) -> Tensor:
            return task.objective(s.logits) + weight * task.objectives(s.heads).sum(0)

        grads = pull(loss)
        return Step(grads, state, {"score": task.heard(task.loss(signals.heads.detach()))})
