"""MSES: the filter and the patience by hand; what a stopped branch does, and what a roll-back keeps."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import vmap
from torch.utils._pytree import tree_leaves, tree_map

from tests.trainables.helpers import batch, make_learner, make_setup, make_task, max_difference, network, stack
from tests.trainables.test_train import JOINT, tiny, trial
from trainables.differentiation import functional
from trainables.dry_run import parameter_distance
from trainables.methods.mses import MSES
from trainables.setup import Learner, Setup, build_setup, init_learner
from trainables.signals import Control, Validation
from trainables.snapshots import restore_branch
from trainables.step import step
from trainables.train import Epoch, iterate_epochs

PATH = "tests.trainables.test_mses:"
FALLING = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]
RISING = [1.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1]  # its minimum is in epoch 2
MODEL = {"fusion": "sum", "encoder": "mlp", "hidden": 16, "norm": "batch", "dropout": 0.0}
EARLY: dict[str, Any] = {"patience": 1.0, "mix": 0.0}  # stops two epochs after the best


def validation(epoch: int, *losses: float, strength: float = 1.0) -> Validation:
    """What an epoch shows MSES: a loss of each modality."""
    one = torch.ones((), dtype=torch.float64)
    loss = torch.tensor(losses, dtype=torch.float64)
    return Validation(loss, -loss, one, one, torch.tensor(epoch), strength * one)


def controls(method: MSES, *rows: tuple[float, ...], strength: float = 1.0) -> list[Control]:
    """What the method decides after each epoch with these losses."""
    state = method.init(make_learner(make_setup(method, network(len(rows[0])))).params)
    result = []
    for epoch, losses in enumerate(rows, start=1):
        result.append(method.epoch(state, validation(epoch, *losses, strength=strength)))
        state = result[-1].state
    return result


def test_the_filter_weighs_two_raw_losses_and_is_no_moving_average() -> None:
    """0.6 * 2 + 0.4 * 1 = 1.6, then 0.6 * 1 + 0.4 * 1.5 = 1.2; an average would have 0.6 * 1.6 + 0.4 * 1.5 = 1.56."""
    result = controls(MSES(), (2.0,), (1.0,), (1.5,))
    assert [c.state.best.item() for c in result] == pytest.approx([2.0, 1.6, 1.2], rel=1e-12)


def test_a_minimum_counts_for_the_epoch_after_it_when_the_loss_rises_slowly() -> None:
    """Losses 1, 0.5, 0.6, 0.7, minimum in epoch 2; smoothed 1, 0.8, 0.54, 0.64, minimum in epoch 3."""
    assert controls(MSES(), *[(x,) for x in RISING])[-1].state.best_epoch.item() == 3
    assert controls(MSES(mix=0.0), *[(x,) for x in RISING])[-1].state.best_epoch.item() == 2


def test_a_branch_stops_when_more_epochs_than_its_patience_have_passed_since_the_best() -> None:
    result = controls(MSES(patience=3, mix=0.0), *zip(RISING, FALLING, strict=True))
    assert [c.state.running.tolist() for c in result] == [[1, 1]] * 5 + [[0, 1]] * 3  # 5 - 2 = 3 is no more than 3
    assert [c.restore.tolist() for c in result] == [[False, False]] * 5 + [[True, False]] + [[False, False]] * 2
    assert [c.save[0].item() for c in result] == [True, True] + [False] * 6
    assert not any(c.stop for c in result)


def test_all_stopped_ends_training_and_infinite_patience_never_does() -> None:
    rows = list(zip(RISING, RISING, strict=True))
    assert [bool(c.stop) for c in controls(MSES(**EARLY), *rows)].index(True) + 1 == 4
    assert not any(c.stop or c.restore.any() for c in controls(MSES(patience=float("inf")), *rows))


@pytest.mark.parametrize(("first", "restores"), [("save", True), ("none", False)])
def test_the_first_epoch_is_saved_unless_as_in_the_release(first: str, restores: bool) -> None:
    """A loss that only rises: the best epoch is the first."""
    result = controls(MSES(patience=1, mix=0.0, first=first), (1.0,), (1.1,), (1.2,))
    assert result[0].save.item()
    assert (result[2].restore.item(), result[2].state.running.item()) == (restores, 0)


@pytest.mark.parametrize(
    ("rollback", "restores", "scope"), [("whole", True, "whole"), ("branch", True, "branch"), ("none", False, "whole")]
)
def test_the_roll_back_is_of_everything_a_branch_or_nothing(rollback: str, restores: bool, scope: str) -> None:
    last = controls(MSES(**EARLY, rollback=rollback), *[(x,) for x in RISING[:4]])[-1]
    assert (last.restore.item(), last.scope) == (restores, scope)


def test_a_modality_that_no_validation_sample_has_never_stops() -> None:
    """It neither stops nor sets a best; the other is judged as if it were alone."""
    nan = float("nan")
    result = controls(MSES(**EARLY), *[(x, nan) for x in RISING])
    alone = controls(MSES(**EARLY), *[(x,) for x in RISING])
    for both, one in zip(result, alone, strict=True):
        assert (both.save.tolist(), both.restore.tolist()) == (
            [*one.save.tolist(), False],
            [*one.restore.tolist(), False],
        )
        assert both.state.running.tolist() == [*one.state.running.tolist(), 1]
        assert all(bool(part.isfinite().all()) for part in both.state)
    assert not any(control.stop for control in result)


def test_outside_its_epochs_losses_are_stored_and_nothing_stops() -> None:
    result = controls(MSES(**EARLY), *[(x,) for x in RISING], strength=0.0)
    assert result[-1].state.best_epoch.item() == 2
    assert all(c.state.running == 1 and not c.stop and not c.restore.any() for c in result)


class Scripted(MSES):
    """MSES that sees the losses of a script: the first modality gets worse from epoch 3 on."""

    def epoch(self, state: Any, validation: Validation) -> Control:
        e = int(validation.epoch) - 1
        loss = torch.tensor([RISING[e], self.other()[e]], dtype=torch.float64)
        return super().epoch(state, validation._replace(loss=loss))

    def other(self) -> list[float]:
        return FALLING


class BothWorse(Scripted):
    """The same for both."""

    def other(self) -> list[float]:
        return RISING


def run(method: str = "Scripted", *, count: int = 6, end: float = float("inf"), **changes: Any) -> list[Epoch]:
    """Train on tiny data; modality `a` stops after epoch 4, which goes back to the end of epoch 2."""
    settings = EARLY | {k: changes.pop(k) for k in ("stop", "rollback") if k in changes}
    config = trial(PATH + method, settings, epochs=count, dtype="float64", model=MODEL, **changes) | {"end": end}
    setup = build_setup(config, tiny())
    return list(iterate_epochs(setup, init_learner(setup)))


def branch(learner: Learner, modality: str) -> list[Tensor]:
    """All that belongs to a branch and evaluation reads."""
    params = learner.params
    return tree_leaves((params.encoders[modality], params.readouts[modality], learner.buffers[modality]))


def all_equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(a.equal(b) for a, b in zip(one, other, strict=True))


OPTIMIZERS = pytest.mark.parametrize(
    "train",
    [
        {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.1},
        {"optimizer": "adam", "lr": 0.01, "weight_decay": 0.1},
        {"optimizer": "adamw", "lr": 0.01, "weight_decay": 0.1},
        {"optimizer": "sgd", "momentum": 0.9, "clip": 0.1},
    ],
    ids=["sgd", "adam", "adamw", "clipped"],
)


@OPTIMIZERS
def test_a_frozen_branch_does_not_move_by_a_bit(train: dict[str, Any]) -> None:
    done = run(**train)
    assert all_equal(branch(done[5].learner, "a"), branch(done[3].learner, "a"))
    assert not all_equal(branch(done[5].learner, "b"), branch(done[3].learner, "b"))
    assert not all_equal(branch(done[1].learner, "a"), branch(done[0].learner, "a"))  # before, it trained


@OPTIMIZERS
def test_without_gradients_a_branch_moves_on(train: dict[str, Any]) -> None:
    done = run(stop="grad_zero", **train)
    assert not all_equal(branch(done[5].learner, "a"), branch(done[3].learner, "a"))


def test_plain_gradient_descent_does_not_move_without_gradients_but_running_statistics_do() -> None:
    done = run(stop="grad_zero", momentum=0.0)
    one, other = done[5].learner, done[3].learner
    assert max_difference(one.params.encoders["a"], other.params.encoders["a"]) == 0
    assert max_difference(one.buffers["a"], other.buffers["a"]) > 0


def test_clipping_does_not_count_a_frozen_branch() -> None:
    for stop in ("freeze", "grad_zero"):
        setup = make_setup(MSES(stop=stop), network(2, "sum"))
        learner = make_learner(setup)
        state = learner.state._replace(running=torch.tensor([0.0, 1.0], dtype=torch.float64))
        inputs, target = batch(setup.model, 0)
        after, metrics = step(setup, learner._replace(state=state), inputs, make_task(target, 0))
        assert all((v == 0).all() for v in after.moments.encoders["m0"].values())
        assert all((v == 0).all() for v in after.moments.readouts["m0"].values())
        assert metrics["method.scale"].tolist() == [0, 1]


@OPTIMIZERS
def test_a_whole_roll_back_is_everything_as_it_was(train: dict[str, Any]) -> None:
    done = run(**train)
    assert max_difference(done[3].learner[:3], done[1].learner[:3]) == 0
    assert done[3].learner.state.running.tolist() == [0, 1]
    assert done[3].learner.state.previous.tolist() == [RISING[3], FALLING[3]]


@OPTIMIZERS
def test_a_roll_back_of_a_branch_keeps_the_progress_of_the_others(train: dict[str, Any]) -> None:
    back, stayed = run(rollback="branch", **train)[3].learner, run(rollback="none", **train)[3].learner
    best = run(**train)[1].learner
    assert all_equal(branch(back, "a"), branch(best, "a"))
    assert all_equal(branch(back, "b"), branch(stayed, "b"))
    assert not all_equal(branch(stayed, "a"), branch(best, "a"))
    for moments in ([back.moments, stayed.moments, best.moments],) if train["optimizer"] == "sgd" else (
        [getattr(learner.moments, k) for learner in (back, stayed, best)] for k in ("mean", "square")
    ):  # fmt: skip
        for kind in ("encoders", "readouts"):
            mine, other, old = (getattr(m, kind) for m in moments)
            assert max_difference(mine["a"], old["a"]) == 0
            assert max_difference(mine["b"], other["b"]) == 0
            assert max_difference(mine["b"], old["b"]) > 0


def test_grafting_passes_over_what_has_no_such_branch() -> None:
    """The moments of an optimiser for heads beside the model."""
    setup = make_setup(MSES(), network(2, "sum"))
    params = make_learner(setup).params
    old = tree_map(torch.zeros_like, params)
    heads = params._replace(encoders={}, readouts={})
    model, apart_ = restore_branch((params, heads), (old, heads), "m0")
    assert max_difference(model.encoders["m0"], old.encoders["m0"]) == 0
    assert max_difference(model.encoders["m1"], params.encoders["m1"]) == 0
    assert list(model.encoders) == ["m0", "m1"]
    assert max_difference(apart_, heads) == 0


def test_training_ends_when_all_have_stopped() -> None:
    done = run("BothWorse")
    assert len(done) == 4
    assert max_difference(done[3].learner[:3], done[1].learner[:3]) == 0


def test_after_its_last_epoch_a_frozen_branch_trains_on() -> None:
    done = run(end=5)
    assert all_equal(branch(done[4].learner, "a"), branch(done[3].learner, "a"))
    assert not all_equal(branch(done[5].learner, "a"), branch(done[4].learner, "a"))


def test_infinite_patience_is_joint_training_and_so_is_an_end_before_the_start() -> None:
    ends = []
    for method, settings, end in (
        (JOINT, {}, 9),
        ("trainables.methods.mses:MSES", {"patience": float("inf")}, 9),
        (PATH + "Scripted", EARLY, 0),
    ):
        setup = build_setup(trial(method, settings, epochs=6, dtype="float64", model=MODEL) | {"end": end}, tiny())
        *_, last = iterate_epochs(setup, init_learner(setup))
        ends.append(last.learner)
    assert parameter_distance(ends[0], ends[1]) < 1e-12
    assert parameter_distance(ends[0], ends[2]) < 1e-12


def test_the_state_is_a_tree_of_tensors_that_nothing_changes_in_place() -> None:
    method = MSES(**EARLY)
    state = controls(method, (1.0, 1.0), (0.5, 0.9))[-1].state
    kept = tree_map(torch.clone, state)
    scores = validation(3, 0.6, 0.8)
    one, other = method.epoch(state, scores), method.epoch(state, scores)
    assert all(isinstance(leaf, Tensor) and leaf.dtype == torch.float64 for leaf in tree_leaves(one.state))
    assert max_difference(state, kept) == 0
    assert all(a.equal(b) for a, b in zip(tree_leaves(one[:4]), tree_leaves(other[:4]), strict=True))


def one_epoch(method: MSES, setup: Setup, learner: Learner, number: int, losses: Tensor) -> tuple[Learner, Any]:
    """The rates, a step and the end of an epoch, as a value."""
    inputs, target = batch(setup.model, number)
    rates = method.rates(learner.state)
    setup = setup._replace(method=method)
    learner, metrics = step(setup, learner, inputs, make_task(target, number), rates, differentiate=functional)
    one = torch.ones((), dtype=torch.float64)
    control = method.epoch(learner.state, Validation(losses, losses, one, one, torch.tensor(number + 1), one))
    return learner._replace(state=control.state), (control[1:4], metrics, rates)


@pytest.mark.parametrize("stop", ["freeze", "grad_zero"])
def test_eight_configurations_in_a_pack_equal_single_ones(stop: str) -> None:
    """Of which some stop a branch, some both, and some none."""
    setup = make_setup(MSES(stop=stop), network(2, "sum", "batch"))
    settings = [{"patience": torch.tensor(k / 2), "mix": torch.tensor(k / 10)} for k in range(8)]
    scripts = [torch.tensor([RISING, FALLING if k % 2 else RISING]).double().T for k in range(8)]
    learners = [make_learner(setup, seed) for seed in range(8)]
    packed, values, script = (stack(trees) for trees in (learners, settings, scripts))

    def advance(values: dict[str, Tensor], learner: Learner, script: Tensor, number: int) -> tuple[Learner, Any]:
        return one_epoch(MSES(**values, stop=stop), setup, learner, number, script[number])

    for number in range(6):
        packed, result = vmap(lambda v, k, s, n=number: advance(v, k, s, n), randomness="same")(values, packed, script)
        for k in range(8):
            learners[k], alone = advance(settings[k], learners[k], scripts[k], number)
            assert max_difference(tree_map(lambda t, k=k: t[k], packed), learners[k]) < 1e-12
            pairs = zip(tree_leaves(result), tree_leaves(alone), strict=True)
            assert all(torch.allclose(p[k].double(), q.double(), atol=1e-12) for p, q in pairs)
    assert {tuple(learner.state.running.tolist()) for learner in learners} == {(0, 0), (0, 1), (1, 1)}
