"""Moments of a gradient from its past and over the batch: against their definitions, and for sources that are absent."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.trainables.test_evidence import close, randn, seeds
from trainables.evidence import aggregate
from trainables.moments import Moments, has_variance, init_moments, sample_variance, update


def running_moments(rows: Tensor, beta: float | Tensor) -> Moments:
    moments = init_moments(rows[0])
    for row in rows:
        moments = update(moments, row, beta)
    return moments


@given(seeds, st.integers(2, 12), st.floats(0.05, 0.999))
def test_running_moments_are_the_debiased_averages(seed: int, steps: int, beta: float) -> None:
    """m1 and m2 of METHODS.md 8.4, written out."""
    rows = randn(seed, steps, 2, 3)
    first = second = torch.zeros_like(rows[0])
    for row in rows:
        first, second = beta * first + (1 - beta) * row, beta * second + (1 - beta) * row.square()
    first, second = first / (1 - beta**steps), second / (1 - beta**steps)
    moments = running_moments(rows, beta)
    assert close(moments.mean, first, 1e-10)
    assert close(moments.variance, second - first.square(), 1e-10)


def test_one_gradient_has_no_variance() -> None:
    assert [bool(has_variance(running_moments(randn(0, count, 2, 3), 0.9))) for count in (1, 2)] == [False, True]
    assert not has_variance(init_moments(randn(0, 2, 3)))


def test_a_source_that_is_absent_keeps_its_moments() -> None:
    rows, present = randn(0, 5, 2, 3), torch.tensor([[True], [False]])
    before = running_moments(rows[:3], 0.9)
    after = update(before, rows[3], 0.9, present)
    for updated, old, new in zip(after, before, update(before, rows[3], 0.9), strict=True):
        assert torch.equal(updated[1], old[1])
        assert torch.equal(updated[0], new[0])
    fresh = update(init_moments(rows[0]), rows[0], 0.9, present)
    assert not has_variance(fresh, present)
    assert has_variance(update(fresh, rows[1], 0.9, present), present)
    assert not has_variance(update(fresh, rows[1], 0.9, present))


def test_a_constant_gradient_has_no_variance() -> None:
    moments = running_moments(torch.full((50, 2, 3), 0.1), 0.95)
    assert not moments.variance.any()
    assert aggregate(moments.mean, moments.variance, 0.5, 2.0).isfinite().all()


def test_running_moments_of_eight_decays_at_once() -> None:
    rows, beta = randn(0, 6, 8, 2, 3).float(), torch.linspace(0.5, 0.99, 8, dtype=torch.float64)
    together = torch.func.vmap(running_moments, in_dims=(1, 0))(rows, beta)
    alone = [running_moments(rows[:, i], beta[i]) for i in range(8)]
    assert together.variance.dtype == torch.float32
    assert close(together.variance, torch.stack([moments.variance for moments in alone]), 1e-5)


def test_the_variance_over_the_batch_by_hand() -> None:
    rows = randn(0, 9, 4)
    by_hand = (rows - rows.mean(0)).square().sum(0) / 8 / 9
    assert close(sample_variance(rows), by_hand)
    assert bool((sample_variance(rows[:1]) == 1).all())
    present = torch.arange(9) < 4
    assert close(sample_variance(rows, present), sample_variance(rows[:4]))
    assert bool((sample_variance(rows, torch.arange(9) < 1) == 1).all())
