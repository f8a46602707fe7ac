"""What a trial is made of before it starts: model, method, optimiser, data, and the untrained state."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from trainables.data.dataset import Dataset, Split
from trainables.model import Buffers, Model, build
from trainables.modules import import_attribute
from trainables.optim import Optimizer, SplitOptimizer, build_optimizer
from trainables.parallel import Crew
from trainables.precision import parameter_dtype
from trainables.randomness import uniform
from trainables.signals import Guided, Method, Params, needs
from trainables.tasks import Target, build_target

SPLITS = ("train", "validation", "test")
ALONE = Crew()


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
    present: dict[str, Tensor | None]  # split -> [M, N] bool, who is heard in which sample; None: all in all
    truth: Mapping[str, float] | None = None  # planted contribution of each modality, where it is known
    crew: Crew = ALONE  # the workers that train it
    dtype: str = "float32"  # of the products of a training pass (`trainables.precision`)
    gaps: bool = False  # positions of the target may have no label: class -1
    zero: float = 0.0  # where the 0 of a regression's target lies
    links: tuple[np.ndarray, ...] = ()  # [N] each, of validation: samples with an equal entry in one are dependent

    @property
    def device(self) -> torch.device:
        """Return where the data lie, and all that is computed."""
        return self.target["train"].device

    @property
    def data(self) -> tuple[Any, ...]:
        """Return all that it holds of the data set, trees of tensors."""
        return self.inputs, self.target, self.present, self.model.mute_inputs

    def on(self, data: tuple[Any, ...]) -> "Setup":
        """Return it with other such data."""
        inputs, target, present, silence = data
        model = self.model._replace(mute_inputs=silence)
        return self._replace(inputs=inputs, target=target, present=present, model=model)

    @property
    def whole(self) -> "Setup":
        """Return it for what this worker computes by itself, over all samples."""
        return self._replace(crew=ALONE)

    def against(self, target: Tensor) -> Target:
        """Return loss and score of samples with this target."""
        return build_target(self.task, target, self.trial["train"]["loss"], gaps=self.gaps)

    def labelled(self, split: str) -> Tensor | None:
        """Return which positions of a split have a label, [N, L] bool; None: all."""
        return self.target[split] >= 0 if self.gaps else None


class Learner(NamedTuple):
    """What changes: all of it tensors, together the state of training."""

    params: Params
    buffers: Buffers
    moments: Any  # of the optimiser
    state: Any  # of the method


def prepare(trial: Mapping[str, Any], dataset: Dataset, crew: Crew = ALONE, device: str = "cpu") -> Setup:
    """Build everything that a trial is made of, on its own modality if it has one; all data lie on the device."""
    dtype = parameter_dtype(trial["train"]["dtype"])
    chosen = [trial["modality"]] if trial["modality"] else list(dataset.train.inputs)
    splits: dict[str, Split] = {split: getattr(dataset, split) for split in SPLITS}
    inputs = {split: {m: torch.from_numpy(data.inputs[m]).to(dtype) for m in chosen} for split, data in splits.items()}
    target = {split: torch.from_numpy(data.target) for split, data in splits.items()}
    if dataset.task == "regression":
        target = {split: values.to(dtype) for split, values in target.items()}
    present = {split: presence(data, chosen) for split, data in splits.items()}
    inputs, target, present = tree_map(
        lambda x: x.to(device) if isinstance(x, Tensor) else x, (inputs, target, present)
    )
    method = load_method(trial["method"])(**trial["settings"])
    shapes = {m: tuple(x.shape[1:]) for m, x in inputs["train"].items()}
    model = build(trial["model"], shapes, dataset.outputs, dense=dataset.task == "segmentation")
    model, rule = equip(method, model, rule_of(trial), inputs["train"], present["train"])
    parts = (model, method, needs(method), rule)
    gaps = dataset.task == "segmentation" and any(bool((data.target < 0).any()) for data in splits.values())
    data, about = (inputs, target, present, dataset.truth), (gaps, dataset.target_zero, dataset.validation.links)
    return Setup(trial, dataset.task, *parts, *data, crew, trial["train"]["dtype"], *about)


def equip(
    method: Method, model: Model, rule: Optimizer, inputs: dict[str, Tensor], present: Tensor | None = None
) -> tuple[Model, Optimizer]:
    """Return model and optimiser with what a method adds: its way of muting, and classifiers with their own rule."""
    return guided(method, model._replace(mute_inputs=silence(getattr(method, "mute", "zero"), inputs, present)), rule)


def guided(method: Method, model: Model, rule: Optimizer) -> tuple[Model, Optimizer]:
    """Return model and optimiser with the classifiers of a method that has some."""
    if isinstance(method, Guided) and method.classifier is not None:
        return model._replace(classifier=method.classifier), SplitOptimizer(rule, method.trainer)
    return model, rule


def alike(setup: Setup, trial: Mapping[str, Any]) -> Setup:
    """Return what another trial of the same shape is made of: the same parts with its own numbers, which may be [K]."""
    share = trial["model"]["dropout"]
    encoders: Any = {m: one._replace(dropout=share) for m, one in setup.model.encoders.items()}  # type: ignore[attr-defined]
    method = type(setup.method)(**trial["settings"])
    model, rule = guided(method, setup.model._replace(encoders=encoders), rule_of(trial))
    return setup._replace(trial=trial, model=model, method=method, optimizer=rule)


def rule_of(trial: Mapping[str, Any]) -> Optimizer:
    """Return the optimiser that a trial names."""
    settings = trial["train"]
    return build_optimizer(settings["optimizer"], settings["lr"], settings["momentum"], settings["weight_decay"])


def presence(data: Split, modalities: list[str]) -> Tensor | None:
    """Return who is heard in which sample of a split, [M, N] bool; None if all are in all."""
    if not any(m in data.present for m in modalities):
        return None
    everyone = np.ones(len(data.target), dtype=bool)
    return torch.from_numpy(np.stack([data.present.get(m, everyone) for m in modalities]))


def silence(mute: str, inputs: dict[str, Tensor], present: Tensor | None) -> dict[str, Tensor | None]:
    """Return the input [1, ...] that mutes each modality: zero, the mean of the samples that have it, or None.

    Of a modality that no sample has the mean is zero.
    """
    if mute == "zero":
        return {}
    if mute == "feature":
        return dict.fromkeys(inputs)
    heard = [slice(None)] * len(inputs) if present is None else list(present)
    known = {m: x[who] for (m, x), who in zip(inputs.items(), heard, strict=True)}
    return {m: x.mean(0, keepdim=True) if len(x) else x.new_zeros(1, *x.shape[1:]) for m, x in known.items()}


def load_method(path: str) -> Any:
    """Return the class of a method at ``module:attribute``."""
    return import_attribute(path)


def start(setup: Setup) -> Learner:
    """Return the untrained state, drawn from the trial's seed, or from that which it has for this alone."""
    seed, dtype = setup.trial.get("init", setup.trial["seed"]), parameter_dtype(setup.trial["train"]["dtype"])
    drawn = setup.model.init(lambda name, shape, bound: uniform(seed, name, shape, bound), setup.needs)
    params, buffers = tree_map(lambda x: x.to(setup.device, dtype if x.is_floating_point() else None), drawn)
    return Learner(params, buffers, setup.optimizer.init(params), setup.method.init(params))


def pace(trial: Mapping[str, Any], epoch: int) -> float:
    """Return the share of the learning rate that holds in an epoch.

    All of it; falling to 0 along a cosine after the first epoch; or a tenth in the last third (step).
    """
    passed = (epoch - 1) / trial["train"]["epochs"]
    shares = {"constant": 1.0, "cosine": (1 + math.cos(math.pi * passed)) / 2, "step": 1.0 if 3 * passed < 2 else 0.1}
    return shares[trial["train"]["schedule"]]


def strength(trial: Mapping[str, Any], epoch: int) -> float:
    """Return how much of the method acts in an epoch, in [0, 1]: from `start` to `end`, rising over `warmup`."""
    within = trial["start"] <= epoch <= trial["end"]
    risen = min(1.0, (epoch - trial["start"] + 1) / (trial["warmup"] + 1))
    return risen if within else 0.0
