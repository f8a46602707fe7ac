"""Gradients: their norms, and whether joint and unimodal losses have aligned gradients (METHODS.md 10.5)."""

import torch
from torch import Tensor

from trainables.diagnostics.fidelity import cosine
from trainables.measurements.autograd import detach_params, flatten, gradients, head_gradient
from trainables.observation import Batch
from trainables.setup import Learner, Setup


def step(
    setup: Setup, state: tuple[()], learner: Learner, batch: Batch, *, due: bool
) -> tuple[tuple[()], dict[str, Tensor]]:
    """Measure the gradients of the joint loss, before the method acts, and of each unimodal loss, that of f({m}).

    The joint pass is in training mode and the unimodal ones in evaluation mode, as in a step of AGM. It is one pass
    over the whole batch, even if the run accumulates gradients over parts.
    """
    if not due:
        return state, {}
    params, task = detach_params(learner.params), batch.task
    single = torch.eye(len(batch.inputs), dtype=torch.bool)
    signals, _ = setup.model(
        params, learner.buffers, batch.inputs, frozenset({"muted"}), coalitions=single, noise=task.noise,
        present=task.present,
    )  # fmt: skip
    joint = gradients(task.objective(signals.logits), params._replace(heads={}))
    shared_gradient = flatten((joint.readouts, joint.shared))
    weight = head_gradient(setup.model, params, joint.readouts, joint.shared)
    encoders = {m: flatten(group) for m, group in joint.encoders.items()}
    norms = [torch.linalg.vector_norm(part) for part in (*encoders.values(), shared_gradient)]
    by_weight, by_encoder = [], []
    for m, loss in zip(params.encoders, task.objectives(signals.muted), strict=True):
        readouts, shared, encoder = gradients(loss, (params.readouts, params.shared, params.encoders[m]))
        by_weight.append(cosine(weight, head_gradient(setup.model, params, readouts, shared)))
        by_encoder.append(cosine(encoders[m], flatten(encoder)))
    return state, {
        "gradient_norm": torch.stack(norms),
        "gradient_cosine": torch.stack(by_weight),
        "encoder_cosine": torch.stack(by_encoder),
    }


def summary(series: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return means over the steps in which a value is defined."""
    return {name: values.nanmean(0) for name, values in series.items()}
