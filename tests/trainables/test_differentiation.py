"""Gradients of what the signals say: both ways, and by slopes that are known."""

import pytest
import torch

from tests.trainables.helpers import TASKS, batch, make_learner, make_setup, make_task, max_difference, network
from trainables.differentiation import Differentiate, eager, functional
from trainables.methods.joint_uni import JointUni
from trainables.signals import Sloped
from trainables.tasks import build_criteria


@pytest.mark.parametrize("differentiate", [eager, functional])
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("present", [None, torch.arange(12) % 3 != torch.arange(3)[:, None]])
def test_slopes_pull_as_the_losses_do(
    differentiate: Differentiate, task: str, reduction: str, present: torch.Tensor | None
) -> None:
    setup = make_setup(JointUni(), network(3, task=task))
    learner = make_learner(setup)
    inputs, target = batch(setup.model, 0, task=task)
    posed = make_task(target, 0, task=task, present=present)._replace(reduction=reduction)
    signals, _, pull = differentiate(
        lambda params: setup.model(params, learner.buffers, inputs, setup.needs), learner.params
    )
    slopes = posed.slopes(signals.logits, signals.heads)
    by_slopes = pull(lambda s: Sloped((s.logits, s.heads), (slopes[0], slopes[1:])))
    losses = pull(lambda s: posed.objective(s.logits) + posed.objectives(s.heads).sum())
    each = pull(lambda s: torch.cat([posed.objective(s.logits)[None], posed.objectives(s.heads)]))
    assert max_difference(by_slopes, losses) < 1e-12
    assert max_difference(by_slopes.shared, {name: rows.sum(0) for name, rows in each.shared.items()}) < 1e-12


@pytest.mark.parametrize("kind", ["l1", "mse", "huber", "classes"])
def test_a_curve_is_the_derivative_of_the_slope(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    prediction, along = (torch.randn(5, 4, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    if kind == "classes":
        task = build_criteria("segmentation", torch.arange(20).view(5, 4) % 3, "mse")
    else:
        task = build_criteria("regression", prediction + 2 * prediction.sin(), kind)
    prediction.requires_grad_()
    (by_autograd,) = torch.autograd.grad(task.slope(prediction), prediction, along, materialize_grads=True)
    assert max_difference(task.curve(prediction.detach(), along), by_autograd) < 1e-12
