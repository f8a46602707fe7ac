"""Shared by the tests of methods and models: small batches, trials, and comparisons of trees."""

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
from trainables.tasks import build_criteria

FUSIONS: dict[str, Fusion] = {
    "concat": Concat(), "sum": Sum(), "early": Early(8), "gated": Gated(8), "film": FiLM(8), "attention": Attention(8)
}  # fmt: skip
TASKS = ("classification", "regression", "segmentation")
CLASSES, POSITIONS = 3, 4


def network(
    modalities: int, fusion: str = "concat", norm: str = "none", *, task: str = "classification", dropout: float = 0.0
) -> Model:
    """Return a model whose modalities have 4, 5, 6... features, at each position if the task is dense."""
    dense = task == "segmentation"
    shapes = [(POSITIONS, 4 + i) if dense else (4 + i,) for i in range(modalities)]
    encoders = {f"m{i}": MLP(shape, 6, norm, dense, dropout) for i, shape in enumerate(shapes)}
    return Model(dict(encoders), FUSIONS[fusion], 1 if task == "regression" else CLASSES)


def batch(
    model: Model, number: int, size: int = 12, *, task: str = "classification"
) -> tuple[dict[str, Tensor], Tensor]:
    """Return inputs that are correlated with the target, and the target, float64; both are copies."""
    shapes = tuple((m, tuple(encoder.shape)) for m, encoder in model.encoders.items())
    inputs, target = random_batch(shapes, number, size, task)
    return {m: x.clone() for m, x in inputs.items()}, target.clone()


@cache
def random_batch(
    shapes: tuple[tuple[str, tuple[int, ...]], ...], number: int, size: int, task: str
) -> tuple[dict[str, Tensor], Tensor]:
    """Return a batch for modalities of these shapes, which is cached."""
    shape = (size, POSITIONS) if task == "segmentation" else (size,)
    classes = torch.from_numpy(stream(number, "target").integers(0, CLASSES, shape))
    hint = (classes if task == "segmentation" else classes[:, None]).double()

    def modality_input(modality: str, features: tuple[int, ...]) -> Tensor:
        signal = hint[..., None] if task == "segmentation" else hint
        return normal((size, *features), number, modality).double() + (1 + int(modality[1:])) * signal / 2

    inputs = {m: modality_input(m, features) for m, features in shapes}
    return inputs, hint - 1 if task == "regression" else classes


def make_task(
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
    """Return the task of a batch, with noise from the stream of the trial."""

    def noise(purpose: str, like: Tensor) -> Tensor:
        return normal(tuple(like.shape), seed, purpose, number).to(like)

    functions = build_criteria(task, target, loss, gaps=gaps)
    strength_tensor = torch.tensor(strength, dtype=torch.float64, device=target.device)
    return Task(*functions, noise, strength_tensor, len(target), present)


def make_setup(method: Method, model: Model, lr: float = 0.05) -> Setup:
    """Return the setup of a trial without a data set."""
    trial: Mapping[str, Any] = {"train": {"clip": None, "clip_before": None, "clip_trigger": None, "accumulate": 1}}
    task = "segmentation" if next(iter(model.encoders.values())).dense else "classification"
    inputs = batch(model, 0, task=task)[0]
    model, optimizer = adapt_to_method(method, model, SGD(lr, 0.9), inputs)
    return Setup(trial, task, model, method, needs(method), optimizer, {}, {}, {})


def make_learner(trial_setup: Setup, seed: int = 0) -> Learner:
    """Return the initial state, float64."""

    def draw(name: str, shape: tuple[int, ...], bound: float) -> Tensor:
        return uniform(seed, name, shape, bound).double()

    params, buffers = trial_setup.model.init(draw, trial_setup.needs)
    buffers = {m: {name: b.double() for name, b in group.items()} for m, group in buffers.items()}
    params = each(lambda p: p.double(), params)
    return Learner(params, buffers, trial_setup.optimizer.init(params), trial_setup.method.init(params))


def train(
    method: Method, model: Model, steps: int, *, strength: float = 1.0, task: str = "classification", lr: float = 0.05
) -> Learner:
    """Train with `trainables.step.step`."""
    trial_setup = make_setup(method, model, lr)
    learner = make_learner(trial_setup)
    for number in range(steps):
        inputs, target = batch(model, number, task=task)
        learner, _ = step(trial_setup, learner, inputs, make_task(target, number, strength=strength, task=task))
    return learner


def pure_step(trial_setup: Setup, learner: Learner, number: int) -> Learner:
    """Return the learner after a step through torch.func, which `vmap` can stack."""
    inputs, target = batch(trial_setup.model, number)
    return step(trial_setup, learner, inputs, make_task(target, number), differentiate=functional)[0]


def max_difference(a: Any, b: Any) -> float:
    """Return the largest absolute difference between two trees of tensors."""
    pairs = list(zip(tree_leaves(a), tree_leaves(b), strict=True))
    return max((float((x - y).detach().abs().max()) for x, y in pairs if x.numel()), default=0.0)


def stack(trees: list[Any]) -> Any:
    """Return one tree, whose tensors have a leading axis."""
    return tree_map(lambda *tensors: torch.stack(tensors), *trees)


def without_heads(params: Params) -> Params:
    return params._replace(heads={})
