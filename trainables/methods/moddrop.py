"""ModDrop: random modality dropout."""

from typing import NamedTuple

import torch
from torch import Tensor

from trainables.shapley import MAX_EXACT, presence_code
from trainables.signals import Params, Pull, Signals, Step, Task, all_subsets, leaves, placed


class ModDrop(NamedTuple):
    r"""Modality dropout (ModDrop, Neverova et al., TPAMI 2016, https://arxiv.org/abs/1501.00102).

    A simple baseline that treats all modalities alike: in each sample each modality is muted independently with
    probability ``rate``; where all would be muted, none is. ``rate=0``: joint training. The prediction of a sample with
    a muted modality is made in evaluation mode, like all muted predictions in this project (METHODS.md 6.2).
    """

    rate: float | Tensor = 0.3

    @property
    def needs(self) -> frozenset[str]:
        """Return the signals that the method reads in addition to the logits."""
        return frozenset({"muted"})

    def init(self, params: Params) -> dict[str, Tensor]:
        """Return a count of the samples in which each modality was not muted, [] by name, from 0."""
        return {m: leaves(params)[0].new_zeros((), dtype=torch.float64) for m in params.encoders}

    def coalitions(self, modalities: int, task: Task) -> Tensor:
        """Return all coalitions, [S, M] bool.

        Raises:
            ValueError: there are more than six modalities.
        """
        if modalities > MAX_EXACT:
            rule = f"{modalities} modalities have {2**modalities} coalitions; at most {MAX_EXACT} are supported"
            raise ValueError(f"moddrop: {rule}")
        return placed(task.device, all_subsets, modalities)

    def step(self, state: dict[str, Tensor], signals: Signals, task: Task, pull: Pull) -> Step:
        """Return the gradient of the loss of the predictions by the modalities that were not dropped."""
        like = signals.logits.new_empty(signals.muted.shape[1])
        uniform = torch.stack(
            [torch.special.ndtr(task.noise_of_samples(f"moddrop.{m}", like).double()) for m in state]
        )  # [M, B]
        active = active_modalities(uniform >= self.rate, task.present)
        coalition = presence_code(active) - 1  # [B] of each sample, an index of `all_subsets`

        def loss(s: Signals) -> Tensor:
            index = coalition.view(1, -1, *[1] * (s.muted.ndim - 2)).expand(1, *s.muted.shape[1:])
            dropped = task.objective(s.muted.gather(0, index)[0])
            return dropped if task.full else torch.lerp(task.objective(s.logits), dropped, task.strength.to(dropped))

        counts = {m: count + task.total(mask.sum()) for (m, count), mask in zip(state.items(), active, strict=True)}
        return Step(pull(loss), counts, {"heard": task.heard(active.double())})


def active_modalities(selected: Tensor, present: Tensor | None) -> Tensor:
    """Return which modalities are not muted in each sample, [M, B] bool: the selected ones, or all if none is left.

    Missing modalities are muted anyway; where no other one is, they count as active: the full coalition is used.
    """
    present = torch.ones_like(selected) if present is None else present
    active = selected & present
    return torch.where((active == present).all(0) | ~active.any(0), True, active)
