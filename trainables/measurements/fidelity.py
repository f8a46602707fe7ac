"""Fidelity: is a classifier's gradient a stand-in for that of the modality's own loss? (METHODS.md 10.3)."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainables.classifiers import Classifier
from trainables.diagnostics.fidelity import cosine, summarise
from trainables.differentiation import eager
from trainables.fusions import Features
from trainables.measurements.slopes import afresh, flat, gradients, head
from trainables.methods.joint import Joint
from trainables.model import Buffers
from trainables.observation import Batch
from trainables.optim import Adam, AdamState, apply_update, split_heads
from trainables.randomness import permutation
from trainables.setup import Learner, Setup, init_learner
from trainables.signals import Group, Params, Signals, Task

CLASSIFIER, RULE = Classifier(), Adam(5e-4)  # as CGGM's by default


class State(NamedTuple):
    """The measurement's own classifiers, where the method has none."""

    params: Params  # heads alone
    moments: AdamState


class Directions(NamedTuple):
    """The gradient of one loss in three spaces, each flat."""

    head: Tensor  # by the last weight, [C P]
    feature: Tensor  # by the modality's feature, [B H_m]
    encoder: Tensor  # by its encoder's parameters


def begin(setup: Setup) -> State | None:
    """Return untrained classifiers, those that CGGM would start from; None where the method has its own."""
    if setup.model.classifier is not None:
        return None
    untrained = setup._replace(model=setup.model._replace(classifier=CLASSIFIER), method=Joint())
    own = split_heads(init_learner(untrained).params)[1]
    return State(own, RULE.init(own))


def step(
    setup: Setup, state: State | None, learner: Learner, batch: Batch, *, due: bool
) -> tuple[State | None, dict[str, Tensor]]:
    """Compare the gradients if that is due; train the measurement's own classifiers in any case."""
    classifier, learner = guided(setup, state, learner)
    seen = compare(setup, classifier, learner, batch) if due else {}
    return None if state is None else taught(setup, state, learner, batch), seen


def guided(setup: Setup, state: State | None, learner: Learner) -> tuple[Any, Learner]:
    """Return the classifiers, and the learner with their parameters: the method's, or the measurement's own."""
    if state is None:
        return setup.model.classifier, learner
    return CLASSIFIER, learner._replace(params=learner.params._replace(heads=state.params.heads))


def taught(setup: Setup, state: State, learner: Learner, batch: Batch) -> State:
    """Return the classifiers after a step on the features that the run itself trains on, detached."""
    model, needs = setup.model._replace(classifier=CLASSIFIER), frozenset({"classified"})

    def forward(own: Params) -> tuple[Signals, Buffers]:
        params = learner.params._replace(heads=own.heads)
        task = batch.task
        return model(params, learner.buffers, batch.inputs, needs, noise=task.noise, present=task.present)

    _, _, pull = eager(forward, state.params)
    grads = pull(lambda s: batch.task.objectives(s.classified).sum())
    direction, moments = RULE.update(grads, state.moments, state.params)
    return State(apply_update(state.params, direction, RULE.lrs), moments)


def compare(setup: Setup, classifier: Any, learner: Learner, batch: Batch) -> dict[str, Tensor]:
    """Return the cosines between the gradients of a classifier's loss and of f({m})'s, each [M], and their controls.

    All in evaluation mode, on one pass. The controls are the classifier of the next modality, permuted labels for
    the classifiers, and the joint loss in place of f({m})'s.
    """
    params, task = afresh(learner.params), batch.task
    alone = torch.eye(len(batch.inputs), dtype=torch.bool)
    needs = frozenset({"features", "muted"})
    signals, _ = setup.model(params, learner.buffers, batch.inputs, needs, coalitions=alone, training=False)
    classified, (inputs, _) = classifier(params.heads["classifiers"], signals.features)
    made = classified, inputs, signals.features, params.encoders
    truth = by_model(setup, params, signals.features, task.objectives(signals.muted))
    proxy = by_classifiers(task, *made)
    permuted = by_classifiers(shuffled(setup, batch), *made)
    readouts, shared = gradients(task.objective(signals.logits), (params.readouts, params.shared))
    joint = head(setup.model, params, readouts, shared)
    values: dict[str, Tensor] = {}
    for i, space in enumerate(("f1", "f2", "f3")):
        values[space] = torch.stack([cosine(t[i], p[i]) for t, p in zip(truth, proxy, strict=True)])
        values[f"{space}_permuted"] = torch.stack([cosine(t[i], p[i]) for t, p in zip(truth, permuted, strict=True)])
    values["f1_joint"] = torch.stack([cosine(joint, p.head) for p in proxy])
    if len(proxy) > 1:
        others = [*proxy[1:], proxy[0]]
        values["f1_mismatched"] = torch.stack([cosine(t.head, p.head) for t, p in zip(truth, others, strict=True)])
    return values


def by_model(setup: Setup, params: Params, features: Features, losses: Tensor) -> list[Directions]:
    """Return the gradients of the losses [M] of what the joint model makes of each modality alone."""
    found = []
    for (m, h), loss in zip(features.items(), losses, strict=True):
        parts = (params.readouts, params.shared, h, params.encoders[m])
        readouts, shared, feature, encoder = gradients(loss, parts)
        found.append(Directions(head(setup.model, params, readouts, shared), flat(feature), flat(encoder)))
    return found


def by_classifiers(
    task: Task, classified: Tensor, inputs: Tensor, features: Features, encoders: dict[str, Group]
) -> list[Directions]:
    """Return the gradients of the classifiers' losses, given their predictions and the inputs of their last layers.

    Features are not detached. One backward pass will do: a modality's classifier, feature and encoder meet its own
    loss alone. The gradient by the last weight is that by the predictions times the inputs.
    """
    slopes, by_feature, by_encoder = gradients(task.objectives(classified).sum(), (classified, features, encoders))
    heads = slopes.flatten(1, -2).mT @ inputs.detach().flatten(1, -2)
    parts = zip(heads, by_feature.values(), by_encoder.values(), strict=True)
    return [Directions(*map(flat, part)) for part in parts]


def shuffled(setup: Setup, batch: Batch) -> Task:
    """Return the task with labels that belong to other samples of the batch, at positions where both have one."""
    order = permutation(len(batch.indices), setup.trial["seed"], "fidelity", batch.number)
    target = setup.target["train"][batch.indices[order]]
    if batch.task.labelled is not None:
        target = torch.where(batch.task.labelled, target, -1)
    return batch.task._replace(**setup.criteria(target)._asdict())


def summary(series: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return mean, quantiles and share of positive cosines of each series [T, M]; of a control its 95 % band's end."""
    metrics: dict[str, Tensor] = {}
    for name, cosines in series.items():
        found = summarise(cosines)
        metrics[f"fidelity_{name}"] = found.mean
        for part in ("low", "median", "high", "positive", *(("band",) if name.endswith("permuted") else ())):
            metrics[f"fidelity_{name}_{part}"] = getattr(found, part)
    return metrics
