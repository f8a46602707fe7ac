"""One trial: from its configuration and a data set to its numbers, which depend on nothing else.

A trial computes with one thread, because the number of threads changes the last bits.
"""

import time
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from trainables.data.dataset import Dataset, Split
from trainables.diagnostics import linear_probe
from trainables.model import Buffers, Model, build
from trainables.optim import Optimizer, clip_norm, optimizer
from trainables.randomness import stream, uniform
from trainables.signals import (
    Attributing,
    Control,
    EpochMethod,
    Method,
    Params,
    Signals,
    Task,
    Validation,
    scale_encoders,
)
from trainables.tasks import against, report

SPLITS = ("train", "validation", "test")
CHUNK = 2048  # samples of one evaluation pass


class Row(NamedTuple):
    """One measured number."""

    epoch: int
    step: int
    split: str
    modality: str | None  # None: the joint prediction
    metric: str
    value: float


class Prediction(NamedTuple):
    """The final outputs on a split."""

    split: str
    outputs: np.ndarray  # [N, ..., C] float32
    target: np.ndarray  # [N, ...]


class Outcome(NamedTuple):
    """What a trial leaves behind."""

    status: str  # done, or diverged: a loss was not finite
    error: str | None
    seconds: float
    steps: int
    params: int  # number of parameters
    final: dict[str, float]  # "validation.accuracy", "test.loss", ...
    rows: list[Row]
    predictions: list[Prediction]


class Setup(NamedTuple):
    """What stays the same during a trial."""

    trial: Mapping[str, Any]
    task: str
    model: Model
    method: Method
    needs: frozenset[str]
    optimizer: Optimizer
    inputs: dict[str, dict[str, Tensor]]  # split -> modality -> [N, ...]
    target: dict[str, Tensor]  # split -> [N, ...]


class Learner(NamedTuple):
    """What changes: all of it tensors, together the state of training."""

    params: Params
    buffers: Buffers
    moments: Any  # of the optimiser
    state: Any  # of the method


def fit(trial: Mapping[str, Any], dataset: Dataset) -> Outcome:
    """Train one trial and measure it.

    Args:
        trial: ``method`` (as ``module:attribute``), ``settings``, ``start``, ``end``, ``modality``, ``model``,
            ``train``, ``measure`` and ``seed``, all resolved.
        dataset: standardised arrays; the test split is read once, at the end.
    """
    torch.set_num_threads(1)
    began = time.perf_counter()
    setup = prepare(trial, dataset)
    learner = start(setup)
    size = sum(p.numel() for p in tree_leaves(learner.params))
    rows: list[Row] = []
    steps = 0
    for epoch, learner, steps, measured in epochs(setup, learner):
        rows += measured
        broken = [row for row in measured if row.metric == "loss" and not np.isfinite(row.value)]
        if broken:
            error = f"the {broken[0].split} loss was {broken[0].value} in epoch {epoch}"
            return Outcome("diverged", error, time.perf_counter() - began, steps, size, {}, rows, [])
    rows, final, predictions = conclude(setup, learner, rows, steps)
    return Outcome("done", None, time.perf_counter() - began, steps, size, final, rows, predictions)


def prepare(trial: Mapping[str, Any], dataset: Dataset) -> Setup:
    """Build everything that a trial is made of, on its own modality if it has one."""
    dtype = getattr(torch, trial["train"]["dtype"])
    chosen = [trial["modality"]] if trial["modality"] else list(dataset.train.inputs)
    splits: dict[str, Split] = {split: getattr(dataset, split) for split in SPLITS}
    inputs = {
        split: {m: torch.from_numpy(data.inputs[m]).to(dtype) for m in chosen} for split, data in splits.items()
    }
    target = {split: torch.from_numpy(data.target) for split, data in splits.items()}
    if dataset.task == "regression":
        target = {split: values.to(dtype) for split, values in target.items()}
    shapes = {m: tuple(x.shape[1:]) for m, x in inputs["train"].items()}
    model = build(trial["model"], shapes, dataset.outputs, dense=dataset.task == "segmentation")
    method = load_method(trial["method"])(**trial["settings"])
    settings = trial["train"]
    rule = optimizer(settings["optimizer"], settings["lr"], settings["momentum"], settings["weight_decay"])
    return Setup(trial, dataset.task, model, method, method.needs, rule, inputs, target)


def load_method(path: str) -> Any:
    """Return the class of a method at ``module:attribute``."""
    module, _, attribute = path.partition(":")
    return getattr(import_module(module), attribute)


def start(setup: Setup) -> Learner:
    """Return the untrained state, drawn from the trial's seed."""
    seed, dtype = setup.trial["seed"], getattr(torch, setup.trial["train"]["dtype"])
    drawn = setup.model.init(lambda name, shape, bound: uniform(seed, name, shape, bound), setup.needs)
    params, buffers = tree_map(lambda tensor: tensor.to(dtype), drawn)
    return Learner(params, buffers, setup.optimizer.init(params), setup.method.init(params))


def epochs(setup: Setup, learner: Learner) -> Iterator[tuple[int, Learner, int, list[Row]]]:
    """Train epoch by epoch; after each, yield its number, the learner, the steps made and what was measured."""
    method, steps, rates = setup.method, 0, None
    snapshots = [learner] * len(setup.model.encoders)
    for epoch in range(1, setup.trial["train"]["epochs"] + 1):
        measured: list[dict[str, Tensor]] = []
        for indices in batches(setup, epoch):
            steps += 1
            inputs = {m: x[indices] for m, x in setup.inputs["train"].items()}
            task = pose(setup, setup.target["train"][indices], epoch, steps)
            learner, metrics = step(setup, learner, inputs, task, rates)
            measured.append(metrics)
        rows = summarise(setup, measured, epoch, steps)
        validation = validate(setup, learner)
        rows += scores(setup, "validation", validation.joint_loss, validation.joint_score, epoch, steps)
        if isinstance(method, EpochMethod):
            control = method.epoch(learner.state, validation)
            learner, rates = obey(learner._replace(state=control.state), control, snapshots), control.rates
        yield epoch, learner, steps, rows
        if isinstance(method, EpochMethod) and control.stop:
            return


def batches(setup: Setup, epoch: int) -> tuple[Tensor, ...]:
    """Return the indices of each batch of an epoch, in the order of the trial's seed; the last may be short."""
    order = torch.randperm(len(setup.target["train"]), generator=stream(setup.trial["seed"], "order", epoch))
    return order.split(setup.trial["train"]["batch_size"])


def pose(setup: Setup, target: Tensor, epoch: int, number: int) -> Task:
    """Return the task of one batch at one moment of training."""
    trial = setup.trial
    loss, score = against(setup.task, target, trial["train"]["loss"])

    def noise(purpose: str, like: Tensor) -> Tensor:
        drawn = torch.randn(like.shape, generator=stream(trial["seed"], purpose, number))
        return drawn.to(like)

    active = torch.tensor(trial["start"] <= epoch <= trial["end"])
    return Task(loss, score, noise, active, trial["train"]["reduction"])


def step(
    setup: Setup, learner: Learner, inputs: dict[str, Tensor], task: Task, rates: Tensor | None = None
) -> tuple[Learner, dict[str, Tensor]]:
    """Train on one batch; return the new learner and the method's metrics, with `loss` and the batch's `score`."""
    method, settings = setup.method, setup.trial["train"]
    params = tree_map(lambda p: p.detach().requires_grad_(), learner.params)
    leaves = tree_leaves(params)
    coalitions = method.coalitions(len(inputs), task) if isinstance(method, Attributing) else None
    signals, buffers = setup.model(params, learner.buffers, inputs, setup.needs, coalitions=coalitions)

    def pull(f: Any) -> Params:
        gradients = iter(
            torch.autograd.grad(f(signals), leaves, retain_graph=True, allow_unused=True, materialize_grads=True)
        )
        return tree_map(lambda _: next(gradients), params)  # type: ignore[no-any-return]

    made = method.step(learner.state, signals, task, pull)
    with torch.no_grad():
        grads = made.grads
        if settings["clip"] is not None:
            grads = clip_norm(grads, settings["clip"], trigger=settings["clip_trigger"])
        change, moments = setup.optimizer.update(grads, learner.moments, learner.params)
        if rates is not None:
            change = scale_encoders(change, rates.to(signals.logits))
        learner = Learner(tree_map(torch.add, learner.params, change), buffers, moments, made.state)
        logits = signals.logits.detach()
        taken = {"loss": task.mean(task.loss(logits)), "score": task.mean(task.score(logits))}
    return learner, {**{f"method.{name}": value for name, value in made.metrics.items()}, **taken}


def obey(learner: Learner, control: Control, snapshots: list[Learner]) -> Learner:
    """Keep the snapshots that a method asks for and go back to those it wants restored."""
    for m, restore in enumerate(control.restore.tolist()):
        if restore:
            learner = snapshots[m]._replace(state=control.state)
    for m, save in enumerate(control.save.tolist()):
        if save:
            snapshots[m] = learner
    return learner


@torch.no_grad()
def outputs(setup: Setup, learner: Learner, split: str, needs: frozenset[str]) -> Signals:
    """Return the signals of a whole split in evaluation mode."""
    pieces = []
    for chunk in torch.arange(len(setup.target[split])).split(CHUNK):
        inputs = {m: x[chunk] for m, x in setup.inputs[split].items()}
        pieces.append(setup.model(learner.params, learner.buffers, inputs, needs, training=False)[0])
    if len(pieces) == 1:
        return pieces[0]
    samples = {"logits": 0, "fused": 0, "features": 0, "unimodal": 1}  # which axis of each signal
    joined = {
        name: tree_map(lambda *parts, axis=axis: torch.cat(parts, axis), *[getattr(p, name) for p in pieces])
        for name, axis in samples.items()
    }
    return Signals(**joined)


def validate(setup: Setup, learner: Learner) -> Validation:
    """Return losses and scores on the validation split; by modality only where the method acts between epochs."""
    by_modality = frozenset({"unimodal"}) if isinstance(setup.method, EpochMethod) else frozenset[str]()
    seen = outputs(setup, learner, "validation", by_modality)
    loss, score = against(setup.task, setup.target["validation"], setup.trial["train"]["loss"])
    parts = seen.unimodal if by_modality else seen.logits[None]
    return Validation(loss(parts).mean(-1), score(parts).mean(-1), loss(seen.logits).mean(), score(seen.logits).mean())


def scores(setup: Setup, split: str, loss: Tensor, score: Tensor, epoch: int, number: int) -> list[Row]:
    """Return the rows of a joint loss and score."""
    name, value = report(setup.task, score.item())
    return [
        Row(epoch, number, split, None, "loss", loss.item()),
        Row(epoch, number, split, None, name, value),
    ]


def summarise(setup: Setup, measured: list[dict[str, Tensor]], epoch: int, number: int) -> list[Row]:
    """Return the rows of an epoch's training: means over its steps, and the range of the coefficients."""
    series = {name: torch.stack([metrics[name] for metrics in measured]) for name in measured[0]}
    rows = scores(setup, "train", series.pop("loss").mean(), series.pop("score").mean(), epoch, number)
    for path, values in series.items():
        name = path.removeprefix("method.")
        wanted = {name: values.mean(0)}
        if name == "scale":
            wanted |= {"scale_min": values.amin(0), "scale_max": values.amax(0)}
        for metric, value in wanted.items():
            owners = list(setup.model.encoders) if value.ndim else [None]
            for modality, number_ in zip(owners, value.reshape(-1).tolist(), strict=True):
                rows.append(Row(epoch, number, "train", modality, metric, number_))
    return rows


def conclude(
    setup: Setup, learner: Learner, rows: list[Row], number: int
) -> tuple[list[Row], dict[str, float], list[Prediction]]:
    """Measure the trained model; the one place where the test split is read."""
    epoch, rows = rows[-1].epoch, list(rows)
    probing = "probe" in setup.trial["measure"]
    splits = SPLITS if probing else SPLITS[1:]
    seen = {split: outputs(setup, learner, split, frozenset({"features"})) for split in splits}
    final, predictions = {}, []
    for split in SPLITS[1:]:
        loss, score = against(setup.task, setup.target[split], setup.trial["train"]["loss"])
        logits = seen[split].logits
        measured = scores(setup, split, loss(logits).mean(), score(logits).mean(), epoch, number)
        final |= {f"{split}.{row.metric}": row.value for row in measured}
        rows += measured if split == "test" else []  # the validation rows of the last epoch are there already
        predictions.append(Prediction(split, logits.float().numpy(), setup.target[split].numpy()))
    if probing:
        rows += probes(setup, seen, epoch, number)
    return rows, final, predictions


def probes(setup: Setup, seen: dict[str, Signals], epoch: int, number: int) -> list[Row]:
    """Return how well a linear model reads the target off each encoder's features."""
    targets = {split: setup.target[split].numpy() for split in seen}
    metric = f"probe_{report(setup.task, 0.0)[0]}"
    rows = []
    for modality in setup.model.encoders:
        features = {split: signals.features[modality].numpy() for split, signals in seen.items()}
        for split, value in sorted(linear_probe(features, targets, setup.task).items()):
            rows.append(Row(epoch, number, split, modality, metric, value))
    return rows
