"""Optimisers as values: `init` and `update` on `Params`, with the numbers of torch.optim."""

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from trainables.signals import Group, Params, each, leaves

LearningRates = tuple[float | Tensor, float | Tensor]
HEAD_WEIGHTS = ("head.weight", "weight")  # names of the joint head's weights, in `shared` and in `readouts`


class Optimizer(Protocol):
    """A NamedTuple of hyperparameters and two pure functions."""

    @property
    def lrs(self) -> LearningRates:
        """Return the learning rates of the model and of `heads`."""

    def init(self, params: Params) -> Any:
        """Return the state before the first update, a tree of tensors."""

    def update(self, grads: Params, state: Any, params: Params) -> tuple[Params, Any]:
        """Return the direction to subtract, see `apply_update`, and the new state."""


class SGD(NamedTuple):
    """Stochastic gradient descent with momentum and (coupled) weight decay, as torch.optim.SGD."""

    lr: float | Tensor = 0.05
    momentum: float | Tensor = 0.9
    weight_decay: float | Tensor = 0.0

    @property
    def lrs(self) -> LearningRates:
        """Return the learning rate, which holds for all."""
        return self.lr, self.lr

    def init(self, params: Params) -> Params:
        """Return zero velocities."""
        return each(torch.zeros_like, params)

    def update(self, grads: Params, state: Params, params: Params) -> tuple[Params, Params]:
        """Return the velocity, as direction and as state."""
        velocity = each(
            lambda v, g, p: add_scaled(add_scaled(g, p, self.weight_decay), v, self.momentum), state, grads, params
        )
        return velocity, velocity


class AdamState(NamedTuple):
    """Moments of the gradient, and the number of updates."""

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

    @property
    def lrs(self) -> LearningRates:
        """Return the learning rate, which holds for all."""
        return self.lr, self.lr

    def init(self, params: Params) -> AdamState:
        """Return zero moments."""
        zeros = each(torch.zeros_like, params)
        return AdamState(torch.zeros((), dtype=torch.float64, device=leaves(params)[0].device), zeros, zeros)

    def update(self, grads: Params, state: AdamState, params: Params) -> tuple[Params, AdamState]:
        """Return the debiased mean divided by the root of the debiased square, plus decoupled weight decay."""
        if not self.decoupled:
            grads = each(lambda g, p: add_scaled(g, p, self.weight_decay), grads, params)
        steps = state.steps + 1
        mean = each(lambda m, g: torch.lerp(m, g, 1 - self.beta1), state.mean, grads)
        square = each(lambda s, g: torch.lerp(s, g.square(), 1 - self.beta2), state.square, grads)
        root = (1 - self.beta2**steps).sqrt()
        rate, eps = root / (1 - self.beta1**steps), self.eps * root

        def scaled_mean(m: Tensor, s: Tensor) -> Tensor:
            return rate.to(m) * (m / (s.sqrt() + eps.to(m)))

        direction = each(scaled_mean, mean, square)
        if self.decoupled:
            direction = each(lambda d, p: add_scaled(d, p, self.weight_decay), direction, params)
        return direction, AdamState(steps, mean, square)


class SplitOptimizer(NamedTuple):
    """One optimiser for the model, another for `heads`."""

    model: Optimizer
    heads: Optimizer

    @property
    def lrs(self) -> LearningRates:
        """Return the learning rates of both."""
        return self.model.lrs[0], self.heads.lrs[1]

    @property
    def has_head_decay(self) -> bool:
        """Return whether the optimiser of the heads reads their parameters, for weight decay."""
        decay = getattr(self.heads, "weight_decay", 1.0)
        return isinstance(decay, Tensor) or decay != 0

    def init(self, params: Params) -> tuple[Any, Any]:
        """Return the states of both; that of the heads is of all their elements in one tensor, which is cheaper."""
        model, heads = split_heads(params)
        return self.model.init(model), self.heads.init(flatten_params(heads))

    def update(self, grads: Params, state: tuple[Any, Any], params: Params) -> tuple[Params, tuple[Any, Any]]:
        """Return the directions of both in one tree."""
        (model, heads), (model_params, head_params) = split_heads(grads), split_heads(params)
        direction, model_state = self.model.update(model, state[0], model_params)
        gradient = flatten_params(heads)
        flat_params = flatten_params(head_params) if self.has_head_decay else gradient
        row, head_state = self.heads.update(gradient, state[1], flat_params)
        parts = iter(torch.split(row.shared["row"], [p.numel() for p in leaves(heads)]))
        head_direction = {
            m: {n: next(parts).view(g.shape) for n, g in group.items()} for m, group in heads.heads.items()
        }
        return direction._replace(heads=head_direction), (model_state, head_state)


def split_heads(params: Params) -> tuple[Params, Params]:
    """Return the model without its heads, and the heads without the model."""
    return params._replace(heads={}), Params({}, {}, {}, params.heads)


def flatten_params(params: Params) -> Params:
    """Return all elements as one parameter, ``row``."""
    return Params({}, {}, {"row": torch.cat([p.flatten() for p in leaves(params)])}, {})


def add_scaled(x: Tensor, y: Tensor, factor: float | Tensor) -> Tensor:
    """Return ``x + factor * y`` in one pass; ``x`` itself if the factor is the number 0."""
    if isinstance(factor, Tensor):
        return torch.addcmul(x, y, factor.to(x))
    return torch.add(x, y, alpha=factor) if factor else x


def apply_update(
    params: Params, direction: Params, lrs: LearningRates, lr_factor: Tensor | None = None, rates: Tensor | None = None
) -> Params:
    """Return parameters minus a direction times the learning rates, of the model and of `heads`.

    ``lr_factor`` [] is the factor of the schedule; ``rates`` [M] are factors on the learning rate of each branch, its
    encoder and readout; None: all 1. With 0, a branch stays as it is.
    """
    model_lr, head_lr = (lr if lr_factor is None else lr * lr_factor for lr in lrs)
    lrs_of_branches = [model_lr] * len(params.encoders) if rates is None else (model_lr * rates).unbind()
    branch_lrs = dict(zip(params.encoders, lrs_of_branches, strict=True))

    def update_group(group: Group, directions: Group, lr: float | Tensor) -> Group:
        return {name: add_scaled(tensor, directions[name], -lr) for name, tensor in group.items()}

    def update_branches(groups: dict[str, Group], directions: dict[str, Group]) -> dict[str, Group]:
        return {m: update_group(group, directions[m], branch_lrs[m]) for m, group in groups.items()}

    return Params(
        update_branches(params.encoders, direction.encoders),
        update_branches(params.readouts, direction.readouts),
        update_group(params.shared, direction.shared, model_lr),
        {m: update_group(group, direction.heads[m], head_lr) for m, group in params.heads.items()},
    )


def build_optimizer(name: str, lr: float | Tensor, momentum: float | Tensor, weight_decay: float | Tensor) -> Optimizer:
    """Return the optimiser of a name: sgd, adam or adamw."""
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
        groups = (grads.shared, *grads.readouts.values())
        head_grads = [g for group in groups for name, g in group.items() if name in HEAD_WEIGHTS]
        peak = torch.stack([g.abs().max() for g in head_grads]).max()
        factor = torch.where(peak > trigger, factor, torch.ones_like(factor))
    return each(lambda g: factor * g, grads)
