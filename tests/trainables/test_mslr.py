"""MSLR: the window by hand, the two forms, and learning rates against parameter groups of torch.optim."""

from typing import Any

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
    stack,
    train,
)
from tests.trainables.test_train import JOINT, tiny, trial
from trainables.dry_run import parameter_distance
from trainables.methods.joint import Joint
from trainables.methods.mslr import MSLR, MSLRState
from trainables.optim import build_optimizer
from trainables.setup import Learner, build_setup, init_learner
from trainables.signals import Validation, leaves
from trainables.step import step
from trainables.train import iterate_epochs

PATH = "trainables.methods.mslr:MSLR"


def validation(epoch: int, *scores: float) -> Validation:
    """What an epoch shows MSLR: a score of each modality."""
    one = torch.ones((), dtype=torch.float64)
    score = torch.tensor(scores, dtype=torch.float64)
    return Validation(torch.ones_like(score), score, one, one, torch.tensor(epoch), one)


def test_a_modality_that_no_validation_sample_has_keeps_its_rate() -> None:
    """And leaves nothing behind that is no number."""
    nan = float("nan")
    for sign in (1, -1):  # an accuracy, and minus an error
        rows = [(sign * x, nan) for x in (0.2, 0.4, 0.6, 0.8)]
        result = ratios(MSLR(window=2), *rows)
        assert result == [[one, 1.0] for (one,) in ratios(MSLR(window=2), *[(x,) for x, _ in rows])]
        assert result[-1][0] != 1


def ratios(method: MSLR, *rows: tuple[float, ...]) -> list[list[float]]:
    """The ratios in force after each epoch with these scores."""
    state = method.init(make_learner(make_setup(method, network(len(rows[0])))).params)
    result = []
    for epoch, scores in enumerate(rows, start=1):
        state = method.epoch(state, validation(epoch, *scores)).state
        result.append(state.ratio.tolist())
    return result


def test_the_ratio_first_differs_from_one_in_the_second_epoch_after_the_window_is_full() -> None:
    """W = 2: epochs 1 and 2 fill it; after epoch 3 rho = 0.6 / mean(0.2, 0.4) = 2, in force in epoch 4 = W + 2."""
    result = ratios(MSLR(window=2), (0.2,), (0.4,), (0.6,), (0.5,))
    assert [row[0] for row in result] == pytest.approx([1, 1, 0.6 / 0.3, 0.5 / 0.5], rel=1e-12)


def test_the_default_window_holds_five_epochs() -> None:
    result = ratios(MSLR(), *[(0.1 * (epoch + 1),) for epoch in range(7)])
    assert [row[0] for row in result] == pytest.approx([1, 1, 1, 1, 1, 0.6 / 0.3, 0.7 / 0.4], rel=1e-12)


@given(st.floats(0, 1), st.floats(0, 1))
def test_accuracies_that_do_not_change_change_nothing(one: float, other: float) -> None:
    for row in ratios(MSLR(window=2), *[(one, other)] * 6):
        assert row == pytest.approx([1, 1], rel=1e-12)


def test_accuracies_of_zero_do_not_divide_by_zero() -> None:
    assert ratios(MSLR(window=1), (0.0, 0.0), (0.0, 0.5), (0.5, 0.0)) == [[1, 1], [1, 10], [10, 0.1]]


def test_in_regression_a_loss_that_falls_speeds_up_as_an_accuracy_that_rises() -> None:
    assert ratios(MSLR(window=1), (-1.0, -1.0), (-0.5, -2.0)) == [[1, 1], [2, 0.5]]
    assert ratios(MSLR(window=1), (-1.0, -1.0), (-0.0, -2.0)) == [[1, 1], [10, 0.5]]
    assert ratios(MSLR(window=1), (-1.0, -1.0), (0.0, -2.0)) == [[1, 1], [10, 0.5]]


def test_without_adapt_the_ratios_stay() -> None:
    assert ratios(MSLR(adapt=False, window=1), (0.2,), (0.8,)) == [[1], [1]]


def learner_after_step(method: Any, **changes: Any) -> Learner:
    """Parameters after one step of joint training from a common start."""
    setup = make_setup(method, network(2, "sum"), lr=1.0)
    learner = make_learner(setup)._replace(**changes)
    inputs, target = batch(setup.model, 0)
    return step(setup, learner, inputs, make_task(target, 0))[0]


def test_factors_are_of_encoder_and_readout_by_name_and_one_where_there_is_none() -> None:
    """A mapping, one number, and the ratio in the state multiply."""
    before, joint = make_learner(make_setup(Joint(), network(2, "sum"))).params, learner_after_step(Joint()).params
    state = MSLRState(torch.zeros(()), torch.zeros(5, 2), torch.tensor([0.5, 2.0], dtype=torch.float64))
    for method, factors in [
        (MSLR({"m1": 3.0}), (0.5, 6.0)),
        (MSLR({"m1": 3.0, "m0": 2.0}), (1.0, 6.0)),
        (MSLR(2.0), (1.0, 4.0)),
        (MSLR(torch.tensor(2.0)), (1.0, 4.0)),
    ]:
        for form in ("lr", "grad_scale"):
            after = learner_after_step(method._replace(form=form), state=state).params
            for modality, factor in zip(("m0", "m1"), factors, strict=True):
                for kind in ("encoders", "readouts"):
                    groups = (getattr(p, kind)[modality] for p in (before, joint, after))
                    for p, q, r in zip(*(g.values() for g in groups), strict=True):
                        assert torch.allclose(r - p, factor * (q - p), rtol=1e-12, atol=1e-14)


def test_what_is_shared_keeps_its_learning_rate() -> None:
    """In one step; later ones depend on the encoders."""
    setup = make_setup(MSLR(3.0), network(2))
    inputs, target = batch(setup.model, 0)
    joint = make_setup(Joint(), network(2))
    one, other = (step(m, make_learner(m), inputs, make_task(target, 0))[0].params for m in (setup, joint))
    assert max_difference(one.shared, other.shared) == 0
    assert max_difference(one.encoders, other.encoders) > 0


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_by_default_it_is_a_learning_rate_of_each_branch_as_in_torch(name: str) -> None:
    """Momentum and weight decay included, over ten steps."""
    model, factors = network(2, "sum"), {"m0": 1.3, "m1": 0.7}
    setup = make_setup(MSLR(factors), model)._replace(optimizer=build_optimizer(name, 0.05, 0.9, 0.1))
    learner = make_learner(setup)
    copies = tree_map(lambda p: p.clone().requires_grad_(), learner.params)
    groups = [
        {
            "params": leaves(copies._replace(encoders={m: copies.encoders[m]}, readouts={m: copies.readouts[m]})),
            "lr": 0.05 * k,
        }
        for m, k in factors.items()
    ]
    rules = {
        "sgd": lambda: torch.optim.SGD(groups, momentum=0.9, weight_decay=0.1),
        "adam": lambda: torch.optim.Adam(groups, weight_decay=0.1),
        "adamw": lambda: torch.optim.AdamW(groups, weight_decay=0.1),
    }
    rule = rules[name]()
    for number in range(10):
        inputs, target = batch(model, number)
        learner, _ = step(setup, learner, inputs, make_task(target, number))
        rule.zero_grad()
        signals, _ = model(copies, learner.buffers, inputs, frozenset())
        torch.nn.functional.cross_entropy(signals.logits, target).backward()
        rule.step()
    assert max_difference(learner.params, tree_map(torch.detach, copies)) < 1e-12


def test_the_released_form_is_no_learning_rate_under_weight_decay_or_adam() -> None:
    for name in ("sgd", "adam"):
        mades = [
            make_setup(MSLR(3.0, form=form), network(2))._replace(optimizer=build_optimizer(name, 0.01, 0.0, 0.1))
            for form in ("lr", "grad_scale")
        ]
        inputs, target = batch(mades[0].model, 0)
        one, other = (step(m, make_learner(m), inputs, make_task(target, 0))[0].params.encoders for m in mades)
        assert max_difference(one, other) > 1e-4


@pytest.mark.parametrize("form", ["lr", "grad_scale"])
def test_outside_its_epochs_it_is_joint_training_and_between_it_is_faded(form: str) -> None:
    method, model = MSLR(3.0, form=form), network(2)
    assert max_difference(train(method, model, 10, strength=0.0).params, train(Joint(), model, 10).params) == 0
    setup, learner = make_setup(method, model), make_learner(make_setup(method, model))
    inputs, target = batch(model, 0)
    _, metrics = step(setup, learner, inputs, make_task(target, 0, strength=0.5))
    assert metrics["method.scale"].tolist() == [2, 2]


def one_epoch(method: MSLR, learner: Learner, number: int, scores: Tensor) -> tuple[Learner, tuple[Any, ...]]:
    """A step and the end of an epoch, as a value."""
    learner = pure_step(make_setup(method, network(2, "sum")), learner, number)
    one = torch.ones((), dtype=torch.float64)
    scores_of_epoch = Validation(scores, scores, one, one, torch.tensor(number + 1), one)
    control = method.epoch(learner.state, scores_of_epoch)
    return learner._replace(state=control.state), tuple(d.double() for d in control[1:4])


def test_eight_configurations_in_a_pack_equal_single_ones() -> None:
    factors = [{"m0": torch.tensor(0.5 + k / 4), "m1": torch.tensor(2.0 - k / 8)} for k in range(8)]
    scores = [torch.tensor([[0.1 * k, 0.5], [0.3, 0.1 * (8 - k)], [0.2, 0.4]]).double() for k in range(8)]
    learners = [make_learner(make_setup(MSLR(window=1), network(2, "sum")), seed) for seed in range(8)]
    packed, values, scores_of_epoch = stack(learners), stack(factors), torch.stack(scores)
    for number in range(3):
        packed, controls = vmap(lambda f, k, s, n=number: one_epoch(MSLR(f, window=1), k, n, s[n]), randomness="same")(
            values, packed, scores_of_epoch
        )
        for k in range(8):
            learners[k], alone = one_epoch(MSLR(factors[k], window=1), learners[k], number, scores[k][number])
            assert max_difference(tree_map(lambda t, k=k: t[k], (packed, controls)), (learners[k], alone)) < 1e-12


def test_a_study_trains_with_it_and_its_state_is_a_tree_of_tensors() -> None:
    setup = build_setup(trial(PATH, {"factor": {"a": 1.3, "b": 0.7}, "window": 2}, epochs=4, dtype="float64"), tiny())
    *_, last = iterate_epochs(setup, init_learner(setup))
    state = last.learner.state
    assert all(isinstance(leaf, Tensor) and leaf.dtype == torch.float64 for leaf in tree_leaves(state))
    assert (int(state.epochs), state.memory.shape) == (4, (2, 2))
    assert {row.metric for row in last.rows} >= {"scale", "ratio", "scale_min"}
    assert all(row.value == 1 for row in last.rows if row.metric == "ratio") == bool((state.ratio == 1).all())


def test_with_factor_one_and_no_adaptation_a_trial_is_joint_training() -> None:
    for norm in ("none", "batch"):
        model = {"fusion": "concat", "encoder": "mlp", "hidden": 16, "norm": norm, "dropout": 0.0}
        ends = []
        for method, settings in ((JOINT, {}), (PATH, {"adapt": False}), (PATH, {})):
            setup = build_setup(trial(method, settings, epochs=7, dtype="float64", model=model), tiny())
            *_, last = iterate_epochs(setup, init_learner(setup))
            ends.append(last.learner)
        assert parameter_distance(ends[0], ends[1]) < 1e-12
        assert parameter_distance(ends[0], ends[2]) > 1e-6
