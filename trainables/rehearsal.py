"""Short trainings, for checks and estimates: what they compute is real, what they learn is not."""

import sys
import time
from collections.abc import Mapping, Sequence
from itertools import islice, pairwise
from pathlib import Path
from statistics import median
from traceback import extract_tb
from typing import Any

import torch
from torch import Tensor

from trainables.data import load
from trainables.data.dataset import Dataset
from trainables.measure import judge
from trainables.packs import over, pack, stack
from trainables.setup import Learner, alike, load_method, prepare, start
from trainables.signals import Params, Pull, Signals, Step, Task, leaves
from trainables.step import batches, drawn, pose, step
from trainables.tasks import classification
from trainables.train import advance, epochs, exercises

SAMPLES, BATCH = 160, 16
TAKEN = {"loss", "accuracy", "mae"}  # metrics that a run has by itself
DATA = {"name": "synthetic", "modalities": 3, "samples": [SAMPLES, 40, 40]}
MODEL = {"fusion": "concat", "encoder": "mlp", "hidden": 16, "norm": "none", "dropout": 0.0}
TRAINING = {
    "batch_size": BATCH, "optimizer": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.0, "loss": "mse",
    "reduction": "mean", "order": "shuffled", "schedule": "constant",
    "clip": None, "clip_before": None, "clip_trigger": None, "accumulate": 1, "dtype": "float64",
}  # fmt: skip


def rehearse(method: str, settings: Mapping[str, Any], steps: int) -> tuple[Learner, float]:
    """Train a method (as ``module:attribute``) in float64 on synthetic data.

    It makes at least ``steps`` steps; return the learner and its last loss.
    """
    trial = {
        "method": method, "settings": dict(settings), "start": 1, "end": float("inf"), "warmup": 0, "modality": None,
        "model": MODEL, "train": {**TRAINING, "epochs": -(-steps * BATCH // SAMPLES)}, "measure": {}, "seed": 0,
    }  # fmt: skip
    setup = prepare(trial, load(DATA))
    *_, last = epochs(setup, start(setup))
    return last.learner, next(row.value for row in last.rows if row.metric == "loss" and row.split == "train")


def attempt(trial: Mapping[str, Any], dataset: Dataset) -> None:
    """Make the first step of a trial, and look at what its method returns.

    Raises:
        ValueError: it returns what no trial can go on with, or fails; the message says where.
    """
    own: Any = load_method(trial["method"])

    def watched(method: Any, state: Any, signals: Signals, task: Task, pull: Pull) -> Step:
        before = torch.get_rng_state()
        made: Step = own.step(method, state, signals, task, pull)
        check_step(made, learner.params)
        if not before.equal(torch.get_rng_state()):
            raise StepError(
                "`step` draws numbers that no seed of a trial decides; `task.noise` draws those that one does"
            )
        return made

    watching: Any = type(own.__name__, (own,), {"step": watched})
    try:
        setup = prepare(trial, dataset)
        learner = start(setup)
        indices = batches(setup, 1)[0]
        step(
            setup._replace(method=watching(**trial["settings"])),
            learner,
            drawn(setup, indices),
            pose(setup, indices, 1, 1),
        )
    except Exception as error:
        file = sys.modules[own.__module__].__file__
        lines = [frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == file]
        place = f" ({Path(file).name}, line {lines[-1]})" if file and lines else ""
        said = str(error) if isinstance(error, StepError) else f"{type(error).__name__}: {error}{place}"
        raise ValueError(said) from None


class StepError(ValueError):
    """What a method's `step` returned is no step."""


def check_step(made: Any, params: Params) -> None:
    """Raise a StepError unless a method returned a `Step` with a gradient of every parameter, and metrics that fit."""
    if not isinstance(made, Step):
        raise StepError(f"`step` must return a `Step` of gradients, state and metrics, got {type(made).__name__}")
    if form(made.grads) != form(params) or rows(made.grads) != rows(params):
        raise StepError(
            "the gradients that `step` returns must have the form of the parameters, as those of `pull` have"
        )
    fit = {(), (len(params.encoders),)}
    for name, value in made.metrics.items():
        if name in TAKEN:
            raise StepError(f"metric `{name}` is one of every run; name that of the method otherwise")
        if not isinstance(value, Tensor) or tuple(value.shape) not in fit:
            got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise StepError(f"metric `{name}` must be a tensor of one number, or of one a modality, got {got}")


def form(tree: Any) -> Any:
    """Return the shapes of a tree of tensors by their names, in whatever order these stand."""
    if isinstance(tree, dict):
        return {name: form(part) for name, part in tree.items()}
    if isinstance(tree, tuple):
        return type(tree), [form(part) for part in tree]
    return getattr(tree, "shape", None)


def rows(params: Params) -> list[tuple[str, ...]]:
    """Return the names of the networks beside the model, whose optimiser lays them in a row: here the order counts."""
    return [(name, *group) for name, group in params.heads.items()]


def duration(trials: Sequence[Mapping[str, Any]], dataset: Dataset, steps: int = 3) -> float:
    """Return the seconds that a trial takes to its end when these train together, from a few steps and one scoring."""
    torch.set_num_threads(1)
    first = prepare(trials[0], dataset)
    setups = [first, *(alike(first, trial) for trial in trials[1:])]
    packed, learner = pack(setups), stack([start(setup) for setup in setups])
    times = [time.perf_counter()]
    for number, given in enumerate(islice(exercises(packed, learner), steps + 1)):  # the first is slower
        learner, _ = advance(packed, learner, given, number, full=True)
        times.append(time.perf_counter())
    over(packed, judge, learner)
    scoring = time.perf_counter() - times[-1]
    step = median(after - before for before, after in pairwise(times[1:] if len(times) > 2 else times))
    epochs: int = first.trial["train"]["epochs"]
    return (len(batches(first, 1)) * step + scoring) * epochs / len(trials)


def silent() -> Task:
    """Return a task of one sample and no noise, for what a method says before it trains."""
    held = classification(torch.zeros(1, dtype=torch.int64))
    return Task(*held, lambda purpose, like: torch.zeros_like(like), torch.tensor(1.0), 1)


def distance(one: Learner, other: Learner) -> float:
    """Return the largest difference between the parameters of encoders, fusion and joint head."""
    pairs = zip(leaves(one.params._replace(heads={})), leaves(other.params._replace(heads={})), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)
