"""What the tests of methods and models share: small batches, trials, and comparisons of trees."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from trainables.differentiation import pure
from trainables.encoders import MLP
from trainables.fusions import Concat, Early, Fusion, Sum
from trainables.model import Model
from trainables.optim import SGD
from trainables.randomness import normal, stream, uniform
from trainables.setup import Learner, Setup
from trainables.signals import Method, Params, Task, each, needs
from trainables.tasks import classification
from trainables.train import step

FUSIONS: dict[str, Fusion] = {"concat": Concat(), "sum": Sum(), "early": Early(8)}
CLASSES = 3


def network(modalities: int, fusion: str = "concat", norm: str = "none") -> Model:
    """A model whose modalities have 4, 5, 6... features."""
    encoders = {f"m{i}": MLP((4 + i,), 6, norm) for i in range(modalities)}
    return Model(dict(encoders), FUSIONS[fusion], CLASSES)


def batch(model: Model, number: int, size: int = 12) -> tuple[dict[str, Tensor], Tensor]:
    """Inputs that tell a little about the classes, and the classes, float64."""
    target = torch.from_numpy(stream(number, "target").integers(0, CLASSES, size))

    def heard(modality: str, shape: tuple[int, ...]) -> Tensor:
        return normal((size, *shape), number, modality).double() + (1 + int(modality[1:])) * target[:, None] / 2

    return {m: heard(m, encoder.shape) for m, encoder in model.encoders.items()}, target


def pose(target: Tensor, number: int, *, active: bool = True, seed: int = 0) -> Task:
    """The task of a batch, with noise from the trial's own stream."""

    def noise(purpose: str, like: Tensor) -> Tensor:
        return normal(tuple(like.shape), seed, purpose, number).to(like)

    return Task(*classification(target), noise, torch.tensor(float(active), dtype=torch.float64), len(target))


def setup(method: Method, model: Model, lr: float = 0.05) -> Setup:
    """A trial's fixed part, without a data set."""
    trial: Mapping[str, Any] = {"train": {"clip": None, "clip_before": None, "clip_trigger": None}}
    return Setup(trial, "classification", model, method, needs(method), SGD(lr, 0.9), {}, {}, {})


def untrained(made: Setup, seed: int = 0) -> Learner:
    """The initial state, float64."""

    def draw(name: str, shape: tuple[int, ...], bound: float) -> Tensor:
        return uniform(seed, name, shape, bound).double()

    params, buffers = made.model.init(draw, made.needs)
    buffers = {m: {name: b.double() for name, b in group.items()} for m, group in buffers.items()}
    params = each(lambda p: p.double(), params)
    return Learner(params, buffers, made.optimizer.init(params), made.method.init(params))


def train(method: Method, model: Model, steps: int, *, active: bool = True) -> Learner:
    """Train with the product's own step."""
    made = setup(method, model)
    learner = untrained(made)
    for number in range(steps):
        inputs, target = batch(model, number)
        learner, _ = step(made, learner, inputs, pose(target, number, active=active))
    return learner


def pure_step(made: Setup, learner: Learner, number: int) -> Learner:
    """The same step through torch.func, which `vmap` can stack."""
    inputs, target = batch(made.model, number)
    return step(made, learner, inputs, pose(target, number), differentiate=pure)[0]


def apart(one: Any, other: Any) -> float:
    """The largest difference between two trees of tensors."""
    pairs = list(zip(tree_leaves(one), tree_leaves(other), strict=True))
    return max((float((a - b).abs().max()) for a, b in pairs), default=0.0)


def without_heads(params: Params) -> Params:
    return params._replace(heads={})
