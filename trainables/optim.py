"""Optimisers as values: `init` and `update` on trees of tensors, equal to those of torch.optim."""

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from trainables.signals import Params


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
        return tree_map(torch.zeros_like, params)  # type: ignore[no-any-return]

    def update(self, grads: Params, state: Params, params: Params) -> tuple[Params, Params]:
        """Return -lr times the velocity."""
        velocity = tree_map(lambda v, g, p: self.momentum * v + (g + self.weight_decay * p), state, grads, params)
        return tree_map(lambda v: -self.lr * v, velocity), velocity


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
        zeros = tree_map(torch.zeros_like, params)
        return AdamState(torch.zeros((), dtype=torch.float64), zeros, zeros)

    def update(self, grads: Params, state: AdamState, params: Params) -> tuple[Params, AdamState]:
        """Return -lr times the debiased mean over the root of the debiased square, and minus the decay."""
        if not self.decoupled:
            grads = tree_map(lambda g, p: g + self.weight_decay * p, grads, params)
        steps = state.steps + 1
        mean = tree_map(lambda m, g: m + (1 - self.beta1) * (g - m), state.mean, grads)
        square = tree_map(lambda s, g: self.beta2 * s + (1 - self.beta2) * g * g, state.square, grads)
        rate = self.lr / (1 - self.beta1**steps)
        root = (1 - self.beta2**steps).sqrt()
        decay = self.lr * self.weight_decay if self.decoupled else 0.0

        def change(m: Tensor, s: Tensor, p: Tensor) -> Tensor:
            return -(rate.to(p) * (m / (s.sqrt() / root.to(p) + self.eps))) - decay * p

        return tree_map(change, mean, square, params), AdamState(steps, mean, square)


def optimizer(name: str, lr: float, momentum: float, weight_decay: float) -> Optimizer:
    """Return the optimiser that a study names: sgd, adam or adamw."""
    if name == "sgd":
        return SGD(lr, momentum, weight_decay)
    return Adam(lr, weight_decay, decoupled=name == "adamw")


def clip_norm(grads: Params, limit: float | Tensor, *, trigger: float | None = None) -> Params:
    """Return gradients of total norm at most ``limit``, as torch.nn.utils.clip_grad_norm_.

    With ``trigger``, clip only where an element of the joint head's weight gradient exceeds it in absolute value,
    as the AGM release does (CREMAD_main.py:168).
    """
    norm = torch.stack([g.square().sum() for g in tree_leaves(grads)]).sum().sqrt()
    factor = (limit / (norm + 1e-6)).clamp(max=1)
    if trigger is not None:
        heads = [g for name, g in grads.shared.items() if name.startswith("head") and name.endswith("weight")]
        peak = torch.stack([g.abs().max() for g in heads]).max()
        factor = torch.where(peak > trigger, factor, torch.ones_like(factor))
    return tree_map(lambda g: factor * g, grads)  # type: ignore[no-any-return]
