"""The vocabulary of a method: what it is shown, what it may ask for and what it gives back.

Letters in shapes: M modalities, B samples of a batch, C outputs (classes), S coalitions, H and P features.
Where the target is dense, a sample has positions, and ``B`` stands for ``B, L``.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

Group = dict[str, Tensor]  # parameters by name, in the order of the forward pass


class Params(NamedTuple):
    """The parameters of a model, or anything shaped like them; the split by modality is a type."""

    encoders: dict[str, Group]  # modality -> its private parameters
    shared: Group  # fusion and joint head
    heads: dict[str, Group]  # modality -> a head of its own; empty unless the method needs `heads`


def each(f: Callable[..., Tensor], params: Params, *others: Params) -> Params:
    """Return ``f`` of every parameter, and of its counterparts in trees of the same shape.

    What torch's `tree_map` does for any tree, at a tenth of its cost: a step of a small model is mostly such calls.
    """

    def groups(group: Group, *rest: Group) -> Group:
        return {name: f(tensor, *(other[name] for other in rest)) for name, tensor in group.items()}

    return Params(
        {m: groups(group, *(o.encoders[m] for o in others)) for m, group in params.encoders.items()},
        groups(params.shared, *(o.shared for o in others)),
        {m: groups(group, *(o.heads[m] for o in others)) for m, group in params.heads.items()},
    )


def leaves(params: Params) -> list[Tensor]:
    """Return the parameters in the order of `each`."""
    groups = [*params.encoders.values(), params.shared, *params.heads.values()]
    return [tensor for group in groups for tensor in group.values()]


class Signals(NamedTuple):
    """What one forward pass reveals: the logits, and of the rest what the method names in `needs`; others stay `()`."""

    logits: Any = ()  # [B, C] joint prediction
    fused: Any = ()  # [B, P] input of the joint head
    features: Any = ()  # modality -> [B, H_m] encoder outputs
    unimodal: Any = ()  # [M, B, C] each modality's part of the joint prediction
    heads: Any = ()  # [M, B, C] predictions of the modalities' own heads
    muted: Any = ()  # [S, B, C] joint prediction when only coalition s of the modalities is heard


class Task(NamedTuple):
    """The batch's target behind functions that broadcast over leading dimensions, and where training stands."""

    loss: Callable[[Tensor], Tensor]  # [..., B, C] -> [..., B]
    score: Callable[[Tensor], Tensor]  # [..., B, C] -> [..., B], higher is better
    likelihood: Callable[[Tensor], Tensor]  # [..., B, C] -> [..., B], of the target, in [0, 1]
    noise: Callable[[str, Tensor], Tensor]  # (purpose, like) -> standard normal; the same on all workers
    active: Tensor  # [] bool: the epoch lies within the method's `start` and `end`
    samples: int  # B, over all workers
    reduction: str = "mean"  # of the loss over the batch: mean or sum
    total: Callable[[Tensor], Tensor] = lambda x: x  # sum over the workers; identity in the backward pass

    def mean(self, values: Tensor) -> Tensor:
        """Average over the samples of all workers, [..., B] -> [...]."""
        return self.total(values.sum(-1)) / self.samples

    def objective(self, logits: Tensor) -> Tensor:
        """Return the training loss of a prediction, [..., B, C] -> [...]."""
        loss = self.loss(logits)
        return self.total(loss.sum(-1)) if self.reduction == "sum" else self.mean(loss)


class Step(NamedTuple):
    """What a method makes of one batch."""

    grads: Params  # what the optimiser sees
    state: Any  # what the next step receives
    metrics: dict[str, Tensor]  # what the results table records, each [M] or []
    rates: Tensor | None = None  # [M] factor on the optimiser's update of each encoder, in this step


class Validation(NamedTuple):
    """Scores on the validation split after an epoch; modalities by their part of the joint prediction."""

    loss: Tensor  # [M]
    score: Tensor  # [M] accuracy, or minus the loss in regression
    joint_loss: Tensor  # []
    joint_score: Tensor  # []
    epoch: Tensor  # [] that ended, from 1
    active: Tensor  # [] bool: it lies within the method's `start` and `end`


class Control(NamedTuple):
    """What a method decides between two epochs; see `EpochMethod`."""

    state: Any
    save: Tensor  # [M] bool: keep a snapshot of the whole training state in slot m
    restore: Tensor  # [M] bool: go back to the snapshot in slot m (the highest such m, if several)
    stop: Tensor  # [] bool: end the training


Pull = Callable[[Callable[[Signals], Tensor]], Params]  # gradient of any scalar of the signals


class Method(Protocol):
    """A gradient-modulation method: a NamedTuple of its hyperparameters and two pure functions.

    It never runs the model, never sees the data set and keeps nothing outside ``state``, a tree of tensors.
    If it reads more than the logits, ``needs`` (a frozenset of names) says which signals. A method that reads
    ``muted`` is also `Attributing`; one that acts between epochs is an `EpochMethod`.
    """

    def init(self, params: Params) -> Any:
        """Return the state before the first step, a tree of tensors."""

    def step(self, state: Any, signals: Signals, task: Task, pull: Pull) -> Step:
        """Turn what a batch revealed into gradients."""


def needs(method: Method) -> frozenset[str]:
    """Return the names of the signals that a method reads beside the logits."""
    return getattr(method, "needs", frozenset())


@runtime_checkable
class Attributing(Protocol):
    """A method that asks for the prediction of coalitions of modalities."""

    def coalitions(self, modalities: int, task: Task) -> Tensor:
        """Return who is heard in each coalition, [S, M] bool."""


@runtime_checkable
class EpochMethod(Protocol):
    """A method that also acts between epochs (MSLR, MSES)."""

    def rates(self, state: Any) -> Tensor:
        """Return the factor on the optimiser's update of each encoder in the epoch to come, [M]."""

    def epoch(self, state: Any, validation: Validation) -> Control:
        """Decide on snapshots and stopping from the scores of the epoch that ended; saving comes before restoring."""


def scale_encoders(grads: Params, scale: Tensor) -> Params:
    """Return gradients in which those of encoder m are multiplied by ``scale[m]``, [M]."""
    scaled = {
        m: {name: k * g for name, g in group.items()}
        for k, (m, group) in zip(scale.unbind(), grads.encoders.items(), strict=True)
    }
    return grads._replace(encoders=scaled)


def steer_gradient(value: Tensor, path: Tensor) -> Tensor:
    """Return ``value`` whose gradient is that of ``path``."""
    return value.detach() + (path - path.detach())


def mix(weights: Tensor, values: Tensor) -> Tensor:
    """Return weighted sums over the first axis, [..., S] and [S, ...] -> [..., ...]."""
    mixed = weights @ values.flatten(1)
    return mixed.view(*weights.shape[:-1], *values.shape[1:])


@cache
def all_subsets(modalities: int) -> Tensor:
    """Return all non-empty coalitions of M modalities, [2**M - 1, M] bool; coalition s hears the bits of s + 1."""
    subsets = torch.arange(1, 2**modalities)[:, None]
    return (subsets >> torch.arange(modalities)) & 1 == 1
