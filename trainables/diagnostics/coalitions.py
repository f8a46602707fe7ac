r"""Contributions of modalities to a score: a cooperative game whose value v(S) is the score with all but S muted.

Values are in the order of `all_coalitions`, the empty coalition included. The caller chooses the value of the empty
coalition: the network's own score with all modalities muted (METHODS.md 10.2), or that of the most frequent class.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import from_numpy

from trainables.diagnostics.checks import Floats, finite_array
from trainables.shapley import prefixes, sampled_weights, shapley_weights
from trainables.signals import all_subsets


def all_coalitions(modalities: int) -> NDArray[np.bool_]:
    """Return all coalitions of M modalities, [2**M, M]; the members of coalition s are the bits of s."""
    return prepend_empty(all_subsets(modalities).numpy())


def shapley(values: ArrayLike) -> Floats:
    """Return the Shapley value of each modality, [2**M] -> [M]; they sum to v(all) - v(none).

    A modality's mean marginal gain, with weight s! (M - s - 1)! / M! for joining s others.

    Raises:
        ValueError: the values are not finite, or not those of all coalitions.
    """
    game = check_values(values)
    return np.asarray(shapley_weights(num_modalities(game)).numpy() @ (game[1:] - game[0]))


def permutation_coalitions(ranks: ArrayLike) -> NDArray[np.bool_]:
    """Return the coalitions along N permutations of the modalities, [N, M] ranks -> [2 + N (M - 1), M].

    The empty and the full coalition, then the proper prefixes of each permutation.
    """
    return prepend_empty(prefixes(from_numpy(check_ranks(ranks))).numpy())


def sampled_shapley(values: ArrayLike, ranks: ArrayLike) -> Floats:
    """Return Shapley values estimated from N permutations, [M]: unbiased if they are drawn uniformly.

    For more modalities than `shapley` can take: 2 + N (M - 1) coalitions in place of 2**M. The sum is always exact.

    Args:
        values: of the coalitions of `permutation_coalitions`, [2 + N (M - 1)].
        ranks: position of each modality in each permutation, from 0, [N, M].

    Raises:
        ValueError: the values are not finite, not as many as the coalitions, or a row of ranks is no permutation.
    """
    game, ranks = finite_array("coalitions: values", values), check_ranks(ranks)
    count = 2 + len(ranks) * (ranks.shape[1] - 1)
    if len(game) != count:
        raise ValueError(
            f"coalitions: {len(ranks)} permutations need the values of {count} coalitions, got {len(game)}"
        )
    return np.asarray(sampled_weights(from_numpy(ranks)).numpy() @ (game[1:] - game[0]))


class Shape(NamedTuple):
    """SHAPE scores, in units of the score."""

    contribution: Floats  # [M] Shapley values
    cooperation: float  # gain of all modalities together minus the sum of the gains of each alone
    pairs: Floats  # [M, M] the same for every pair; 0 on the diagonal


def shape(values: ArrayLike) -> Shape:
    r"""Return the SHAPE scores (Hu, Li and Zhou, IJCAI 2022, https://arxiv.org/abs/2205.00302), of values [2**M].

    Contributions are Shapley values; cooperation is
    :math:`v(N) - v(\emptyset) - \sum_m (v(\{m\}) - v(\emptyset))`, negative where modalities are redundant.

    The authors' release (zhouyilab/SHAPE, evaluate.py) prints the accuracies with a modality zero-padded and does not
    compute the scores, and we have not seen the formulas of the paper: cooperation follows the implementation by
    another paper's baseline (LauraWenderoth/InterSHAP, synergy_evaluation/SHAPE.py), where v(none) is the frequency of
    the most frequent class. Unverified: whether the paper divides by the joint score, and its cooperation of more than
    two modalities; scores are not divided here, and ``pairs`` is ours.

    Raises:
        ValueError: the values are not finite, or not those of all coalitions.
    """
    game = check_values(values)
    bits = 2 ** np.arange(num_modalities(game))
    gain = game - game[0]
    pairs = gain[bits[:, None] | bits] - gain[bits][:, None] - gain[bits]
    np.fill_diagonal(pairs, 0)
    return Shape(shapley(game), float(gain[-1] - gain[bits].sum()), pairs)


def check_values(values: ArrayLike) -> Floats:
    """Return values as an array, [2**M]; raise a ValueError unless they are those of all coalitions, M at least 1."""
    game = finite_array("coalitions: values", values)
    if len(game) != 2 ** num_modalities(game) or len(game) < 2:
        raise ValueError(
            f"coalitions: M modalities have 2**M coalitions, the empty one included, got {len(game)} values"
        )
    return game


def num_modalities(game: Floats) -> int:
    """Return the number M of modalities of a game with 2**M values."""
    return len(game).bit_length() - 1


def check_ranks(ranks: ArrayLike) -> NDArray[np.int64]:
    """Return ranks as integers, [N, M]; raise a ValueError unless every row is a permutation."""
    array = finite_array("coalitions: ranks", ranks, axes=2)
    if (np.sort(array) != np.arange(array.shape[1])).any():
        raise ValueError("coalitions: ranks: every row must hold each number from 0 to M - 1 once")
    return array.astype(np.int64)


def prepend_empty(coalitions: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the coalitions with the empty one before them."""
    return np.concatenate([np.zeros_like(coalitions[:1]), coalitions])
