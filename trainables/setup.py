"""The fixed parts of a trial (model, method, optimiser, data) and its initial training state."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from trainables.data.dataset import Dataset, Split
from trainables.model import Buffers, Model, build_model
from trainables.modules import import_attribute
from trainables.optim import Optimizer, SplitOptimizer, build_optimizer
from trainables.parallel import WorkerGroup
from trainables.precision import parameter_dtype
from trainables.randomness import uniform
from trainables.signals import Guided, Method, Params, needs
from trainables.tasks import Criteria, build_criteria

SPLITS = ("train", "validation", "test")
SINGLE_WORKER = WorkerGroup()


class Setup(NamedTuple):
    """All that stays fixed while a trial trains."""

    trial: Mapping[str, Any]  # the resolved configuration
    task: str
    model: Model
    method: Method
    needs: frozenset[str]
    optimizer: Optimizer
    inputs: dict[str, dict[str, Tensor]]  # split -> modality -> [N, ...]
    target: dict[str, Tensor]  # split -> [N, ...]
    present: dict[str, Tensor | None]  # split -> [M, N] bool, which samples have the modality; None: all have all
    truth: Mapping[str, float] | None = None  # planted contribution of each modality, where it is known
    workers: WorkerGroup = SINGLE_WORKER  # those that train the trial
    dtype: str = "float32"  # of the matrix products of a training pass (`trainables.precision`)
    gaps: bool = False  # positions of the target may have no label: class -1
    target_zero: float = 0.0  # the value of a regression target's 0, which standardisation may have shifted
    links: tuple[np.ndarray, ...] = ()  # [N] each, of validation: samples with an equal entry in one are dependent

    @property
    def device(self) -> torch.device:
        """Return the device of the data and of all computation."""
        return self.target["train"].device

    @property
    def data(self) -> tuple[Any, ...]:
        """Return all tensors that come from the data set, as trees; `with_data` replaces them."""
        return self.inputs, self.target, self.present, self.model.mute_inputs

    def with_data(self, data: tuple[Any, ...]) -> "Setup":
        """Return a copy with other tensors in place of those of `data`."""
        inputs, target, present, mute_inputs = data
        model = self.model._replace(mute_inputs=mute_inputs)
        return self._replace(inputs=inputs, target=target, present=present, model=model)

    @property
    def on_single_worker(self) -> "Setup":
        """Return a copy without the other workers, for what one worker computes over all samples."""
        return self._replace(workers=SINGLE_WORKER)

    def criteria(self, target: Tensor) -> Criteria:
        """Return the criteria of samples with this target."""
        return build_criteria(self.task, target, self.trial["train"]["loss"], gaps=self.gaps)

    def label_mask(self, split: str) -> Tensor | None:
        """Return which positions of a split have a label, [N, L] bool; None: all."""
        return self.target[split] >= 0 if self.gaps else None


class Learner(NamedTuple):
    """The training state of a trial: all that a step changes, a tree of tensors."""

    params: Params
    buffers: Buffers
    moments: Any  # of the optimiser
    state: Any  # of the method


def build_setup(
    trial: Mapping[str, Any], dataset: Dataset, workers: WorkerGroup = SINGLE_WORKER, device: str = "cpu"
) -> Setup:
    """Return the setup of a trial, with all data on the device; a unimodal trial gets its own modality alone."""
    dtype = parameter_dtype(trial["train"]["dtype"])
    modalities = [trial["modality"]] if trial["modality"] else list(dataset.train.inputs)
    splits: dict[str, Split] = {split: getattr(dataset, split) for split in SPLITS}
    inputs = {
        split: {m: torch.from_numpy(data.inputs[m]).to(dtype) for m in modalities} for split, data in splits.items()
    }
    target = {split: torch.from_numpy(data.target) for split, data in splits.items()}
    if dataset.task == "regression":
        target = {split: values.to(dtype) for split, values in target.items()}
    present = {split: presence_mask(data, modalities) for split, data in splits.items()}
    inputs, target, present = tree_map(
        lambda x: x.to(device) if isinstance(x, Tensor) else x, (inputs, target, present)
    )
    method = load_method(trial["method"])(**trial["settings"])
    shapes = {m: tuple(x.shape[1:]) for m, x in inputs["train"].items()}
    model = build_model(trial["model"], shapes, dataset.outputs, dense=dataset.task == "segmentation")
    model, optimizer = adapt_to_method(method, model, trial_optimizer(trial), inputs["train"], present["train"])
    parts = (model, method, needs(method), optimizer)
    gaps = dataset.task == "segmentation" and any(bool((data.target < 0).any()) for data in splits.values())
    data, about = (inputs, target, present, dataset.truth), (gaps, dataset.target_zero, dataset.validation.links)
    return Setup(trial, dataset.task, *parts, *data, workers, trial["train"]["dtype"], *about)


def adapt_to_method(
    method: Method,
    model: Model,
    optimizer: Optimizer,
    inputs: dict[str, Tensor],
    present: Tensor | None = None,
) -> tuple[Model, Optimizer]:
    """Return model and optimiser with what a method adds: inputs that mute modalities, and classifiers if it has some.

    ``inputs`` and ``present`` are those of the training split.
    """
    mute_inputs = build_mute_inputs(getattr(method, "mute", "zero"), inputs, present)
    return add_classifiers(method, model._replace(mute_inputs=mute_inputs), optimizer)


def add_classifiers(method: Method, model: Model, optimizer: Optimizer) -> tuple[Model, Optimizer]:
    """Return model and optimiser with the classifiers of a `Guided` method and their own optimiser."""
    if isinstance(method, Guided) and method.classifier is not None:
        return model._replace(classifier=method.classifier), SplitOptimizer(optimizer, method.trainer)
    return model, optimizer


def replace_trial(setup: Setup, trial: Mapping[str, Any]) -> Setup:
    """Return the setup of another trial of the same shape, whose numbers may be tensors [K]."""
    dropout = trial["model"]["dropout"]
    encoders: Any = {m: encoder._replace(dropout=dropout) for m, encoder in setup.model.encoders.items()}  # type: ignore[attr-defined]
    method = type(setup.method)(**trial["settings"])
    model, optimizer = add_classifiers(method, setup.model._replace(encoders=encoders), trial_optimizer(trial))
    return setup._replace(trial=trial, model=model, method=method, optimizer=optimizer)


def trial_optimizer(trial: Mapping[str, Any]) -> Optimizer:
    """Return the optimiser of a trial's configuration."""
    settings = trial["train"]
    return build_optimizer(settings["optimizer"], settings["lr"], settings["momentum"], settings["weight_decay"])


def presence_mask(data: Split, modalities: list[str]) -> Tensor | None:
    """Return which samples of a split have each modality, [M, N] bool; None if all have all."""
    if not any(m in data.present for m in modalities):
        return None
    all_present = np.ones(len(data.target), dtype=bool)
    return torch.from_numpy(np.stack([data.present.get(m, all_present) for m in modalities]))


def build_mute_inputs(mute: str, inputs: dict[str, Tensor], present: Tensor | None) -> dict[str, Tensor | None]:
    """Return the input [1, ...] that mutes each modality.

    None for ``mute="feature"``, where features are zeroed; no entry for ``"zero"``, the default of a model; for
    ``"mean"`` the mean over the samples that have the modality, or zero if no sample has it.
    """
    if mute == "zero":
        return {}
    if mute == "feature":
        return dict.fromkeys(inputs)
    masks = [slice(None)] * len(inputs) if present is None else list(present)
    samples = {m: x[mask] for (m, x), mask in zip(inputs.items(), masks, strict=True)}
    return {m: x.mean(0, keepdim=True) if len(x) else x.new_zeros(1, *x.shape[1:]) for m, x in samples.items()}


def load_method(path: str) -> Any:
    """Return the class of a method at ``module:attribute``."""
    return import_attribute(path)


def init_learner(setup: Setup) -> Learner:
    """Return the untrained state, drawn from the trial's seed ``init`` if it has one, else from its seed."""
    seed, dtype = setup.trial.get("init", setup.trial["seed"]), parameter_dtype(setup.trial["train"]["dtype"])
    weights = setup.model.init(lambda name, shape, bound: uniform(seed, name, shape, bound), setup.needs)
    params, buffers = tree_map(lambda x: x.to(setup.device, dtype if x.is_floating_point() else None), weights)
    return Learner(params, buffers, setup.optimizer.init(params), setup.method.init(params))


def learning_rate_factor(trial: Mapping[str, Any], epoch: int) -> float:
    """Return the factor of the schedule on the learning rate in an epoch.

    constant: 1; cosine: from 1 in the first epoch towards 0; step: 1, and 0.1 in the last third.
    """
    passed = (epoch - 1) / trial["train"]["epochs"]
    factors = {"constant": 1.0, "cosine": (1 + math.cos(math.pi * passed)) / 2, "step": 1.0 if 3 * passed < 2 else 0.1}
    return factors[trial["train"]["schedule"]]


def method_strength(trial: Mapping[str, Any], epoch: int) -> float:
    """Return the strength of the method in an epoch, in [0, 1]: 0 outside `start` to `end`, rising over `warmup`."""
    is_active = trial["start"] <= epoch <= trial["end"]
    ramp = min(1.0, (epoch - trial["start"] + 1) / (trial["warmup"] + 1))
    return ramp if is_active else 0.0
