"""Diagnostics: values by hand, the axioms behind them, and what is undefined."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.replay.competition import replay_release, select_replay
from trainables import diagnostics
from trainables.data.parameters import parse_parameters
from trainables.data.truth import planted_contributions
from trainables.diagnostics import (
    all_coalitions,
    calibration_error,
    competition_strength,
    cosine,
    permutation_coalitions,
    preferred_modality,
    rank_correlation,
    sampled_shapley,
    shape,
    shapley,
    shares,
    summarise,
)

NAN = float("nan")
score = st.floats(-100, 100)
vector = st.lists(st.floats(0.01, 10) | st.floats(-10, -0.01), min_size=4, max_size=4)


def games(modalities: st.SearchStrategy[int]) -> st.SearchStrategy[list[float]]:
    return modalities.flatmap(lambda m: st.lists(score, min_size=2**m, max_size=2**m))


def all_permutations(modalities: int) -> np.ndarray:
    return np.array(list(itertools.permutations(range(modalities))))


def index(heard: np.ndarray) -> np.ndarray:
    return heard @ 2 ** np.arange(heard.shape[1])


def test_coalitions_start_with_the_empty_and_end_with_the_full_one() -> None:
    assert all_coalitions(2).tolist() == [[False, False], [True, False], [False, True], [True, True]]
    assert index(all_coalitions(5)).tolist() == list(range(32))


def test_shapley_values_of_two_modalities_by_hand() -> None:
    """phi_a = (v(a) - v() + v(av) - v(v)) / 2 = (0.5 - 0.1 + 0.9 - 0.4) / 2."""
    assert shapley([0.1, 0.5, 0.4, 0.9]) == pytest.approx([0.45, 0.35], rel=1e-12)


def test_shapley_values_of_three_modalities_by_hand() -> None:
    """A majority of two wins, and the first has a veto: it is decisive in 4 of 6 orders, each other in 1."""
    none, a, b, ab, c, ac, bc, abc = 0, 0, 0, 1, 0, 1, 0, 1
    assert shapley([none, a, b, ab, c, ac, bc, abc]) == pytest.approx([2 / 3, 1 / 6, 1 / 6], rel=1e-12)


@given(games(st.integers(1, 6)))
def test_shapley_values_share_out_the_whole_gain(values: list[float]) -> None:
    assert shapley(values).sum() == pytest.approx(values[-1] - values[0], abs=1e-10)


@given(st.lists(score, min_size=1, max_size=9), score)
def test_in_an_additive_game_everyone_gets_their_own(gains: list[float], silence: float) -> None:
    values = silence + all_coalitions(len(gains)) @ np.array(gains)
    assert shapley(values) == pytest.approx(gains, abs=1e-9)
    scores = shape(values)
    assert scores.cooperation == pytest.approx(0, abs=1e-9)
    assert np.abs(scores.pairs).max() < 1e-9


@given(games(st.integers(1, 4)))
def test_a_modality_that_changes_nothing_gets_nothing(values: list[float]) -> None:
    contributions = shapley(values + values)  # the new modality is the highest bit
    assert contributions[-1] == pytest.approx(0, abs=1e-10)
    assert contributions[:-1] == pytest.approx(shapley(values), abs=1e-10)


@given(games(st.just(4)), st.permutations(range(4)))
def test_relabelling_the_modalities_relabels_their_scores(values: list[float], order: list[int]) -> None:
    relabelled = np.array(values)[index(all_coalitions(4)[:, np.argsort(order)])]
    assert shapley(relabelled) == pytest.approx(shapley(values)[order], abs=1e-10)
    assert shape(relabelled).pairs == pytest.approx(shape(values).pairs[np.ix_(order, order)], abs=1e-10)


def test_modalities_that_do_the_same_get_the_same() -> None:
    sizes = all_coalitions(5).sum(1)
    assert shapley(np.sqrt(sizes)) == pytest.approx([math.sqrt(5) / 5] * 5, rel=1e-12)


@given(games(st.integers(1, 4)))
def test_all_orders_together_give_the_exact_values(values: list[float]) -> None:
    ranks = all_permutations(len(values).bit_length() - 1)
    met = np.array(values)[index(permutation_coalitions(ranks))]
    assert sampled_shapley(met, ranks) == pytest.approx(shapley(values), abs=1e-9)


def test_one_order_gives_the_gains_along_it() -> None:
    """b arrives first, then c, then a; v is 10 a + 1 b + 100 c, and 1000 if a and c are both there."""
    ranks = [[2, 0, 1]]
    heard = permutation_coalitions(ranks)
    assert heard.tolist() == [[False] * 3, [True] * 3, [False, True, False], [False, True, True]]
    values = heard @ [10, 1, 100] + 1000 * (heard[:, 0] & heard[:, 2])
    assert sampled_shapley(values, ranks).tolist() == [1010, 1, 100]


def test_sampled_values_of_many_modalities_share_out_the_whole_gain() -> None:
    draw = np.random.default_rng(0)
    ranks = draw.random((7, 12)).argsort(1)
    values = draw.normal(size=2 + 7 * 11)
    assert sampled_shapley(values, ranks).sum() == pytest.approx(values[1] - values[0], rel=1e-9)


def test_shape_scores_of_two_modalities_by_hand() -> None:
    """Cooperation: 0.9 - 0.5 - 0.4 + 0.1; what is left of 0.8 is 0.4 of a alone and 0.3 of v alone."""
    scores = shape([0.1, 0.5, 0.4, 0.9])
    assert scores.contribution == pytest.approx([0.45, 0.35], rel=1e-12)
    assert scores.cooperation == pytest.approx(0.1, rel=1e-12)
    assert scores.pairs == pytest.approx(np.array([[0, 0.1], [0.1, 0]]), rel=1e-12)


def test_shape_scores_tell_synergy_from_redundancy() -> None:
    """XOR of a and b is worth 1 only together; c and d hold the same: either is worth 2, both no more."""
    a, b, c, d = all_coalitions(4).T
    scores = shape(1.0 * (a & b) + 2.0 * (c | d))
    assert scores.contribution == pytest.approx([0.5, 0.5, 1, 1], rel=1e-12)
    assert scores.cooperation == pytest.approx(1 - 2, rel=1e-12)
    assert scores.pairs[np.triu_indices(4, 1)] == pytest.approx([1, 0, 0, 0, 0, -2], abs=1e-12)


def test_one_modality_has_all_and_cooperates_with_none() -> None:
    assert shapley([0.25, 0.75]).tolist() == [0.5]
    assert sampled_shapley([0.25, 0.75], [[0]]).tolist() == [0.5]
    scores = shape([0.25, 0.75])
    assert (scores.contribution.tolist(), scores.cooperation, scores.pairs.tolist()) == ([0.5], 0, [[0]])
    assert shares([3.0]).tolist() == [1]
    assert preferred_modality({"a": 0.5}) == "a"


def test_a_concept_that_is_linear_in_the_joint_feature_is_not_lost() -> None:
    draw = np.random.default_rng(0)
    known, seen, mixture = draw.normal(size=(60, 6)), draw.normal(size=(40, 6)), draw.normal(size=(6, 3))
    result = competition_strength((known, seen), (known @ mixture + 5, seen @ mixture + 5), alpha=1e-9)
    assert result.strength == pytest.approx(0, abs=1e-12)
    assert result.rank == 3


def test_a_feature_of_noise_tells_no_more_than_the_mean() -> None:
    """Predicting the mean of N samples leaves tr((N - 1) cov (N cov)^-1) / Q = (N - 1) / N."""
    draw = np.random.default_rng(1)
    concept = draw.normal(size=(50, 4))
    silent = competition_strength((np.zeros((50, 3)), np.zeros((50, 3))), (concept, concept))
    assert silent.strength == pytest.approx(49 / 50, rel=1e-12)
    assert silent.share == pytest.approx(1, rel=1e-12)
    noise = competition_strength((draw.normal(size=(50, 3)), draw.normal(size=(50, 3))), (concept, concept), alpha=1e6)
    assert noise.strength == pytest.approx(49 / 50, abs=1e-3)


def test_competition_by_hand() -> None:
    """Centred z = (-1, 1), c = (-1, 1): weight 2 / (2 + alpha) = 1/2; residuals (-1/2, 1/2), N var(c) = 4."""
    result = competition_strength(([[0.0], [2.0]], [[0.0], [2.0]]), ([[0.0], [2.0]], [[0.0], [2.0]]), alpha=2)
    assert result.strength == pytest.approx(0.5 / 4, rel=1e-12)
    assert result.share == pytest.approx((1 / 2) ** 2, rel=1e-12)


def test_a_concept_that_varies_less_where_it_is_evaluated_is_not_lost_for_that() -> None:
    """Off a feature of noise nothing can be read but the mean: all is lost, whatever varies how much on which split."""
    draw = np.random.default_rng(10)
    fused, known, seen = draw.normal(size=(2, 50, 3)), draw.normal(size=(50, 2)), draw.normal(size=(50, 2)) * [1, 0.1]
    known += seen.mean(0) - known.mean(0)
    assert competition_strength((fused[0], fused[1]), (known, seen), alpha=1e9).share == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("hardly", [1e-3, 5e-4])
def test_a_feature_that_one_sample_of_evaluation_hardly_excites_is_no_more_than_a_direction(hardly: float) -> None:
    """What is read off for it is about its mean on the probe split, whatever it does there."""
    draw = np.random.default_rng(9)
    fused, known = draw.normal(size=(2, 200, 6)), draw.normal(size=(200, 4))
    seen = draw.normal(size=(200, 4))
    known[:, 3], seen[:, 3] = np.where(draw.random(200) < 0.05, 1.0, 0.0), 0.0
    seen[7, 3] = hardly
    result = competition_strength((fused[0], fused[1]), (known, seen))
    assert result.strength > 100
    assert result.share == pytest.approx(1.1, abs=0.1)  # noise tells less than the mean
    assert result.rank == 4


def test_redundant_features_of_a_concept_lower_its_rank_and_the_share_of_each() -> None:
    """Twice the same feature: the pseudo-inverse counts it once, the division by Q twice."""
    draw = np.random.default_rng(2)
    fused, concept = draw.normal(size=(30, 4)), draw.normal(size=(30, 2))
    once = competition_strength((fused, fused), (concept[:, :1], concept[:, :1]))
    twice = competition_strength((fused, fused), (concept[:, [0, 0]], concept[:, [0, 0]]))
    assert (once.rank, twice.rank) == (1, 1)
    assert twice.strength == pytest.approx(once.strength / 2, rel=1e-9)
    assert twice.share == pytest.approx(once.share, rel=1e-9)


def test_rounding_is_no_direction_of_a_concept() -> None:
    """A third feature of 1e-7 times noise blows up where every singular value from 1e-15 on is kept."""
    draw = np.random.default_rng(3)
    fused, concept = draw.normal(size=(40, 3)), draw.normal(size=(40, 3))
    concept[:, 2] = concept[:, 0] + 1e-7 * concept[:, 2]
    robust = competition_strength((fused, fused), (concept, concept))
    release = competition_strength((fused, fused), (concept, concept), rcond=1e-15)
    assert (robust.rank, release.rank) == (2, 3)
    assert release.strength > 1.3 * robust.strength


def test_a_concept_is_unchanged_by_an_invertible_map() -> None:
    draw = np.random.default_rng(4)
    fused, concept, turned = draw.normal(size=(40, 3)), draw.normal(size=(40, 3)), draw.normal(size=(3, 3))
    one = competition_strength((fused, fused), (concept, concept))
    other = competition_strength((fused, fused), (concept @ turned - 3, concept @ turned - 3))
    assert other.strength == pytest.approx(one.strength, rel=1e-9)


def test_single_precision_changes_little_and_something() -> None:
    draw = np.random.default_rng(5)
    fused, concept = draw.normal(size=(30, 4)), draw.normal(size=(30, 2))
    exact, single = (competition_strength((fused, fused), (concept, concept), single=s).strength for s in (False, True))
    assert 0 < abs(exact - single) < 1e-6


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_a_constant_concept_has_no_strength(value: float) -> None:
    fused, concept = np.random.default_rng(6).normal(size=(20, 3)), np.full((20, 2), value)
    result = competition_strength((fused, fused), (concept, concept))
    assert math.isnan(result.strength)
    assert math.isnan(result.share)
    assert result.rank == 0


def test_the_preferred_modality_is_lost_least() -> None:
    assert preferred_modality({"a": 0.9, "b": NAN, "c": 0.4}) == "c"
    assert preferred_modality({"a": 0.5, "b": 0.5}) == "a"
    assert preferred_modality({"a": NAN}) is None


def test_cases_of_competition_are_recognised_by_their_keys() -> None:
    draw = np.random.default_rng(7)
    case = {
        "dep_features": draw.normal(size=(20, 3)).tolist(), "test_features": draw.normal(size=(10, 3)).tolist(),
        "hyper": {"ridge_alpha": 0.5}, "official": {"competition_strength_lip_motion_rl": 1.0, "other": 2.0},
    }  # fmt: skip
    assert select_replay(case) is None
    for split, samples in (("dep", 20), ("test", 10)):
        case |= {f"{split}_concept_{m}": draw.normal(size=(samples, 2)).tolist() for m in ("lip_motion", "lip")}
    assert select_replay(case) is replay_release
    (_, ours, _), unread = replay_release(case)
    assert ours > 0
    assert unread == ("other", None, 2.0)


@given(vector, vector, st.floats(1e-30, 1e30), st.floats(1e-30, 1e30))
def test_the_cosine_ignores_length_and_changes_sign_with_either(
    a: list[float], b: list[float], long: float, short: float
) -> None:
    x, y = torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)
    between = cosine(x, y)
    assert between == cosine(y, x)
    assert cosine(long * x, short * y).item() == pytest.approx(between.item(), abs=1e-12)
    assert cosine(-long * x, y).item() == pytest.approx(-between.item(), abs=1e-12)
    assert cosine(x, long * x).item() == pytest.approx(1, rel=1e-12)
    assert abs(between) <= 1


def test_cosines_by_hand_over_leading_axes() -> None:
    a = torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0], [1.0, math.inf]])
    b = torch.tensor([4.0, 3.0])
    assert cosine(a, b)[:2].tolist() == pytest.approx([24 / 25, 4 / 5], rel=1e-12)
    assert cosine(a, b)[2:].isnan().all()
    assert cosine(a.expand(5, 4, 2), b).shape == (5, 4)


def test_cosines_of_the_smallest_gradients_are_defined() -> None:
    tiny = torch.tensor([3e-40, 4e-40], dtype=torch.float32)  # its squares are 0 in float32
    assert cosine(tiny, torch.tensor([4.0, 3.0])).item() == pytest.approx(24 / 25, rel=1e-5)


def test_a_summary_leaves_out_what_is_undefined() -> None:
    """Eleven cosines -0.5, -0.4 ... 0.5 and one nan; a second modality has none that is defined."""
    cosines = torch.linspace(-0.5, 0.5, 11, dtype=torch.float64)
    both = torch.stack([torch.cat([cosines, torch.tensor([NAN])]), torch.full((12,), NAN)], 1)
    result = summarise(both)
    assert [float(x[0]) for x in result] == pytest.approx([0, -0.4, 0, 0.4, 0.475, 5 / 11, 11 / 12], abs=1e-12)
    assert all(x[1].isnan() for x in result[:-1])
    assert result.defined[1] == 0


def test_shares_by_hand() -> None:
    assert shares([0, math.log(3)]) == pytest.approx([0.75, 0.25], rel=1e-12)
    assert shares([5000, 5000 + math.log(3)]) == pytest.approx([0.75, 0.25], rel=1e-9)
    assert shares([2.0] * 4).tolist() == [0.25] * 4


@pytest.mark.parametrize(
    ("measured", "planted", "expected"),
    [
        ([1, 2, 3, 4], [10, 20, 30, 40], 1),
        ([1, 2, 3, 4], [4, 3, 2, -9], -1),
        ([1, 2, 3, 4], [1, 3, 2, 4], 1 - 6 * 2 / 60),
        ([0.1, 0.2], [7, 8], 1),
        ([1, 2, 2], [1, 2, 3], math.sqrt(0.75)),  # ties share their rank
    ],
)
def test_rank_correlations_of_known_rankings(measured: list[float], planted: list[float], expected: float) -> None:
    assert rank_correlation(measured, planted) == pytest.approx(expected, rel=1e-12)


def test_what_is_constant_ranks_nothing() -> None:
    assert math.isnan(rank_correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]))
    assert math.isnan(rank_correlation([1.0, 2.0], [0.0, 0.0]))
    assert math.isnan(rank_correlation([1.0], [2.0]))


def test_the_calibration_error_is_that_of_shares() -> None:
    assert calibration_error([0.75, 0.25], [1, 1]) == pytest.approx(0.25, rel=1e-12)
    assert calibration_error([3, 1], [0.75, 0.25]) == 0
    assert math.isnan(calibration_error([0.1, -0.1], [0.5, 0.5]))
    assert math.isnan(calibration_error([0.5, 0.5], [0, 0]))


def test_the_planted_contributions_are_measured_of_the_game_they_are_planted_in() -> None:
    """Copies of one latent explain O / (1 + O) of its variance, O the sum of their signal-to-noise ratios."""
    p = parse_parameters({"name": "synthetic", "modalities": 4, "snr": [6, 3, 0, -3], "redundancy": 1, "synergy": 0})
    planted = list(planted_contributions(p, p.snr).values())
    odds = all_coalitions(4) @ 10 ** (np.array(p.snr) / 10)
    measured = shapley(odds / (1 + odds))
    assert measured == pytest.approx(planted, rel=1e-9)
    assert rank_correlation(measured, planted) == pytest.approx(1, rel=1e-12)
    assert calibration_error(measured, planted) < 1e-9


@pytest.mark.parametrize(
    "measure",
    [
        lambda: shapley([0, 1, NAN, 1]),
        lambda: shape([0, 1, math.inf, 1]),
        lambda: sampled_shapley([NAN, 1.0], [[0]]),
        lambda: shares([1, NAN]),
        lambda: rank_correlation([1, NAN], [1, 2]),
        lambda: calibration_error([1, 2], [NAN, 2]),
        lambda: competition_strength(([[NAN]], [[1]]), ([[1]], [[1]])),
        lambda: competition_strength(([[1]], [[1]]), ([[1]], [[NAN]])),
    ],
)
def test_what_is_not_finite_is_refused(measure: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="not finite"):
        measure()


@pytest.mark.parametrize(
    ("measure", "reason"),
    [
        (lambda: shapley([0, 1, 2]), "coalitions, the empty one included, got 3 values"),
        (lambda: shapley([0.5]), "got 1 values"),
        (lambda: shapley([]), "must be a non-empty array with 1 axes"),
        (lambda: sampled_shapley([0, 1, 2], [[0, 1], [1, 0]]), "2 permutations need the values of 4 coalitions, got 3"),
        (lambda: permutation_coalitions([[0, 0]]), "each number from 0 to M - 1 once"),
        (lambda: rank_correlation([1, 2], [1, 2, 3]), "2 measured contributions cannot be compared with 3"),
        (lambda: competition_strength(([[1], [2]], [[1]]), ([[1]], [[1]])), "do not belong to concepts"),
        (lambda: competition_strength(([[1]], [[1]]), ([[1]], [[1, 2]])), "do not belong to concepts"),
    ],
)
def test_mismatched_shapes_are_refused(measure: Callable[[], object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        measure()


def test_every_public_name_exists() -> None:
    assert all(hasattr(diagnostics, name) for name in diagnostics.__all__)
