"""Optimisers as values: `init` and `update` on trees of tensors, equal to those of torch.optim."""

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from trainables.signals import Group, Params, each, leaves

LearningRates = tuple[float | Tensor, float | Tensor]
HEADS = ("head.weight", "weight")  # of the joint head, shared and by modality


class Optimizer(Protocol):
    """A NamedTuple of hyperparameters and two pure functions."""

    @property
    def lrs(self) -> LearningRates:
        """Return the learning rates of the model and of the heads beside it."""

    def init(self, params: Params) -> Any:
        """Return the state before the first update, a tree of tensors."""

    def update(self, grads: Params, state: Any, params: Params) -> tuple[Params, Any]:
        """Return the direction against which to move, for `moved`, and the new state."""


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
        """Return the velocity."""
        velocity = each(lambda v, g, p: plus(plus(g, p, self.weight_decay), v, self.momentum), state, grads, params)
        return velocity, velocity


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

    @property
    def lrs(self) -> LearningRates:
        """Return the learning rate, which holds for all."""
        return self.lr, self.lr

    def init(self, params: Params) -> AdamState:
        """Return zero moments."""
        zeros = each(torch.zeros_like, params)
        return AdamState(torch.zeros((), dtype=torch.float64, device=leaves(params)[0].device), zeros, zeros)

    def update(self, grads: Params, state: AdamState, params: Params) -> tuple[Params, AdamState]:
        """Return the debiased mean over the root of the debiased square, and the decay."""
        if not self.decoupled:
            grads = each(lambda g, p: plus(g, p, self.weight_decay), grads, params)
        steps = state.steps + 1
        mean = each(lambda m, g: torch.lerp(m, g, 1 - self.beta1), state.mean, grads)
        square = each(lambda s, g: torch.lerp(s, g.square(), 1 - self.beta2), state.square, grads)
        root = (1 - self.beta2**steps).sqrt()
        rate, eps = root / (1 - self.beta1**steps), self.eps * root

        def along(m: Tensor, s: Tensor) -> Tensor:
            return rate.to(m) * (m / (s.sqrt() + eps.to(m)))

        made = each(along, mean, square)
        if self.decoupled:
            made = each(lambda d, p: plus(d, p, self.weight_decay), made, params)
        return made, AdamState(steps, mean, square)


class Apart(NamedTuple):
    """One rule for the model, another for the heads beside it."""

    model: Optimizer
    heads: Optimizer

    @property
    def lrs(self) -> LearningRates:
        """Return that of each."""
        return self.model.lrs[0], self.heads.lrs[1]

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
        """Return both rules' directions as one."""
        (model, heads), (model_params, head_params) = divided(grads), divided(params)
        direction, model_state = self.model.update(model, state[0], model_params)
        gradient = in_a_row(heads)
        row, head_state = self.heads.update(gradient, state[1], in_a_row(head_params) if self.decays else gradient)
        parts = iter(torch.split(row.shared["row"], [p.numel() for p in leaves(heads)]))
        head_direction = {
            m: {n: next(parts).view(g.shape) for n, g in group.items()} for m, group in heads.heads.items()
        }
        return direction._replace(heads=head_direction), (model_state, head_state)


def divided(params: Params) -> tuple[Params, Params]:
    """Return the model without its heads, and the heads without the model."""
    return params._replace(heads={}), Params({}, {}, {}, params.heads)


def in_a_row(params: Params) -> Params:
    """Return all elements as one parameter."""
    return Params({}, {}, {"row": torch.cat([p.flatten() for p in leaves(params)])}, {})


def plus(one: Tensor, other: Tensor, times: float | Tensor) -> Tensor:
    """Return one tensor plus another times a number, in one pass; what is 0 for all trials at once is not computed."""
    if isinstance(times, Tensor):
        return torch.addcmul(one, other, times.to(one))
    return torch.add(one, other, alpha=times) if times else one


def moved(
    params: Params, direction: Params, lrs: LearningRates, paced: Tensor | None = None, rates: Tensor | None = None
) -> Params:
    """Return parameters moved against a direction, by the learning rates of the model and of the heads beside it.

    ``paced`` [] is the share of both that holds now, and ``rates`` [M] are factors on that of each branch, its encoder
    and readout; None: all 1. With 0, a branch stays.
    """
    model, heads = (lr if paced is None else lr * paced for lr in lrs)
    factors = [model] * len(params.encoders) if rates is None else (model * rates).unbind()
    branches = dict(zip(params.encoders, factors, strict=True))

    def less(group: Group, directions: Group, lr: float | Tensor) -> Group:
        return {name: plus(tensor, directions[name], -lr) for name, tensor in group.items()}

    def of_branches(groups: dict[str, Group], directions: dict[str, Group]) -> dict[str, Group]:
        return {m: less(group, directions[m], branches[m]) for m, group in groups.items()}

    return Params(
        of_branches(params.encoders, direction.encoders),
        of_branches(params.readouts, direction.readouts),
        less(params.shared, direction.shared, model),
        {m: less(group, direction.heads[m], heads) for m, group in params.heads.items()},
    )


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
