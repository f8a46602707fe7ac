"""Trials on real data: methods switched off are joint training, trials are reproducible, and errors are reported."""

import subprocess
import sys
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from trainables.data import load
from trainables.data.dataset import Dataset, Split
from trainables.dry_run import check_first_step, parameter_distance
from trainables.methods.cggm import CGGM
from trainables.setup import build_mute_inputs, build_setup, init_learner, learning_rate_factor, load_method
from trainables.shape import pack_shape
from trainables.signals import Control, Params, Pull, Signals, Step, Task, Validation, leaves, scale_encoders
from trainables.snapshots import apply_control
from trainables.step import batch_task, batches, step
from trainables.train import fit, fit_pack, iterate_epochs

MFEAT = {"name": "mfeat"}
AV_DIGITS = {"name": "av-digits"}
BASE: dict[str, Any] = {
    "start": 1, "end": float("inf"), "warmup": 0, "modality": None, "measure": {}, "seed": 0,
    "model": {"fusion": "concat", "encoder": "mlp", "hidden": 64, "norm": "none", "dropout": 0.0},
}  # fmt: skip
TRAINING: dict[str, Any] = {
    "epochs": 2, "batch_size": 64, "optimizer": "sgd", "lr": 0.02, "momentum": 0.9, "weight_decay": 0.0,
    "loss": "mse", "reduction": "mean", "order": "shuffled", "schedule": "constant",
    "clip": None, "clip_before": None, "clip_trigger": None, "accumulate": 1, "dtype": "float32",
}  # fmt: skip
JOINT, AGM = "trainables.methods.joint:Joint", "trainables.methods.agm:AGM"


def trial(method: str = JOINT, settings: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    training = {key: changes.pop(key) for key in list(changes) if key in TRAINING}
    return {**BASE, "method": method, "settings": settings or {}, "train": TRAINING | training, **changes}


@pytest.mark.parametrize("data", [AV_DIGITS, MFEAT], ids=["av-digits", "mfeat with six"])
def test_agm_with_alpha_zero_is_joint_training_in_double_precision(data: dict[str, Any]) -> None:
    dataset, learners = load(data), []
    for config in (trial(dtype="float64"), trial(AGM, {"alpha": 0.0}, dtype="float64")):
        setup = build_setup(config, dataset)
        learner = init_learner(setup)
        for number, indices in enumerate(
            [*batches(setup, 1), *batches(setup, 2), *batches(setup, 3), *batches(setup, 4)][:50]
        ):
            inputs = {m: x[indices] for m, x in setup.inputs["train"].items()}
            learner, _ = step(setup, learner, inputs, batch_task(setup, indices, 1, number))
        learners.append(learner)
    assert parameter_distance(*learners) < 1e-9


@pytest.mark.parametrize("data", [AV_DIGITS, MFEAT], ids=["av-digits", "mfeat with six"])
def test_agm_with_alpha_zero_scores_as_joint_training_in_single_precision(data: dict[str, Any]) -> None:
    dataset = load(data)
    joint, agm = (fit(config, dataset).final for config in (trial(epochs=5), trial(AGM, {"alpha": 0.0}, epochs=5)))
    for split in ("validation", "test"):
        allowed = max(1, len(getattr(dataset, split).target) // 1000)  # samples
        difference = abs(joint[f"{split}.accuracy"] - agm[f"{split}.accuracy"]) * len(getattr(dataset, split).target)
        assert difference < allowed + 0.5


def test_the_same_trial_gives_the_same_bits() -> None:
    dataset = load(MFEAT)
    one, other = (fit(trial(AGM, measure={"probe": 0}), dataset) for _ in range(2))
    assert one.rows == other.rows
    assert one.final == other.final
    assert all(np.array_equal(a.outputs, b.outputs) for a, b in zip(one.predictions, other.predictions, strict=True))


@pytest.mark.parametrize("fusion", ["gated", "film", "attention"])
@pytest.mark.parametrize("encoder", ["mlp", "gru", "transformer"])
def test_a_target_with_positions_is_learned_by_every_encoder_that_takes_one(encoder: str, fusion: str) -> None:
    network = {"fusion": fusion, "encoder": encoder, "hidden": 16, "norm": "layer", "dropout": 0.1}
    data = {"name": "synthetic", "task": "segmentation", "modalities": 2, "positions": 6, "samples": [256, 64, 64]}
    outcome = fit(trial(AGM, model=network, optimizer="adam", lr=0.01, epochs=6), load({**data, "snr": 12.0}))
    losses = [row.value for row in outcome.rows if row.metric == "loss" and row.split == "train"]
    assert losses[-1] < 0.9 * losses[0]


def test_libraries_are_loaded_before_the_clock_of_the_first_pack_of_a_process_starts() -> None:
    """Then the limit on threads holds for them, too: training sets both to one afterwards."""
    code = """
import sys, torch
from tests.trainables.test_train import MFEAT, fit, load, trial
torch.set_num_threads(2)
def watch(event, names):
    if event == "import" and names[0] in ("torch._dynamo", "sklearn.linear_model", "scipy.stats"):
        print(names[0], torch.get_num_threads())
sys.addaudithook(watch)
fit(trial(epochs=1, measure={"probe": 0, "competition": 0}), load(MFEAT))
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {line.split()[1] for line in shown.stdout.splitlines()} == {"2"}, shown.stdout


def test_global_random_state_changes_nothing() -> None:
    dataset = load(MFEAT)
    torch.manual_seed(1)
    one = fit(trial(), dataset)
    torch.manual_seed(2)
    torch.randn(100)
    assert fit(trial(), dataset).rows == one.rows


def test_another_seed_gives_other_numbers() -> None:
    dataset = load(MFEAT)
    assert fit(trial(seed=1), dataset).final != fit(trial(), dataset).final


def test_the_order_of_the_data_is_paired_between_methods() -> None:
    dataset = load(MFEAT)
    one, other = build_setup(trial(), dataset), build_setup(trial(AGM), dataset)
    assert all(a.equal(b) for a, b in zip(batches(one, 3), batches(other, 3), strict=True))
    assert sorted(torch.cat(batches(one, 3)).tolist()) == list(range(len(dataset.train.target)))


def test_a_loss_that_is_not_finite_ends_the_trial_with_a_reason() -> None:
    outcome = fit(trial(lr=1e30), load(MFEAT))
    assert outcome.status == "diverged"
    assert outcome.error == "the train loss was nan in epoch 1"
    assert outcome.final == {}
    assert outcome.rows


def test_unimodal_training_uses_one_modality() -> None:
    dataset = load(MFEAT)
    outcome = fit(trial(modality="fou", measure={"probe": 0}), dataset)
    assert {row.modality for row in outcome.rows} == {None, "fou"}
    assert outcome.params == 76 * 64 + 64 + 64 * 64 + 64 + 64 * 10 + 10


def test_regression_reports_the_absolute_error() -> None:
    outcome = fit(trial(epochs=3, measure={"probe": 0}), load("diabetes"))
    assert {"validation.mae", "test.mae", "test.loss"} <= outcome.final.keys()
    assert {row.metric for row in outcome.rows} >= {"probe_mae", "mae"}
    assert 0 < outcome.final["test.mae"] < 1.5


def test_a_dense_target_is_learnt_position_by_position() -> None:
    dataset = load({"name": "synthetic", "task": "segmentation", "samples": [200, 50, 50]})
    outcome = fit(trial(AGM, epochs=3), dataset)
    assert outcome.status == "done"
    assert outcome.final["test.accuracy"] > 1 / dataset.outputs


def test_training_learns() -> None:
    assert fit(trial(epochs=8), load(MFEAT)).final["test.accuracy"] > 0.93


class SaveAndRestore(NamedTuple):
    """Saves at epoch 1, goes back to it after epoch 2, stops the first branch, and ends after epoch 3."""

    def init(self, params: Params) -> Tensor:
        return torch.zeros(())

    def step(self, state: Tensor, signals: Signals, task: Task, pull: Pull) -> Step:
        return Step(pull(lambda s: task.objective(s.logits)), state, {})

    def rates(self, state: Tensor) -> Tensor:
        return torch.tensor([0.0 if state >= 2 else 1.0, 1.0])

    def epoch(self, state: Tensor, validation: Validation) -> Control:
        assert validation.strength == 1
        epoch, first = validation.epoch, torch.arange(len(validation.loss)) == 0
        return Control(epoch, first & (epoch == 1), first & (epoch == 2), epoch == 3)


def test_a_method_controls_training_between_epochs() -> None:
    dataset = tiny()
    setup = build_setup(trial("tests.trainables.test_train:SaveAndRestore", epochs=9), dataset)
    assert load_method("tests.trainables.test_train:SaveAndRestore") is SaveAndRestore
    one, two, three = iterate_epochs(setup, init_learner(setup))
    assert parameter_distance(two.learner, one.learner) == 0  # restored
    assert two.learner.state == 2  # the method's own state goes on
    stopped, others = three.learner.params.encoders["a"], three.learner.params.encoders["b"]
    assert all(stopped[n].equal(p) for n, p in one.learner.params.encoders["a"].items())
    assert not others["0.weight"].equal(one.learner.params.encoders["b"]["0.weight"])
    assert three.number == 3


def test_saving_comes_before_restoring_and_the_highest_slot_wins() -> None:
    setup = build_setup(trial(), tiny())
    now = init_learner(setup)
    older, oldest = now._replace(moments=1), now._replace(moments=2)
    no, yes = torch.tensor(False), torch.tensor(True)
    snapshots = [oldest, older]
    restored = apply_control(
        now, Control(torch.tensor(7.0), torch.stack([yes, no]), torch.stack([no, yes]), no), snapshots
    )
    assert (restored.moments, float(restored.state)) == (1, 7)
    assert snapshots[0] is now
    assert (
        apply_control(now, Control((), torch.stack([no, no]), torch.stack([yes, yes]), no), [older, oldest]).moments
        == 2
    )


class HalfSteps(NamedTuple):
    """Joint training in which the first encoder takes steps of half the length."""

    def init(self, params: Params) -> tuple[()]:
        return ()

    def step(self, state: tuple[()], signals: Signals, task: Task, pull: Pull) -> Step:
        return Step(
            pull(lambda s: task.objective(s.logits)), state, {}, lambda t: scale_encoders(t, torch.tensor([0.5, 1.0]))
        )


def reversed_names(group: dict[str, Any]) -> dict[str, Any]:
    return dict(reversed(group.items()))


class ReversedNames(NamedTuple):
    """Joint training whose gradients name the parameters from the last to the first."""

    def init(self, params: Params) -> tuple[()]:
        return ()

    def step(self, state: tuple[()], signals: Signals, task: Task, pull: Pull) -> Step:
        grads = pull(lambda s: task.objective(s.logits))
        encoders = reversed_names({m: reversed_names(group) for m, group in grads.encoders.items()})
        return Step(Params(encoders, reversed_names(grads.readouts), reversed_names(grads.shared), {}), state, {})


class ReversedHeads(CGGM):
    """CGGM whose gradients name the parameters of its classifiers from the last to the first."""

    def step(self, state: Any, signals: Signals, task: Task, pull: Pull) -> Step:
        made = super().step(state, signals, task, pull)
        heads = {name: reversed_names(group) for name, group in made.grads.heads.items()}
        return made._replace(grads=made.grads._replace(heads=heads))


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_gradients_are_known_by_their_names_in_whatever_order(optimizer: str) -> None:
    other, joint = (trial(path, optimizer=optimizer) for path in ("tests.trainables.test_train:ReversedNames", JOINT))
    check_first_step(other, tiny())
    assert fit(other, tiny()).rows == fit(joint, tiny()).rows


def test_gradients_of_classifiers_keep_the_order_in_which_their_optimiser_lays_them_in_a_row() -> None:
    check_first_step(trial("trainables.methods.cggm:CGGM"), tiny())
    with pytest.raises(ValueError, match="must have the structure of the parameters"):
        check_first_step(trial("tests.trainables.test_train:ReversedHeads"), tiny())


def test_a_step_may_rescale_the_update_and_not_the_gradient() -> None:
    dataset, moves = tiny(), []
    for method in (JOINT, "tests.trainables.test_train:HalfSteps"):
        setup = build_setup(trial(method, optimizer="adam", dtype="float64"), dataset)
        before = init_learner(setup)
        indices = batches(setup, 1)[0]
        inputs = {m: x[indices] for m, x in setup.inputs["train"].items()}
        after, _ = step(setup, before, inputs, batch_task(setup, indices, 1, 1))
        moves.append([after.params.encoders[m]["0.weight"] - before.params.encoders[m]["0.weight"] for m in "ab"])
    assert torch.allclose(moves[1][0], moves[0][0] / 2, rtol=1e-9)
    assert moves[1][1].equal(moves[0][1])


def test_a_last_batch_of_one_is_left_out_where_it_has_no_variance() -> None:
    normalised = {**BASE["model"], "norm": "batch"}
    plain, normed = (build_setup(trial(batch_size=21, model=m), tiny()) for m in (BASE["model"], normalised))
    assert [len(b) for b in batches(plain, 1)] == [21, 21, 21, 1]
    assert [len(b) for b in batches(normed, 1)] == [21, 21, 21]
    assert fit(trial(batch_size=21, model=normalised), tiny()).status == "done"


def tiny() -> Dataset:
    draw = np.random.default_rng(0)

    def split(n: int) -> Split:
        target = draw.integers(0, 3, n)
        inputs = {m: (draw.normal(size=(n, 5)) + target[:, None]).astype(np.float32) for m in "ab"}
        return Split(inputs, target)

    return Dataset("tiny", "classification", 3, split(64), split(32), split(32))


TINY = {"name": "synthetic", "modalities": 2, "samples": [50, 20, 20]}


def test_a_stream_is_passed_once_in_order_and_each_epoch_takes_its_part() -> None:
    setup = build_setup(trial(order="stream", epochs=3, batch_size=7), load(TINY))
    seen = [batches(setup, epoch) for epoch in (1, 2, 3)]
    assert torch.cat([index for epoch in seen for index in epoch]).equal(torch.arange(50))
    assert [sum(map(len, epoch)) for epoch in seen] == [17, 16, 17]


def test_a_stream_of_one_sample_an_epoch_is_normalised_by_what_is_running() -> None:
    model = {"fusion": "concat", "encoder": "mlp", "hidden": 6, "norm": "batch", "dropout": 0.0}
    few = load(TINY | {"samples": [5, 20, 20]})
    assert fit(trial(order="stream", epochs=5, model=model), few).status == "done"


def test_streams_of_other_lengths_do_not_share_a_pack() -> None:
    shapes = {order: {pack_shape(trial(order=order, epochs=n)) for n in (2, 3)} for order in ("shuffled", "stream")}
    assert {order: len(result) for order, result in shapes.items()} == {"shuffled": 1, "stream": 2}


@pytest.mark.parametrize(
    ("kind", "shares"),
    [("constant", [1, 1, 1, 1]), ("cosine", [1, 0.8536, 0.5, 0.1464]), ("step", [1, 1, 1, 0.1])],
)
def test_the_learning_rate_follows_its_schedule(kind: str, shares: list[float]) -> None:
    config = trial(schedule=kind, epochs=4, momentum=0.0, dtype="float64")
    assert [learning_rate_factor(config, epoch) for epoch in (1, 2, 3, 4)] == [
        pytest.approx(s, abs=1e-4) for s in shares
    ]
    setup = build_setup(config, load(TINY))
    before, indices = init_learner(setup), batches(setup, 1)[0]
    inputs, task = {m: x[indices] for m, x in setup.inputs["train"].items()}, batch_task(setup, indices, 1, 1)
    whole, part = (step(setup, before, inputs, task, lr_factor=p)[0].params for p in (None, torch.tensor(shares[-1])))
    for a, b, old in zip(leaves(part), leaves(whole), leaves(before.params), strict=True):
        assert torch.allclose(a - old, shares[-1] * (b - old), atol=1e-8)


@pytest.mark.parametrize("kind", ["constant", "cosine", "step"])
def test_a_schedule_is_the_same_in_a_pack(kind: str) -> None:
    """To the last digits: a rate that was rounded to single precision would show in the ninth."""
    dataset, trials = load(TINY), [trial(seed=s, schedule=kind, epochs=8 + s, dtype="float64") for s in (0, 1)]
    for one, packed in zip(trials, fit_pack(trials, dataset), strict=True):
        assert packed.final["test.loss"] == pytest.approx(fit(one, dataset).final["test.loss"], rel=1e-12)


def test_a_modality_is_muted_by_the_mean_of_those_that_have_it_and_by_zero_where_none_has() -> None:
    inputs = {"u": torch.tensor([[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]]), "v": torch.ones(3, 1)}
    present = torch.tensor([[True, True, False], [False, False, False]])
    result = build_mute_inputs("mean", inputs, present)
    assert {m: x.tolist() for m, x in result.items() if x is not None} == {"u": [[2.0, 4.0]], "v": [[0.0]]}
