"""Positions without a label: loss and score are means over those that have one."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.trainables.helpers import max_difference
from trainables.tasks import classification

UNEVEN = torch.tensor([[0, -1, 2, 1], [-1, -1, 1, -1], [2, 2, 0, 1]])
EVEN = torch.tensor([[0, -1, 2, 1], [1, 0, 1, -1], [-1, 2, 0, 1]])


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_where_samples_have_as_many_labels_the_loss_is_that_of_torch() -> None:
    logits = random(3, 4, 3)
    expected = F.cross_entropy(logits.flatten(0, 1), EVEN.flatten(), ignore_index=-1)
    assert classification(EVEN, gaps=True).loss(logits).mean().item() == pytest.approx(expected.item(), rel=1e-12)


def test_a_sample_is_the_mean_over_its_labelled_positions() -> None:
    """With a bound, that of each of them; also of predictions stacked in front."""
    logits, task = random(2, 3, 4, 3), classification(UNEVEN, gaps=True)
    for i, sample in enumerate(UNEVEN):
        known = sample >= 0
        of, labels = logits[:, i, known], sample[known].expand(2, -1)
        losses = F.cross_entropy(of.movedim(-1, 1), labels, reduction="none")
        assert max_difference(task.loss(logits)[:, i], losses.mean(-1)) < 1e-12
        assert max_difference(task.loss(logits, 1.0)[:, i], losses.clamp(max=1).mean(-1)) < 1e-12
        assert max_difference(task.likelihood(logits)[:, i], torch.exp(-losses).mean(-1)) < 1e-12
        assert max_difference(task.score(logits)[:, i], (of.argmax(-1) == labels).double().mean(-1)) < 1e-12


def test_the_slope_is_the_derivative_of_the_loss_and_the_curve_that_of_the_slope() -> None:
    """By finite differences; both are 0 where there is no label."""
    logits, along, task = random(3, 4, 3), random(3, 4, 3).flip(0), classification(UNEVEN, gaps=True)
    step = 1e-5
    rise = (task.loss(logits + step * along) - task.loss(logits - step * along)) / (2 * step)
    turn = (task.slope(logits + step * along) - task.slope(logits - step * along)) / (2 * step)
    assert max_difference((task.slope(logits) * along).flatten(1).sum(-1), rise) < 1e-8
    assert max_difference(task.curve(logits, along), turn) < 1e-8
    assert not task.slope(logits)[UNEVEN < 0].any()
    assert not task.curve(logits, along)[UNEVEN < 0].any()


def test_autograd_agrees_with_the_slope() -> None:
    logits, task = random(3, 4, 3).requires_grad_(), classification(UNEVEN, gaps=True)
    (gradient,) = torch.autograd.grad(task.loss(logits).sum(), logits)
    assert max_difference(gradient, task.slope(logits.detach())) < 1e-12


def test_where_all_have_a_label_nothing_is_left_out() -> None:
    logits, target = random(3, 4, 3), UNEVEN.clamp(min=0)
    plain, gaps = classification(target), classification(target, gaps=True)
    assert plain.labelled is None
    for one, other in ((plain.loss, gaps.loss), (plain.score, gaps.score), (plain.slope, gaps.slope)):
        assert max_difference(one(logits), other(logits)) < 1e-12
