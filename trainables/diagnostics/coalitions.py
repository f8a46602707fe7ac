r"""Contributions of modalities to any score of a model: a game whose value v(S) is the score when only S is heard.

Values come in the order of `subsets`, the empty coalition included. What counts as its value is the caller's: the
network's own score with all modalities muted (METHODS.md 10.2), or that of the most frequent class.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import from_numpy

from trainables.diagnostics.checks import Floats, finite
from trainables.shapley import prefixes, sampled_weights, shapley_weights
from trainables.signals import all_subsets


def subsets(modalities: int) -> NDArray[np.bool_]:
    """Return all coalitions of M modalities, [2**M, M]; coalition s hears the bits of s."""
    return _after_silence(all_subsets(modalities).numpy())


def shapley(values: ArrayLike) -> Floats:
    """Return the Shapley value of each modality, [2**M] -> [M]; they sum to v(all) - v(none).

    A modality's mean gain, weighted s! (M - s - 1)! / M! where s others are heard already.

    Raises:
        ValueError: the values are not finite, or not those of all coalitions.
    """
    game = _game(values)
    return np.asarray(shapley_weights(_modalities(game)).numpy() @ (game[1:] - game[0]))


def arrivals(ranks: ArrayLike) -> NDArray[np.bool_]:
    """Return the coalitions met in some orders of arrival, [N, M] ranks -> [2 + N (M - 1), M].

    None, all, and then who is there at each moment of each order.
    """
    return _after_silence(prefixes(from_numpy(_orders(ranks))).numpy())


def sampled_shapley(values: ArrayLike, ranks: ArrayLike) -> Floats:
    """Return each modality's mean gain on arrival over N orders, [M]: unbiased where they are drawn uniformly.

    For modalities too many for `shapley`: N (M - 1) coalitions in place of 2**M. The sum is exact in any case.

    Args:
        values: of the coalitions of `arrivals`, [2 + N (M - 1)].
        ranks: when each modality arrives, from 0, [N, M].

    Raises:
        ValueError: the values are not finite, not those of the coalitions met, or a row of ranks is no permutation.
    """
    game, orders = finite("coalitions: values", values), _orders(ranks)
    met = 2 + len(orders) * (orders.shape[1] - 1)
    if len(game) != met:
        raise ValueError(f"coalitions: {len(orders)} orders meet {met} coalitions, got {len(game)} values")
    return np.asarray(sampled_weights(from_numpy(orders)).numpy() @ (game[1:] - game[0]))


class Shape(NamedTuple):
    """SHAPE scores, in units of the score."""

    contribution: Floats  # [M] Shapley values
    cooperation: float  # what all modalities gain together beyond the sum of what each gains alone
    pairs: Floats  # [M, M] the same of every two of them; 0 on the diagonal


def shape(values: ArrayLike) -> Shape:
    r"""Return the SHAPE scores (Hu, Li and Zhou, IJCAI 2022, https://arxiv.org/abs/2205.00302), of values [2**M].

    Contributions are Shapley values; cooperation is
    :math:`v(N) - v(\emptyset) - \sum_m (v(\{m\}) - v(\emptyset))`, negative where modalities are redundant.

    The authors' release (zhouyilab/SHAPE, evaluate.py) prints the accuracies with a modality zero-padded and leaves
    the scores to the paper, whose formulas we have not seen: cooperation follows the reading of another paper's
    baseline (LauraWenderoth/InterSHAP, synergy_evaluation/SHAPE.py), where v(none) is the share of the most frequent
    class. Unverified: whether the paper divides by the joint score, and its cooperation of more than two modalities;
    scores are undivided here, and ``pairs`` is ours.

    Raises:
        ValueError: the values are not finite, or not those of all coalitions.
    """
    game = _game(values)
    bits = 2 ** np.arange(_modalities(game))
    gain = game - game[0]
    pairs = gain[bits[:, None] | bits] - gain[bits][:, None] - gain[bits]
    np.fill_diagonal(pairs, 0)
    return Shape(shapley(game), float(gain[-1] - gain[bits].sum()), pairs)


def _game(values: ArrayLike) -> Floats:
    """Return the values of all coalitions of at least one modality."""
    game = finite("coalitions: values", values)
    if len(game) != 2 ** _modalities(game) or len(game) < 2:
        raise ValueError(
            f"coalitions: M modalities have 2**M coalitions, the empty one included, got {len(game)} values"
        )
    return game


def _modalities(game: Floats) -> int:
    return len(game).bit_length() - 1


def _orders(ranks: ArrayLike) -> NDArray[np.int64]:
    """Return ranks of which every row is a permutation."""
    orders = finite("coalitions: ranks", ranks, axes=2)
    if (np.sort(orders) != np.arange(orders.shape[1])).any():
        raise ValueError("coalitions: ranks: every row must hold 0 to M - 1 once")
    return orders.astype(np.int64)


def _after_silence(heard: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the coalitions after the empty one."""
    return np.concatenate([np.zeros_like(heard[:1]), heard])
