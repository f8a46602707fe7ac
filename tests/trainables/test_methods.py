"""Conformance: what holds for every method, as published, with every option, and switched off.

    python -m pytest tests/trainables/test_methods.py --method my_package.mine:Mine

runs it on a method of your own; the settings that switch it off are its class attribute `neutral`, a dict.
"""

import io
from collections.abc import Mapping
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import vmap
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from search_spaces.methods import BASELINES
from search_spaces.methods import METHODS as AXES
from tests.trainables.helpers import (
    TASKS,
    batch,
    make_learner,
    make_setup,
    make_task,
    max_difference,
    network,
    pure_step,
    without_heads,
)
from trainables.methods import METHODS
from trainables.model import Model
from trainables.setup import Learner, Setup, load_method
from trainables.signals import EpochMethod, Method, Params, Validation
from trainables.snapshots import apply_control
from trainables.step import step

NEVER_NEUTRAL = {
    "fallback": {"zero", "fusion"},
    "gain": {"none"},
    "frame": {"reliability"},
    "where": {"repr"},
}  # at kappa = 0
STABLE_SETTINGS = {
    "cggm": {"clip_b": 2.0}
}  # beyond its pole weights grow so large that absolute differences mean nothing
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "joint-uni": [{"source": kind} for kind in ("split", "single")],
    "mslr": [{"form": "grad_scale"}, {"adapt": False}, {"window": 1}, {"factor": {"m0": 1.3}}],
    "mses": [
        *({"rollback": kind} for kind in ("branch", "none")),
        {"stop": "grad_zero"},
        {"first": "none"},
        {"patience": 0.0, "mix": 0.0},
        {"patience": float("inf")},
    ],
    "bogc": [
        *({"losses": kind} for kind in ("split", "single")),
        *({"where": kind} for kind in ("encoder", "phi")),
        {"where": "joint", "losses": "split"},
        {"where": "repr", "estimator": "laplace", "draws": 8},
        {"estimator": "sample"},
        {"estimator": "sample", "where": "phi"},
        *({"scale": kind} for kind in ("dim", "none", "ema")),
        *({"fallback": kind} for kind in ("zero", "fusion")),
        *({"frame": kind} for kind in ("reliability", "dims")),
        *({"gain": kind} for kind in ("none", "match_norm")),
        {"snr": True},
    ],
    "cggm": [
        *({"direction": kind} for kind in ("grad_prev", "param_released", "off")),
        *({"eps_metric": kind} for kind in ("p_y", "sign")),
        {"eps_source": "head"},
        {"eps_source": "single", "direction": "off"},
        {"magnitude": False},
        {"apply": "lr"},
        {"delta": "positive"},
        {"smooth": 0.9},
        {"cls_optimizer": "sgd"},
        {"cls_optimizer": "adamw", "cls_decay": 3e-3},
        {"cls_layers": 0},
        {"cls_layers": 3, "cls_width": 0},
        {"cls_heads": 2},
    ],
    "ogm": [{"filter": "all"}, {"apply": "lr"}, {"ratio": "bb"}, {"ratio": "bb3"}],
    "ogm-ge": [{"filter": "all"}, {"apply": "lr"}],
    "agm": [
        *({"reference": kind, "window": 3, "warm": 4} for kind in ("ema", "window", "fixed", "balanced")),
        {"reference": "target", "target": {f"m{i}": 0.5 + i / 10 for i in range(6)}},
        {"samples": 4},
        {"cap": float("inf"), "stale": True},
        {"mute": "mean"},
        {"mute": "feature"},
        *({"score_attr": kind, "route": "encoder"} for kind in ("shapley", "single", "loo", "head")),
        {"route": "encoder", "apply": "lr"},
        {"score_attr": "bb", "bb_sign": True, "route": "encoder", "filter": "ndim>1", "cap": 7.0},
    ],
}


class Case(NamedTuple):
    """A method with settings."""

    name: str
    path: str
    settings: dict[str, Any]

    def build(self, **over: Any) -> Any:
        return load_method(self.path)(**(self.settings | over))

    @property
    def stable_settings(self) -> dict[str, Any]:
        return {key: value for key, value in STABLE_SETTINGS.get(self.name, {}).items() if key not in self.settings}

    @property
    def neutral_settings(self) -> dict[str, Any]:
        """The settings that switch it off; none where an option keeps acting."""
        if any(self.settings.get(key) in values for key, values in NEVER_NEUTRAL.items()):
            return {}
        if self.name in AXES:
            return {key: axis.neutral for key, axis in AXES[self.name].items() if axis.neutral is not None}
        return dict(getattr(load_method(self.path), "neutral", {}))

    @property
    def base(self) -> Method:
        """The method that it equals when switched off."""
        if self.settings.get("where") == "phi":
            return load_method(METHODS["joint"])()
        return load_method(METHODS[BASELINES.get(self.name, "joint")])(**base_settings(self))

    @property
    def numbers(self) -> dict[str, float]:
        """Its settings that may differ inside a pack, with their defaults."""
        if self.name in AXES:
            result = {key: axis.default for key, axis in AXES[self.name].items() if axis.kind == "number"}
        else:
            result = {k: v for k, v in load_method(self.path)._field_defaults.items() if isinstance(v, float)}
        return {key: value for key, value in result.items() if key not in self.settings}


def base_settings(case: Case) -> dict[str, Any]:
    return {"source": case.settings["losses"]} if "losses" in case.settings else {}


SIZES = (1, 2, 3, 6)  # numbers of modalities


def published_cases() -> list[Case]:
    return [
        Case(name, METHODS[name], settings)
        for name in METHODS
        if name != "unimodal"
        for settings in [{}, *OPTIONS.get(name, [])]
    ]


def nightly_marks(case: Case, modalities: int, task: str) -> list[pytest.MarkDecorator]:
    """Return the nightly mark for most pairs of modalities and tasks of an option; defaults are tested with all."""
    soon = (modalities, task) in {(2, "regression"), (3, "classification"), (3, "segmentation")}
    return [] if soon or not case.settings else [pytest.mark.nightly]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    own = metafunc.config.getoption("--method")
    cases = [Case(own, own, {})] if own else published_cases()
    if "plain" in metafunc.fixturenames:
        metafunc.parametrize("plain", [c for c in cases if not c.settings], ids=lambda c: c.name)
    if {"case", "modalities", "task"} <= set(metafunc.fixturenames):
        triples = [
            pytest.param(
                case, m, task, marks=nightly_marks(case, m, task), id=f"{case.name}{case.settings or ''}-{m}-{task}"
            )
            for case, m, task in product(cases, SIZES, TASKS)
        ]
        metafunc.parametrize(("case", "modalities", "task"), triples)
    elif "case" in metafunc.fixturenames:
        metafunc.parametrize("case", cases, ids=lambda c: f"{c.name}{c.settings or ''}")


def train_steps(setup: Setup, steps: int, learner: Learner | None = None, first: int = 0, **how: Any) -> Learner:
    """Train with the product's own step, and with the method's control after epochs of five steps."""
    learner, snapshots = learner or make_learner(setup), []
    snapshots = [learner] * len(setup.model.encoders)
    task = how.get("task", "classification")
    for number in range(first, first + steps):
        inputs, target = batch(setup.model, number, task=task)
        rates = setup.method.rates(learner.state) if isinstance(setup.method, EpochMethod) else None
        learner, _ = step(setup, learner, inputs, make_task(target, number, **how), rates)
        if isinstance(setup.method, EpochMethod) and number % 5 == 4:
            learner = end_epoch(setup, learner, snapshots, number // 5 + 1, how.get("strength", 1.0))
    return learner


def end_epoch(setup: Setup, learner: Learner, snapshots: list[Learner], epoch: int, strength: float) -> Learner:
    """Apply the method's control after an epoch whose scores differ between modalities and epochs."""
    names = [int(m[1:]) for m in setup.model.encoders]
    score = torch.tensor([0.5 + 0.04 * ((epoch * (n + 2)) % 5) for n in names], dtype=torch.float64)
    moment = torch.tensor(epoch), torch.tensor(strength, dtype=torch.float64)
    control = setup.method.epoch(learner.state, Validation(1 - score, score, 1 - score[0], score[0], *moment))
    return apply_control(learner._replace(state=control.state), control, snapshots)


def test_steps_are_finite_and_keep_types_and_shapes(case: Case, modalities: int, task: str) -> None:
    setup = make_setup(case.build(), network(modalities, task=task))
    learner = make_learner(setup)
    before, spec = tree_flatten(learner)
    for number in range(3):
        inputs, target = batch(setup.model, number, task=task)
        learner, metrics = step(setup, learner, inputs, make_task(target, number, task=task))
    after, spec_after = tree_flatten(learner)
    assert spec_after == spec
    assert [(t.dtype, t.shape) for t in after] == [(t.dtype, t.shape) for t in before]
    assert all(torch.isfinite(t).all() for t in [*after, *metrics.values()])


def test_packed_equals_single(case: Case) -> None:
    """Eight configurations, each with numbers and initial weights of its own, for fifty steps; options for twenty."""
    rounding = 1e-7 if case.settings.get("where") == "repr" else 1e-9  # Cholesky factors of a stack round otherwise
    check_packed(case, "concat", rounding, steps=20 if case.settings else 50)


@pytest.mark.parametrize("fusion", ["sum", "early", "gated", "film", "attention"])
def test_packed_equals_single_with_every_fusion(plain: Case, fusion: str) -> None:
    check_packed(plain, fusion, 1e-9, steps=20)  # fifty of one method in test_packs


def check_packed(case: Case, fusion: str, rounding: float, steps: int) -> None:
    model, seeds = network(3, fusion), range(8)
    numbers = finite(case.numbers | case.stable_settings)
    values = [{n: value * (0.5 + 0.06 * seed) for n, value in numbers.items()} for seed in seeds]
    setups = [make_setup(case.build(**each), model) for each in values]
    start = [make_learner(setup, seed) for setup, seed in zip(setups, seeds, strict=True)]
    packed = tree_map(lambda *ts: torch.stack(ts), *start)
    hyper = {n: torch.tensor([each[n] for each in values], dtype=torch.float64) for n in values[0]}

    def one(numbers: Mapping[str, Tensor], learner: Learner, number: int) -> Learner:
        return pure_step(make_setup(case.build(**numbers), model), learner, number)

    for number in range(steps):
        together = vmap(lambda h, k, n=number: one(h, k, n), in_dims=(0 if hyper else None, 0), randomness="same")
        packed = together(hyper, packed)
    for i in (0, 7):
        assert max_difference(tree_map(lambda t, i=i: t[i], packed), take_steps(setups[i], start[i], steps)) < rounding


def finite(numbers: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in numbers.items() if abs(value) != float("inf")}


def take_steps(setup: Setup, learner: Learner, steps: int) -> Learner:
    for number in range(steps):
        inputs, target = batch(setup.model, number)
        learner, _ = step(setup, learner, inputs, make_task(target, number))
    return learner


def test_switched_off_it_is_its_base(case: Case, modalities: int, task: str) -> None:
    """After fifty steps; options after twenty, and by night after fifty, too."""
    check_off(case, modalities, task, steps=20 if case.settings else 50)


@pytest.mark.nightly
def test_an_option_switched_off_is_its_base_after_fifty_steps(case: Case, modalities: int, task: str) -> None:
    if not case.settings:
        pytest.skip("no option")
    check_off(case, modalities, task, steps=50)


def check_off(case: Case, modalities: int, task: str, steps: int) -> None:
    if not case.neutral_settings:
        pytest.skip("nothing to switch off")
    fusion = ("concat", "sum", "early")[modalities % 3]
    off = train_steps(
        make_setup(case.build(**case.neutral_settings), network(modalities, fusion, task=task)), steps, task=task
    )
    assert (
        max_difference(trained_base(case.base, modalities, fusion, task, steps, 1.0), without_heads(off.params)) < 1e-9
    )


@cache
def trained_base(base: Method, modalities: int, fusion: str, task: str, steps: int, strength: float) -> Params:
    setup = make_setup(base, network(modalities, fusion, task=task))
    return without_heads(train_steps(setup, steps, task=task, strength=strength).params)


def test_outside_its_epochs_it_is_its_base(case: Case) -> None:
    over = {"stale": False} if case.settings.get("stale") else {}
    base = trained_base(case.base, 3, "sum", "classification", 20, 0.0 if case.name != "bogc" else 1.0)
    other = train_steps(make_setup(case.build(**over), network(3, "sum")), 20, strength=0.0)
    assert max_difference(base, without_heads(other.params)) < 1e-9


def test_half_way_through_its_warm_up_it_does_half(plain: Case) -> None:
    """A first step from the same weights: what the method adds to its base at half strength lies in between."""
    if not plain.neutral_settings or plain.name == "cggm":  # whose direction and magnitude are both at half strength
        pytest.skip("nothing to fade")
    model = network(3)
    none, half, full = (train_steps(make_setup(plain.build(), model), 1, strength=s) for s in (0.0, 0.5, 1.0))
    middle = tree_map(lambda a, b: (a + b) / 2, without_heads(none.params), without_heads(full.params))
    assert max_difference(without_heads(half.params), middle) < 1e-12


def test_relabelling_the_modalities_relabels_the_result(case: Case) -> None:
    """The encoders keep their weights and data, and swap places."""
    if case.settings.get("ratio") == "bb3" or case.settings.get("where") == "repr":
        pytest.skip("BalanceBenchmark treats the last modality apart; what is drawn of a head depends on its columns")
    over: dict[str, Any] = {"noise": 0.0} if case.name == "ogm-ge" else case.stable_settings
    if case.settings.get("samples"):
        over = {"samples": 0}
    model = network(
        3, "gated" if case.name == "cggm" else "sum"
    )  # its classifiers pair with places in the fused feature
    turned = model._replace(encoders=dict(reversed(model.encoders.items())))
    one, other = (train_steps(make_setup(case.build(**over), m), 10) for m in (model, turned))
    for modality in model.encoders:
        assert max_difference(one.params.encoders[modality], other.params.encoders[modality]) < 1e-10
        assert max_difference(one.params.readouts[modality], other.params.readouts[modality]) < 1e-10


def test_resumed_equals_uninterrupted(case: Case) -> None:
    """A checkpoint is a list of tensors that loads without executing anything."""
    setup = make_setup(case.build(**case.stable_settings), network(3))
    half = train_steps(setup, 10)
    leaves, structure = tree_flatten(half)
    assert all(isinstance(leaf, Tensor) for leaf in leaves)
    file = io.BytesIO()
    torch.save(leaves, file)
    file.seek(0)
    restored = tree_unflatten(torch.load(file, weights_only=True), structure)
    assert max_difference(continue_training(setup, half), continue_training(setup, restored)) == 0


def continue_training(setup: Setup, learner: Learner) -> Learner:
    """Train on; the snapshots before are the engine's to keep."""
    return train_steps(setup, 10, learner, first=10)


@pytest.mark.parametrize("hardship", ["constant", "one class", "batch of one", "all wrong", "huge"])
def test_hard_batches_give_finite_numbers(case: Case, hardship: str) -> None:
    setup = make_setup(case.build(), network(3))
    learner = make_learner(setup)
    for number in range(4):
        inputs, target = batch(setup.model, number, size=1 if hardship == "batch of one" else 12)
        if hardship == "constant":
            inputs = {m: torch.ones_like(x) for m, x in inputs.items()}
        elif hardship == "one class":
            target = torch.zeros_like(target)
        elif hardship == "all wrong":
            logits = setup.model(learner.params, learner.buffers, inputs, frozenset())[0].logits
            target = logits.argmin(-1)
        elif hardship == "huge":
            inputs = {m: 1e3 * x for m, x in inputs.items()}
        learner, metrics = step(setup, learner, inputs, make_task(target, number))
        assert all(torch.isfinite(t).all() for t in [*tree_leaves(learner), *metrics.values()])


def test_seven_modalities_train_unless_all_coalitions_are_needed(plain: Case) -> None:
    """Which is refused: AGM draws some of them, then."""

    def trained(**settings: Any) -> Learner:
        return train_steps(make_setup(plain.build(**settings), network(7)), 2)

    if plain.name not in {"agm", "moddrop"}:
        assert all(torch.isfinite(t).all() for t in tree_leaves(trained()))
        return
    with pytest.raises(ValueError, match="7 modalities have 128 coalitions"):
        trained()
    if plain.name == "agm":
        assert all(torch.isfinite(t).all() for t in tree_leaves(trained(samples=4)))


@settings(max_examples=20, derandomize=True)
@given(
    size=st.integers(1, 5),
    scale=st.sampled_from([0.0, 1e-8, 1.0, 1e3]),
    classes=st.integers(1, 3),
    silent=st.lists(st.booleans(), min_size=3, max_size=3),
    task=st.sampled_from(TASKS),
)
def test_any_batch_gives_finite_numbers(
    plain: Case, size: int, scale: float, classes: int, silent: list[bool], task: str
) -> None:
    """However small, degenerate or badly scaled; some modalities may be missing altogether."""
    setup = make_setup(plain.build(**plain.stable_settings), network(3, task=task))
    learner = make_learner(setup)
    present = torch.tensor(silent)[:, None].expand(3, size)
    for number in range(2):
        inputs, target = batch(setup.model, number, size, task=task)
        target = target.clamp(max=classes - 1)
        inputs = {m: scale * x * present[i].view(-1, *[1] * (x.ndim - 1)) for i, (m, x) in enumerate(inputs.items())}
        learner, metrics = step(setup, learner, inputs, make_task(target, number, task=task, present=present))
        assert all(torch.isfinite(t).all() for t in [*tree_leaves(learner), *metrics.values()])


def test_nothing_is_hidden_from_a_loss_that_is_not_a_number(plain: Case) -> None:
    """The joint loss shows a NaN in one modality, so that the engine ends the trial with a sentence."""
    setup = make_setup(plain.build(), network(2))
    inputs, target = batch(setup.model, 0)
    inputs["m0"][3, 1] = float("nan")
    _, metrics = step(setup, make_learner(setup), inputs, make_task(target, 0))
    assert torch.isnan(metrics["loss"])


@pytest.mark.parametrize("task", TASKS)
def test_samples_without_a_modality(case: Case, task: str) -> None:
    """Some samples lack one, one batch lacks it altogether, one sample lacks all: finite, and joint when off."""
    setup = make_setup(case.build(), network(3, task=task))
    learner = make_learner(setup)
    for number in range(6):
        inputs, target = batch(setup.model, number, task=task)
        present = torch.ones(3, len(target), dtype=torch.bool)
        present[number % 3, : len(target) if number == 4 else 5] = False
        present[:, -1] = False
        inputs = {m: x * present[i].view(-1, *[1] * (x.ndim - 1)) for i, (m, x) in enumerate(inputs.items())}
        learner, metrics = step(setup, learner, inputs, make_task(target, number, task=task, present=present))
        assert all(torch.isfinite(t).all() for t in [*tree_leaves(learner), *metrics.values()])


def test_a_mask_without_missing_modalities_changes_nothing(case: Case) -> None:
    setup = make_setup(case.build(), network(3))
    one = other = make_learner(setup)
    for number in range(5):
        inputs, target = batch(setup.model, number)
        everyone = torch.ones(3, len(target), dtype=torch.bool)
        one, _ = step(setup, one, inputs, make_task(target, number))
        other, _ = step(setup, other, inputs, make_task(target, number, present=everyone))
    assert max_difference(one, other) < 1e-10


def insert_positions(x: Tensor, between: float) -> Tensor:
    """Six positions where there were four, a number at the two between them."""
    wide = x.new_full((len(x), 6, *x.shape[2:]), between)
    wide[:, [0, 2, 3, 5]] = x
    return wide


def test_a_position_without_a_label_is_as_if_it_were_not_there(case: Case) -> None:
    if case.settings.get("cls_heads"):
        pytest.skip("such classifiers look across positions")
    setup = make_setup(case.build(**case.stable_settings), network(3, task="segmentation"))
    silence = {m: None if x is None else insert_positions(x, 0.0) for m, x in setup.model.mute_inputs.items()}
    wide = setup._replace(model=setup.model._replace(mute_inputs=silence))
    one = other = make_learner(setup)
    for number in range(6):
        inputs, target = batch(setup.model, number, task="segmentation")
        one, seen = step(setup, one, inputs, make_task(target, number, task="segmentation"))
        posed = make_task(insert_positions(target, -1), number, task="segmentation", gaps=True)
        other, also = step(wide, other, {m: insert_positions(x, 9.0 + number) for m, x in inputs.items()}, posed)
        assert max_difference((one, seen), (other, also)) < 1e-7


def test_a_modality_that_nobody_has_leaves_the_others_to_themselves(plain: Case) -> None:
    """Two modalities and one that is always missing, its encoder silent: the two train as they would alone."""
    if plain.name in {"bogc", "joint-uni", "cggm"}:
        pytest.skip("networks beside the model depend on how many modalities there are")
    pair, trio = network(2, "sum"), network(3, "sum")
    one, other = make_setup(plain.build(), pair), make_setup(plain.build(), trio)
    alone, beside = make_learner(one), make_learner(other)
    silent = {name: torch.zeros_like(p) for name, p in beside.params.encoders["m2"].items()}
    mute = {name: torch.zeros_like(p) for name, p in beside.params.readouts["m2"].items()}
    quiet = beside.params._replace(
        encoders=beside.params.encoders | {"m2": silent}, readouts=beside.params.readouts | {"m2": mute}
    )
    beside = beside._replace(params=quiet)
    inputs, target = batch(trio, 0)
    inputs["m2"] = torch.zeros_like(inputs["m2"])
    present = torch.ones(3, len(target), dtype=torch.bool)
    present[2] = False
    beside, _ = step(other, beside, inputs, make_task(target, 0, present=present))
    alone, _ = step(one, alone, {m: inputs[m] for m in pair.encoders}, make_task(target, 0))
    for modality in pair.encoders:
        assert max_difference(alone.params.encoders[modality], beside.params.encoders[modality]) < 1e-10


def test_normalised_and_dropped_out_encoders(case: Case) -> None:
    setup = make_setup(case.build(**case.stable_settings), network(3, norm="batch", dropout=0.3))
    learner = train_steps(setup, 6)
    assert all(torch.isfinite(t).all() for t in tree_leaves(learner))
    assert max_difference(learner, train_steps(setup, 6)) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_state_keeps_its_type(case: Case, dtype: torch.dtype) -> None:
    setup = make_setup(case.build(), network(2))
    learner = make_learner(setup)
    learner = learner._replace(params=tree_map(lambda t: t.to(dtype), learner.params))
    learner = learner._replace(moments=setup.optimizer.init(learner.params), state=setup.method.init(learner.params))
    silence = {m: None if x is None else x.to(dtype) for m, x in setup.model.mute_inputs.items()}
    setup = setup._replace(model=setup.model._replace(mute_inputs=silence))
    inputs, target = batch(setup.model, 0)
    after, _ = step(setup, learner, {m: x.to(dtype) for m, x in inputs.items()}, make_task(target, 0))
    assert [t.dtype for t in tree_leaves(after)] == [t.dtype for t in tree_leaves(learner)]
    assert {t.dtype for t in tree_leaves(after.params)} == {dtype}


def test_the_gradient_agrees_with_finite_differences() -> None:
    """Of the joint loss, by the step itself: with a learning rate of 1 the change is minus the gradient."""
    for task in TASKS:
        for loss in ("mse", "l1", "huber") if task == "regression" else ("mse",):
            check_gradient(network(2, "early", task=task), task, loss)


def check_gradient(model: Model, task: str, loss: str) -> None:
    setup = make_setup(load_method(METHODS["joint"])(), model, lr=1.0)
    learner = make_learner(setup)
    inputs, target = batch(model, 0, task=task)
    posed = make_task(target, 0, task=task, loss=loss)
    after, _ = step(setup, learner, inputs, posed)

    def value(shift: float, name: str) -> float:
        moved = {**learner.params.shared, name: learner.params.shared[name] + shift * direction}
        params = learner.params._replace(shared=moved)
        return float(posed.objective(setup.model(params, learner.buffers, inputs, frozenset())[0].logits))

    for name, before in learner.params.shared.items():
        direction = torch.sign(torch.linspace(-1, 1.3, before.numel(), dtype=torch.float64)).view(before.shape)
        slope = (value(1e-6, name) - value(-1e-6, name)) / 2e-6
        assert float(((before - after.params.shared[name]) * direction).sum()) == pytest.approx(
            slope, rel=1e-5, abs=1e-8
        )


def test_every_declared_setting_is_a_field_with_the_same_default() -> None:
    assert AXES.keys() == METHODS.keys()
    for name, axes in AXES.items():
        method = load_method(METHODS[name])
        assert {key: axis.default for key, axis in axes.items()} == method._field_defaults
        for key, axis in axes.items():
            assert axis.check(axis.default) == axis.default, (name, key)


def test_every_choice_of_every_method_is_an_option_here() -> None:
    """So that no switch escapes the suite."""
    for name, axes in AXES.items():
        for key, axis in axes.items():
            choices: set[Any] = {"choice": set(axis.choices), "flag": {True, False}}.get(axis.kind, set())
            tried = [case.settings.get(key, axis.default) for case in published_cases() if case.name == name]
            if name != "unimodal":
                assert {c for c in choices if c not in tried} == ESCAPED.get((name, key), set()), (name, key)


ESCAPED: dict[tuple[str, str], set[Any]] = {
    ("ogm", "filter"): {"conv4d", "ndim>1"},  # tested with their own facts in test_ogm.py
    ("ogm-ge", "filter"): {"conv4d", "ndim>1"},
    ("ogm-ge", "ratio"): {"bb", "bb3"},
    ("agm", "filter"): {"conv4d", "auto"},
}
