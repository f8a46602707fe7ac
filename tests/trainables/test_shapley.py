"""Shapley shares: values by hand, all permutations, and modalities that are absent."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.shapley import (
    prefixes,
    presence_code,
    present_sampled_weights,
    present_weights,
    sampled_weights,
    shapley_weights,
)
from trainables.signals import all_subsets


def test_shares_of_two_modalities_by_hand() -> None:
    """A^a = (f(av) - f(v) + f(a)) / 2; coalitions are a, v, av."""
    a, v, av = 1.0, 5.0, 8.0
    shares = shapley_weights(2) @ torch.tensor([a, v, av], dtype=torch.float64)
    assert shares.tolist() == [(av - v + a) / 2, (av - a + v) / 2]


@given(st.integers(1, 6), st.data())
def test_shares_sum_to_the_prediction_of_all(modalities: int, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.floats(-50, 50), min_size=2**modalities - 1, max_size=2**modalities - 1))
    f = torch.tensor(values, dtype=torch.float64)
    assert float((shapley_weights(modalities) @ f).sum()) == pytest.approx(values[-1], abs=1e-9)


def test_a_modality_that_the_network_ignores_gets_its_share_of_the_muted_prediction() -> None:
    """v(empty) counts as 0 and f(muted) does not, so a dummy's share is f(all muted) / M, not 0."""
    present, muted = 3.0, 0.5  # whether modality 0 is present or muted; modality 1 changes nothing
    f = torch.tensor([present, muted, present], dtype=torch.float64)  # {0}, {1}, {0, 1}
    assert (shapley_weights(2) @ f)[1] == muted / 2


@pytest.mark.parametrize("modalities", [2, 3, 4, 5])
def test_all_orders_give_the_exact_shares(modalities: int) -> None:
    orders = torch.tensor(list(itertools.permutations(range(modalities))))
    f = torch.randn(2**modalities, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    f[0] = 0

    def value(coalitions: torch.Tensor) -> torch.Tensor:
        return f[(coalitions * 2 ** torch.arange(modalities)).sum(-1)]

    sampled = sampled_weights(orders) @ value(prefixes(orders))
    assert torch.allclose(sampled, shapley_weights(modalities) @ value(all_subsets(modalities)), rtol=1e-12)


@given(st.integers(1, 5), st.data())
def test_shares_of_the_present_sum_to_the_prediction(modalities: int, data: st.DataObject) -> None:
    """For every set of present modalities; the absent have no share, and nobody present has no shares at all."""
    values = data.draw(st.lists(st.floats(-50, 50), min_size=2**modalities - 1, max_size=2**modalities - 1))
    shares = torch.einsum("msp,s->pm", present_weights(modalities), torch.tensor(values, dtype=torch.float64))
    for present in range(2**modalities):
        members = [m for m in range(modalities) if present >> m & 1]
        assert float(shares[present].sum()) == pytest.approx(values[-1] if members else 0.0, abs=1e-9)
        assert all(shares[present, m] == 0 for m in range(modalities) if m not in members)


def test_all_present_is_the_plain_shapley_value_and_one_absent_is_a_smaller_game() -> None:
    assert torch.equal(present_weights(3)[..., 7], shapley_weights(3))
    without_first = present_weights(3)[..., 0b110]  # coalitions by bits: {1} is 2, {2} is 4, both is the joint pass, 7
    assert torch.equal(without_first[1:][:, [1, 3, 6]], shapley_weights(2))


@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_all_orders_give_the_exact_shares_of_the_present(modalities: int) -> None:
    orders = torch.tensor(list(itertools.permutations(range(modalities))))
    f = torch.randn(2**modalities, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    patterns = torch.arange(2**modalities)
    present = (patterns >> torch.arange(modalities)[:, None]) & 1 == 1  # [M, B], one sample a pattern
    assert torch.equal(presence_code(present), patterns)

    def prediction(coalitions: torch.Tensor) -> torch.Tensor:
        """What a sample predicts depends on the members of the coalition that it has, [S, B]."""
        return f[((coalitions[:, :, None] & present) * 2 ** torch.arange(modalities)[:, None]).sum(1)]

    sampled = (present_sampled_weights(orders, present) * prediction(prefixes(orders))).sum(1)
    exact = (present_weights(modalities)[:, :, patterns] * prediction(all_subsets(modalities))).sum(1)
    assert torch.allclose(sampled, exact, atol=1e-12)
    without_first = (present_sampled_weights(orders, present, first=False) * prediction(prefixes(orders))).sum(1)
    alone = prediction(torch.eye(modalities, dtype=torch.bool)) / present.sum(0).clamp(min=1)
    assert torch.allclose(without_first, exact - torch.where(present, alone, 0.0), atol=1e-12)
