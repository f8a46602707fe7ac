"""AGM: values by hand, the authors' hooks, and the invariants of METHODS.md 14."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.trainables.helpers import batch, network, pose, setup, untrained
from trainables.methods.agm import AGM, lead, prefixes, sampled_weights, shapley_weights
from trainables.signals import Params, Signals, all_subsets, leaves, mix
from trainables.train import step

scores = st.lists(st.floats(0, 18), min_size=2, max_size=6)


def test_shares_of_two_modalities_by_hand() -> None:
    """A^a = (f(av) - f(v) + f(a)) / 2; coalitions are a, v, av."""
    a, v, av = 1.0, 5.0, 8.0
    shares = shapley_weights(2) @ torch.tensor([a, v, av], dtype=torch.float64)
    assert shares.tolist() == [(av - v + a) / 2, (av - a + v) / 2]


def test_coefficients_of_two_modalities_by_hand() -> None:
    """With M = 2, r_a = exp(s_v - s_a); a first batch has tau = 1, so kappa = exp(alpha (1 - r))."""
    model = network(2)
    made = setup(AGM(alpha=0.7), model)
    inputs, target = batch(model, 0)
    learner = untrained(made)
    after, metrics = step(made, learner, inputs, pose(target, 0))
    s = metrics["method.score"]
    by_hand = [math.exp(0.7 * (1 - math.exp(s[1] - s[0]))), math.exp(0.7 * (1 - math.exp(s[0] - s[1])))]
    assert metrics["method.scale"].tolist() == pytest.approx(by_hand, rel=1e-12)
    assert after.state.history[0].tolist() == pytest.approx(s.tolist(), rel=1e-12)


@pytest.mark.parametrize("fusion", ["concat", "sum", "early"])
def test_the_gradient_is_that_of_the_authors_hooks(fusion: str) -> None:
    """Their hooks multiply what arrives at each share by kappa_m: sum over m of the share's own backward pass."""
    model = network(3, fusion)
    made = setup(AGM(alpha=1.3), model)
    learner = untrained(made)
    inputs, target = batch(model, 0)
    task = pose(target, 0)
    _, metrics = step(made, learner, inputs, task)
    params = learner.params
    inner = [p.requires_grad_() for p in leaves(params)]
    signals, _ = model(params, learner.buffers, inputs, frozenset({"muted"}), coalitions=all_subsets(3))
    shares = mix(shapley_weights(3), signals.muted)
    arriving = torch.autograd.grad(task.objective(shares.sum(0)), shares, retain_graph=True)[0]
    by_hooks = torch.autograd.grad(
        shares, inner, arriving * metrics["method.scale"].view(-1, 1, 1), retain_graph=True, allow_unused=True
    )
    spied: list[torch.Tensor] = []

    def pull(f: Callable[[Signals], torch.Tensor]) -> Params:
        spied.extend(torch.autograd.grad(f(signals), inner, retain_graph=True, allow_unused=True))
        return params

    made.method.step(learner.state, signals, task, pull)
    for ours, theirs in zip(spied, by_hooks, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-10, atol=1e-12)


@given(st.integers(1, 6), st.data())
def test_shares_sum_to_the_prediction_of_all(modalities: int, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.floats(-50, 50), min_size=2**modalities - 1, max_size=2**modalities - 1))
    f = torch.tensor(values, dtype=torch.float64)
    assert float((shapley_weights(modalities) @ f).sum()) == pytest.approx(values[-1], abs=1e-9)


@given(scores)
def test_equal_scores_lead_nobody(values: list[float]) -> None:
    assert lead(torch.full((len(values),), values[0], dtype=torch.float64)).tolist() == pytest.approx(
        [1.0] * len(values)
    )


@given(scores)
def test_the_lowest_loss_leads(values: list[float]) -> None:
    ahead = lead(torch.tensor(values, dtype=torch.float64))
    assert ahead[values.index(min(values))] == ahead.max() >= 1 - 1e-12


def test_a_modality_that_the_network_ignores_gets_its_share_of_silence() -> None:
    """v(empty) counts as 0 and f(muted) does not, so a dummy's share is f(all muted) / M, not 0."""
    said, silent = 3.0, 0.5  # modality 0 is heard or not; modality 1 changes nothing
    f = torch.tensor([said, silent, said], dtype=torch.float64)  # {0}, {1}, {0, 1}
    assert (shapley_weights(2) @ f)[1] == silent / 2


@pytest.mark.parametrize("modalities", [2, 3, 4, 5])
def test_all_orders_give_the_exact_shares(modalities: int) -> None:
    orders = torch.tensor(list(itertools.permutations(range(modalities))))
    f = torch.randn(2**modalities, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    f[0] = 0

    def value(coalitions: torch.Tensor) -> torch.Tensor:
        return f[(coalitions * 2 ** torch.arange(modalities)).sum(-1)]

    sampled = sampled_weights(orders) @ value(prefixes(orders))
    assert torch.allclose(sampled, shapley_weights(modalities) @ value(all_subsets(modalities)), rtol=1e-12)


def test_sampled_shares_sum_to_the_prediction_with_twenty_modalities() -> None:
    model = network(20)
    made = setup(AGM(samples=3), model)
    inputs, target = batch(model, 0)
    task = pose(target, 0)
    coalitions = made.method.coalitions(20, task)
    learner = untrained(made)
    signals, _ = model(learner.params, learner.buffers, inputs, frozenset({"muted"}), coalitions=coalitions)
    weights = made.method.weights(20, task)
    assert torch.allclose(mix(weights, signals.muted).sum(0), signals.logits, rtol=1e-10)
    assert coalitions.shape == (1 + 3 * 19, 20)


def test_seven_modalities_without_samples_are_refused() -> None:
    _, target = batch(network(1), 0)
    with pytest.raises(ValueError, match=r"7 modalities have 128 coalitions; set agm\.samples"):
        AGM().coalitions(7, pose(target, 0))


def test_the_cap_bounds_the_coefficient() -> None:
    method = AGM(alpha=1.0, cap=0.1)
    model = network(2)
    made = setup(method, model)
    learner = untrained(made)
    largest = 0.0
    for number in range(30):
        inputs, target = batch(model, number)
        learner, metrics = step(made, learner, inputs, pose(target, number))
        largest = max(largest, float(metrics["method.scale"].max()))
    assert largest == pytest.approx(math.exp(0.1), rel=1e-12)


def test_a_silent_probability_counts_as_its_floor() -> None:
    """A share that gives the true class probability 0 scores -log 1e-8, not infinity."""
    hopeless = torch.tensor([[[-1e6, 0.0, 0.0]], [[0.0, 0.0, 0.0]], [[-1e6, 0.0, 0.0]]], dtype=torch.float64)
    task = pose(torch.tensor([0]), 0)
    method = AGM()
    state = method.init(untrained(setup(method, network(2))).params)
    signals = Signals(logits=hopeless[2], muted=hopeless)
    made = method.step(state, signals, task, lambda f: f(signals))  # type: ignore[arg-type, return-value]
    assert made.metrics["score"][0].item() == pytest.approx(-math.log(1e-8))
    assert made.metrics["scale"].isfinite().all()
