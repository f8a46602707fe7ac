"""MSLR: modality-specific learning rates."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from trainables.signals import Control, Params, Pull, Signals, Step, Task, Validation, leaves, scale_branches


class MSLRState(NamedTuple):
    """What is remembered of the epochs before, in float64."""

    epochs: Tensor  # [] validated so far
    memory: Tensor  # [W, M] scores of the last W of them, the newest last; zeros where there were fewer
    ratio: Tensor  # [M] rho, in force in the epoch to come


class MSLR(NamedTuple):
    r"""Modality-specific learning rates (Yao and Mihalcea, ACL 2022 Findings; METHODS.md 3).

    The learning rate of branch ``m``, its encoder and its readout, is multiplied by :math:`c_m \rho_m`. The
    rates of all else, such as a joint head, stay. After each epoch, with :math:`a_m` the validation accuracy
    of modality m's part of the joint prediction and :math:`Q_m` the last ``window`` of them before it,

    .. math:: \rho_m \leftarrow \begin{cases} 1 & \text{while } |Q_m| < W \\ a_m / \text{mean}(Q_m) & \text{then}
        \end{cases} \qquad Q_m \leftarrow Q_m \text{ without its oldest, and } a_m

    so that :math:`\rho_m` first differs from 1 in epoch W + 2. ``factor`` (c) is one number, or a mapping
    modality -> number in which a modality that is not named has 1. ``factor=1, adapt=False``: joint training;
    with ``factor=1``, so are accuracies that do not change.

    The code followed is the re-implementation in the AGM release (run/AVMNIST_main.py: c in 153-156,
    gradients in 161-166, Q and rho in 538-551; window 5, c = 1.3 audio, 0.7 visual there; 0.9, 1.1 in
    CREMAD_main.py; 0.9 audio, 1.4 visual, 0.7 text in URFunny_main.py). What it does, and we by
    default do not:

    - It multiplies *gradients*, which under weight decay, momentum or Adam is no learning rate:
      ``form=grad_scale``. By default (``form=lr``) the factor is on the optimiser's update, decay included.
    - In CREMA-D it counts a right visual prediction as an audio hit, so that both ratios are the visual one.
    - With early fusion it matches no parameter's name and changes nothing; we scale the encoders.
    - It reads accuracies off the test set (CREMA-D, AV-MNIST); we, off the validation set.

    The paper's "keep" and "smooth" strategies are in neither.

    Ours: the ratio is kept within [0.1, 10], and is 1 where both accuracies are 0; in regression, where a score
    is minus the absolute error, it is mean(Q_m) / a_m, so that a modality that gets better has a ratio above 1 there,
    too. A branch is encoder m and its readout, where the fusion gives it one (`sum`); the head that modalities
    share elsewhere is left as it is. Outside the method's epochs the factor is 1, and the window fills on (as
    in the release).
    """

    factor: float | Tensor | Mapping[str, float | Tensor] = 1.0
    adapt: bool = True
    window: int = 5
    form: str = "lr"

    @property
    def bounds(self) -> tuple[float, float]:
        """Return between what the ratio is kept; the release has no limits."""
        return 0.1, 10.0

    def init(self, params: Params) -> MSLRState:
        """Return an empty window; ratios start at 1."""
        zero = torch.zeros((), dtype=torch.float64, device=leaves(params)[0].device)
        modalities = len(params.encoders)
        return MSLRState(zero, zero.new_zeros(self.window, modalities), zero.new_ones(modalities))

    def step(self, state: MSLRState, signals: Signals, task: Task, pull: Pull) -> Step:
        """Scale the updates of the branches, or with `grad_scale` their gradients."""
        grads = pull(lambda s: task.objective(s.logits))
        scale = task.faded(self.factors(list(grads.encoders), state.ratio))
        metrics = {"scale": scale, "ratio": state.ratio}
        if self.form == "grad_scale":
            return Step(scale_branches(grads, scale.to(signals.logits)), state, metrics)
        return Step(grads, state, metrics, rates=scale)

    def factors(self, modalities: list[str], ratio: Tensor) -> Tensor:
        """Return c times the ratio of each modality, [M]."""
        if not isinstance(self.factor, Mapping):
            return self.factor * ratio
        return torch.stack([self.factor.get(m, 1.0) * r for m, r in zip(modalities, ratio.unbind(), strict=True)])

    def rates(self, state: MSLRState) -> None:
        """Return nothing: the factors act in `step`, and no branch stops."""

    def epoch(self, state: MSLRState, validation: Validation) -> Control:
        """Compare each modality's accuracy with its window, and move the window on."""
        full, score = state.epochs >= self.window, validation.score.nan_to_num(nan=0.0)  # never judged: a ratio of 1
        new = torch.where(full, ratio(score, state.memory.mean(0)).clamp(*self.bounds), state.ratio)
        memory = torch.cat([state.memory[1:], score[None]])
        never = torch.zeros_like(new, dtype=torch.bool)
        state = MSLRState(state.epochs + 1, memory, new if self.adapt else state.ratio)
        return Control(state, save=never, restore=never, stop=never.any())


def ratio(score: Tensor, before: Tensor) -> Tensor:
    """Return how each score compares with the mean of those before it, [M] -> [M]; above 1: it is better."""
    better = torch.where(before < 0, before.abs() / score.abs(), score / before)
    return better.nan_to_num(nan=1.0)
