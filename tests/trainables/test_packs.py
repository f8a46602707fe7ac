"""Trials that train together get the numbers that each gets by itself."""

import math
from typing import Any

import numpy as np
import pytest

from search_spaces.methods import METHODS as AXES
from tests.trainables.test_train import BASE, JOINT, trial
from trainables.data.dataset import Dataset, Split
from trainables.methods import METHODS
from trainables.shape import numeric_settings, pack_shape, replace_values
from trainables.train import Outcome, fit, fit_pack

MODEL: dict[str, Any] = {**BASE["model"], "hidden": 6}


def tiny(
    kind: str = "classification", samples: tuple[int, ...] = (5,), *, missing: bool = False, shift: float = 0.0
) -> Dataset:
    """52 samples of two modalities, which make a short last batch."""
    draw = np.random.default_rng(0)

    def split(n: int) -> Split:
        target = draw.integers(0, 3, n)
        hint = target.reshape(n, *[1] * len(samples))
        inputs = {m: (draw.normal(shift, size=(n, *samples)) + hint).astype(np.float32) for m in "ab"}
        present = {"b": draw.random(n) < 0.7} if missing else {}
        wanted = target[:, None].astype(np.float32) if kind == "regression" else target
        return Split(inputs, wanted, present=present)

    return Dataset("tiny", kind, 1 if kind == "regression" else 3, split(52), split(30), split(30))


def dense(share: float = 0.4, fill: float = 0.0) -> Dataset:
    """52 samples of five positions, a share of which has no label; ``fill`` is added to the inputs of these."""
    draw = np.random.default_rng(0)

    def split(n: int) -> Split:
        target = draw.integers(0, 3, (n, 5))
        inputs = {m: (draw.normal(size=(n, 5, 4)) + target[..., None]).astype(np.float32) for m in "ab"}
        bare = draw.random((n, 5)) < share
        bare[np.arange(n), draw.integers(0, 5, n)] = False
        for x in inputs.values():
            x[bare] += fill
        return Split(inputs, np.where(bare, -1, target))

    return Dataset("dense", "segmentation", 3, split(52), split(30), split(30))


def dataset_of_kind(kind: str) -> Dataset:
    """A set with samples that lack a modality (missing), of a regression, or with positions that lack a label (gaps)."""
    if kind == "gaps":
        return dense()
    return tiny("regression") if kind == "regression" else tiny(missing=kind == "missing")


def configurations(method: str, count: int = 4, **changes: Any) -> list[dict[str, Any]]:
    """Trials of one shape whose every number differs, with seeds, lengths and schedules of their own."""
    settings = {name: axis.default for name, axis in AXES[method].items()} | changes.pop("settings", {})
    one = trial(METHODS[method], settings, **{"batch_size": 16, "dtype": "float64", "model": MODEL} | changes)
    result = []
    for i in range(count):
        other = replace_values(one, {path: value * (0.7 + 0.1 * i) for path, value in numeric_settings(one).items()})
        other["train"] = {**other["train"], "epochs": 13 - i % 2}
        result.append({**other, "seed": i, "start": 1 + i % 3, "warmup": i % 2, "end": 9.0})
    return result


def relative_differences(one: Outcome, other: Outcome) -> list[float]:
    assert (one.status, one.error, one.steps, one.params) == (other.status, other.error, other.steps, other.params)
    assert [row[:5] for row in one.rows] == [row[:5] for row in other.rows]
    pairs = [(a.value, b.value) for a, b in zip(one.rows, other.rows, strict=True)]
    pairs += [(one.final[name], other.final[name]) for name in other.final]
    return [abs(a - b) / max(1, abs(b)) for a, b in pairs if not (math.isnan(a) and math.isnan(b))]


@pytest.mark.parametrize("method", list(METHODS))
def test_every_method_trains_in_a_pack_as_it_does_alone(method: str) -> None:
    """More than fifty steps, in which members leave and methods start, warm up and end at different times."""
    tame = {"clip_b": 2.0} if method == "cggm" else {"patience": 2.0} if method == "mses" else {}
    chosen, dataset = configurations(method, settings=tame), tiny()
    assert len({pack_shape(each) for each in chosen}) == 1
    for one, other in zip(fit_pack(chosen, dataset), [fit(each, dataset) for each in chosen], strict=True):
        assert max(relative_differences(one, other)) < 1e-9


NETWORKS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "dropout": ((5,), {"dropout": 0.3}),
    "batch": ((5,), {"norm": "batch"}),
    "layer": ((5,), {"norm": "layer"}),
    "cnn": ((8, 8), {"encoder": "cnn", "norm": "batch"}),
    "gru": ((3, 4), {"encoder": "gru"}),
    "transformer": ((3, 4), {"encoder": "transformer", "dropout": 0.2}),
    **{fusion: ((5,), {"fusion": fusion}) for fusion in ("sum", "early", "gated", "film", "attention")},
}


@pytest.mark.parametrize("network", list(NETWORKS))
def test_every_network_trains_in_a_pack_as_it_does_alone(network: str) -> None:
    samples, changes = NETWORKS[network]
    chosen, dataset = configurations("agm", 3, model=MODEL | changes), tiny(samples=samples)
    for one, other in zip(fit_pack(chosen, dataset), [fit(each, dataset) for each in chosen], strict=True):
        assert max(relative_differences(one, other)) < 1e-9


def test_weights_may_be_those_of_another_seed() -> None:
    """Of the first trial they are not: it has the shape of the others."""
    chosen, dataset = configurations("agm"), tiny()
    chosen = [{**each, "seed": 0} | ({"init": i} if i else {}) for i, each in enumerate(chosen)]
    assert len({pack_shape(each) for each in chosen}) == 1
    for one, other in zip(fit_pack(chosen, dataset), [fit(each, dataset) for each in chosen], strict=True):
        assert max(relative_differences(one, other)) < 1e-9
    same = {key: value for key, value in chosen[0].items() if key != "start"} | {"start": 1}
    seeds, both = fit({**same, "seed": 3}, dataset), fit({**same, "seed": 3, "init": 3}, dataset)
    assert max(relative_differences(seeds, both)) == 0
    assert max(relative_differences(seeds, fit({**same, "seed": 3, "init": 2}, dataset))) > 1e-6


def test_trials_of_one_seed_draw_the_same_noise() -> None:
    chosen = configurations("ogm-ge", model=MODEL | {"dropout": 0.3})
    chosen, dataset = [{**each, "seed": i % 3} for i, each in enumerate(chosen)], tiny()
    for one, other in zip(fit_pack(chosen, dataset), [fit(each, dataset) for each in chosen], strict=True):
        assert max(relative_differences(one, other)) < 1e-9


@pytest.mark.parametrize("method", ["agm", "bogc"])
@pytest.mark.parametrize("kind", ["missing", "regression", "gaps"])
def test_targets_and_missing_modalities_are_those_of_each_member(kind: str, method: str) -> None:
    chosen, dataset = configurations(method, 3, optimizer="adam", weight_decay=0.01, clip=0.5), dataset_of_kind(kind)
    for one, other in zip(fit_pack(chosen, dataset), [fit(each, dataset) for each in chosen], strict=True):
        assert max(relative_differences(one, other)) < 1e-9


@pytest.mark.parametrize(
    ("method", "settings"), [("cggm", {"clip_b": 2.0}), ("bogc", {"where": "repr", "estimator": "laplace", "draws": 8})]
)
def test_positions_without_a_label_are_those_of_each_member(method: str, settings: dict[str, Any]) -> None:
    chosen, dataset = configurations(method, 3, settings=settings), dense()
    chosen = [replace_values(each, {("train", "epochs"): 4}) for each in chosen]
    for one, other in zip(fit_pack(chosen, dataset), [fit(each, dataset) for each in chosen], strict=True):
        assert max(relative_differences(one, other)) < 1e-7


def test_measurements_are_those_of_each_member() -> None:
    measure = {"competition": 0, "contribution": 2, "fidelity": 3, "gradients": 2, "probe": 0, "separate": 3}
    chosen = [each | {"measure": measure} for each in configurations("agm", 2)]
    for one, other in zip(fit_pack(chosen, tiny()), [fit(each, tiny()) for each in chosen], strict=True):
        assert max(relative_differences(one, other)) < 1e-9


def test_single_precision_agrees_to_rounding() -> None:
    chosen, dataset = configurations("agm", dtype="float32", epochs=2), tiny()
    for one, other in zip(fit_pack(chosen, dataset), [fit(each, dataset) for each in chosen], strict=True):
        assert max(relative_differences(one, other)) < 1e-5


def test_companions_change_nothing_at_equal_size() -> None:
    chosen, dataset = configurations("joint", 6, dtype="float32"), tiny()
    here = fit_pack(chosen[:4], dataset)[3]
    there = fit_pack([chosen[5], chosen[3], chosen[4], chosen[0]], dataset)[1]
    assert here.rows == there.rows
    assert here.final == there.final


def test_a_member_that_diverges_leaves_and_the_others_do_not_notice() -> None:
    chosen, dataset = configurations("joint", 3), tiny()
    wild = replace_values(chosen[1], {("train", "lr"): 1e30})
    first, second, third = fit_pack([chosen[0], wild, chosen[2]], dataset)
    assert second.status == "diverged"
    assert second.rows
    for one, other in ((first, chosen[0]), (third, chosen[2])):
        assert max(relative_differences(one, fit(other, dataset))) < 1e-9


def test_a_member_that_is_pruned_leaves_and_the_others_do_not_notice() -> None:
    chosen, dataset = configurations("joint", 3), tiny()
    asked: list[tuple[int, set[int]]] = []

    def prune(epoch: int, scores: dict[int, dict[str, float]]) -> set[int]:
        asked.append((epoch, set(scores)))
        assert all(set(told) == {"loss", "accuracy"} for told in scores.values())
        return {1} if epoch == 5 else set()

    first, second, third = fit_pack(chosen, dataset, prune)
    assert (second.status, second.steps, second.final) == ("pruned", 20, {})
    assert max(row.epoch for row in second.rows) == 5
    for one, other in ((first, chosen[0]), (third, chosen[2])):
        assert max(relative_differences(one, fit(other, dataset))) < 1e-9
    assert asked[:6] == [*((epoch, {0, 1, 2}) for epoch in range(1, 6)), (6, {0, 2})]


def test_what_decides_the_computation_is_part_of_the_shape() -> None:
    plain = trial(JOINT)
    for changed in (
        {"batch_size": 8},
        {"optimizer": "adam"},
        {"dtype": "float64"},
        {"clip": 1.0},
        {"weight_decay": 1.0},
    ):
        assert pack_shape(trial(JOINT, **changed)) != pack_shape(plain)
    assert pack_shape(trial(JOINT, clip=1.0)) == pack_shape(trial(JOINT, clip=2.0))
    assert pack_shape(trial(settings={"cap": math.inf})) != pack_shape(trial(settings={"cap": 1.0}))
    assert pack_shape(trial(settings={"factor": {"a": 1.0}})) == pack_shape(trial(settings={"factor": {"a": 2.0}}))
    assert pack_shape(trial(lr=0.1, epochs=9, seed=4, start=2, end=3, warmup=1)) == pack_shape(plain)
