"""OGM and OGM-GE: values by hand, the filter and the noise."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.trainables.helpers import batch, make_learner, make_setup, make_task, max_difference, network, train
from trainables.methods.joint import Joint
from trainables.methods.ogm import BOUNDS, OGM, coefficients, damping_factors, ratios, selected_names
from trainables.methods.ogm_ge import OGMGE
from trainables.signals import Signals, Task
from trainables.step import step
from trainables.tasks import classification


def scores(*probabilities: float) -> torch.Tensor:
    return torch.tensor(probabilities, dtype=torch.float64)


def test_the_leading_modality_is_damped_by_hand() -> None:
    """rho = 0.8 / 0.4 = 2, so k = 1 - tanh(2 alpha); the other keeps its gradient."""
    assert damping_factors(ratios(scores(0.8, 0.4)), 0.3).tolist() == pytest.approx(
        [1 - math.tanh(0.6), 1.0], rel=1e-12
    )


def test_three_modalities_compare_with_the_mean_of_the_others() -> None:
    k = damping_factors(ratios(scores(0.9, 0.5, 0.1)), 1.0)
    assert k.tolist() == pytest.approx([1 - math.tanh(0.9 / 0.3), 1.0, 1.0], rel=1e-12)


@given(st.lists(st.floats(0.01, 0.99), min_size=2, max_size=2), st.floats(0.01, 2))
def test_of_two_modalities_at_most_one_is_damped(probabilities: list[float], alpha: float) -> None:
    k = damping_factors(ratios(scores(*probabilities)), alpha)
    assert (k == 1).sum() >= 1
    assert ((k >= 0) & (k <= 1)).all()


def test_a_modality_that_is_always_wrong_gives_no_nan() -> None:
    assert damping_factors(ratios(scores(0.0, 0.0)), 1.0).tolist() == [1, 1]
    assert damping_factors(ratios(scores(0.5, 0.0)), 1.0).tolist() == [0, 1]


def test_the_score_is_the_mean_probability_of_the_true_class() -> None:
    """Of every position, where the target is dense: not the exponential of a mean loss."""
    logits = torch.log(torch.tensor([[[0.9, 0.1], [0.3, 0.7]]], dtype=torch.float64))  # [B=1, L=2, C=2]
    assert classification(torch.tensor([[0, 0]])).likelihood(logits).item() == pytest.approx(0.6)


def test_the_filter_says_which_tensors_are_scaled() -> None:
    linear = {"0.weight": torch.zeros(2, 3), "0.bias": torch.zeros(2)}
    convolution = {"0.weight": torch.zeros(2, 1, 5, 5), "2.weight": torch.zeros(2, 3), "2.bias": torch.zeros(2)}
    assert selected_names(linear, "conv4d") == frozenset()
    assert selected_names(linear, "auto") == selected_names(linear, "ndim>1") == {"0.weight"}
    assert selected_names(convolution, "auto") == selected_names(convolution, "conv4d") == {"0.weight"}
    assert selected_names(convolution, "all") == set(convolution)


def test_conv4d_leaves_encoders_without_convolutions_to_joint_training() -> None:
    model = network(2)
    assert max_difference(train(OGM(1.0, "conv4d"), model, 10).params, train(Joint(), model, 10).params) == 0


def test_without_noise_it_is_ogm() -> None:
    model = network(2)
    assert max_difference(train(OGMGE(0.5, noise=0.0), model, 10).params, train(OGM(0.5), model, 10).params) < 1e-15


@pytest.mark.parametrize("ratio", ["mean", "bb", "bb3"])
@pytest.mark.parametrize("modalities", [2, 3])
def test_a_modality_that_is_alone_is_trained_as_without_it(ratio: str, modalities: int) -> None:
    """The only one there is, and the only one in a batch."""
    method, model = OGMGE(ratio=ratio), network(1)
    assert max_difference(train(method, model, 5).params, train(Joint(), model, 5).params) == 0
    model = network(modalities)
    inputs, target = batch(model, 0)
    present = torch.ones(modalities, len(target), dtype=torch.bool)
    present[1:] = False
    setup, plain = make_setup(method, model), make_setup(Joint(), model)
    task = make_task(target, 0, present=present)
    ours, joint = (step(one, make_learner(one), inputs, task)[0].params for one in (setup, plain))
    assert max_difference(ours, joint) == 0


def coefficients_without(ratio: str, *, absent: int, modalities: int) -> tuple[dict[str, Tensor], Tensor, Task]:
    """Return the coefficients in a batch that lacks a modality, the others' logits, and the task of a full batch."""
    target = torch.arange(12) % 4
    drawn = torch.randn(modalities, 12, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logits = drawn + torch.arange(1, modalities + 1).view(-1, 1, 1) * torch.nn.functional.one_hot(target)
    task, there = make_task(target, 0), torch.arange(modalities) != absent
    masked = task._replace(present=there[:, None].expand(-1, 12))
    result = coefficients(Signals(logits, unimodal=logits), masked, 0.5, ratio, BOUNDS)
    assert all(values[absent] == 1 for values in result.values())
    return {name: values[there] for name, values in result.items()}, logits[there], task


@pytest.mark.parametrize("ratio", ["mean", "bb", "bb3"])
@pytest.mark.parametrize("absent", [0, 1, 2])
def test_two_of_three_modalities_are_compared_as_if_there_were_no_third(ratio: str, absent: int) -> None:
    ours, logits, task = coefficients_without(ratio, absent=absent, modalities=3)
    alone = coefficients(Signals(logits, unimodal=logits), task, 0.5, ratio, BOUNDS)
    assert all(torch.allclose(ours[name], values, rtol=1e-12) for name, values in alone.items())
    assert (ours["scale"] < 0.9).tolist() == [False, True]


@pytest.mark.parametrize("absent", [0, 1, 3])
def test_the_benchmark_compares_three_of_four_by_hand(absent: int) -> None:
    """Over the least of the three, or the sum over the two others, of which the last one's is halved."""
    result, logits, task = coefficients_without("bb", absent=absent, modalities=4)
    score = (task.likelihood(logits.cos()) * task.score(logits)).sum(-1)
    assert torch.allclose(result["ratio"], score / (score.min() + 1e-5), rtol=1e-12)
    result, logits, task = coefficients_without("bb3", absent=absent, modalities=4)
    a, b, c = task.likelihood(logits).sum(-1).tolist()
    sums = [a / (b + 1e-5) + a / (c + 1e-5), b / (a + 1e-5) + b / (c + 1e-5), c / (a + 1e-5) + c / (b + 1e-5)]
    assert result["ratio"].tolist() == pytest.approx([*sums[:2], sums[2] / 2], rel=1e-12)


def test_noise_has_the_deviation_of_the_gradient_it_joins() -> None:
    """With alpha = 0 the change is the noise alone: its mean square over many seeds is the gradient's variance."""
    model = network(2)
    inputs, target = batch(model, 0)
    plain, squares = make_setup(Joint(), model, lr=1.0), []
    learner = make_learner(plain)
    before, _ = step(plain, learner, inputs, make_task(target, 0))
    gradient = learner.params.encoders["m0"]["0.weight"] - before.params.encoders["m0"]["0.weight"]
    noisy = make_setup(OGMGE(alpha=0.0), model, lr=1.0)
    for seed in range(200):
        after, _ = step(noisy, learner, inputs, make_task(target, 0, seed=seed))
        noise = before.params.encoders["m0"]["0.weight"] - after.params.encoders["m0"]["0.weight"]
        squares.append(noise.square().mean())
        assert max_difference(after.params.shared, before.params.shared) == 0
        assert after.params.encoders["m0"]["0.bias"].equal(before.params.encoders["m0"]["0.bias"])
    assert float(torch.stack(squares).mean()) == pytest.approx(float(gradient.var()), rel=0.1)
