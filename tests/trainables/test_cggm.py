"""CGGM: values by hand, double backward, finite differences, its directions, and its classifiers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.func import vmap
from torch.utils._pytree import tree_leaves, tree_map

from tests.trainables.helpers import (
    batch,
    make_learner,
    make_setup,
    make_task,
    max_difference,
    network,
    pure_step,
    train,
    without_heads,
)
from tests.trainables.test_train import trial
from trainables.classifiers import Classifier
from trainables.data import load
from trainables.data.targets import regression_targets
from trainables.methods.cggm import CGGM, CGGMState, cosine_alignment
from trainables.methods.joint import Joint
from trainables.model import Model
from trainables.optim import SGD, SplitOptimizer
from trainables.randomness import normal, uniform
from trainables.setup import Learner, Setup, build_setup
from trainables.signals import Guided, Params, Signals, Sloped, Task, each, leaves
from trainables.step import batch_task as pose_batch
from trainables.step import step

LOSSES = [("classification", "mse"), ("regression", "mse"), ("regression", "l1"), ("regression", "huber")]
KINDS = [*LOSSES, ("segmentation", "mse")]
changes = st.lists(st.floats(-1, 1), min_size=2, max_size=6)


def scores(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def eager_step(setup: Setup, learner: Learner, inputs: dict[str, Tensor], task: Task) -> tuple[Any, Signals, Params]:
    """Return the method's step with eager autograd, its signals, and the parameters that they depend on."""
    params = each(lambda p: p.detach().requires_grad_(), learner.params)
    coalitions = setup.method.coalitions(len(inputs), task)  # type: ignore[attr-defined]
    signals, _ = setup.model(params, learner.buffers, inputs, setup.needs, coalitions=coalitions)

    def pull(f: Callable[[Signals], Tensor | Sloped]) -> Params:
        value = f(signals)
        if isinstance(value, Sloped):
            value = torch.stack([(v * s).sum() for v, s in zip(*value, strict=True)]).sum()
        return gradient(value, params)

    return setup.method.step(learner.state, signals, task, pull), signals, params


def gradient(value: Tensor, params: Params) -> Params:
    """Return the gradient by eager autograd; the graph is retained."""
    result = torch.autograd.grad(value, leaves(params), retain_graph=True, allow_unused=True, materialize_grads=True)
    grads = iter(result)
    return each(lambda _: next(grads), params)


def by_double_backward(signals: Signals, params: Params, task: Task, balance: Tensor) -> Tensor:
    """L_gm of METHODS.md 7.4 on autograd's own gradients; that of the joint loss stays differentiable."""
    readouts = [readout["weight"] for readout in params.readouts.values() if readout]
    slopes = torch.autograd.grad(
        task.objective(signals.logits), readouts or [params.shared["head.weight"]], create_graph=True
    )
    joint = torch.cat(slopes, -1).flatten()
    weights = params.heads["classifiers"]["out.weight"]
    losses = task.objectives(signals.classified)
    own = [torch.autograd.grad(loss, weights, retain_graph=True)[0][m] for m, loss in enumerate(losses)]
    cosines = torch.stack([torch.cosine_similarity(joint, q.flatten(), dim=0, eps=1e-30) for q in own])
    return (balance.abs() - balance * cosines).mean()


@pytest.mark.parametrize(("task", "loss"), KINDS)
@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("fusion", ["concat", "sum", "early"])
def test_the_closed_form_is_double_backward(task: str, loss: str, modalities: int, fusion: str) -> None:
    model = network(modalities, fusion, task=task)
    setup = make_setup(CGGM(lam=0.7, magnitude=False), model)
    inputs, target = batch(model, 0, task=task)
    posed = make_task(target, 0, task=task, loss=loss)
    ours, signals, params = eager_step(setup, make_learner(setup), inputs, posed)
    l_gm = by_double_backward(signals, params, posed, ours.metrics["balance"])
    wanted = gradient(posed.objective(signals.logits) + 0.7 * l_gm, params)
    assert float(ours.metrics["direction"]) == pytest.approx(float(l_gm.detach()), abs=1e-12)
    assert max_difference(without_heads(ours.grads), without_heads(wanted)) < 1e-12


@pytest.mark.parametrize(("task", "loss"), KINDS)
def test_the_classifiers_learn_from_their_own_losses(task: str, loss: str) -> None:
    model = network(3, task=task)
    setup = make_setup(CGGM(direction="off"), model)
    inputs, target = batch(model, 0, task=task)
    present = torch.ones(3, len(target), dtype=torch.bool)
    present[1, :4] = False
    for mask in (None, present):
        posed = make_task(target, 0, task=task, loss=loss, present=mask)
        for reduced_task in (posed, posed._replace(reduction="sum")):
            ours, signals, params = eager_step(setup, make_learner(setup), inputs, reduced_task)
            wanted = gradient(reduced_task.objectives(signals.classified).sum(), params)
            assert max_difference(ours.grads.heads, wanted.heads) < 1e-12
            assert not any(g.any() for g in leaves(without_heads(wanted)))


def test_the_gradient_is_that_of_finite_differences() -> None:
    """Of L + lambda L_gm by a weight of the fusion, q and b held fixed."""
    model = network(2, "early")
    setup = make_setup(CGGM(lam=0.7, magnitude=False, direction="grad_prev"), model)
    learner = make_learner(setup)
    inputs, target = batch(model, 0)
    task = make_task(target, 0)
    weights = scores(0.8, -0.3)
    own = normal((2, *learner.params.shared["head.weight"].shape), 0, "q").double()
    learner = learner._replace(state=CGGMState(scores(0, 0), scores(0, 0), (weights, own)))

    def total(nudge: float) -> float:
        mixed = learner.params.shared["mix.weight"].clone()
        mixed[1, 2] += nudge
        shared = {**learner.params.shared, "mix.weight": mixed}
        params = each(lambda p: p.requires_grad_(), learner.params._replace(shared=shared))
        loss = task.objective(model(params, learner.buffers, inputs, frozenset())[0].logits)
        joint = torch.autograd.grad(loss, params.shared["head.weight"])[0]
        cosines = torch.cosine_similarity(joint.flatten()[None], own.flatten(1), eps=1e-30)
        return float(loss.detach() + 0.7 * (weights.abs() - weights * cosines).sum())

    ours, _, _ = eager_step(setup, learner, inputs, task)
    measured = (total(1e-5) - total(-1e-5)) / 2e-5
    assert float(ours.grads.shared["mix.weight"][1, 2]) == pytest.approx(measured, rel=1e-7)


@given(changes)
def test_the_balance_sums_to_one_less_than_the_modalities(values: list[float]) -> None:
    """Up to the 1e-8 in the sum of the changes."""
    balance = CGGM().balance(scores(*values), None)
    assert torch.isfinite(balance).all()
    if abs(sum(values)) > 1e-3:
        assert float(balance.sum()) == pytest.approx(len(values) - 1, abs=2e-5)


def test_the_balance_by_hand() -> None:
    """D = 0.3 and 0.1: the faster modality is damped, b = 0.1 / 0.4 and 0.3 / 0.4."""
    assert CGGM().balance(scores(0.3, 0.1), None).tolist() == pytest.approx([0.25, 0.75], rel=1e-6)


def test_without_change_all_coefficients_are_one() -> None:
    assert CGGM().balance(scores(0, 0, 0), None).tolist() == [1, 1, 1]


def test_changes_that_cancel_give_large_and_finite_coefficients() -> None:
    balance = CGGM().balance(scores(0.25, -0.125, -0.125), None)
    assert balance.tolist() == pytest.approx([-24999999.0, 12500001.0, 12500001.0])
    assert torch.isfinite(CGGM().balance(scores(-1e-8, 0), None)).all()  # the pole itself


def test_the_bound_holds_on_either_side() -> None:
    method = CGGM(clip_b=5.0)
    assert method.clip_balance(method.balance(scores(0.25, -0.125, -0.125), None)).tolist() == [-5, 5, 5]


@given(changes)
def test_positive_changes_give_coefficients_in_the_unit_interval(values: list[float]) -> None:
    balance = CGGM(delta="positive").balance(scores(*values), None)
    assert ((balance >= 0) & (balance <= 1)).all()
    assert float(balance.sum()) == pytest.approx(len(values) - 1, rel=1e-12)


def test_the_metric_is_smoothed_before_it_is_compared() -> None:
    method, task = CGGM(smooth=0.75), make_task(torch.zeros(4, dtype=torch.int64), 0)
    state = CGGMState(scores(0.4, 0.8), scores(1, 1), ())
    eps, change, _ = method.update_metric(state, scores(0.8, 0.4), None, task)
    assert eps.tolist() == pytest.approx([0.5, 0.7])
    assert change.tolist() == pytest.approx([0.1, -0.1])


def test_an_error_has_no_change_before_its_second_value() -> None:
    """An accuracy starts from 0; minus an error from what is measured first."""
    values, nothing = scores(-2.0, -1.0), CGGMState(scores(0, 0), scores(0, 0), ())
    error = make_task(torch.zeros(4, 1).double(), 0, task="regression")
    eps, change, measured = CGGM().update_metric(nothing, values, None, error)
    assert (eps.tolist(), change.tolist(), measured.tolist()) == ([-2, -1], [0, 0], [1, 1])
    assert CGGM(eps_metric="p_y").update_metric(nothing, values, None, error)[1].tolist() == [-2, -1]
    _, change, _ = CGGM().update_metric(CGGMState(eps, measured, ()), scores(-1.5, -1.0), None, error)
    assert change.tolist() == [0.5, 0]


def test_metrics_by_hand() -> None:
    """Of two modalities: hit rate, probability of the target, the side of 0, minus the error."""
    logits = torch.log(torch.tensor([[[0.9, 0.1], [0.4, 0.6]], [[0.3, 0.7], [0.8, 0.2]]], dtype=torch.float64))
    classes = make_task(torch.tensor([0, 0]), 0)
    assert CGGM().measure(Signals(classified=logits), classes).tolist() == [0.5, 0.5]
    assert CGGM(eps_metric="p_y").measure(Signals(classified=logits), classes).tolist() == pytest.approx([0.65, 0.55])
    assert CGGM(eps_source="head").measure(Signals(unimodal=logits), classes).tolist() == [0.5, 0.5]
    assert CGGM(eps_source="single").measure(Signals(muted=logits), classes).tolist() == [0.5, 0.5]
    values = scores(1.5, -0.5, 0.1, -2.0).view(2, 2, 1)
    for loss in ("mse", "l1", "huber"):
        regression = make_task(scores(1.0, 0.0)[:, None], 0, task="regression", loss=loss)  # 0 counts as negative
        assert CGGM(eps_metric="sign").measure(Signals(classified=values), regression).tolist() == [1.0, 1.0]
        assert CGGM(eps_metric="sign").measure(Signals(classified=-values), regression).tolist() == [0.0, 0.0]
        assert CGGM().measure(Signals(classified=values), regression).tolist() == pytest.approx([-0.5, -1.45])


def test_the_sign_is_that_of_the_target_before_it_was_standardised() -> None:
    """Targets 4, 1, 0 and -1 of a file; the prediction 0.5 lies on the side of the first two."""
    raw = np.array([4.0, 1.0, 0.0, -1.0])
    (target, *_), zero = regression_targets((raw, raw, raw), raw, "none", standardise=True, owner="x")
    assert 0 > zero == target[2, 0]
    task = make_task(torch.from_numpy(target), 0, task="regression")._replace(zero=zero)
    prediction = torch.full((1, 4, 1), (0.5 - raw.mean()) / raw.std(), dtype=torch.float32)
    assert CGGM(eps_metric="sign").measure(Signals(classified=prediction), task).tolist() == [0.5]
    data = load({"name": "diabetes"})  # whose targets are above 0
    assert (
        pose_batch(build_setup(trial(), data), torch.arange(4), 1, 1).zero == data.target_zero < data.train.target.min()
    )


def test_the_magnitude_scales_encoders_by_rho_times_b() -> None:
    model = network(2)
    setup, plain = make_setup(CGGM(lam=0.0, rho=1.7), model), make_setup(Joint(), model)
    inputs, target = batch(model, 0)
    task = make_task(target, 0)
    learner = make_learner(setup)
    scaled, _, _ = eager_step(setup, learner, inputs, task)
    before = make_learner(plain)
    joint, _ = step(plain, before, inputs, task)
    scale = 1.7 * scaled.metrics["balance"]
    assert scaled.metrics["scale"].tolist() == pytest.approx(scale.tolist(), rel=1e-12)
    for k, m in zip(scale, model.encoders, strict=True):
        gradients = {n: (before.params.encoders[m][n] - p) / 0.05 for n, p in joint.params.encoders[m].items()}
        assert max_difference({n: k * g for n, g in gradients.items()}, scaled.grads.encoders[m]) < 1e-12


@pytest.mark.parametrize("over", [{"lam": 0.0}, {"direction": "off"}, {"direction": "off", "eps_source": "single"}])
@pytest.mark.parametrize("fusion", ["concat", "sum", "early"])
def test_without_magnitude_and_direction_it_is_joint_training_to_the_last_bit(over: Any, fusion: str) -> None:
    model = network(3, fusion)
    joint, other = train(Joint(), model, 20), train(CGGM(magnitude=False, **over), model, 20)
    assert max_difference(joint.params, without_heads(other.params)) == 0


@pytest.mark.parametrize("direction", ["grad", "grad_prev", "param_released", "off"])
def test_one_modality_is_joint_training(direction: str) -> None:
    model = network(1)
    joint, other = train(Joint(), model, 20), train(CGGM(direction=direction), model, 20)
    assert max_difference(joint.params, without_heads(other.params)) == 0


def test_under_plain_sgd_scaling_the_update_is_scaling_the_gradient() -> None:
    """Without momentum."""
    model = network(3)
    learners = {}
    for apply in ("grad", "lr"):
        setup = make_setup(CGGM(apply=apply, delta="positive"), model)
        learners[apply] = train_steps(
            setup._replace(optimizer=SplitOptimizer(SGD(0.05, 0.0), setup.method.trainer)), 10
        )
    assert max_difference(learners["grad"].params, learners["lr"].params) < 1e-12


def train_steps(setup: Setup, steps: int, learner: Learner | None = None) -> Learner:
    learner = learner or make_learner(setup)
    for number in range(steps):
        inputs, target = batch(setup.model, number)
        learner, _ = step(setup, learner, inputs, make_task(target, number))
    return learner


def direction_gradient(direction: str, steps: int) -> Params:
    """Return the gradient that the direction loss adds to the joint one, in the last of ``steps``."""
    model = network(3, "early")
    setup = make_setup(CGGM(lam=0.5, magnitude=False, direction=direction), model)
    learner = train_steps(setup, steps - 1)
    inputs, target = batch(model, steps - 1)
    ours, signals, params = eager_step(setup, learner, inputs, make_task(target, steps - 1))
    plain = gradient(make_task(target, steps - 1).objective(signals.logits), params)
    return without_heads(each(torch.sub, ours.grads, plain))


def test_the_released_direction_reaches_the_head_alone_and_one_step_late() -> None:
    assert all(g.abs().max() < 1e-15 for g in leaves(direction_gradient("param_released", 1)))
    later = direction_gradient("param_released", 2)
    touched = {name for name, g in later.shared.items() if g.abs().max() > 1e-15}
    assert touched == {"head.weight"}
    assert all(g.abs().max() < 1e-15 for group in later.encoders.values() for g in group.values())


def test_the_released_direction_is_the_slope_of_the_last_steps_weights() -> None:
    model = network(3, "early")
    setup = make_setup(CGGM(lam=0.5, magnitude=False, direction="param_released"), model)
    learner = make_learner(setup)
    inputs, target = batch(model, 0)
    _, metrics = step(setup, learner, inputs, make_task(target, 0))
    weight = learner.params.shared["head.weight"].detach().requires_grad_()
    own = learner.params.heads["classifiers"]["out.weight"]
    cosines = torch.stack([torch.cosine_similarity(weight.flatten(), v.flatten(), dim=0) for v in own])
    assert max_difference(cosines.detach(), metrics["method.cosine"]) < 1e-12
    balance = metrics["method.balance"]
    l_gm = (balance.abs() - balance * cosines).mean()
    wanted = 0.5 * torch.autograd.grad(l_gm, weight)[0]
    assert max_difference(direction_gradient("param_released", 2).shared["head.weight"], wanted) < 1e-12


def test_the_papers_direction_acts_at_once_and_everywhere() -> None:
    first = direction_gradient("grad", 1)
    assert all(g.abs().max() > 1e-6 for g in leaves(first))
    assert (
        max_difference(first.shared["head.weight"], direction_gradient("param_released", 1).shared["head.weight"])
        > 1e-6
    )
    assert (
        max_difference(
            direction_gradient("grad", 2).shared["head.weight"],
            direction_gradient("param_released", 2).shared["head.weight"],
        )
        > 1e-6
    )


def test_the_previous_directions_are_those_of_the_step_before() -> None:
    assert all(g.abs().max() < 1e-15 for g in leaves(direction_gradient("grad_prev", 1)))
    assert all(g.abs().max() > 1e-6 for g in leaves(direction_gradient("grad_prev", 2)))


def test_a_matrix_of_zeros_has_no_direction() -> None:
    matrices = normal((3, 2, 4), 0, "matrices").double()
    for blank in range(3):
        some = matrices.clone()
        some[blank] = 0
        cosine, slope = cosine_alignment(some, scores(1.0, 2.0))
        assert torch.isfinite(cosine).all()
        assert torch.isfinite(slope).all()
        assert blank == 0 or cosine[blank - 1] == 0
        assert blank > 0 or not slope.any()


@pytest.mark.parametrize("over", [{}, {"direction": "grad_prev"}, {"direction": "param_released"}, {"cls_heads": 2}])
@pytest.mark.parametrize("delta", ["signed", "positive"])
def test_eight_configurations_in_a_pack_equal_single_ones(over: Any, delta: str) -> None:
    """The first steps; where changes cancel, coefficients of 1e7 multiply rounding, so clip_b holds them."""
    model, steps = network(3, "early"), 20
    numbers = {
        "rho": torch.linspace(0.5, 2, 8), "lam": torch.linspace(0, 1, 8), "clip_b": torch.linspace(1, 4, 8),
        "smooth": torch.linspace(0, 0.9, 8), "cls_lr": torch.logspace(-4, -2, 8), "cls_decay": torch.linspace(0, 0.1, 8),
    }  # fmt: skip
    numbers = {name: values.double() for name, values in numbers.items()}

    def configured(values: Any) -> Setup:
        return make_setup(CGGM(delta=delta, **over, **values), model)

    singles = [configured({name: float(v[k]) for name, v in numbers.items()}) for k in range(8)]
    packed: Any = tree_map(lambda *ts: torch.stack(ts), *[make_learner(setup, k) for k, setup in enumerate(singles)])
    for number in range(steps):
        packed = vmap(lambda v, k, n=number: pure_step(configured(v), k, n))(numbers, packed)
    for k, setup in enumerate(singles):
        alone = train_steps(setup, steps, make_learner(setup, k))
        assert max_difference(tree_map(lambda t, k=k: t[k], packed), alone) < 1e-9


def test_an_absent_modality_keeps_its_state_and_its_gradient() -> None:
    model = network(3, "sum")
    setup = make_setup(CGGM(delta="positive"), model)
    learner = train_steps(setup, 3)
    inputs, target = batch(model, 3)
    present = torch.ones(3, len(target), dtype=torch.bool)
    present[1] = False
    present[2, :5] = False
    after, metrics = step(setup, learner, inputs, make_task(target, 3, present=present))
    assert metrics["method.scale"][1] == 1
    assert metrics["attended"].tolist() == [True, False, True]
    assert after.state.eps[1] == learner.state.eps[1]
    assert float(metrics["method.balance"][[0, 2]].sum()) == pytest.approx(1, rel=1e-6)
    classified = setup.model(learner.params, learner.buffers, inputs, setup.needs)[0].classified
    right = (classified.argmax(-1) == target).double()
    assert float(after.state.eps[2]) == pytest.approx(float(right[2, 5:].mean()), rel=1e-12)


def test_a_modality_alone_in_a_batch_is_not_modulated() -> None:
    model = network(2)
    setup, plain = make_setup(CGGM(), model), make_setup(Joint(), model)
    inputs, target = batch(model, 0)
    present = torch.ones(2, len(target), dtype=torch.bool)
    present[1] = False
    task = make_task(target, 0, present=present)
    one, other = step(setup, make_learner(setup), inputs, task)[0], step(plain, make_learner(plain), inputs, task)[0]
    assert max_difference(without_heads(one.params), other.params) < 1e-15


def test_half_strength_is_half_of_both() -> None:
    model = network(3)
    setup = make_setup(CGGM(delta="positive"), model)
    half = make_setup(CGGM(delta="positive", lam=0.1), model)
    inputs, target = batch(model, 0)
    faded, _, _ = eager_step(setup, make_learner(setup), inputs, make_task(target, 0, strength=0.5))
    full, _, _ = eager_step(half, make_learner(half), inputs, make_task(target, 0))
    assert max_difference(faded.grads.shared, full.grads.shared) < 1e-12
    assert max_difference(faded.metrics["scale"], (1 + full.metrics["scale"]) / 2) < 1e-12
    assert max_difference(faded.state, full.state) == 0


def test_the_state_goes_on_outside_the_methods_epochs() -> None:
    model = network(2)
    setup = make_setup(CGGM(), model)
    inputs, target = batch(model, 0)
    learner = make_learner(setup)
    off, metrics = step(setup, learner, inputs, make_task(target, 0, strength=0.0))
    assert off.state.eps.tolist() == metrics["method.eps"].tolist() != [0, 0]
    assert max_difference(off.params.heads, learner.params.heads) > 0


@pytest.mark.parametrize("source", ["head", "single"])
def test_without_classifiers_there_are_none(source: str) -> None:
    method = CGGM(direction="off", eps_source=source)
    assert isinstance(method, Guided)
    assert method.classifier is None
    assert not train(method, network(3), 3).params.heads
    assert CGGM(eps_source=source).classifier is not None  # they have the directions


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
@pytest.mark.parametrize("heads", [0, 2, 3])
@pytest.mark.parametrize("width", [0, 5])
@pytest.mark.parametrize("dense", [False, True])
def test_classifiers_of_every_depth_end_in_the_shape_of_the_joint_head(
    layers: int, heads: int, width: int, dense: bool
) -> None:
    widths, fused, outputs = {"a": 6, "b": 9}, 15, 3
    classifier = Classifier(layers, width, heads)
    params = classifier.init(widths, fused, outputs, lambda *named: uniform(0, *named))
    shape = (4, 7) if dense else (4,)
    features = {m: normal((*shape, width), 0, m) for m, width in widths.items()}
    predicted, (inputs, weights) = classifier(params, features)
    assert predicted.shape == (2, *shape, outputs)
    assert inputs.shape == (2, *shape, fused)
    assert weights.shape == (2, outputs, fused)
    again = torch.einsum("m...p,mcp->m...c", inputs, weights)
    bias = params["out.bias"].view(2, *[1] * len(shape), outputs)
    assert torch.allclose(predicted, again + bias, atol=1e-5)
    alone = classifier.init({"b": 9}, fused, outputs, lambda *named: uniform(0, *named))
    assert torch.allclose(classifier(alone, {"b": features["b"]})[0][0], predicted[1], atol=1e-5)


def test_attention_sees_all_of_a_vector() -> None:
    classifier = Classifier(1, 8, 2)
    params = classifier.init({"a": 5}, 7, 3, lambda *named: uniform(0, *named))
    h = normal((1, 5), 0, "h").requires_grad_()
    features = classifier.encode_tokens(params, h[None]).sum()
    assert (torch.autograd.grad(features, h)[0] != 0).all()


def test_the_clip_leaves_the_classifiers_out() -> None:
    model = network(2)
    free = make_setup(CGGM(), model)
    clipped = free._replace(trial={"train": {"clip": 1e-3, "clip_before": None, "clip_trigger": None, "accumulate": 1}})
    inputs, target = batch(model, 0)
    learner = make_learner(free)
    one, other = (step(setup, learner, inputs, make_task(target, 0))[0] for setup in (free, clipped))
    assert max_difference(one.params.heads, other.params.heads) == 0
    assert max_difference(without_heads(other.params), without_heads(learner.params)) < 1e-4


@pytest.mark.parametrize("metric", ["accuracy", "p_y", "sign"])
@pytest.mark.parametrize("source", ["aux", "head", "single"])
@pytest.mark.parametrize("task", ["classification", "regression", "segmentation"])
def test_every_metric_of_every_source_trains(metric: str, source: str, task: str) -> None:
    learner = train(CGGM(eps_metric=metric, eps_source=source), network(3, task=task), 4, task=task)
    assert all(torch.isfinite(t).all() for t in tree_leaves(learner))


def hard_batch(kind: str, model: Model) -> tuple[dict[str, Tensor], Tensor]:
    inputs, target = batch(model, 0, size=1 if kind == "one sample" else 12)
    return inputs, torch.full_like(target, 1) if kind == "one class" else target


@pytest.mark.parametrize("kind", ["one class", "one sample", "saturated"])
@pytest.mark.parametrize("direction", ["grad", "grad_prev", "param_released"])
def test_hard_batches_stay_finite(kind: str, direction: str) -> None:
    """Saturated: all predictions right or wrong beyond doubt, so that gradients of the joint loss vanish."""
    model = network(2)
    setup = make_setup(CGGM(direction=direction, clip_b=10.0), model)
    learner = make_learner(setup)
    if kind == "saturated":
        learner = learner._replace(params=each(lambda p: 30 * p, learner.params))
    inputs, target = hard_batch(kind, model)
    for number in range(4):
        learner, metrics = step(setup, learner, inputs, make_task(target, number))
        assert all(torch.isfinite(t).all() for t in [*tree_leaves(learner), *metrics.values()])
