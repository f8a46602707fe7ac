"""Evidence: limits by hand, and the invariants of METHODS.md 14."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from trainables.evidence import (
    FALLBACKS,
    FRAMES,
    GAINS,
    SCALES,
    aggregate,
    combine,
    combine_gradients,
    evidence,
    mean_log_precision,
    sum_sources,
)
from trainables.logarithms import DECOMPOSITIONS, SAMPLING_SIZE, SAMPLING_STRIDE, floored_log, median, order_statistic

seeds, sources, kappas, units = st.integers(0, 10**6), st.integers(1, 5), st.floats(0, 2), st.floats(1e-3, 50)


def randn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def variances(seed: int, *shape: int) -> Tensor:
    return (2 * randn(seed + 1, *shape)).exp()


def close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-11) -> bool:
    return torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def test_an_aggregate_by_hand() -> None:
    """Precisions 4 and 1 with kappa 1/2 are evidence 2 and 1; K = 2: w = 2/5, 1/5 and u = 2/5, half to each."""
    means, variance = torch.tensor([[1.0], [3.0]]), torch.tensor([[0.25], [1.0]])
    assert evidence(variance, 0.5, "none").flatten().tolist() == pytest.approx([2, 1])
    aggregated = aggregate(means, variance, 0.5, 2.0, scale="none", gain="none")
    assert aggregated.item() == pytest.approx(2 / 5 * 1 + 1 / 5 * 3 + 2 / 5 * 2)
    assert aggregate(means, variance, 0.5, 2.0, scale="none", fallback="zero").item() == pytest.approx(2 * (2 + 3) / 5)


@given(seeds, sources, kappas, units, st.sampled_from(SCALES))
def test_weights_and_uncertainty_sum_to_one(seed: int, count: int, kappa: float, k: float, scale: str) -> None:
    e = evidence(variances(seed, count, 4, 3), kappa, scale)
    for frame in FRAMES:
        weights, uncertainty = combine(e, k, frame)
        total = weights.sum(0) + uncertainty
        assert close(total.mean() if frame == "dims" else total, torch.ones((), dtype=torch.float64))
        assert uncertainty.shape == (4, 3)
        assert weights.shape == e.shape


@given(seeds, st.permutations(range(4)), kappas, units, st.sampled_from(FRAMES), st.sampled_from(GAINS), st.booleans())
def test_the_order_of_the_sources_does_not_matter(
    seed: int, order: list[int], kappa: float, k: float, frame: str, gain: str, snr: bool
) -> None:
    means, variance = randn(seed, 4, 5), variances(seed, 4, 5)
    options: dict[str, Any] = {"frame": frame, "gain": gain, "snr": snr}
    expected = aggregate(means, variance, kappa, k, **options)
    assert close(aggregate(means[order], variance[order], kappa, k, **options), expected)


@given(seeds, sources, st.floats(1e-12, 1e12), kappas, units)
def test_the_unit_of_the_gradient_does_not_matter(seed: int, count: int, c: float, kappa: float, k: float) -> None:
    variance = variances(seed, count, 6)
    for scale in ("tensor", "dim"):
        assert close(evidence(c * variance, kappa, scale), evidence(variance, kappa, scale), 1e-9)
    scaled_level, level = (mean_log_precision(v) for v in (c * variance, variance))
    assert close(evidence(c * variance, kappa, "ema", scaled_level), evidence(variance, kappa, "ema", level), 1e-9)


@given(seeds, sources, st.integers(0, 4), st.floats(0, 100), units)
def test_a_source_with_more_evidence_weighs_more(seed: int, count: int, which: int, more: float, k: float) -> None:
    e = variances(seed, count, 6)
    raised = e.clone()
    raised[which % count] += more
    before, after = combine(e, k), combine(raised, k)
    others = [s for s in range(count) if s != which % count]
    assert bool((after.weights[which % count] >= before.weights[which % count] - 1e-15).all())
    assert bool((after.weights[others] <= before.weights[others] + 1e-15).all())
    assert bool((after.uncertainty <= before.uncertainty + 1e-15).all())


@given(seeds, sources, units, st.sampled_from(FRAMES))
def test_a_source_without_evidence_changes_nothing(seed: int, count: int, k: float, frame: str) -> None:
    e = variances(seed, count, 6)
    alone, with_zero = combine(e, k, frame), combine(torch.cat([e, torch.zeros_like(e[:1])]), k, frame)
    assert close(with_zero.weights[:-1], alone.weights)
    assert close(with_zero.uncertainty, alone.uncertainty)
    assert not with_zero.weights[-1].any()


@given(seeds, st.integers(1, 4), kappas, units, st.sampled_from(SCALES), st.sampled_from(FRAMES), st.booleans())
def test_an_absent_source_is_ignored(
    seed: int, count: int, kappa: float, k: float, scale: str, frame: str, snr: bool
) -> None:
    means, variance = randn(seed, count, 5), variances(seed, count, 5)
    absent = torch.full_like(means[:1], math.nan)
    present = torch.arange(count + 1) < count
    for fallback in FALLBACKS:
        for gain in GAINS:
            options: dict[str, Any] = {
                "scale": scale, "frame": frame, "fallback": fallback, "gain": gain, "snr": snr, "fusion": 0.3,
            }  # fmt: skip
            with_absent = aggregate(
                torch.cat([means, absent]), torch.cat([variance, absent]), kappa, k, present=present, **options
            )
            assert close(with_absent, aggregate(means, variance, kappa, k, **options))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(seeds, sources, st.floats(0, 100), st.sampled_from(SCALES[:3]))
def test_kappa_zero_is_the_plain_sum_bit_for_bit(
    dtype: torch.dtype, seed: int, count: int, k: float, scale: str
) -> None:
    means, variance = randn(seed, count, 7, 3).to(dtype), variances(seed, count, 7, 3).to(dtype)
    for gain in ("sum", "match_norm"):
        assert torch.equal(aggregate(means, variance, 0.0, k, scale=scale, gain=gain), sum_sources(means))
    assert close(aggregate(means, variance, 0.0, k, gain="none"), means.mean(0), 1e-6)


def test_one_source_that_is_certain_is_followed() -> None:
    means, variance = randn(0, 3, 5), variances(0, 3, 5)
    variance[1] = 1e-13
    aggregated = aggregate(means, variance, 2.0, 3.0, scale="none", gain="none")
    assert close(aggregated, means[1], 1e-6)


@pytest.mark.parametrize(("fallback", "left"), [("mean", 2.0), ("zero", 0.0), ("fusion", 7.0)])
def test_without_evidence_only_the_fallback_is_left(fallback: str, left: float) -> None:
    means, variance = torch.tensor([[1.0], [3.0]]), torch.full((2, 1), 1e20)
    aggregated = aggregate(
        means, variance, 2.0, 2.0, scale="none", fallback=fallback, gain="none", fusion=torch.tensor(7.0)
    )
    assert aggregated.item() == pytest.approx(left, abs=1e-9)


@given(seeds, sources, st.floats(0, 1))
def test_with_k_zero_it_is_bayesagg(seed: int, count: int, power: float) -> None:
    """GaussianAgg of BayesAggMTL.py:195-225 with variances to the power; power 1 is weighting by precision."""
    means, variance = randn(seed, count, 6), variances(seed, count, 6)
    precision = 1 / variance**power
    theirs = (precision * means).sum(0) / precision.sum(0)
    for scale in SCALES:
        assert close(aggregate(means, variance, power, 0.0, scale=scale, gain="none"), theirs, 1e-9)
    assert close(aggregate(means, variance, power, 1e-12, gain="none"), theirs, 1e-8)


@given(seeds, kappas, units)
def test_reliability_is_a_gain_on_the_sum(seed: int, kappa: float, k: float) -> None:
    means, variance = randn(seed, 3, 6), variances(seed, 3, 6)
    belief = 1 - (k / (k + evidence(variance, kappa))).prod(0)
    for fallback in ("mean", "zero"):
        aggregated = aggregate(means, variance, kappa, k, frame="reliability", fallback=fallback)
        assert close(aggregated, belief * means.sum(0))


def test_equal_dimensions_give_the_plain_sum() -> None:
    means, variance = randn(0, 3, 6), torch.ones(3, 6, dtype=torch.float64)
    assert close(aggregate(means, variance, 0.7, 2.0, frame="dims"), means.sum(0))


@given(seeds, units)
def test_the_norm_of_the_sum_is_matched(seed: int, k: float) -> None:
    means, variance = randn(seed, 3, 6), variances(seed, 3, 6)
    matched = aggregate(means, variance, 0.8, k, fallback="zero", gain="match_norm")
    assert float(matched.norm()) == pytest.approx(float(means.sum(0).norm()), rel=1e-12)


@pytest.mark.parametrize("faint", [1.0, 1e-3, 1e-5, 1e-7])
def test_the_norm_is_matched_if_all_belief_is_in_a_dimension_without_gradient(faint: float) -> None:
    """What is left of the gradient is so faint that its squares are zeros in single precision."""
    means, variance = randn(0, 2, 6).float(), variances(0, 2, 6).float()
    means[:, 0], variance[:, 0] = 0.0, faint * variance[:, 0]
    matched = aggregate(means, variance, 2.0, 0.0, scale="none", frame="dims", fallback="zero", gain="match_norm")
    assert float(matched.norm()) == pytest.approx(float(means.sum(0).norm()), rel=1e-5)


def test_a_gradient_that_vanishes_has_no_norm_to_match() -> None:
    means = torch.full((2, 3), 5.0)
    variance = torch.ones_like(means)
    matched = aggregate(means, variance, 0.0, 1e38, fallback="zero", gain="match_norm", frame="reliability")
    assert torch.isfinite(matched).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("values", [[0.0, 0.0], [1e-38, 1e38], [0.0, 1e38], [1.0, 1.0], [1e38, 1e38]])
def test_any_finite_variance_gives_a_finite_gradient(
    values: list[float], frame: str, scale: str, dtype: torch.dtype
) -> None:
    variance = torch.tensor([values, values[::-1], values], dtype=dtype)
    means = torch.tensor([[1.0, 2.0], [-1.0, 0.0], [0.0, 0.0]], dtype=dtype)
    for snr in (False, True):
        for gain in GAINS:
            aggregated = aggregate(means, variance, 2.0, 3.0, scale=scale, frame=frame, gain=gain, snr=snr)
            assert aggregated.isfinite().all()
            assert aggregated.dtype == dtype


def test_a_variance_is_at_least_a_millionth_of_the_median() -> None:
    variance = torch.tensor([[1.0, 1.0, 1e-9], [1.0, 1.0, 1e-6]], dtype=torch.float64)
    assert evidence(variance, 0.5, "none")[:, 2].tolist() == pytest.approx([1e3, 1e3], rel=1e-12)


def test_the_signal_to_noise_ratio_counts_the_mean() -> None:
    means, variance = torch.tensor([[2.0], [1.0]]), torch.tensor([[4.0], [0.5]])
    assert evidence(variance, 1.0, "none", means=means).flatten().tolist() == pytest.approx([1.0, 2.0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("fallback", FALLBACKS)
def test_eight_configurations_at_once_are_eight_alone(
    fallback: str, frame: str, scale: str, dtype: torch.dtype
) -> None:
    means, variance = randn(0, 8, 3, 4, 2).to(dtype), variances(0, 8, 3, 4, 2).to(dtype)
    kappa, k, reference = (torch.linspace(low, 2, 8, dtype=torch.float64) for low in (0, 0.5, -1))
    present = torch.arange(3) != torch.arange(8)[:, None]

    def one(means: Tensor, variance: Tensor, kappa: Tensor, k: Tensor, reference: Tensor, present: Tensor) -> Tensor:
        options: dict[str, Any] = {"scale": scale, "frame": frame, "fallback": fallback, "reference": reference}
        plain = aggregate(means, variance, kappa, k, fusion=means[0], **options)
        return plain + aggregate(means, variance, kappa, k, gain="match_norm", snr=True, present=present, **options)

    inputs = (means, variance, kappa, k, reference, present)
    together = torch.func.vmap(one)(*inputs)
    assert together.dtype == dtype
    alone = torch.stack([one(*each) for each in zip(*inputs, strict=True)])
    assert close(together, alone, 1e-5 if dtype == torch.float32 else 1e-11)


SIZES = [5, 1, 12]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("gain", GAINS)
@pytest.mark.parametrize("snr", [False, True])
@pytest.mark.parametrize("present", [None, torch.tensor([True, False, True])])
def test_concatenated_tensors_are_aggregated_separately(
    frame: str, scale: str, gain: str, snr: bool, present: Tensor | None
) -> None:
    means, variance, fusion = randn(0, 3, 18), variances(0, 3, 18), randn(5, 18)
    variance[:, :5] *= 100
    reference = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    for fallback in FALLBACKS:
        options: dict[str, Any] = {"scale": scale, "frame": frame, "gain": gain, "snr": snr, "fallback": fallback}
        options["present"] = present
        together = combine_gradients(
            means, variance, 0.6, 2.0, reference=reference, fusion=fusion, sizes=SIZES, **options
        )
        parts = zip(*(x.split(SIZES, -1) for x in (means, variance, fusion)), reference, strict=True)
        alone = [combine_gradients(mu, v, 0.6, 2.0, reference=r, fusion=f, **options) for mu, v, f, r in parts]
        assert close(together.gradient, torch.cat([one.gradient for one in alone]))
        assert close(together.uncertainty, torch.cat([one.uncertainty for one in alone]))


MANY = randn(0, 9 * SAMPLING_SIZE).square()  # enough elements to be sampled first


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "values",
    [
        MANY, MANY.sort().values, MANY.flip(0), (MANY > 1).double(), torch.zeros_like(MANY),
        torch.where(torch.arange(len(MANY)) % SAMPLING_STRIDE == 0, 1e9 * MANY, MANY),  # a misleading sample
        torch.where(torch.arange(len(MANY)) % 7 == 0, math.nan, MANY), torch.where(MANY > 0.5, math.inf, 0.0),
    ],
)  # fmt: skip
def test_the_median_of_many_is_selected_exactly(values: Tensor, dtype: torch.dtype) -> None:
    numbers = values.to(dtype)
    order = np.sort(numbers.numpy())  # nan last
    assert median(numbers.numpy().reshape(2, -1)) == order[(len(order) - 1) // 2]
    for place in (0, 1, len(order) // 3, len(order) - 1):
        assert np.array_equal(order_statistic(numbers.numpy(), place), order[place], equal_nan=True)


@pytest.mark.parametrize("lowest", [0.0, 1e-4, 5e-3, 0.5])
def test_only_numbers_below_the_floor_are_raised_whatever_the_largest(lowest: float) -> None:
    """The median is 1, the largest 100, the mean just above 1: which shows that no value is below a thousandth."""
    values = torch.ones(1, 5000, dtype=torch.float64)
    values[0, :2] = torch.tensor([lowest, 100.0])
    result = floored_log(values, [5000], 1e-3, 1e-30, centred=False)
    assert torch.allclose(result, values.clamp(min=1e-3).log())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@given(seeds, st.integers(1, 4), st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_the_floor_is_a_ratio_of_the_median_of_torch(
    dtype: torch.dtype, seed: int, count: int, sizes: list[int]
) -> None:
    values = randn(seed, 3, count, sum(sizes)).relu().to(dtype)
    medians = [torch.stack([part.median() for part in torch.split(one, sizes, -1)]) for one in values]
    lowest = (torch.stack(medians) * 0.5).clamp(min=0.01).repeat_interleave(torch.tensor(sizes), -1)
    theirs = torch.maximum(values, lowest[:, None]).log()

    def ours(one: Tensor) -> Tensor:
        return floored_log(one, sizes, 0.5, 0.01, centred=False)

    result = torch.stack([ours(one) for one in values])
    assert torch.allclose(result, theirs, rtol=0 if dtype == torch.bfloat16 else 1e-6)
    assert torch.equal(torch.func.vmap(ours)(values), result)
    assert torch.equal(torch.func.vmap(ours, in_dims=2)(values.movedim(0, 2)), result)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0), (1, 0)])
def test_powers_are_of_the_logarithms_of_each_configuration(axes: tuple[Any, Any], dtype: torch.dtype) -> None:
    values, powers = variances(0, 4, 3, 18).to(dtype), randn(2, 4).to(dtype)

    def power(one: Tensor, factor: Tensor) -> Tensor:
        return floored_log(one, SIZES, 1e-6, 1e-30, centred=True, power=factor, limit=0.5)

    given = (values if axes[0] is not None else values[0], powers if axes[1] is not None else powers[0])
    result = torch.func.vmap(power, axes)(given[0].movedim(0, axes[0] or 0), given[1])
    rows = zip(values.expand(4, *values.shape[1:]) if axes[0] is not None else [values[0]] * 4, range(4), strict=True)
    for one, i in rows:
        plain = floored_log(one, SIZES, 1e-6, 1e-30, centred=True)
        theirs = (plain * (powers[i] if axes[1] is not None else powers[0])).clamp(-0.5, 0.5).exp()
        assert torch.allclose(result[i], theirs, rtol=1e-2 if dtype == torch.bfloat16 else 1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@settings(max_examples=30)  # each is traced
@given(seeds, st.integers(1, 3), st.lists(st.integers(1, 9), min_size=1, max_size=4), st.booleans(), st.booleans())
def test_logarithms_and_powers_that_are_decomposed_for_a_compiler_are_the_same(
    dtype: torch.dtype, seed: int, count: int, sizes: list[int], centred: bool, powers: bool
) -> None:
    values, power = randn(seed, count, sum(sizes)).relu().to(dtype), randn(seed, 1)[0].to(dtype)

    def compute(one: Tensor, factor: Tensor) -> Tensor:
        return floored_log(one, sizes, 1e-3, 1e-30, centred=centred, power=factor if powers else None, limit=2.0)

    decomposed = make_fx(compute, DECOMPOSITIONS)(values, power)
    assert torch.ops.ablate.floored_log.default not in [node.target for node in decomposed.graph.nodes]
    near = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 0.0}[dtype]
    assert close(decomposed(values, power), compute(values, power), near)


def test_logarithms_of_more_dimensions_stay_one_operator() -> None:
    values = variances(0, 4, 3, 18)
    stacked = torch.func.vmap(lambda one: floored_log(one, SIZES, 1e-6, 1e-30, centred=True))
    decomposed = make_fx(stacked, DECOMPOSITIONS)(values)
    assert torch.ops.ablate.floored_log.default in [node.target for node in decomposed.graph.nodes]
    assert torch.equal(decomposed(values), stacked(values))


@pytest.mark.parametrize("decomposed", [True, False])
def test_a_floor_above_all_values_is_their_logarithm_and_its_powers_are_kept_within_bounds(decomposed: bool) -> None:
    values = torch.tensor([[0.5, 0.5, 0.6]], dtype=torch.float64)

    def power(one: Tensor) -> Tensor:
        return floored_log(
            one, [3], 1e-6, 10.0, centred=False, power=torch.tensor(20.0, dtype=torch.float64), limit=30.0
        )

    result = (make_fx(power, DECOMPOSITIONS)(values) if decomposed else power)(values)
    assert result.log().tolist() == [pytest.approx([30.0] * 3)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_logarithms_are_about_the_mean_of_their_tensor(dtype: torch.dtype) -> None:
    values = variances(0, 3, 18).to(dtype)
    result = floored_log(values, SIZES, 1e-6, 1e-30, centred=True)
    plain = floored_log(values, SIZES, 1e-6, 1e-30, centred=False)
    for ours, theirs in zip(result.split(SIZES, -1), plain.split(SIZES, -1), strict=True):
        assert torch.allclose(ours, theirs - theirs.mean(), atol=1e-2 if dtype == torch.bfloat16 else 1e-6)


def test_without_any_source_there_is_no_gradient() -> None:
    none_present = torch.zeros(3, dtype=torch.bool)
    for frame in FRAMES:
        for gain in GAINS:
            for k in (0.0, 3.0):
                aggregated = aggregate(
                    randn(0, 3, 4), variances(0, 3, 4), 0.5, k, frame=frame, gain=gain, present=none_present
                )
                assert not aggregated.any()
