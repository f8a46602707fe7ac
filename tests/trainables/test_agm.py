"""AGM: values by hand, the authors' hooks, and the invariants of METHODS.md 14."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.trainables.helpers import batch, make_learner, make_setup, make_task, max_difference, network, train
from trainables.methods.agm import AGM, score_moments, standard_deviation, strength_ratio
from trainables.methods.joint import Joint
from trainables.shapley import shapley_weights, weighted_sums
from trainables.signals import Params, Signals, all_subsets, leaves, mix
from trainables.step import step

scores = st.lists(st.floats(0, 18), min_size=2, max_size=6)


def test_coefficients_of_two_modalities_by_hand() -> None:
    """With M = 2, r_a = exp(s_v - s_a); a first batch has tau = 1, so kappa = exp(alpha (1 - r))."""
    model = network(2)
    setup = make_setup(AGM(alpha=0.7), model)
    inputs, target = batch(model, 0)
    learner = make_learner(setup)
    after, metrics = step(setup, learner, inputs, make_task(target, 0))
    s = metrics["method.score"]
    by_hand = [math.exp(0.7 * (1 - math.exp(s[1] - s[0]))), math.exp(0.7 * (1 - math.exp(s[0] - s[1])))]
    assert metrics["method.scale"].tolist() == pytest.approx(by_hand, rel=1e-12)
    assert after.state.history[0].tolist() == pytest.approx(s.tolist(), rel=1e-12)


@pytest.mark.parametrize("fusion", ["concat", "sum", "early"])
def test_the_gradient_is_that_of_the_authors_hooks(fusion: str) -> None:
    """Their hooks multiply what arrives at each share by kappa_m: sum over m of the share's own backward pass."""
    model = network(3, fusion)
    setup = make_setup(AGM(alpha=1.3), model)
    learner = make_learner(setup)
    inputs, target = batch(model, 0)
    task = make_task(target, 0)
    _, metrics = step(setup, learner, inputs, task)
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

    setup.method.step(learner.state, signals, task, pull)
    for ours, theirs in zip(spied, by_hooks, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-10, atol=1e-12)


@given(scores)
def test_equal_scores_have_ratio_one(values: list[float]) -> None:
    assert strength_ratio(torch.full((len(values),), values[0], dtype=torch.float64)).tolist() == pytest.approx(
        [1.0] * len(values)
    )


@given(scores)
def test_the_lowest_loss_has_the_largest_ratio(values: list[float]) -> None:
    ratio = strength_ratio(torch.tensor(values, dtype=torch.float64))
    assert ratio[values.index(min(values))] == ratio.max() >= 1 - 1e-12


def test_sampled_shares_sum_to_the_prediction_with_twenty_modalities() -> None:
    model = network(20)
    setup = make_setup(AGM(samples=3), model)
    inputs, target = batch(model, 0)
    task = make_task(target, 0)
    coalitions = setup.method.coalitions(20, task)
    learner = make_learner(setup)
    signals, _ = model(learner.params, learner.buffers, inputs, frozenset({"muted"}), coalitions=coalitions)
    weights = setup.method.weights(20, task)
    assert torch.allclose(mix(weights, signals.muted).sum(0), signals.logits, rtol=1e-10)
    assert coalitions.shape == (1 + 3 * 19, 20)


def test_seven_modalities_without_samples_are_refused() -> None:
    _, target = batch(network(1), 0)
    with pytest.raises(ValueError, match=r"7 modalities have 128 coalitions; set agm\.samples"):
        AGM().coalitions(7, make_task(target, 0))


def test_the_cap_bounds_the_coefficient() -> None:
    method = AGM(alpha=1.0, cap=0.1)
    model = network(2)
    setup = make_setup(method, model)
    learner = make_learner(setup)
    largest = 0.0
    for number in range(30):
        inputs, target = batch(model, number)
        learner, metrics = step(setup, learner, inputs, make_task(target, number))
        largest = max(largest, float(metrics["method.scale"].max()))
    assert largest == pytest.approx(math.exp(0.1), rel=1e-12)


def test_a_probability_of_zero_counts_as_the_floor() -> None:
    """A share that gives the true class probability 0 scores -log 1e-8, not infinity."""
    hopeless = torch.tensor([[[-1e6, 0.0, 0.0]], [[0.0, 0.0, 0.0]], [[-1e6, 0.0, 0.0]]], dtype=torch.float64)
    task = make_task(torch.tensor([0]), 0)
    method = AGM()
    state = method.init(make_learner(make_setup(method, network(2))).params)
    signals = Signals(logits=hopeless[2], muted=hopeless)
    result = method.step(state, signals, task, lambda f: f(signals))  # type: ignore[arg-type, return-value]
    assert result.metrics["score"][0].item() == pytest.approx(-math.log(1e-8))
    assert result.metrics["scale"].isfinite().all()


@given(scores, st.randoms())
def test_coefficients_follow_a_relabelling(values: list[float], random: object) -> None:
    order = list(range(len(values)))
    random.shuffle(order)  # type: ignore[attr-defined]
    score, past = torch.tensor(values, dtype=torch.float64), torch.linspace(0.1, 3, len(values), dtype=torch.float64)
    kappa = AGM().coefficients(score, past)
    assert torch.allclose(AGM().coefficients(score[order], past[order]), kappa[order], rtol=1e-9)


@given(scores)
def test_a_first_batch_has_no_history(values: list[float]) -> None:
    """tau = 1, whatever the reference, so that kappa = exp(alpha min(1 - r, c))."""
    score = torch.tensor(values, dtype=torch.float64)
    for reference in ("cumulative", "ema", "window", "fixed", "balanced"):
        method = AGM(alpha=0.3, reference=reference, window=3)
        params = Params({str(m): {"w": torch.zeros(1)} for m in range(len(values))}, {}, {}, {})
        kappa = method.coefficients(score, method.reference_scores(method.init(params)))
        assert torch.allclose(
            kappa, torch.exp(0.3 * (1 - strength_ratio(score)).clamp(max=10)).clamp(min=math.exp(-80)), rtol=1e-9
        )


def test_a_regression_is_compared_in_deviations_of_its_losses() -> None:
    """A loss in other units gives the same coefficients."""
    history = [torch.tensor([0.3, 0.5], dtype=torch.float64), torch.tensor([0.2, 0.6], dtype=torch.float64)]
    for unit in (1.0, 1000.0):
        moments = sum(score_moments(unit * score, None) for score in history)
        assert float(standard_deviation(moments)) == pytest.approx(unit * torch.stack(history).std(correction=0).item())
    for alike in (1.0, 1.1866654647839523):  # of the second rounding leaves a spread
        assert float(standard_deviation(score_moments(torch.full((3,), alike, dtype=torch.float64), None))) == 1


def test_by_balance_benchmark_an_only_modality_says_nothing_beyond_itself() -> None:
    """Of its share the prediction by it alone is left out, which is all there is: every class is as likely."""
    model, method = network(2), AGM(score_attr="bb", route="encoder")
    setup = make_setup(method, model)
    inputs, target = batch(model, 0)
    present = torch.zeros(2, len(target), dtype=torch.bool)
    present[0] = True
    _, metrics = step(setup, make_learner(setup), inputs, make_task(target, 0, present=present))
    assert float(metrics["method.score"][0]) == pytest.approx(math.log(model.outputs))


def test_sampled_shares_of_balance_benchmark_are_the_exact_ones_on_average() -> None:
    """Among those present, too, where an only modality has none."""
    model, many = network(3), 4000
    exact, sampled = (AGM(score_attr="bb", route="encoder", samples=samples) for samples in (0, many))
    inputs, target = batch(model, 0)
    present = torch.arange(len(target)) % 7 + 1 >> torch.arange(3)[:, None] & 1 == 1
    for held in (None, present):
        if held is not None:
            inputs = {m: x * own[:, None] for (m, x), own in zip(inputs.items(), held, strict=True)}
        task, shares = make_task(target, 0, present=held), []
        for method in (exact, sampled):
            setup = make_setup(method, model)
            learner, coalitions = make_learner(setup), method.coalitions(3, task)
            muted = model(learner.params, {m: {} for m in inputs}, inputs, setup.needs, coalitions=coalitions)[0].muted
            weights = method.weights(3, task)
            shares.append(weighted_sums(weights, muted.detach(), by_sample=weights.ndim == 3))
        assert float((shares[0] - shares[1]).abs().max()) < 0.02
        if held is not None:
            assert float(shares[1][:, held.sum(0) == 1].abs().max()) == 0


def test_scaling_encoders_leaves_their_readouts() -> None:
    """METHODS.md 6.4, whatever ``filter`` is; OGM's `all` is of the readouts, too."""
    model = network(2, "sum")
    inputs, target = batch(model, 0)
    setup, joint = make_setup(AGM(score_attr="single", route="encoder"), model), make_setup(Joint(), model)
    before = make_learner(joint)
    after, metrics = step(setup, before._replace(state=setup.method.init(before.params)), inputs, make_task(target, 0))
    plain, _ = step(joint, before, inputs, make_task(target, 0))
    assert float((metrics["method.scale"] - 1).abs().min()) > 0.01
    assert max_difference(after.params.encoders, plain.params.encoders) > 1e-6
    assert max_difference(after.params.readouts, plain.params.readouts) == 0


def test_the_encoder_route_scales_updates_of_encoders_by_kappa() -> None:
    """With plain steps of length 1, encoder m moves kappa_m times as far as in joint training; the rest alike."""
    model = network(3)
    setup, joint = make_setup(AGM(score_attr="single", route="encoder"), model), make_setup(Joint(), model)
    inputs, target = batch(model, 0)
    before = make_learner(joint)
    learner = before._replace(state=setup.method.init(before.params))
    after, metrics = step(setup, learner, inputs, make_task(target, 0))
    plain, _ = step(joint, before, inputs, make_task(target, 0))
    for m, kappa in zip(model.encoders, metrics["method.scale"], strict=True):
        for name, start in before.params.encoders[m].items():
            moved, reference = after.params.encoders[m][name] - start, plain.params.encoders[m][name] - start
            assert torch.allclose(moved, kappa * reference, rtol=1e-12)
    assert max_difference(after.params.shared, plain.params.shared) == 0


@pytest.mark.parametrize("fusion", ["concat", "early"])
def test_each_score_attr_scores_its_prediction(fusion: str) -> None:
    model = network(3, fusion)
    inputs, target = batch(model, 0)
    task = make_task(target, 0)
    start = make_learner(make_setup(Joint(), model))

    def f(*heard: str) -> torch.Tensor:
        chosen = {m: x if m in heard else torch.zeros_like(x) for m, x in inputs.items()}
        return model(start.params, start.buffers, chosen, frozenset())[0].logits

    others = [[n for n in model.encoders if n != m] for m in model.encoders]
    unimodal = model(start.params, start.buffers, inputs, frozenset({"unimodal"}))[0].unimodal
    expected = {
        "single": torch.stack([f(m) for m in model.encoders]),
        "loo": torch.stack([f(*model.encoders) - f(*rest) for rest in others]),
        "head": unimodal,
    }
    for kind, predictions in expected.items():
        setup = make_setup(AGM(score_attr=kind, route="encoder"), model)
        learner = start._replace(state=setup.method.init(start.params))
        _, metrics = step(setup, learner, inputs, task)
        by_hand = task.loss(predictions).clamp(max=-math.log(1e-8)).mean(-1)
        assert torch.allclose(metrics["method.score"], by_hand, rtol=1e-10)


def test_shares_that_do_not_sum_to_the_prediction_cannot_carry_its_gradient() -> None:
    with pytest.raises(ValueError, match="score_attr: single needs route: encoder"):
        make_setup(AGM(score_attr="single"), network(2))


def test_a_given_reference_stays() -> None:
    model = network(2)
    learner = train(AGM(reference="target", target={"m1": 0.5, "m0": 1.5}), model, 10)
    assert AGM(reference="target").reference_scores(learner.state).tolist() == [1.5, 0.5]


@pytest.mark.parametrize("fusion", ["concat", "sum"])
def test_with_equal_coefficients_the_masked_passes_cancel(fusion: str) -> None:
    """alpha -> the same kappa for all gives kappa times the joint gradient (METHODS.md 6.4)."""
    model = network(2, fusion)
    inputs, target = batch(model, 0)
    setup, joint = make_setup(Twice(), model), make_setup(Joint(), model)
    before = make_learner(joint)
    after, _ = step(setup, before._replace(state=setup.method.init(before.params)), inputs, make_task(target, 0))
    plain, _ = step(joint, before, inputs, make_task(target, 0))
    for ours, theirs, start in zip(leaves(after.params), leaves(plain.params), leaves(before.params), strict=True):
        assert torch.allclose(ours - start, 2 * (theirs - start), rtol=1e-9, atol=1e-14)


class Twice(AGM):
    """AGM whose coefficients are all 2."""

    def kappa(self, r: torch.Tensor, *rest: object) -> torch.Tensor:
        return torch.full_like(r, 2.0)


def test_the_floor_is_one_of_each_position() -> None:
    """Ten positions, one hopeless: the mean of nine losses and the floor, not the floor of the mean."""
    logits = torch.zeros(1, 10, 2, dtype=torch.float64)
    logits[0, 3, 0] = -200.0
    task = make_task(torch.zeros(1, 10, dtype=torch.int64), 0, task="segmentation")
    floored = task.loss(logits, -math.log(1e-8)).item()
    assert floored == pytest.approx((9 * math.log(2) - math.log(1e-8)) / 10)


def test_a_first_batch_of_a_regression_has_no_unit_to_compare_in() -> None:
    model = network(2, task="regression")
    setup = make_setup(AGM(), model)
    learner = make_learner(setup)
    scales = []
    for number in range(3):
        inputs, target = batch(model, number, task="regression")
        learner, metrics = step(setup, learner, inputs, make_task(target, number, task="regression"))
        scales.append(metrics["method.scale"])
    assert scales[0].tolist() == [1, 1]
    assert not torch.allclose(scales[1], torch.ones(2, dtype=torch.float64))
