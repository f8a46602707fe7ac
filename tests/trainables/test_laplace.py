"""The Laplace posterior of a head, and the moments of the gradient of its features."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.trainables.helpers import make_task
from trainables.laplace import (
    Gaussian,
    GradientMoments,
    append_bias_input,
    curvature,
    prior,
    regression_moments,
    regression_posterior,
    sample_heads,
    sampled_moments,
)
from trainables.methods import bogc

CLASSES, FEATURES, SAMPLES = 3, 4, 7
SIZE = CLASSES * (FEATURES + 1)


def randn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def classification_data(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """A head, features and classes."""
    target = torch.arange(SAMPLES) % CLASSES
    return randn(seed, CLASSES, FEATURES + 1), randn(seed + 1, SAMPLES, FEATURES), target


def close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-10) -> bool:
    return torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def posterior(head: Tensor, features: Tensor, target: Tensor, before: Gaussian) -> Gaussian:
    return bogc.posterior(head, features, None, make_task(target, 0), before)


def summed_loss(head: Tensor, features: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(append_bias_input(features) @ head.view(CLASSES, -1).mT, target, reduction="sum")


@pytest.mark.parametrize("seed", range(5))
def test_the_precision_is_the_hessian_of_the_loss(seed: int) -> None:
    """For a linear head, Gauss-Newton is exact."""
    head, features, target = classification_data(seed)
    hessian = torch.func.jacrev(torch.func.grad(summed_loss))(head.flatten(), features, target)
    x = append_bias_input(features)
    assert close(curvature((x @ head.mT).softmax(-1), x), hessian)


def test_no_data_leave_the_prior() -> None:
    head, features, target = classification_data(0)
    before = prior(head.flatten(), 0.3)
    after = posterior(head, features[:0], target[:0], before)
    for ours, theirs in zip(after, before, strict=True):
        assert close(ours, theirs)
    linear = prior(features[:2], 0.3)
    for ours, theirs in zip(regression_posterior(features[:0], features[:0, :2], linear), linear, strict=True):
        assert close(ours, theirs)


def test_the_factor_is_that_of_the_inverse_precision() -> None:
    head, features, target = classification_data(0)
    after = posterior(head, features, target, prior(head.flatten(), 0.5))
    covariance = torch.linalg.inv(after.precision)
    assert close(after.covariance, covariance)
    assert close(after.factor, torch.linalg.cholesky(covariance))


def test_newton_steps_end_where_the_gradient_is_zero() -> None:
    head, features, target = classification_data(0)
    before = prior(head.flatten(), 0.5)
    for _ in range(20):
        head = posterior(head, features, target, before).mean.view_as(head)
    slope = torch.func.grad(summed_loss)(head.flatten(), features, target) + before.precision @ head.flatten()
    assert float(slope.abs().max()) < 1e-10
    assert close(posterior(head, features, target, before).mean, head.flatten())


def test_a_sampled_gradient_is_that_of_autograd() -> None:
    head, features, target = classification_data(0)
    heads = torch.stack([head, head])
    theirs = torch.func.grad(lambda h: summed_loss(head, h, target))(features)
    moments = sampled_moments(heads, features, make_task(target, 0).slope)
    assert close(moments.mean, theirs)
    assert bool((moments.variance == 1e-8).all())


def test_sampled_heads_have_the_moments_of_the_posterior() -> None:
    head, features, target = classification_data(0)
    after = posterior(head, features, target, prior(head.flatten(), 0.5))
    rows = sample_heads(after, randn(1, 40_000, SIZE), CLASSES).flatten(1)
    assert close(rows.mean(0), after.mean, 0.03)
    assert close(rows.T.cov(), after.covariance, 0.03)


def test_a_regression_is_bayesian_linear_regression() -> None:
    features, target = randn(0, SAMPLES, FEATURES), randn(1, SAMPLES, 2)
    before = prior(features[:2], 0.5)
    after = regression_posterior(features, target, before)
    precision = features.T @ features + torch.eye(FEATURES, dtype=torch.float64) / 0.5
    assert close(after.mean, torch.linalg.solve(precision, features.T @ target).T)
    halves = regression_posterior(features[:3], target[:3], before)
    assert close(regression_posterior(features[3:], target[3:], halves).mean, after.mean)


def test_the_moments_of_a_regression_are_those_of_many_draws() -> None:
    features, target = randn(0, SAMPLES, FEATURES), randn(1, SAMPLES, 2)
    after = regression_posterior(features, target, prior(features[:2], 0.5))
    w = after.mean[:, None] + randn(2, 200_000, FEATURES) @ after.factor.mT  # [O, N, H]
    exact = regression_moments(after, features, target)
    for n in range(SAMPLES):
        gradients = 2 * (w @ features[n] - target[n, :, None])[..., None] * w
        assert torch.allclose(gradients.mean(1), exact.mean[:, n], atol=0.02)
        assert torch.allclose(gradients.var(1), exact.variance[:, n], rtol=0.03)


def test_eight_heads_at_once_are_eight_alone() -> None:
    heads, features = randn(0, 8, CLASSES, FEATURES + 1), randn(1, 8, SAMPLES, FEATURES)
    gamma, draws = torch.linspace(0.1, 2, 8, dtype=torch.float64), randn(2, 8, 5, SIZE)
    target = torch.arange(SAMPLES) % CLASSES

    def one(head: Tensor, features: Tensor, gamma: Tensor, draws: Tensor) -> tuple[GradientMoments, ...]:
        after = posterior(head, features, target, prior(head.flatten(), gamma))
        linear = regression_posterior(features, features[:, :2], prior(head[:2, :-1], gamma))
        return (
            sampled_moments(sample_heads(after, draws, CLASSES), features, make_task(target, 0).slope),
            regression_moments(linear, features, features[:, :2]),
        )

    together = torch.func.vmap(one)(heads, features, gamma, draws)
    for i, inputs in enumerate(zip(heads, features, gamma, draws, strict=True)):
        for ours, theirs in zip(together, one(*inputs), strict=True):
            assert close(ours.mean[i], theirs.mean)
            assert close(ours.variance[i], theirs.variance)


def test_a_posterior_in_float32_stays_finite() -> None:
    head, features, target = (t.float() if t.is_floating_point() else t for t in classification_data(0))
    after = posterior(head, 1e3 * features, target, prior(head.flatten(), 0.005))
    assert after.factor.dtype == torch.float32
    assert after.factor.isfinite().all()


def test_a_head_that_is_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match=r"2050 parameters needs a 2050 x 2050 posterior.*moments\.update"):
        prior(torch.zeros(2050), 0.5)
