"""Fidelity to separately trained unimodal networks: do classifiers have the direction of their gradients? (10.3)."""

from typing import NamedTuple

import torch
from torch import Tensor

from trainables.diagnostics.fidelity import cosine
from trainables.measurements import fidelity
from trainables.measurements.autograd import detach_params, flatten, gradients, head_gradient
from trainables.measurements.competition import joint_setup
from trainables.observation import Batch
from trainables.setup import Learner, Setup, init_learner
from trainables.step import step as train_step


class State(NamedTuple):
    """What the measurement trains in parallel to the run."""

    classifiers: fidelity.State | None  # None if the method has its own
    networks: dict[str, Learner]  # by the modality that each is trained on


def begin(setup: Setup) -> State:
    """Return untrained classifiers and, for every modality, a network with the initial weights of the run."""
    learner = init_learner(joint_setup(setup))
    return State(fidelity.begin(setup), dict.fromkeys(setup.model.encoders, learner))


def step(setup: Setup, state: State, learner: Learner, batch: Batch, *, due: bool) -> tuple[State, dict[str, Tensor]]:
    """Compare the gradients if due; train networks and classifiers in every step, on the batches of the run."""
    cosines = compare_gradients(setup, state, learner, batch) if due else {}
    classifiers, _ = fidelity.step(setup, state.classifiers, learner, batch, due=False)
    joint = joint_setup(setup)
    networks = {
        m: train_step(joint, network, mute_others(m, batch.inputs), batch.task, lr_factor=batch.lr_factor)[0]
        for m, network in state.networks.items()
    }
    return State(classifiers, networks), cosines


def compare_gradients(setup: Setup, state: State, learner: Learner, batch: Batch) -> dict[str, Tensor]:
    """Return the cosines, [M], between the gradients by the last weights of each classifier and network."""
    classifier, learner = fidelity.select_classifier(setup, state.classifiers, learner)
    params, task = detach_params(learner.params), batch.task
    signals, _ = setup.model(params, learner.buffers, batch.inputs, frozenset({"features"}), training=False)
    classified, (inputs, _) = classifier(params.heads["classifiers"], signals.features)
    slopes = gradients(task.objectives(classified).sum(), classified)
    proxies = slopes.flatten(1, -2).mT @ inputs.detach().flatten(1, -2)
    truths = [network_gradient(setup, m, network, batch) for m, network in state.networks.items()]
    return {"f1_separate": torch.stack([cosine(t, flatten(p)) for t, p in zip(truths, proxies, strict=True)])}


def network_gradient(setup: Setup, modality: str, network: Learner, batch: Batch) -> Tensor:
    """Return the gradient of a network's loss by its last weight, [C P], over the samples that have the modality."""
    params, index = detach_params(network.params), list(batch.inputs).index(modality)
    inputs = mute_others(modality, batch.inputs)
    signals, _ = joint_setup(setup).model(params, network.buffers, inputs, frozenset(), training=False)
    losses = batch.task.objectives(signals.logits.expand(len(inputs), *signals.logits.shape))
    readouts, shared = gradients(losses[index], (params.readouts, params.shared))
    return head_gradient(setup.model, params, readouts, shared)


def mute_others(modality: str, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the inputs with all other modalities set to zero."""
    return {m: x if m == modality else torch.zeros_like(x) for m, x in inputs.items()}


summary = fidelity.summary
