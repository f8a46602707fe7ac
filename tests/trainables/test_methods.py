"""Conformance: what holds for every method, with its settings as published and with each switched off."""

from typing import Any

import pytest
import torch
from torch.func import vmap
from torch.utils._pytree import tree_flatten, tree_map

from search_spaces.methods import METHODS as AXES
from tests.trainables.helpers import apart, batch, network, pose, pure_step, setup, train, untrained, without_heads
from trainables.methods import METHODS
from trainables.methods.joint import Joint
from trainables.setup import load_method
from trainables.train import step

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "ogm": [{"filter": "all"}],
    "agm": [
        *({"reference": kind, "window": 3, "warm": 4} for kind in ("ema", "window", "fixed", "balanced")),
        {"samples": 4},
        {"cap": float("inf"), "stale": True},
    ],
}
CASES = [(name, settings) for name in METHODS for settings in [{}, *OPTIONS.get(name, [])]]
IDS = [f"{name}{settings or ''}" for name, settings in CASES]
every_case = pytest.mark.parametrize(("name", "settings"), CASES, ids=IDS)


def build(name: str, **settings: Any) -> Any:
    return load_method(METHODS[name])(**settings)


@every_case
@pytest.mark.parametrize("modalities", [1, 2, 3, 6])
def test_steps_are_finite_and_keep_types_and_shapes(name: str, settings: dict[str, Any], modalities: int) -> None:
    model = network(modalities)
    made = setup(build(name, **settings), model)
    learner = untrained(made)
    leaves, spec = tree_flatten(learner)
    for number in range(3):
        inputs, target = batch(model, number)
        learner, metrics = step(made, learner, inputs, pose(target, number))
    after, spec_after = tree_flatten(learner)
    assert spec_after == spec
    assert [(t.dtype, t.shape) for t in after] == [(t.dtype, t.shape) for t in leaves]
    assert all(torch.isfinite(t).all() for t in [*after, *metrics.values()])


@every_case
@pytest.mark.parametrize("fusion", ["concat", "sum", "early"])
def test_packed_equals_single(name: str, settings: dict[str, Any], fusion: str) -> None:
    model, seeds = network(3, fusion), range(4)
    numbers = [k for k, axis in AXES[name].items() if axis.kind == "number" and k not in settings]
    scaled = [{n: AXES[name][n].default * (0.5 + 0.1 * seed) for n in numbers} for seed in seeds]
    mades = [setup(build(name, **settings, **each), model) for each in scaled]
    packed = tree_map(lambda *ts: torch.stack(ts), *[untrained(m, seed) for m, seed in zip(mades, seeds, strict=True)])
    hyper = {n: torch.tensor([each[n] for each in scaled], dtype=torch.float64) for n in numbers}

    def one(values: dict[str, torch.Tensor], learner: Any, number: int) -> Any:
        return pure_step(mades[0]._replace(method=mades[0].method._replace(**values)), learner, number)

    for number in range(50):
        packed = vmap(lambda h, k, n=number: one(h, k, n), in_dims=(0 if hyper else None, 0), randomness="same")(
            hyper, packed
        )
    for i, seed in enumerate(seeds):
        learner = untrained(mades[i], seed)
        for number in range(50):
            inputs, target = batch(model, number)
            learner, _ = step(mades[i], learner, inputs, pose(target, number))
        assert apart(tree_map(lambda t, i=i: t[i], packed), learner) < 1e-9


@pytest.mark.parametrize("name", [n for n, axes in AXES.items() if any(a.neutral is not None for a in axes.values())])
@pytest.mark.parametrize("modalities", [1, 2, 3, 6])
@pytest.mark.parametrize("fusion", ["concat", "sum", "early"])
def test_switched_off_it_is_joint_training(name: str, modalities: int, fusion: str) -> None:
    off = {key: axis.neutral for key, axis in AXES[name].items() if axis.neutral is not None}
    model = network(modalities, fusion)
    joint, other = train(Joint(), model, 50), train(build(name, **off), model, 50)
    assert apart(without_heads(joint.params), without_heads(other.params)) < 1e-9


@pytest.mark.parametrize("name", METHODS)
def test_outside_its_epochs_it_is_joint_training(name: str) -> None:
    model = network(3)
    joint, other = train(Joint(), model, 20), train(build(name), model, 20, active=False)
    assert apart(without_heads(joint.params), without_heads(other.params)) < 1e-12


@every_case
def test_relabelling_the_modalities_relabels_the_result(name: str, settings: dict[str, Any]) -> None:
    """The encoders keep their weights and data, and swap places."""
    if name == "ogm-ge" or settings.get("samples"):
        settings = {**settings, "noise": 0.0} if name == "ogm-ge" else {**settings, "samples": 0}
    model = network(3, "sum")
    turned = model._replace(encoders=dict(reversed(model.encoders.items())))
    one, other = train(build(name, **settings), model, 10), train(build(name, **settings), turned, 10)
    for modality, group in one.params.encoders.items():
        assert apart(group, other.params.encoders[modality]) < 1e-12


def test_every_declared_setting_is_a_field_with_the_same_default() -> None:
    assert AXES.keys() == METHODS.keys()
    for name, axes in AXES.items():
        method = load_method(METHODS[name])
        assert {key: axis.default for key, axis in axes.items()} == method._field_defaults
        for key, axis in axes.items():
            assert axis.check(axis.default) == axis.default, (name, key)
