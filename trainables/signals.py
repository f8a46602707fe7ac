"""The interface of a method: signals and task that it receives, signals that it may request, and what it returns.

Letters in shapes: M modalities, B samples of a batch, C outputs (classes), S coalitions, H and P features.
Where the target is dense, a sample has positions, and ``B`` stands for ``B, L``.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Literal, NamedTuple, Protocol, TypeGuard, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

Group = dict[str, Tensor]  # parameters by name, in the order of the forward pass


class Params(NamedTuple):
    """The parameters of a model, split by modality, or a tree of the same structure, such as gradients."""

    encoders: dict[str, Group]  # modality -> its private parameters
    readouts: dict[str, Group]  # modality -> its private part of the joint head; empty where the head is shared
    shared: Group  # fusion and joint head
    heads: dict[str, Group]  # networks outside the model, by modality or all in one; empty unless the method needs one


def each(f: Callable[..., Tensor], params: Params, *others: Params) -> Params:
    """Apply ``f`` to every parameter and its counterparts in trees of the same structure.

    Like torch's `tree_map`, at a tenth of its cost: a step of a small model is mostly such calls.
    """

    def map_group(group: Group, *rest: Group) -> Group:
        return {name: f(tensor, *(other[name] for other in rest)) for name, tensor in group.items()}

    return Params(
        {m: map_group(group, *(o.encoders[m] for o in others)) for m, group in params.encoders.items()},
        {m: map_group(group, *(o.readouts[m] for o in others)) for m, group in params.readouts.items()},
        map_group(params.shared, *(o.shared for o in others)),
        {m: map_group(group, *(o.heads[m] for o in others)) for m, group in params.heads.items()},
    )


def leaves(params: Params) -> list[Tensor]:
    """Return the parameters in the order of `each`."""
    groups = [*params.encoders.values(), *params.readouts.values(), params.shared, *params.heads.values()]
    return [tensor for group in groups for tensor in group.values()]


class Signals(NamedTuple):
    """Results of one forward pass: the logits, and those that the method names in `needs`; others are `()`.

    A method that reads `unimodal` or `muted` and never differentiates them names `unimodal_values`, `muted_values`.
    """

    logits: Any = ()  # [B, C] joint prediction
    fused: Any = ()  # [B, P] input of the joint head
    weight: Any = ()  # [C, P] of the joint head
    features: Any = ()  # modality -> [B, H_m] encoder outputs
    unimodal: Any = ()  # [M, B, C] each modality's part of the joint prediction
    muted: Any = ()  # [S, B, C] joint prediction when the modalities outside coalition s are muted
    heads: Any = ()  # [M, B, C] predictions of a linear head on each modality's feature
    readers: Any = ()  # modality -> [C, H_m + 1] weight and bias of that head, where the fusion adds up
    classified: Any = ()  # [M, B, C] predictions of a classifier on each modality's detached feature
    classifiers: Any = ()  # ([M, B, P], [M, C, P]) input and weight of the classifiers' last layers


SAMPLES = Signals(  # the axis of the samples in each signal; None: none
    logits=0, fused=0, weight=None, features=0, unimodal=1, muted=1, heads=1, readers=None, classified=1,
    classifiers=(1, None),
)  # fmt: skip
REVEALED = frozenset({*Signals._fields, "unimodal_values", "muted_values"})  # what `needs` may name


class Task(NamedTuple):
    """Loss and score of a batch, as functions that broadcast over leading dimensions, and the state of training."""

    loss: Callable[..., Tensor]  # [..., B, C] -> [..., B]; of classes, a second argument bounds that of each position
    score: Callable[[Tensor], Tensor]  # [..., B, C] -> [..., B], higher is better
    likelihood: Callable[[Tensor], Tensor]  # [..., B, C] -> [..., B], of the target, in [0, 1]
    slope: Callable[[Tensor], Tensor]  # [..., B, C] -> [..., B, C], derivative of the loss by the prediction
    curve: Callable[[Tensor, Tensor], Tensor]  # (prediction, change of it) -> change of the slope
    nats: bool  # the loss is a negative log-likelihood, comparable between modalities as it is
    labelled: Tensor | None  # [B, L] bool, which positions of a dense target have a label; None: all
    noise: Callable[[str, Tensor], Tensor]  # (purpose, like) -> standard normal; the same on all workers
    strength: Tensor  # [] of the method in this epoch: 0 outside its `start` and `end`, rising to 1 in its `warmup`
    samples: int  # B, over all workers
    present: Tensor | None = None  # [M, B] bool, which modalities each sample has; None: all
    reduction: str = "mean"  # of the loss over the batch: mean or sum
    full: bool = False  # the strength is known to be 1
    total: Callable[[Tensor], Tensor] = lambda x: x  # sum over the workers; identity in the backward pass
    rows: slice | None = None  # the samples of this worker among B; None: all
    zero: float = 0.0  # the value of 0 on the scale of a regression's target, which may be standardised

    @property
    def device(self) -> torch.device:
        """Return the device of the batch."""
        return self.strength.device

    def mean(self, values: Tensor) -> Tensor:
        """Average over the samples of all workers, [..., B] -> [...]."""
        return self.total(values.sum(-1)) / self.samples

    def objective(self, logits: Tensor) -> Tensor:
        """Return the training loss of a prediction, [..., B, C] -> [...]."""
        return self.reduced(self.loss(logits))

    def reduced(self, loss: Tensor) -> Tensor:
        """Return the training loss from that of each sample, [..., B] -> [...]."""
        return self.total(loss.sum(-1)) if self.reduction == "sum" else self.mean(loss)

    def heard(self, values: Tensor) -> Tensor:
        """Average a number of each modality over the samples that have it, [M, B] -> [M]; 0 where none has."""
        if self.present is None:
            return self.mean(values)
        count = self.total(self.present.sum(-1))
        return self.total(torch.where(self.present, values, 0.0).sum(-1)) / count.clamp(min=1)

    def objectives(self, logits: Tensor) -> Tensor:
        """Return the training loss of one prediction per modality, [M, B, C] -> [M], over the samples that have it."""
        loss = self.loss(logits)
        if self.present is None:
            return self.reduced(loss)
        if self.reduction == "sum":
            return self.total(torch.where(self.present, loss, 0.0).sum(-1))
        return self.heard(loss)

    def slopes(self, logits: Tensor, unimodal: Tensor) -> Tensor:
        """Return the derivative of `objective` by a prediction, and of `objectives` by one per modality.

        [B, ..., C] and [M, B, ..., C] -> [1 + M, B, ..., C]; no gradients pass.
        """
        slopes = self.slope(torch.cat([logits[None], unimodal]).detach())
        if self.present is None:
            return slopes if self.reduction == "sum" else slopes / self.samples
        counted = torch.cat([torch.ones_like(self.present[:1]), self.present])
        single = [1] * (slopes.ndim - 2)
        slopes = torch.where(counted.view(*counted.shape, *single), slopes, 0.0)
        count = self.total(counted.sum(-1)).clamp(min=1)
        return slopes if self.reduction == "sum" else slopes / count.view(-1, 1, *single)

    def attending(self) -> Tensor | None:
        """Return which modalities any sample of this batch has, [M] bool; None: all."""
        return None if self.present is None else self.total(self.present.sum(-1)) > 0

    def everyone(self, values: Tensor, axis: int = -1) -> Tensor:
        """Gather values of the samples of all workers: ``axis`` becomes that of all B, in their order."""
        if self.rows is None:
            return values
        numbers = values.to(torch.uint8) if values.dtype == torch.bool else values
        filled = F.pad(numbers.movedim(axis, -1), (self.rows.start, self.samples - self.rows.stop))
        return self.total(filled).movedim(-1, axis).to(values.dtype)

    def own(self, values: Tensor) -> Tensor:
        """Return this worker's part of values of all samples, [B, ...]."""
        return values if self.rows is None else values[self.rows]

    def noise_of_samples(self, purpose: str, like: Tensor, part: slice | None = None) -> Tensor:
        """Return noise of a part of this worker's samples, as ``like``; it does not depend on the number of workers."""
        if self.rows is None and part is None:
            return self.noise(purpose, like)
        noise = self.own(self.noise(purpose, like.new_empty(self.samples, *like.shape[1:])))
        return noise if part is None else noise[part]

    def faded(self, scale: Tensor) -> Tensor:
        """Interpolate coefficients between 1 and their value by the strength of the method, [...] -> [...]."""
        return scale if self.full else torch.lerp(torch.ones_like(scale), scale, self.strength.to(scale))


class Step(NamedTuple):
    """The result of a method for one batch."""

    grads: Params  # that the optimiser receives
    state: Any  # that the next step receives
    metrics: dict[str, Tensor]  # recorded in the table of metrics, each [M] or []
    rescale: Callable[[Params], Params] | None = None  # applied to the optimiser's update
    rates: Tensor | None = None  # [M] factors on the update of each branch, its encoder and readout; None: all 1


class Validation(NamedTuple):
    """Scores on the validation split after an epoch; a modality's are those of its part of the joint prediction.

    They are nan for a modality that no sample of the split has.
    """

    loss: Tensor  # [M]
    score: Tensor  # [M] accuracy, or minus the absolute error in regression
    joint_loss: Tensor  # []
    joint_score: Tensor  # []
    epoch: Tensor  # [] number of the epoch, from 1
    strength: Tensor  # [] of the method in it, as in `Task`


class Control(NamedTuple):
    """The decisions of a method between two epochs; see `EpochMethod`."""

    state: Any
    save: Tensor  # [M] bool: keep a snapshot of the whole training state in slot m
    restore: Tensor  # [M] bool: go back to the snapshot in slot m (the highest such m, if several)
    stop: Tensor  # [] bool: end the training
    scope: Literal["whole", "branch"] = "whole"  # of restoring: everything, or modality m's encoder and readout alone


class Sloped(NamedTuple):
    """A scalar of signals that is given by its derivatives, where these cost less than autograd."""

    values: tuple[Tensor, ...]  # signals, or functions of them
    slopes: tuple[Tensor, ...]  # the derivative by each


# The gradient of any scalar of the signals; of a vector [K] of scalars, the K gradients, stacked.
Pull = Callable[[Callable[[Signals], Tensor | Sloped]], Params]


class Method(Protocol):
    """A gradient-modulation method: a NamedTuple of its hyperparameters and two pure functions.

    It never runs the model, never accesses the data set and keeps nothing outside ``state``, a tree of tensors.
    If it reads more than the logits, ``needs`` (a frozenset of names) lists the signals. A method that reads
    ``muted`` is also `Attributing`, one that reads ``classified`` is `Guided`, one that acts between epochs is an
    `EpochMethod`.
    """

    def init(self, params: Params) -> Any:
        """Return the state before the first step, a tree of tensors."""

    def step(self, state: Any, signals: Signals, task: Task, pull: Pull) -> Step:
        """Return the gradients of a batch from its signals."""


def needs(method: Method) -> frozenset[str]:
    """Return the names of the signals that a method reads in addition to the logits."""
    return getattr(method, "needs", frozenset())


class Attributing(Protocol):
    """A method that needs the predictions of coalitions of modalities."""

    def coalitions(self, modalities: int, task: Task) -> Tensor:
        """Return the members of each coalition, [S, M] bool; all others are muted."""


def attributes(method: Method) -> TypeGuard[Attributing]:
    """Return whether a method is `Attributing`; called in every step, and `isinstance` of a protocol is slow."""
    return hasattr(method, "coalitions")


@runtime_checkable
class Guided(Protocol):
    """A method with classifiers outside the model, which have an optimiser of their own."""

    @property
    def classifier(self) -> Any:
        """Return their architecture, a `Classifier`; None: its settings need none."""

    @property
    def trainer(self) -> Any:
        """Return their `Optimizer`."""


@runtime_checkable
class EpochMethod(Protocol):
    """A method that also acts between epochs (MSLR, MSES)."""

    def rates(self, state: Any) -> Tensor | None:
        """Return the factor on the optimiser's update of each branch in the next epoch, [M]; 0 stops it.

        None: 1 for all, whatever the state.
        """

    def epoch(self, state: Any, validation: Validation) -> Control:
        """Decide on snapshots and stopping, given the scores of an epoch; saving comes before restoring."""


def scale_encoders(tree: Params, scale: Tensor) -> Params:
    """Return gradients (or updates) with those of encoder m multiplied by ``scale[m]``, [M]."""
    return tree._replace(encoders=scaled(tree.encoders, scale))


def scale_branches(tree: Params, scale: Tensor) -> Params:
    """Return gradients (or updates) with those of encoder m and its readout multiplied by ``scale[m]``, [M]."""
    return tree._replace(encoders=scaled(tree.encoders, scale), readouts=scaled(tree.readouts, scale))


def scaled(groups: dict[str, Group], scale: Tensor) -> dict[str, Group]:
    """Return groups of tensors, each multiplied by its factor."""
    pairs = zip(scale.unbind(), groups.items(), strict=True)
    return {m: {name: k * g for name, g in group.items()} for k, (m, group) in pairs}


def mix(weights: Tensor, values: Tensor) -> Tensor:
    """Return weighted sums over the first axis, [..., S] and [S, ...] -> [..., ...]."""
    mixed = weights @ values.flatten(1)
    return mixed.view(*weights.shape[:-1], *values.shape[1:])


def scalar(value: float | Tensor, like: Tensor) -> Tensor:
    """Return a number as a tensor on the device of another, [] unless it is one; does not synchronise the device."""
    return value.to(like) if isinstance(value, Tensor) else like.new_full((), value)


@cache
def placed(device: torch.device, table: Callable[..., Tensor], *sizes: int) -> Tensor:
    """Return the tensor ``table(*sizes)`` on a device, computed and copied once."""
    return table(*sizes).to(device)


@cache
def all_subsets(modalities: int) -> Tensor:
    """Return all non-empty coalitions of M modalities, [2**M - 1, M] bool; coalition s has the bits of s + 1."""
    subsets = torch.arange(1, 2**modalities)[:, None]
    return (subsets >> torch.arange(modalities)) & 1 == 1
