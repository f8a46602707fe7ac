"""Gradients: how large each part's is, and whether a modality's own loss would pull the same way (METHODS.md 10.5)."""

import torch
from torch import Tensor

from trainables.diagnostics.fidelity import cosine
from trainables.measurements.slopes import afresh, flat, gradients, head
from trainables.observation import Batch
from trainables.setup import Learner, Setup


def step(
    setup: Setup, state: tuple[()], learner: Learner, batch: Batch, *, due: bool
) -> tuple[tuple[()], dict[str, Tensor]]:
    """Measure the gradients of the joint loss, before any method, and of each modality's own.

    The joint pass is in training mode and modality m's, f({m}), in evaluation mode, as in a step of AGM. It is one pass
    over the whole batch, also where the run makes it in parts.
    """
    if not due:
        return state, {}
    params, task = afresh(learner.params), batch.task
    alone = torch.eye(len(batch.inputs), dtype=torch.bool)
    signals, _ = setup.model(
        params, learner.buffers, batch.inputs, frozenset({"muted"}), coalitions=alone, noise=task.noise,
        present=task.present,
    )  # fmt: skip
    joint = gradients(task.objective(signals.logits), params._replace(heads={}))
    beyond = flat((joint.readouts, joint.shared))
    weight = head(setup.model, params, joint.readouts, joint.shared)
    encoders = {m: flat(group) for m, group in joint.encoders.items()}
    norms = [torch.linalg.vector_norm(part) for part in (*encoders.values(), beyond)]
    by_weight, by_encoder = [], []
    for m, loss in zip(params.encoders, task.objectives(signals.muted), strict=True):
        readouts, shared, encoder = gradients(loss, (params.readouts, params.shared, params.encoders[m]))
        by_weight.append(cosine(weight, head(setup.model, params, readouts, shared)))
        by_encoder.append(cosine(encoders[m], flat(encoder)))
    return state, {
        "gradient_norm": torch.stack(norms),
        "gradient_cosine": torch.stack(by_weight),
        "encoder_cosine": torch.stack(by_encoder),
    }


def summary(series: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return means over the steps in which there is something to compare."""
    return {name: values.nanmean(0) for name, values in series.items()}
