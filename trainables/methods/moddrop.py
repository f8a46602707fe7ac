"""ModDrop: modalities are left out at random."""

from typing import NamedTuple

import torch
from torch import Tensor

from trainables.shapley import EXACT, presence_code
from trainables.signals import Params, Pull, Signals, Step, Task, all_subsets, leaves, placed


class ModDrop(NamedTuple):
    r"""Modality dropout (ModDrop, Neverova et al., TPAMI 2016, https://arxiv.org/abs/1501.00102).

    A simple remedy that does not look at the modalities: in each sample each is muted with probability ``rate``, on
    its own; where all would be, none is. ``rate=0``: joint training. The prediction of a sample that lost a modality
    is made in evaluation mode, as muted predictions are here (METHODS.md 6.2).
    """

    rate: float | Tensor = 0.3

    @property
    def needs(self) -> frozenset[str]:
        """Return the signals it reads beside the logits."""
        return frozenset({"muted"})

    def init(self, params: Params) -> dict[str, Tensor]:
        """Return in how many samples each modality was heard, [] by name."""
        return {m: leaves(params)[0].new_zeros((), dtype=torch.float64) for m in params.encoders}

    def coalitions(self, modalities: int, task: Task) -> Tensor:
        """Return all coalitions, [S, M] bool.

        Raises:
            ValueError: there are more than six modalities.
        """
        if modalities > EXACT:
            raise ValueError(f"moddrop: {modalities} modalities have {2**modalities} coalitions; it takes {EXACT}")
        return placed(task.device, all_subsets, modalities)

    def step(self, state: dict[str, Tensor], signals: Signals, task: Task, pull: Pull) -> Step:
        """Return the gradient of the loss of what the modalities that are left predict of each sample."""
        like = signals.logits.new_empty(signals.muted.shape[1])
        drawn = torch.stack(
            [torch.special.ndtr(task.noise_of_samples(f"moddrop.{m}", like).double()) for m in state]
        )  # [M, B]
        heard = kept(drawn >= self.rate, task.present)
        left = presence_code(heard) - 1  # [B] coalition of each sample

        def loss(s: Signals) -> Tensor:
            place = left.view(1, -1, *[1] * (s.muted.ndim - 2)).expand(1, *s.muted.shape[1:])
            dropped = task.objective(s.muted.gather(0, place)[0])
            return dropped if task.full else torch.lerp(task.objective(s.logits), dropped, task.strength.to(dropped))

        after = {m: count + task.total(own.sum()) for (m, count), own in zip(state.items(), heard, strict=True)}
        return Step(pull(loss), after, {"heard": task.heard(heard.double())})


def kept(drawn: Tensor, present: Tensor | None) -> Tensor:
    """Return who is heard in each sample, [M, B] bool: those drawn, or all where that is nobody.

    Those that a sample lacks are silent in any case; where nobody else is muted, they count as heard.
    """
    here = torch.ones_like(drawn) if present is None else present
    heard = drawn & here
    return torch.where((heard == here).all(0) | ~heard.any(0), True, heard)
