"""Fidelity by networks that are trained on one modality each: do classifiers point where these do? (10.3)."""

from typing import NamedTuple

import torch
from torch import Tensor

from trainables.diagnostics.fidelity import cosine
from trainables.measurements import fidelity
from trainables.measurements.competition import plain
from trainables.measurements.slopes import afresh, flat, gradients, head
from trainables.observation import Batch
from trainables.setup import Learner, Setup, init_learner
from trainables.step import step as trained


class State(NamedTuple):
    """What the measurement trains beside the run."""

    classifiers: fidelity.State | None  # where the method has none
    networks: dict[str, Learner]  # by the modality that each hears


def begin(setup: Setup) -> State:
    """Return untrained classifiers and, for every modality, the network that the run starts from."""
    learner = init_learner(plain(setup))
    return State(fidelity.begin(setup), dict.fromkeys(setup.model.encoders, learner))


def step(setup: Setup, state: State, learner: Learner, batch: Batch, *, due: bool) -> tuple[State, dict[str, Tensor]]:
    """Compare the gradients if that is due; train networks and classifiers in any case, on the run's own batches."""
    seen = compare(setup, state, learner, batch) if due else {}
    classifiers, _ = fidelity.step(setup, state.classifiers, learner, batch, due=False)
    networks = {
        m: trained(plain(setup), network, only(m, batch.inputs), batch.task, lr_factor=batch.lr_factor)[0]
        for m, network in state.networks.items()
    }
    return State(classifiers, networks), seen


def compare(setup: Setup, state: State, learner: Learner, batch: Batch) -> dict[str, Tensor]:
    """Return the cosines, [M], of the gradients by the last weight of each classifier and network."""
    classifier, learner = fidelity.guided(setup, state.classifiers, learner)
    params, task = afresh(learner.params), batch.task
    signals, _ = setup.model(params, learner.buffers, batch.inputs, frozenset({"features"}), training=False)
    classified, (inputs, _) = classifier(params.heads["classifiers"], signals.features)
    slopes = gradients(task.objectives(classified).sum(), classified)
    proxies = slopes.flatten(1, -2).mT @ inputs.detach().flatten(1, -2)
    truths = [by_network(setup, m, network, batch) for m, network in state.networks.items()]
    return {"f1_separate": torch.stack([cosine(t, flat(p)) for t, p in zip(truths, proxies, strict=True)])}


def by_network(setup: Setup, modality: str, network: Learner, batch: Batch) -> Tensor:
    """Return the gradient of a network's loss by its last weight, [C P], of the samples that have the modality."""
    params, place = afresh(network.params), list(batch.inputs).index(modality)
    heard = only(modality, batch.inputs)
    signals, _ = plain(setup).model(params, network.buffers, heard, frozenset(), training=False)
    losses = batch.task.objectives(signals.logits.expand(len(heard), *signals.logits.shape))
    readouts, shared = gradients(losses[place], (params.readouts, params.shared))
    return head(setup.model, params, readouts, shared)


def only(modality: str, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return inputs in which all other modalities are silent: zero."""
    return {m: x if m == modality else torch.zeros_like(x) for m, x in inputs.items()}


summary = fidelity.summary
