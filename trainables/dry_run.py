"""Dry runs: a few steps of training, to check a method or a trial, or to estimate how long it takes."""

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
from trainables.evaluation import validation_scores
from trainables.packs import build_pack, map_members, stack
from trainables.setup import Learner, build_setup, init_learner, load_method, replace_trial
from trainables.signals import Params, Pull, Signals, Step, Task, leaves
from trainables.step import batch_inputs, batch_task, batches, step
from trainables.tasks import classification
from trainables.train import example_step_inputs, iterate_epochs, step_pack

SAMPLES, BATCH = 160, 16
RESERVED_METRICS = {"loss", "accuracy", "mae"}  # that every run records
DATA = {"name": "synthetic", "modalities": 3, "samples": [SAMPLES, 40, 40]}
MODEL = {"fusion": "concat", "encoder": "mlp", "hidden": 16, "norm": "none", "dropout": 0.0}
TRAINING = {
    "batch_size": BATCH, "optimizer": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.0, "loss": "mse",
    "reduction": "mean", "order": "shuffled", "schedule": "constant",
    "clip": None, "clip_before": None, "clip_trigger": None, "accumulate": 1, "dtype": "float64",
}  # fmt: skip


def train_synthetic(method: str, settings: Mapping[str, Any], steps: int) -> tuple[Learner, float]:
    """Train a method (as ``module:attribute``) in float64 on synthetic data for at least ``steps`` steps.

    Return the learner and its last loss.
    """
    trial = {
        "method": method, "settings": dict(settings), "start": 1, "end": float("inf"), "warmup": 0, "modality": None,
        "model": MODEL, "train": {**TRAINING, "epochs": -(-steps * BATCH // SAMPLES)}, "measure": {}, "seed": 0,
    }  # fmt: skip
    setup = build_setup(trial, load(DATA))
    *_, last = iterate_epochs(setup, init_learner(setup))
    return last.learner, next(row.value for row in last.rows if row.metric == "loss" and row.split == "train")


def check_first_step(trial: Mapping[str, Any], dataset: Dataset) -> None:
    """Run the first step of a trial and check what its method returns.

    Raises:
        ValueError: the method fails, or returns what no training can use; the message names the place.
    """
    method_class: Any = load_method(trial["method"])

    def checked_step(method: Any, state: Any, signals: Signals, task: Task, pull: Pull) -> Step:
        rng_state = torch.get_rng_state()
        result: Step = method_class.step(method, state, signals, task, pull)
        check_step(result, learner.params)
        if not rng_state.equal(torch.get_rng_state()):
            raise StepError(
                "`step` draws random numbers that do not depend on the seed of the trial; draw them with `task.noise`"
            )
        return result

    checked_class: Any = type(method_class.__name__, (method_class,), {"step": checked_step})
    try:
        setup = build_setup(trial, dataset)
        learner = init_learner(setup)
        indices = batches(setup, 1)[0]
        step(
            setup._replace(method=checked_class(**trial["settings"])),
            learner,
            batch_inputs(setup, indices),
            batch_task(setup, indices, 1, 1),
        )
    except Exception as error:
        file = sys.modules[method_class.__module__].__file__
        lines = [frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == file]
        place = f" ({Path(file).name}, line {lines[-1]})" if file and lines else ""
        message = str(error) if isinstance(error, StepError) else f"{type(error).__name__}: {error}{place}"
        raise ValueError(message) from None


class StepError(ValueError):
    """What a method's `step` returned cannot be used."""


def check_step(result: Any, params: Params) -> None:
    """Raise a StepError unless this is a `Step` with a gradient of every parameter and metrics of valid shape."""
    if not isinstance(result, Step):
        raise StepError(f"`step` must return a `Step` of gradients, state and metrics, got {type(result).__name__}")
    if tree_shapes(result.grads) != tree_shapes(params) or head_names(result.grads) != head_names(params):
        raise StepError(
            "the gradients that `step` returns must have the structure of the parameters, as those of `pull` do"
        )
    shapes = {(), (len(params.encoders),)}
    for name, value in result.metrics.items():
        if name in RESERVED_METRICS:
            raise StepError(f"metric `{name}` is recorded for every trial; choose another name")
        if not isinstance(value, Tensor) or tuple(value.shape) not in shapes:
            got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise StepError(f"metric `{name}` must be a tensor with one number, or one per modality, got {got}")


def tree_shapes(tree: Any) -> Any:
    """Return the shapes of a tree of tensors; two trees that differ in the order of names alone compare equal."""
    if isinstance(tree, dict):
        return {name: tree_shapes(part) for name, part in tree.items()}
    if isinstance(tree, tuple):
        return type(tree), [tree_shapes(part) for part in tree]
    return getattr(tree, "shape", None)


def head_names(params: Params) -> list[tuple[str, ...]]:
    """Return the names of the parameters in ``heads``, whose order counts: their optimiser concatenates them."""
    return [(name, *group) for name, group in params.heads.items()]


def estimate_seconds(trials: Sequence[Mapping[str, Any]], dataset: Dataset, steps: int = 3) -> float:
    """Return the seconds that each of these trials takes in one pack, from a few steps and one evaluation."""
    torch.set_num_threads(1)
    first = build_setup(trials[0], dataset)
    setups = [first, *(replace_trial(first, trial) for trial in trials[1:])]
    pack, learner = build_pack(setups), stack([init_learner(setup) for setup in setups])
    times = [time.perf_counter()]
    for number, inputs in enumerate(islice(example_step_inputs(pack, learner), steps + 1)):  # the first is slower
        learner, _ = step_pack(pack, learner, inputs, number, full=True)
        times.append(time.perf_counter())
    map_members(pack, validation_scores, learner)
    evaluation = time.perf_counter() - times[-1]
    step = median(after - before for before, after in pairwise(times[1:] if len(times) > 2 else times))
    epochs: int = first.trial["train"]["epochs"]
    return (len(batches(first, 1)) * step + evaluation) * epochs / len(trials)


def dummy_task() -> Task:
    """Return a task of one sample without noise, to call a method with before there is data."""
    criteria = classification(torch.zeros(1, dtype=torch.int64))
    return Task(*criteria, lambda purpose, like: torch.zeros_like(like), torch.tensor(1.0), 1)


def parameter_distance(a: Learner, b: Learner) -> float:
    """Return the largest difference between the parameters of encoders, fusion and joint head."""
    pairs = zip(leaves(a.params._replace(heads={})), leaves(b.params._replace(heads={})), strict=True)
    return max(float((p - q).abs().max()) for p, q in pairs)
