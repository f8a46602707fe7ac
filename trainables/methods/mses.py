"""MSES: modality-specific early stopping."""

from typing import NamedTuple

import torch
from torch import Tensor

from trainables.signals import Control, Params, Pull, Signals, Step, Task, Validation, leaves, scale_branches

INITIAL_BEST = 1000.0  # smallest loss before the first epoch, which replaces it (AVMNIST_main.py:499)


class MSESState(NamedTuple):
    """Statistics of the past epochs, in float64."""

    previous: Tensor  # [M] raw validation loss of the previous epoch
    best: Tensor  # [M] smallest smoothed loss so far
    best_epoch: Tensor  # [M] its epoch, from 1; 0 before the first
    running: Tensor  # [M] flag rho: 1, or 0 once a branch has stopped


class MSES(NamedTuple):
    r"""Modality-specific early stopping (Fujimori et al., 2019; METHODS.md 4).

    After each epoch e, with :math:`l_m` the validation loss of modality m's part of the joint prediction,

    1. :math:`\tilde l_m = \mu l_m^{e-1} + (1 - \mu) l_m^e` (in epoch 1, :math:`l_m`), a two-point filter: the *raw*
       loss is stored, so that this is not a moving average, and a minimum at epoch k is credited to k + 1 when the loss
       then rises slowly;
    2. where :math:`\tilde l_m` is below its smallest value so far, it and its epoch :math:`b_m` are stored and a
       snapshot of training is saved;
    3. where :math:`e - b_m > p`, branch m (its encoder and its readout) stops for good, and training is rolled back to
       the snapshot of epoch :math:`b_m`: with ``rollback=whole`` all parameters, running statistics and moments of the
       optimiser, so that the other branches lose their progress, too;
    4. when all branches have stopped, training ends.

    ``patience`` is p, ``mix`` is :math:`\mu`. ``patience=inf``: joint training. A roll-back changes neither the state
    of the method nor the number of the epoch.

    The code followed is the re-implementation in the AGM release (run/AVMNIST_main.py: gradients in 167-181,
    1 in 553-565, 2 in 567-585, 3 in 586-609, 4 in 611-613; :math:`\mu` = 0.6; p = 10 there, 30 in
    URFunny_main.py, 80 in CREMAD_main.py). Where it and the method's aim differ:

    - The release multiplies the branch's gradients by 0, and momentum and weight decay keep moving it:
      ``stop=grad_zero``. By default (``stop=freeze``) the branch is frozen: it has no gradient (which clipping would
      count) and no update, and its encoder is in evaluation mode, so that its running statistics are frozen, too.
    - Its networks add up one head for each modality. A head that modalities share (all fusions but `sum`) trains on.
    - It saves no snapshot in epoch 1. If that was the best epoch, its roll-back fails (AV-MNIST, CREMA-D) or is skipped
      (UR-Funny, ``if audio_argmax_loss_epoch != 1``); ``first=none`` skips it. By default (``first=save``) epoch 1 is
      saved as any other.
    - It reads losses off the test set (CREMA-D, AV-MNIST); we read them off the validation set.

    Ours: ``rollback=branch`` restores only encoder, readout, and their running statistics and moments, and keeps the
    progress of the others; ``none`` restores nothing. Outside the method's epochs losses are stored (as in the
    release), but no branch stops, and a stopped branch trains on. The branch of a modality that no validation sample
    has never stops.
    """

    patience: float | Tensor = 10.0
    mix: float | Tensor = 0.6
    stop: str = "freeze"
    rollback: str = "whole"
    first: str = "save"

    def init(self, params: Params) -> MSESState:
        """Return the state in which every branch trains."""
        zero = torch.zeros(len(params.encoders), dtype=torch.float64, device=leaves(params)[0].device)
        return MSESState(zero, zero + INITIAL_BEST, zero, zero + 1)

    def step(self, state: MSESState, signals: Signals, task: Task, pull: Pull) -> Step:
        """Zero the gradients of stopped branches; with `freeze`, `rates` also zeroes their updates."""
        scale = task.faded(state.running)
        factor = (scale != 0).to(scale) if self.stop == "freeze" else scale
        grads = pull(lambda s: task.objective(s.logits))
        return Step(scale_branches(grads, factor.to(signals.logits)), state, {"scale": scale})

    def rates(self, state: MSESState) -> Tensor:
        """Return 0 for stopped branches, else 1, [M]; with `grad_zero`, which zeroes only gradients, all 1."""
        return state.running if self.stop == "freeze" else torch.ones_like(state.running)

    def epoch(self, state: MSESState, validation: Validation) -> Control:
        """Store the losses, stop the branches that have run out of patience, and roll back to their best epoch."""
        epoch = validation.epoch.to(state.best)
        loss, measured = self.smoothed_loss(state, validation), ~validation.loss.isnan()
        improved = measured & ((loss < state.best) | (epoch == 1))
        best = torch.where(improved, loss, state.best)
        best_epoch = torch.where(improved, epoch, state.best_epoch)
        active = validation.strength > 0
        stopped = active & measured & (epoch - best_epoch > self.patience) & (state.running != 0)
        running = torch.where(stopped, 0.0, state.running)
        has_snapshot = (best_epoch > 1) | (self.first == "save")
        restore = stopped & has_snapshot & (self.rollback != "none")
        previous = torch.where(measured, validation.loss, state.previous)
        state = MSESState(previous, best, best_epoch, running)
        finished = active & (running == 0).all()
        return Control(state, improved, restore, finished, "branch" if self.rollback == "branch" else "whole")

    def smoothed_loss(self, state: MSESState, validation: Validation) -> Tensor:
        """Return the mean of the last two losses, weighted by `mix`, [M]; in the first epoch the loss itself."""
        mixed = self.mix * state.previous + (1 - self.mix) * validation.loss
        return torch.where(validation.epoch == 1, validation.loss, mixed)
