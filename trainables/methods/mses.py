"""MSES: modality-specific early stopping."""

from typing import NamedTuple

import torch
from torch import Tensor

from trainables.signals import Control, Params, Pull, Signals, Step, Task, Validation, leaves, scale_branches

START = 1000.0  # the least loss before the first, which epoch 1 replaces (AVMNIST_main.py:499)


class MSESState(NamedTuple):
    """What is remembered of the epochs before, in float64."""

    previous: Tensor  # [M] raw validation loss of the epoch before
    best: Tensor  # [M] least smoothed loss so far
    best_epoch: Tensor  # [M] its epoch, from 1; 0 before the first
    running: Tensor  # [M] flag rho: 1, or 0 once a branch has stopped


class MSES(NamedTuple):
    r"""Modality-specific early stopping (Fujimori et al., 2019; METHODS.md 4).

    After each epoch e, with :math:`l_m` the validation loss of modality m's part of the joint prediction,

    1. :math:`\tilde l_m = \mu l_m^{e-1} + (1 - \mu) l_m^e` (in epoch 1, :math:`l_m`), a filter of two points:
       the *raw* loss is remembered, so that it is no moving average, and a minimum at epoch k counts for
       k + 1 when the loss then rises slowly;
    2. where :math:`\tilde l_m` is below the least so far, it and its epoch :math:`b_m` are noted and training
       is saved;
    3. where :math:`e - b_m > p`, branch m (its encoder and its readout) stops for good, and training goes
       back to what was saved in epoch :math:`b_m`: with ``rollback=whole`` all parameters, running statistics
       and moments of the optimiser, so that the others lose their progress, too;
    4. when all have stopped, training ends.

    ``patience`` is p, ``mix`` is :math:`\mu`. ``patience=inf``: joint training. A roll-back leaves the
    method's own state, and the number of the epoch, as they are.

    The code followed is the re-implementation in the AGM release (run/AVMNIST_main.py: gradients in 167-181,
    1 in 553-565, 2 in 567-585, 3 in 586-609, 4 in 611-613; :math:`\mu` = 0.6; p = 10 there, 30 in
    URFunny_main.py, 80 in CREMAD_main.py). Where it and the method's aim differ:

    - The release multiplies the branch's gradients by 0, and momentum and weight decay move it on:
      ``stop=grad_zero``. By default (``stop=freeze``) the branch stands still: no gradient, which clipping
      would count, and no update; its encoder is in evaluation mode, so that its running statistics stand
      still, too.
    - Its networks add up one head a modality. A head that modalities share (all fusions but `sum`) trains on.
    - It saves nothing in epoch 1, and where that was the best, fails to go back (AV-MNIST, CREMA-D) or stays
      where it is (UR-Funny, ``if audio_argmax_loss_epoch != 1``): ``first=none`` stays. By default
      (``first=save``) epoch 1 is saved as any other.
    - It reads losses off the test set (CREMA-D, AV-MNIST); we, off the validation set.

    Ours: ``rollback=branch`` restores encoder, readout, their running statistics and moments alone, and keeps
    the others' progress; ``none`` restores nothing. Outside the method's epochs losses are noted (as in the
    release), but no branch stops, and one that had stopped trains on. A modality that no validation sample has never
    stops.
    """

    patience: float | Tensor = 10.0
    mix: float | Tensor = 0.6
    stop: str = "freeze"
    rollback: str = "whole"
    first: str = "save"

    def init(self, params: Params) -> MSESState:
        """Return the state in which every branch trains."""
        zero = torch.zeros(len(params.encoders), dtype=torch.float64, device=leaves(params)[0].device)
        return MSESState(zero, zero + START, zero, zero + 1)

    def step(self, state: MSESState, signals: Signals, task: Task, pull: Pull) -> Step:
        """Take the gradients of the branches that have stopped away; with `freeze`, `rates` scales their updates."""
        scale = task.faded(state.running)
        kept = (scale != 0).to(scale) if self.stop == "freeze" else scale
        grads = pull(lambda s: task.objective(s.logits))
        return Step(scale_branches(grads, kept.to(signals.logits)), state, {"scale": scale})

    def rates(self, state: MSESState) -> Tensor:
        """Return 0 for the branches that have stopped, [M]; with `grad_zero` they only have no gradients."""
        return state.running if self.stop == "freeze" else torch.ones_like(state.running)

    def epoch(self, state: MSESState, validation: Validation) -> Control:
        """Note the losses, stop the branches whose patience has ended, and go back to where they were best."""
        epoch = validation.epoch.to(state.best)
        loss, judged = self.smoothed(state, validation), ~validation.loss.isnan()
        improved = judged & ((loss < state.best) | (epoch == 1))
        best = torch.where(improved, loss, state.best)
        best_epoch = torch.where(improved, epoch, state.best_epoch)
        acts = validation.strength > 0
        stopped = acts & judged & (epoch - best_epoch > self.patience) & (state.running != 0)
        running = torch.where(stopped, 0.0, state.running)
        saved = (best_epoch > 1) | (self.first == "save")
        restore = stopped & saved & (self.rollback != "none")
        previous = torch.where(judged, validation.loss, state.previous)
        state = MSESState(previous, best, best_epoch, running)
        ended = acts & (running == 0).all()
        return Control(state, improved, restore, ended, "branch" if self.rollback == "branch" else "whole")

    def smoothed(self, state: MSESState, validation: Validation) -> Tensor:
        """Return the mean of the last two losses that `mix` weighs, [M]; in the first epoch the loss itself."""
        mixed = self.mix * state.previous + (1 - self.mix) * validation.loss
        return torch.where(validation.epoch == 1, validation.loss, mixed)
