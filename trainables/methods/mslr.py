"""MSLR: modality-specific learning rates."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from trainables.signals import Control, Params, Pull, Signals, Step, Task, Validation, leaves, scale_branches


class MSLRState(NamedTuple):
    """Statistics of the past epochs, in float64."""

    epochs: Tensor  # [] number of epochs validated so far
    memory: Tensor  # [W, M] scores of the last W epochs, the newest last; zeros where there were fewer
    ratio: Tensor  # [M] rho of the next epoch


class MSLR(NamedTuple):
    r"""Modality-specific learning rates (Yao and Mihalcea, ACL 2022 Findings; METHODS.md 3).

    The learning rate of branch ``m``, its encoder and its readout, is multiplied by :math:`c_m \rho_m`. All other
    parameters, such as those of a joint head, keep theirs. After each epoch, with :math:`a_m` the validation accuracy
    of modality m's part of the joint prediction and :math:`Q_m` its values in the ``window`` epochs before,

    .. math:: \rho_m \leftarrow \begin{cases} 1 & \text{while } |Q_m| < W \\ a_m / \text{mean}(Q_m) & \text{then}
        \end{cases} \qquad Q_m \leftarrow Q_m \text{ without its oldest, and } a_m

    so that :math:`\rho_m` first differs from 1 in epoch W + 2. ``factor`` (c) is one number, or a mapping modality ->
    number with 1 for modalities that it leaves out. ``factor=1, adapt=False``: joint training; with ``factor=1`` it is
    also joint training as long as the accuracies do not change.

    The code followed is the re-implementation in the AGM release (run/AVMNIST_main.py: c in 153-156,
    gradients in 161-166, Q and rho in 538-551; window 5, c = 1.3 audio, 0.7 visual there; 0.9, 1.1 in
    CREMAD_main.py; 0.9 audio, 1.4 visual, 0.7 text in URFunny_main.py). It does the following,
    which is not our default:

    - It multiplies *gradients*, which under weight decay, momentum or Adam does not scale the learning rate:
      ``form=grad_scale``. By default (``form=lr``) the factor multiplies the optimiser's update, decay included.
    - In CREMA-D it counts a correct visual prediction as an audio hit, so that both ratios are the visual one.
    - With early fusion it matches no parameter's name and changes nothing; we scale the encoders.
    - It reads accuracies off the test set (CREMA-D, AV-MNIST); we read them off the validation set.

    The paper's "keep" and "smooth" strategies are in neither.

    Ours: the ratio is clamped to [0.1, 10], and is 1 where both accuracies are 0; in regression, where a score is minus
    the absolute error, it is mean(Q_m) / a_m, so that the ratio of an improving modality is above 1 there, too. A
    branch is encoder m and its readout, if the fusion has one for it (`sum`); the head that modalities share in other
    fusions is left as it is. Outside the method's epochs the factor is 1, and the window is still updated (as in the
    release).
    """

    factor: float | Tensor | Mapping[str, float | Tensor] = 1.0
    adapt: bool = True
    window: int = 5
    form: str = "lr"

    @property
    def bounds(self) -> tuple[float, float]:
        """Return the lower and upper bound of the ratio; the release has none."""
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
        """Return None: the factors act in `step`, and no branch is stopped."""

    def epoch(self, state: MSLRState, validation: Validation) -> Control:
        """Compare each modality's accuracy with its window, and update the window."""
        full, score = state.epochs >= self.window, validation.score.nan_to_num(nan=0.0)  # no sample: a ratio of 1
        new_ratio = torch.where(full, score_ratio(score, state.memory.mean(0)).clamp(*self.bounds), state.ratio)
        memory = torch.cat([state.memory[1:], score[None]])
        none = torch.zeros_like(new_ratio, dtype=torch.bool)
        state = MSLRState(state.epochs + 1, memory, new_ratio if self.adapt else state.ratio)
        return Control(state, save=none, restore=none, stop=none.any())


def score_ratio(score: Tensor, mean: Tensor) -> Tensor:
    """Return the ratio of each score to the mean of the previous ones, [M] -> [M]; above 1: it has improved."""
    ratio = torch.where(mean < 0, mean.abs() / score.abs(), score / mean)
    return ratio.nan_to_num(nan=1.0)
