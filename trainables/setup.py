"""What a trial is made of before it starts: model, method, optimiser, data, and the untrained state."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from trainables.data.dataset import Dataset, Split
from trainables.model import Buffers, Model, build
from trainables.optim import Optimizer, optimizer
from trainables.randomness import uniform
from trainables.signals import Method, Params, needs

SPLITS = ("train", "validation", "test")


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


def prepare(trial: Mapping[str, Any], dataset: Dataset) -> Setup:
    """Build everything that a trial is made of, on its own modality if it has one."""
    dtype = getattr(torch, trial["train"]["dtype"])
    chosen = [trial["modality"]] if trial["modality"] else list(dataset.train.inputs)
    splits: dict[str, Split] = {split: getattr(dataset, split) for split in SPLITS}
    inputs = {split: {m: torch.from_numpy(data.inputs[m]).to(dtype) for m in chosen} for split, data in splits.items()}
    target = {split: torch.from_numpy(data.target) for split, data in splits.items()}
    if dataset.task == "regression":
        target = {split: values.to(dtype) for split, values in target.items()}
    shapes = {m: tuple(x.shape[1:]) for m, x in inputs["train"].items()}
    model = build(trial["model"], shapes, dataset.outputs, dense=dataset.task == "segmentation")
    method = load_method(trial["method"])(**trial["settings"])
    settings = trial["train"]
    rule = optimizer(settings["optimizer"], settings["lr"], settings["momentum"], settings["weight_decay"])
    return Setup(trial, dataset.task, model, method, needs(method), rule, inputs, target)


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


def acts(trial: Mapping[str, Any], epoch: int) -> Tensor:
    """Say whether the method acts in an epoch, [] bool."""
    return torch.tensor(trial["start"] <= epoch <= trial["end"])
