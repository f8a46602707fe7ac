"""What the tests of methods and models share: small batches, trials, and comparisons of trees."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from trainables.differentiation import functional
from trainables.encoders import MLP
from trainables.fusions import Attention, Concat, Early, FiLM, Fusion, Gated, Sum
from trainables.model import Model
from trainables.optim import SGD
from trainables.randomness import normal, stream, uniform
from trainables.setup import Learner, Setup, adapt_to_method
from trainables.signals import Method, Params, Task, each, needs
from trainables.step import step
from trainables.tasks import build_target

FUSIONS: dict[str, Fusion] = {
    "concat": Concat(), "sum": Sum(), "early": Early(8), "gated": Gated(8), "film": FiLM(8), "attention": Attention(8)
}  # fmt: skip
TASKS = ("classification", "regression", "segmentation")
CLASSES, POSITIONS = 3, 4


def network(
    modalities: int, fusion: str = "concat", norm: str = "none", *, task: str = "classification", dropout: float = 0.0
) -> Model:
    """A model whose modalities have 4, 5, 6... features, at each position if the task is dense."""
    dense = task == "segmentation"
    shapes = [(POSITIONS, 4 + i) if dense else (4 + i,) for i in range(modalities)]
    encoders = {f"m{i}": MLP(shape, 6, norm, dense, dropout) for i, shape in enumerate(shapes)}
    return Model(dict(encoders), FUSIONS[fusion], 1 if task == "regression" else CLASSES)


def batch(
    model: Model, number: int, size: int = 12, *, task: str = "classification"
) -> tuple[dict[str, Tensor], Tensor]:
    """Inputs that tell a little about the target, and the target, float64; each asker may change its own."""
    shapes = tuple((m, tuple(encoder.shape)) for m, encoder in model.encoders.items())
    inputs, target = drawn(shapes, number, size, task)
    return {m: x.clone() for m, x in inputs.items()}, target.clone()


@cache
def drawn(
    shapes: tuple[tuple[str, tuple[int, ...]], ...], number: int, size: int, task: str
) -> tuple[dict[str, Tensor], Tensor]:
    """A batch for modalities of these shapes."""
    shape = (size, POSITIONS) if task == "segmentation" else (size,)
    classes = torch.from_numpy(stream(number, "target").integers(0, CLASSES, shape))
    hint = (classes if task == "segmentation" else classes[:, None]).double()

    def heard(modality: str, features: tuple[int, ...]) -> Tensor:
        told = hint[..., None] if task == "segmentation" else hint
        return normal((size, *features), number, modality).double() + (1 + int(modality[1:])) * told / 2

    inputs = {m: heard(m, features) for m, features in shapes}
    return inputs, hint - 1 if task == "regression" else classes


def pose(
    target: Tensor,
    number: int,
    *,
    strength: float = 1.0,
    seed: int = 0,
    task: str = "classification",
    loss: str = "mse",
    present: Tensor | None = None,
    gaps: bool = False,
) -> Task:
    """The task of a batch, with noise from the trial's own stream."""

    def noise(purpose: str, like: Tensor) -> Tensor:
        return normal(tuple(like.shape), seed, purpose, number).to(like)

    held = build_target(task, target, loss, gaps=gaps)
    share = torch.tensor(strength, dtype=torch.float64, device=target.device)
    return Task(*held, noise, share, len(target), present)


def setup(method: Method, model: Model, lr: float = 0.05) -> Setup:
    """A trial's fixed part, without a data set."""
    trial: Mapping[str, Any] = {"train": {"clip": None, "clip_before": None, "clip_trigger": None, "accumulate": 1}}
    task = "segmentation" if next(iter(model.encoders.values())).dense else "classification"
    inputs = batch(model, 0, task=task)[0]
    model, rule = adapt_to_method(method, model, SGD(lr, 0.9), inputs)
    return Setup(trial, task, model, method, needs(method), rule, {}, {}, {})


def untrained(made: Setup, seed: int = 0) -> Learner:
    """The initial state, float64."""

    def draw(name: str, shape: tuple[int, ...], bound: float) -> Tensor:
        return uniform(seed, name, shape, bound).double()

    params, buffers = made.model.init(draw, made.needs)
    buffers = {m: {name: b.double() for name, b in group.items()} for m, group in buffers.items()}
    params = each(lambda p: p.double(), params)
    return Learner(params, buffers, made.optimizer.init(params), made.method.init(params))


def train(
    method: Method, model: Model, steps: int, *, strength: float = 1.0, task: str = "classification", lr: float = 0.05
) -> Learner:
    """Train with the product's own step."""
    made = setup(method, model, lr)
    learner = untrained(made)
    for number in range(steps):
        inputs, target = batch(model, number, task=task)
        learner, _ = step(made, learner, inputs, pose(target, number, strength=strength, task=task))
    return learner


def pure_step(made: Setup, learner: Learner, number: int) -> Learner:
    """The same step through torch.func, which `vmap` can stack."""
    inputs, target = batch(made.model, number)
    return step(made, learner, inputs, pose(target, number), differentiate=functional)[0]


def apart(one: Any, other: Any) -> float:
    """The largest difference between two trees of tensors."""
    pairs = list(zip(tree_leaves(one), tree_leaves(other), strict=True))
    return max((float((a - b).detach().abs().max()) for a, b in pairs if a.numel()), default=0.0)


def stack(trees: list[Any]) -> Any:
    """One tree, in which every tensor has a leading axis."""
    return tree_map(lambda *tensors: torch.stack(tensors), *trees)


def without_heads(params: Params) -> Params:
    return params._replace(heads={})
