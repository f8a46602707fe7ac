"""One trial: from its configuration and a data set to its numbers, which depend on nothing else.

A trial computes with one thread, because the number of threads changes the last bits.
"""

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from trainables.data.dataset import Dataset
from trainables.differentiation import Differentiate, eager
from trainables.measure import Moment, Prediction, Row, conclude, scores, summarise, validate
from trainables.model import Buffers
from trainables.observation import Batch, Epochwise, Looks, Stepwise, begin, gather, observe, survey
from trainables.optim import clip_norm, divided
from trainables.randomness import normal, permutation
from trainables.setup import Learner, Setup, prepare, start, strength
from trainables.signals import (
    Control,
    EpochMethod,
    Guided,
    Params,
    Pull,
    Signals,
    Task,
    attributes,
    leaves,
    moved,
)
from trainables.tasks import against


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


class Epoch(NamedTuple):
    """Where training stands after an epoch."""

    number: int  # from 1
    steps: int  # made so far
    learner: Learner
    rows: list[Row]  # what was measured in it
    last: bool


def fit(trial: Mapping[str, Any], dataset: Dataset) -> Outcome:
    """Train one trial and measure it.

    Args:
        trial: ``method`` (as ``module:attribute``), ``settings``, ``start``, ``end``, ``modality``, ``model``,
            ``train``, ``measure`` (name -> every how many steps or epochs) and ``seed``, all resolved.
        dataset: standardised arrays; the test split is read once, at the end.
    """
    torch.set_num_threads(1)
    with threadpool_limits(1):  # of numpy and scikit-learn
        return train(prepare(trial, dataset))


def train(setup: Setup) -> Outcome:
    """Train and measure what was set up."""
    began = time.perf_counter()
    learner = start(setup)
    size = sum(p.numel() for p in leaves(learner.params))
    rows: list[Row] = []
    known = begin(setup, Epochwise)
    for epoch in epochs(setup, learner):
        rows += epoch.rows
        broken = next((row for row in epoch.rows if row.metric == "loss" and not math.isfinite(row.value)), None)
        if broken:
            error = f"the {broken.split} loss was {broken.value} in epoch {epoch.number}"
            return Outcome("diverged", error, time.perf_counter() - began, epoch.steps, size, {}, rows, [])
        rows += survey(setup, known, epoch.learner, Moment(epoch.number, epoch.steps, epoch.last))
    measured, final, predictions = conclude(setup, epoch.learner, epoch.number, epoch.steps)
    return Outcome("done", None, time.perf_counter() - began, epoch.steps, size, final, rows + measured, predictions)


def epochs(setup: Setup, learner: Learner) -> Iterator[Epoch]:
    """Train epoch by epoch, and yield after each."""
    method, steps = setup.method, 0
    snapshots = [learner] * len(setup.model.encoders)
    watching, total = begin(setup, Stepwise), setup.trial["train"]["epochs"]
    for epoch in range(1, total + 1):
        rates = method.rates(learner.state) if isinstance(method, EpochMethod) else None
        measured: list[dict[str, Tensor]] = []
        looks: list[Looks] = []
        for indices in batches(setup, epoch):
            steps += 1
            inputs = {m: x.index_select(0, indices) for m, x in setup.inputs["train"].items()}
            task = pose(setup, indices, epoch, steps)
            watching, look = observe(setup, watching, learner, Batch(indices, inputs, task, steps))
            looks.append(look)
            learner, metrics = step(setup, learner, inputs, task, rates)
            measured.append(metrics)
        rows = summarise(setup, measured, epoch, steps) + gather(setup, looks, Moment(epoch, steps))
        validation, stop = validate(setup, learner, epoch), False
        if isinstance(method, EpochMethod):
            control = method.epoch(learner.state, validation)
            learner, stop = obey(learner._replace(state=control.state), control, snapshots), bool(control.stop)
            if control.restore.any():  # the rows are about the model that goes on
                validation = validate(setup, learner, epoch)
        rows += scores(setup, "validation", validation.joint_loss, validation.joint_score, epoch, steps)
        yield Epoch(epoch, steps, learner, rows, stop or epoch == total)
        if stop:
            return


def batches(setup: Setup, epoch: int) -> tuple[Tensor, ...]:
    """Return the indices of each batch of an epoch, in the order of the trial's seed; the last may be short.

    A last batch of one sample has no variance: with batch normalisation it is left out.
    """
    order = permutation(len(setup.target["train"]), setup.trial["seed"], "order", epoch)
    chosen = torch.split(order, setup.trial["train"]["batch_size"])
    normalised = any(encoder.buffers() for encoder in setup.model.encoders.values())
    return chosen[:-1] if normalised and len(chosen) > 1 and len(chosen[-1]) == 1 else chosen


def pose(setup: Setup, indices: Tensor, epoch: int, number: int) -> Task:
    """Return the task of one batch of the training split, [B] indices, at one moment of training."""
    trial, present = setup.trial, setup.present["train"]
    held = against(setup.task, setup.target["train"][indices], trial["train"]["loss"])

    def noise(purpose: str, like: Tensor) -> Tensor:
        return normal(tuple(like.shape), trial["seed"], purpose, number).to(like)

    heard, share = None if present is None else present[:, indices], strength(trial, epoch)
    return Task(
        *held, noise, torch.tensor(share, dtype=torch.float64), len(indices), heard, trial["train"]["reduction"],
        full=share == 1,
    )  # fmt: skip


def step(
    setup: Setup,
    learner: Learner,
    inputs: dict[str, Tensor],
    task: Task,
    rates: Tensor | None = None,
    differentiate: Differentiate = eager,
) -> tuple[Learner, dict[str, Tensor]]:
    """Train on one batch; return the new learner and the method's metrics, with the joint `loss`.

    ``rates`` [M] are the factors of an `EpochMethod` on each branch's update, None all 1; outside its epochs they
    are 1.
    """
    method, model = setup.method, setup.model
    coalitions = method.coalitions(len(inputs), task) if attributes(method) else None
    rates = None if rates is None else task.faded(rates)
    alike = rates is None or not model.moody(learner.buffers)
    training = True if alike else rates != 0  # a branch that was stopped is in evaluation mode

    def forward(params: Params) -> tuple[Signals, Buffers]:
        return model(
            params, learner.buffers, inputs, setup.needs,
            coalitions=coalitions, training=training, noise=task.noise, present=task.present,
        )  # fmt: skip

    signals, buffers, pull = differentiate(forward, learner.params)
    made = method.step(learner.state, signals, task, limited(setup, pull, "clip_before"))
    with torch.no_grad():
        grads = limit(setup, made.grads, "clip")
        change, moments = setup.optimizer.update(grads, learner.moments, learner.params)
        change = made.rescale(change) if made.rescale else change
        factors = product(made.rates, rates)
        factors = None if factors is None else factors.to(signals.logits)
        learner = Learner(moved(learner.params, change, factors), buffers, moments, made.state)
        loss = task.mean(task.loss(signals.logits.detach()))
    return learner, {"loss": loss, **{f"method.{name}": value for name, value in made.metrics.items()}}


def product(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    """Return the product of two factors, of which None is 1."""
    if one is None or other is None:
        return other if one is None else one
    return one * other


def limited(setup: Setup, pull: Pull, key: str) -> Pull:
    """Return ``pull`` with its gradients clipped, if the study says so."""
    return pull if setup.trial["train"][key] is None else lambda f: limit(setup, pull(f), key)


def limit(setup: Setup, grads: Params, key: str) -> Params:
    """Return gradients clipped to the norm under ``key``; heads with a rule of their own are left out."""
    settings = setup.trial["train"]
    if settings[key] is None:
        return grads
    apart = isinstance(setup.method, Guided)
    clipped = clip_norm(divided(grads)[0] if apart else grads, settings[key], trigger=settings["clip_trigger"])
    return clipped._replace(heads=grads.heads) if apart else clipped


def obey(learner: Learner, control: Control, snapshots: list[Learner]) -> Learner:
    """Keep the snapshots that a method asks for, then go back to those it wants restored."""
    for m, save in enumerate(control.save.tolist()):
        if save:
            snapshots[m] = learner
    for m, restore in enumerate(control.restore.tolist()):
        if restore and control.scope == "whole":
            learner = snapshots[m]._replace(state=control.state)
        elif restore:
            modality = list(learner.params.encoders)[m]
            parts = [graft(a, b, modality) for a, b in zip(learner[:3], snapshots[m][:3], strict=True)]
            learner = Learner(parts[0], parts[1], parts[2], control.state)
    return learner


def graft(now: Any, old: Any, modality: str) -> Any:
    """Return parameters, buffers or moments with one modality's branch as it was."""
    if isinstance(now, Params):
        encoders, readouts = (graft(getattr(now, k), getattr(old, k), modality) for k in ("encoders", "readouts"))
        return now._replace(encoders=encoders, readouts=readouts)
    if isinstance(now, dict):
        return {m: old[m] if m == modality else group for m, group in now.items()}
    if isinstance(now, tuple):
        parts = [graft(a, b, modality) for a, b in zip(now, old, strict=True)]
        return type(now)(*parts) if hasattr(now, "_fields") else tuple(parts)
    return now  # what all branches share, such as a count of steps
