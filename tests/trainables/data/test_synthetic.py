"""The synthetic data do what its parameters say, and its truth is what its model implies."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

from trainables import data
from trainables.data.parameters import Parameters, parse_parameters
from trainables.data.synthetic import draw_split, mixing_matrix
from trainables.data.truth import pair_weights, sign_gain


def contributions(**options: Any) -> dict[str, float]:
    result = data.load_sheet({"name": "synthetic", **options}).description["truth"]
    assert isinstance(result, dict)
    return result


def explained_variance(p: Parameters, members: tuple[int, ...]) -> float:
    """R^2 of a coalition, written out from the model."""
    odds, w = 10 ** (np.array(p.snr) / 10), np.array(p.information)
    pairs, seen = pair_weights(p), sign_gain(odds)
    unique = sum(w[m] * odds[m] / (1 + odds[m]) for m in members)
    pooled = sum(odds[m] for m in members if w[m] > 0)
    joint = sum(pairs[m, n] * seen[m] * seen[n] for m, n in itertools.combinations(members, 2))
    linear = (1 - p.redundancy) * unique + p.redundancy * pooled / (1 + pooled)
    return float((1 - p.synergy) * linear + p.synergy * joint)


def expected_variance(p: Parameters, members: tuple[int, ...]) -> float:
    """R^2 of a coalition, averaged over who of it is present."""
    total = 0.0
    for there in itertools.product([True, False], repeat=len(members)):
        chance = math.prod(1 - p.missing[m] if here else p.missing[m] for m, here in zip(members, there, strict=True))
        total += chance * explained_variance(p, tuple(itertools.compress(members, there)))
    return total


def contributions_by_enumeration(**options: Any) -> list[float]:
    """Shapley values by their definition: a sum over all coalitions."""
    p = parse_parameters(options)
    shares = []
    for m in range(p.modalities):
        others = [n for n in range(p.modalities) if n != m]
        coalitions = [s for size in range(p.modalities) for s in itertools.combinations(others, size)]
        gains = [
            (expected_variance(p, (*s, m)) - expected_variance(p, s)) / math.comb(len(others), len(s))
            for s in coalitions
        ]
        shares.append(sum(gains) / p.modalities)
    return shares


CASES: list[dict[str, Any]] = [
    {},
    {"modalities": 2, "snr": [10, -10]},
    {"modalities": 4, "snr": [20, 3, 0, -12], "information": [1, 2, 3, 0], "redundancy": 0.6, "synergy": 0.3},
    {"modalities": 4, "snr": [60, 3, 0, -60], "redundancy": 1, "missing": [0.1, 0, 0.9, 0.5]},
    {"modalities": 5, "synergy": 1, "missing": 0.2, "information": [1, 2, 3, 4, 5]},
]


@pytest.mark.parametrize("case", CASES)
def test_truth_is_the_shapley_value_of_explained_variance(case: dict[str, Any]) -> None:
    np.testing.assert_allclose(list(contributions(**case).values()), contributions_by_enumeration(**case), atol=1e-9)


def test_truth_of_one_modality_is_its_explained_variance() -> None:
    assert contributions(modalities=1, snr=0) == pytest.approx({"m0": 0.5})


def test_truth_sums_to_the_explained_variance_of_all() -> None:
    """Redundant copies at 0 dB pool their precision: three explain 3/4, twenty 20/21."""
    for count in (3, 20):
        assert sum(contributions(modalities=count, snr=0, redundancy=1).values()) == pytest.approx(count / (count + 1))


def test_a_stronger_signal_has_a_larger_truth() -> None:
    planted = list(contributions(snr=[9, 3, -3], redundancy=0.3, synergy=0.3).values())
    assert planted == sorted(planted, reverse=True)
    assert planted[0] > 1.5 * planted[2]


def test_more_information_has_a_larger_truth() -> None:
    planted = list(contributions(information=[3, 2, 1], synergy=0.3).values())
    assert planted == sorted(planted, reverse=True)


def test_a_modality_without_information_has_truth_zero() -> None:
    planted = contributions(information=[1, 1, 0], redundancy=0.5, synergy=0.5, snr=[6, 6, 30])
    assert planted["m2"] == 0
    assert planted["m0"] > 0


@pytest.mark.parametrize("count", [2, 3, 7, 20])
def test_equal_modalities_have_equal_truth(count: int) -> None:
    planted = list(contributions(modalities=count, redundancy=0.4, synergy=0.4).values())
    np.testing.assert_allclose(planted, planted[0], rtol=1e-12)


def test_a_missing_modality_is_worth_less() -> None:
    assert contributions(missing=[0.5, 0, 0])["m0"] == pytest.approx(contributions()["m0"] / 2)


def noisy_readings(p: Parameters, m: int, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the noisy readings of u_m and r, and the best guess of the sign a_m: a model that knows A_m."""
    noise = 10 ** (-p.snr[m] / 10)
    u, r, a = (inputs * np.sqrt(3 / p.features + noise) @ mixing_matrix(p, m)).T
    return np.stack([u, r], axis=1), np.tanh(a / noise)


@pytest.mark.parametrize("members", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)])
def test_a_regression_that_knows_the_mixing_explains_the_variance_of_the_model(members: tuple[int, ...]) -> None:
    options = {"snr": [6, 3, 0], "information": [1, 2, 3], "redundancy": 0.4, "synergy": 0.4, "features": 3}
    p = parse_parameters({"task": "regression", "samples": [20000, 1, 1], **options})
    inputs, _, score = draw_split(p, 0)
    readings = [noisy_readings(p, m, inputs[m]) for m in members]
    products = [(a * b)[:, None] for (_, a), (_, b) in itertools.combinations(readings, 2)]
    features = np.hstack([linear for linear, _ in readings] + products)
    residual = score - features @ np.linalg.lstsq(features, score, rcond=None)[0]
    assert 1 - residual.var() / score.var() == pytest.approx(explained_variance(p, members), abs=0.015)


def inputs_and_products(split: data.Split, modalities: list[str]) -> np.ndarray:
    """Inputs and products of inputs of two modalities, which see a pair of signs."""
    inputs = [split.inputs[m] for m in modalities]
    products = [(a[:, :, None] * b[:, None, :]).reshape(len(a), -1) for a, b in itertools.combinations(inputs, 2)]
    return np.hstack([np.ones((len(inputs[0]), 1)), *inputs, *products])


def test_one_half_of_a_pure_synergy_explains_nothing_and_both_all() -> None:
    spec = {"name": "synthetic", "task": "regression", "modalities": 2, "synergy": 1, "snr": 40, "features": 3}
    loaded = data.load(spec)
    for modalities, explained_variance in ((["m0"], 0.0), (["m1"], 0.0), (["m0", "m1"], 1.0)):
        weights, *_ = np.linalg.lstsq(inputs_and_products(loaded.train, modalities), loaded.train.target, rcond=None)
        residual = loaded.test.target - inputs_and_products(loaded.test, modalities) @ weights
        assert 1 - residual.var() / loaded.test.target.var() == pytest.approx(explained_variance, abs=0.02)


@pytest.mark.parametrize("synergy", [0, 0.5, 1])
def test_classes_are_equally_frequent(synergy: float) -> None:
    target = data.load({"name": "synthetic", "samples": [20000, 1, 1], "synergy": synergy}).train.target
    np.testing.assert_allclose(np.bincount(target) / 20000, 0.25, atol=0.012)


def test_the_same_parameters_give_the_same_arrays_and_another_seed_others() -> None:
    one, two, other = (data.load({"name": "synthetic", "seed": s}) for s in (3, 3, 4))
    np.testing.assert_array_equal(one.test.inputs["m1"], two.test.inputs["m1"])
    np.testing.assert_array_equal(one.test.target, two.test.target)
    assert not np.array_equal(one.test.target, other.test.target)


def test_the_label_depends_on_information_and_the_inputs_on_noise() -> None:
    plain = data.load("synthetic")
    label = data.load({"name": "synthetic", "redundancy": 0.5, "synergy": 0.3})
    noise = data.load({"name": "synthetic", "snr": [0, 6, 6], "missing": [0, 0, 0.5]})
    np.testing.assert_array_equal(plain.train.inputs["m0"], label.train.inputs["m0"])
    np.testing.assert_array_equal(plain.train.target, noise.train.target)
    assert not np.array_equal(plain.train.target, label.train.target)
    assert not np.array_equal(plain.train.inputs["m0"], noise.train.inputs["m0"])


def test_the_sha256_covers_every_parameter_and_not_its_spelling() -> None:
    sha256 = data.load_sheet("synthetic").sha256
    assert data.load_sheet({"name": "synthetic", "snr": [6, 6.0, 6], "information": 2, "seed": 0}).sha256 == sha256
    drift = {"at": 0.5, "modality": "m0", "snr": 0}
    for change in ({"seed": 1}, {"snr": 5}, {"information": [1, 1, 2]}, {"drift": drift}, {"missing": 0.1}):
        assert data.load_sheet({"name": "synthetic", **change}).sha256 != sha256


def test_drift_weakens_a_modality_from_its_training_sample_on_and_in_the_later_splits() -> None:
    drift = {"at": 0.25, "modality": "m1", "snr": -20}
    options = {"name": "synthetic", "task": "regression", "features": 3, "samples": [8000, 2000, 2000]}
    loaded = data.load({**options, "drift": drift})

    def strength(inputs: np.ndarray, target: np.ndarray) -> float:
        return max(abs(np.corrcoef(inputs.T, target.T)[-1, :-1]))

    inputs, target = loaded.train.inputs["m1"], loaded.train.target
    assert strength(inputs[:2000], target[:2000]) > 0.2
    for later in ((inputs[2000:4000], target[2000:4000]), (loaded.test.inputs["m1"], loaded.test.target)):
        assert strength(*later) < 0.15
    assert inputs[:2000].std() == pytest.approx(inputs[2000:].std(), rel=0.1)  # strength cannot be read from size


def test_truth_is_that_after_the_drift_and_the_sheet_has_the_one_before() -> None:
    drift = {"at": 0.5, "modality": "m0", "snr": -20}
    sheet = data.load_sheet({"name": "synthetic", "drift": drift})
    assert sheet.description["truth_before_drift"] == contributions()
    assert sheet.description["truth"] == contributions(snr=[-20, 6, 6])
    assert data.load({"name": "synthetic", "drift": drift}).truth == sheet.description["truth"]


def test_missing_samples_are_zeros_at_the_stated_rate() -> None:
    loaded = data.load({"name": "synthetic", "missing": [0.3, 0, 1]})
    absent = {m: (x == 0).all(axis=1).mean() for m, x in loaded.train.inputs.items()}
    assert absent["m0"] == pytest.approx(0.3, abs=0.04)
    assert (absent["m1"], absent["m2"]) == (0, 1)


def test_segmentation_has_a_label_for_each_position() -> None:
    loaded = data.load({"name": "synthetic", "task": "segmentation", "positions": 5, "samples": [20, 10, 10]})
    assert loaded.train.inputs["m0"].shape == (20, 5, 16)
    assert loaded.train.target.shape == (20, 5)
    assert (loaded.task, loaded.outputs) == ("segmentation", 4)


def test_features_make_room_for_many_classes() -> None:
    assert data.load({"name": "synthetic", "classes": 10}).train.inputs["m0"].shape == (2000, 30)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"modalities": 0}, "data.modalities: must lie in [1, 20], got 0."),
        ({"modalities": 2.5}, "data.modalities: must be an integer, got 2.5."),
        ({"modalities": True}, "data.modalities: must be an integer, got True."),
        ({"classes": 1}, "data.classes: must lie in [2, 1000], got 1."),
        ({"features": 8}, "data.features: must lie in [12, 100000], got 8."),
        ({"samples": [10, 10]}, "data.samples: must be three counts (train, validation, test), got [10, 10]."),
        ({"samples": [10, 0, 10]}, "data.samples: must lie in [1, 10000000], got 0."),
        ({"task": "clasification"}, "Did you mean 'classification'?"),
        ({"snr": [6, 6]}, "data.snr: must be one number, or one for each of 3 modalities, got [6, 6]."),
        ({"snr": 90}, "data.snr: must lie in [-60, 60], got 90."),
        ({"snr": "6"}, "data.snr: must be a number in [-60, 60], got '6'."),
        ({"snr": float("nan")}, "data.snr: must be a number in [-60, 60], got nan."),
        ({"information": 0}, "data.information: at least one modality must have more than 0, got only zeros."),
        ({"redundancy": 1.5}, "data.redundancy: must lie in [0, 1], got 1.5."),
        ({"synergy": 0.5, "modalities": 1}, "data.synergy: needs at least two modalities with information above 0."),
        ({"missing": -0.1}, "data.missing: must lie in [0, 1], got -0.1."),
        ({"drift": 0.5}, "data.drift: must be null or a mapping of at, modality, snr, got 0.5."),
        ({"drift": {"at": 2, "modality": "m0", "snr": 0}}, "data.drift.at: must lie in [0, 1], got 2."),
        ({"drift": {"at": 0.5, "modality": "m9", "snr": 0}}, "synthetic has no modality 'm9' (it has: m0, m1, m2)"),
        ({"sedd": 1}, "Did you mean 'seed'?"),
    ],
)
def test_a_wrong_parameter_is_one_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(data.DataError) as error:
        data.load_sheet({"name": "synthetic", **options})
    assert sentence in str(error.value)
