"""Optimisers as values: `init` and `update` on trees of tensors, equal to those of torch.optim."""

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from trainables.signals import Params, each, leaves

HEADS = ("head.weight", "weight")  # of the joint head, shared and by modality


class Optimizer(Protocol):
    """A NamedTuple of hyperparameters and two pure functions."""

    def init(self, params: Params) -> Any:
        """Return the state before the first update, a tree of tensors."""

    def update(self, grads: Params, state: Any, params: Params) -> tuple[Params, Any]:
        """Return the change to add to the parameters, and the new state."""


class SGD(NamedTuple):
    """Stochastic gradient descent with momentum and (coupled) weight decay, as torch.optim.SGD."""

    lr: float | Tensor = 0.05
    momentum: float | Tensor = 0.9
    weight_decay: float | Tensor = 0.0

    def init(self, params: Params) -> Params:
        """Return zero velocities."""
        return each(torch.zeros_like, params)

    def update(self, grads: Params, state: Params, params: Params) -> tuple[Params, Params]:
        """Return -lr times the velocity."""
        velocity = each(lambda v, g, p: self.momentum * v + decayed(g, p, self.weight_decay), state, grads, params)
        return each(lambda v: -self.lr * v, velocity), velocity


class AdamState(NamedTuple):
    """Moments of the gradient, and how many updates there were."""

    steps: Tensor  # []
    mean: Params
    square: Params


class Adam(NamedTuple):
    """Adam (Kingma and Ba, ICLR 2015) with coupled weight decay, as torch.optim.Adam."""

    lr: float | Tensor = 1e-3
    weight_decay: float | Tensor = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    decoupled: bool = False

    def init(self, params: Params) -> AdamState:
        """Return zero moments."""
        zeros = each(torch.zeros_like, params)
        return AdamState(torch.zeros((), dtype=torch.float64), zeros, zeros)

    def update(self, grads: Params, state: AdamState, params: Params) -> tuple[Params, AdamState]:
        """Return -lr times the debiased mean over the root of the debiased square, and minus the decay."""
        if not self.decoupled:
            grads = each(lambda g, p: decayed(g, p, self.weight_decay), grads, params)
        steps = state.steps + 1
        mean = each(lambda m, g: torch.lerp(m, g, 1 - self.beta1), state.mean, grads)
        square = each(lambda s, g: torch.lerp(s, g.square(), 1 - self.beta2), state.square, grads)
        root = (1 - self.beta2**steps).sqrt()
        rate, eps = -self.lr * root / (1 - self.beta1**steps), self.eps * root

        def change(m: Tensor, s: Tensor) -> Tensor:
            return rate.to(m) * (m / (s.sqrt() + eps.to(m)))

        made = each(change, mean, square)
        if self.decoupled:
            made = each(lambda c, p: decayed(c, p, -self.lr * self.weight_decay), made, params)
        return made, AdamState(steps, mean, square)


class Apart(NamedTuple):
    """One rule for the model, another for the heads beside it."""

    model: Optimizer
    heads: Optimizer

    @property
    def decays(self) -> bool:
        """Say whether the rule of the heads reads their parameters."""
        decay = getattr(self.heads, "weight_decay", 1.0)
        return isinstance(decay, Tensor) or decay != 0

    def init(self, params: Params) -> tuple[Any, Any]:
        """Return the states of both rules; that of the heads is of all their elements in a row, which is cheaper."""
        model, heads = divided(params)
        return self.model.init(model), self.heads.init(in_a_row(heads))

    def update(self, grads: Params, state: tuple[Any, Any], params: Params) -> tuple[Params, tuple[Any, Any]]:
        """Return both rules' changes as one."""
        (model, heads), (model_params, head_params) = divided(grads), divided(params)
        change, model_state = self.model.update(model, state[0], model_params)
        gradient = in_a_row(heads)
        row, head_state = self.heads.update(gradient, state[1], in_a_row(head_params) if self.decays else gradient)
        parts = iter(torch.split(row.shared["row"], [p.numel() for p in leaves(heads)]))
        head_change = {m: {n: next(parts).view(g.shape) for n, g in group.items()} for m, group in heads.heads.items()}
        return change._replace(heads=head_change), (model_state, head_state)


def divided(params: Params) -> tuple[Params, Params]:
    """Return the model without its heads, and the heads without the model."""
    return params._replace(heads={}), Params({}, {}, {}, params.heads)


def in_a_row(params: Params) -> Params:
    """Return all elements as one parameter."""
    return Params({}, {}, {"row": torch.cat([p.flatten() for p in leaves(params)])}, {})


def decayed(gradient: Tensor, parameter: Tensor, weight_decay: float | Tensor) -> Tensor:
    """Return the gradient plus the decay; what is 0 for all trials at once is not computed."""
    if not isinstance(weight_decay, Tensor) and weight_decay == 0:
        return gradient
    return gradient + weight_decay * parameter


def optimizer(name: str, lr: float | Tensor, momentum: float | Tensor, weight_decay: float | Tensor) -> Optimizer:
    """Return the optimiser that a study names: sgd, adam or adamw."""
    if name == "sgd":
        return SGD(lr, momentum, weight_decay)
    return Adam(lr, weight_decay, decoupled=name == "adamw")


def clip_norm(grads: Params, limit: float | Tensor, *, trigger: float | None = None) -> Params:
    """Return gradients of total norm at most ``limit``, as torch.nn.utils.clip_grad_norm_.

    With ``trigger``, clip only where an element of the joint head's weight gradient exceeds it in absolute value,
    as the AGM release does (CREMAD_main.py:168).
    """
    norm = torch.stack([g.square().sum() for g in leaves(grads)]).sum().sqrt()
    factor = (limit / (norm + 1e-6)).clamp(max=1)
    if trigger is not None:
        heads = [g for group in (grads.shared, *grads.readouts.values()) for n, g in group.items() if n in HEADS]
        peak = torch.stack([g.abs().max() for g in heads]).max()
        factor = torch.where(peak > trigger, factor, torch.ones_like(factor))
    return each(lambda g: factor * g, grads)
