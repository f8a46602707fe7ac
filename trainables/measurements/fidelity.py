"""Fidelity: does a classifier's gradient approximate that of the modality's own loss? (METHODS.md 10.3)."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainables.classifiers import Classifier
from trainables.diagnostics.fidelity import cosine, summarise
from trainables.differentiation import eager
from trainables.fusions import Features
from trainables.measurements.autograd import detach_params, flatten, gradients, head_gradient
from trainables.methods.joint import Joint
from trainables.model import Buffers
from trainables.observation import Batch
from trainables.optim import Adam, AdamState, apply_update, split_heads
from trainables.randomness import permutation
from trainables.setup import Learner, Setup, init_learner
from trainables.signals import Group, Params, Signals, Task

CLASSIFIER, OPTIMIZER = Classifier(), Adam(5e-4)  # the defaults of CGGM


class State(NamedTuple):
    """The measurement's own classifiers, where the method has none."""

    params: Params  # heads alone
    moments: AdamState


class LossGradients(NamedTuple):
    """The gradient of one loss in three spaces, each flattened."""

    head: Tensor  # by the last weight, [C P]
    feature: Tensor  # by the modality's feature, [B H_m]
    encoder: Tensor  # by its encoder's parameters


def begin(setup: Setup) -> State | None:
    """Return untrained classifiers, initialised as those of CGGM; None if the method has its own."""
    if setup.model.classifier is not None:
        return None
    untrained = setup._replace(model=setup.model._replace(classifier=CLASSIFIER), method=Joint())
    heads = split_heads(init_learner(untrained).params)[1]
    return State(heads, OPTIMIZER.init(heads))


def step(
    setup: Setup, state: State | None, learner: Learner, batch: Batch, *, due: bool
) -> tuple[State | None, dict[str, Tensor]]:
    """Compare the gradients if due; train the measurement's own classifiers in every step."""
    classifier, learner = select_classifier(setup, state, learner)
    cosines = compare_gradients(setup, classifier, learner, batch) if due else {}
    return None if state is None else train_classifiers(setup, state, learner, batch), cosines


def select_classifier(setup: Setup, state: State | None, learner: Learner) -> tuple[Any, Learner]:
    """Return the method's classifiers, or the measurement's own, and the learner with their parameters."""
    if state is None:
        return setup.model.classifier, learner
    return CLASSIFIER, learner._replace(params=learner.params._replace(heads=state.params.heads))


def train_classifiers(setup: Setup, state: State, learner: Learner, batch: Batch) -> State:
    """Train the measurement's classifiers by one step on the run's own features, detached."""
    model, needs = setup.model._replace(classifier=CLASSIFIER), frozenset({"classified"})

    def forward(heads: Params) -> tuple[Signals, Buffers]:
        params = learner.params._replace(heads=heads.heads)
        task = batch.task
        return model(params, learner.buffers, batch.inputs, needs, noise=task.noise, present=task.present)

    _, _, pull = eager(forward, state.params)
    grads = pull(lambda s: batch.task.objectives(s.classified).sum())
    direction, moments = OPTIMIZER.update(grads, state.moments, state.params)
    return State(apply_update(state.params, direction, OPTIMIZER.lrs), moments)


def compare_gradients(setup: Setup, classifier: Any, learner: Learner, batch: Batch) -> dict[str, Tensor]:
    """Return the cosines between the gradients of the losses of classifier m and of f({m}), each [M], and controls.

    All are computed in one pass in evaluation mode. The controls are the classifier of the next modality, permuted
    labels for the classifiers, and the joint loss in place of that of f({m}).
    """
    params, task = detach_params(learner.params), batch.task
    single = torch.eye(len(batch.inputs), dtype=torch.bool)
    needs = frozenset({"features", "muted"})
    signals, _ = setup.model(params, learner.buffers, batch.inputs, needs, coalitions=single, training=False)
    classified, (inputs, _) = classifier(params.heads["classifiers"], signals.features)
    arguments = classified, inputs, signals.features, params.encoders
    truth = model_gradients(setup, params, signals.features, task.objectives(signals.muted))
    proxy = classifier_gradients(task, *arguments)
    permuted = classifier_gradients(permute_labels(setup, batch), *arguments)
    readouts, shared = gradients(task.objective(signals.logits), (params.readouts, params.shared))
    joint = head_gradient(setup.model, params, readouts, shared)
    values: dict[str, Tensor] = {}
    for i, space in enumerate(("f1", "f2", "f3")):
        values[space] = torch.stack([cosine(t[i], p[i]) for t, p in zip(truth, proxy, strict=True)])
        values[f"{space}_permuted"] = torch.stack([cosine(t[i], p[i]) for t, p in zip(truth, permuted, strict=True)])
    values["f1_joint"] = torch.stack([cosine(joint, p.head) for p in proxy])
    if len(proxy) > 1:
        others = [*proxy[1:], proxy[0]]
        values["f1_mismatched"] = torch.stack([cosine(t.head, p.head) for t, p in zip(truth, others, strict=True)])
    return values


def model_gradients(setup: Setup, params: Params, features: Features, losses: Tensor) -> list[LossGradients]:
    """Return the gradients of the losses [M] of the joint model's prediction by each modality alone."""
    result = []
    for (m, h), loss in zip(features.items(), losses, strict=True):
        parts = (params.readouts, params.shared, h, params.encoders[m])
        readouts, shared, feature, encoder = gradients(loss, parts)
        weight = head_gradient(setup.model, params, readouts, shared)
        result.append(LossGradients(weight, flatten(feature), flatten(encoder)))
    return result


def classifier_gradients(
    task: Task, classified: Tensor, inputs: Tensor, features: Features, encoders: dict[str, Group]
) -> list[LossGradients]:
    """Return the gradients of the classifiers' losses, given their predictions and the inputs of their last layers.

    Features are not detached. One backward pass suffices: the classifier, feature and encoder of a modality affect only
    its own loss. The gradient by the last weight is that by the predictions times the inputs.
    """
    slopes, by_feature, by_encoder = gradients(task.objectives(classified).sum(), (classified, features, encoders))
    heads = slopes.flatten(1, -2).mT @ inputs.detach().flatten(1, -2)
    parts = zip(heads, by_feature.values(), by_encoder.values(), strict=True)
    return [LossGradients(*map(flatten, part)) for part in parts]


def permute_labels(setup: Setup, batch: Batch) -> Task:
    """Return the task with the labels permuted over the samples of the batch, at positions where both are labelled."""
    order = permutation(len(batch.indices), setup.trial["seed"], "fidelity", batch.number)
    target = setup.target["train"][batch.indices[order]]
    if batch.task.labelled is not None:
        target = torch.where(batch.task.labelled, target, -1)
    return batch.task._replace(**setup.criteria(target)._asdict())


def summary(series: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return mean, quantiles and fraction of positive cosines of each series [T, M], of permuted ones also `band`."""
    metrics: dict[str, Tensor] = {}
    for name, cosines in series.items():
        statistics = summarise(cosines)
        metrics[f"fidelity_{name}"] = statistics.mean
        for part in ("low", "median", "high", "positive", *(("band",) if name.endswith("permuted") else ())):
            metrics[f"fidelity_{name}_{part}"] = getattr(statistics, part)
    return metrics
