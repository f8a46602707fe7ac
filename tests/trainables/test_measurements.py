"""Measurements: they leave a run's bits alone, and their numbers are those of a direct computation."""

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import truth as benchmark
from tests.trainables.test_packs import dense, relative_differences
from tests.trainables.test_train import AGM, JOINT, trial
from trainables.classifiers import Classifier
from trainables.data import load
from trainables.data.dataset import Dataset
from trainables.data.resplit import connected_groups
from trainables.diagnostics.competition import competition_strength
from trainables.diagnostics.dempster import dempster
from trainables.diagnostics.probe import linear_probe
from trainables.diagnostics.truth import rank_correlation
from trainables.evaluation import Progress, Row, compute_signals, samples_with_modality, training_rows, validate
from trainables.measurements import (
    MEASUREMENTS,
    combination,
    concepts,
    corruption,
    fidelity,
    gradients,
    laws,
    precision,
    quality,
    shapley,
    variance,
    weights,
)
from trainables.measurements.autograd import detach_params
from trainables.measurements.competition import fit_mask
from trainables.measurements.game import MAX_EXACT, all_coalition_scores, shapley_values, share_losses
from trainables.methods import METHODS, bogc
from trainables.observation import Batch, EpochMeasurement, StepMeasurement, measurement_module
from trainables.setup import Learner, Setup, build_setup, init_learner
from trainables.step import batch_task, batches, step
from trainables.train import Outcome, fit, iterate_epochs

BOGC, CGGM = "trainables.methods.bogc:BOGC", "trainables.methods.cggm:CGGM"
SMALL = {"name": "synthetic", "modalities": 3, "samples": [160, 60, 40], "snr": [9, 3, -3]}
MODEL = {"fusion": "concat", "encoder": "mlp", "hidden": 12, "norm": "none", "dropout": 0.0}


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load(SMALL)


def small(method: str = JOINT, settings: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    return trial(method, settings, **{"model": MODEL, "batch_size": 16, **changes})


def value(rows: list[Row], metric: str, modality: str | None = None) -> float:
    """The last value of a metric."""
    return [row.value for row in rows if (row.metric, row.modality) == (metric, modality)][-1]


def trained(config: dict[str, Any], dataset: Dataset) -> tuple[Setup, Learner]:
    setup = build_setup(config, dataset)
    *_, last = iterate_epochs(setup, init_learner(setup))
    return setup, last.learner


def first_batch(setup: Setup) -> Batch:
    indices = batches(setup, 1)[0]
    inputs = {m: x[indices] for m, x in setup.inputs["train"].items()}
    return Batch(indices, inputs, batch_task(setup, indices, 1, 1), 1)


SEVERAL = {AGM: [], CGGM: [], JOINT: [pytest.mark.nightly], "trainables.methods.mses:MSES": [pytest.mark.nightly]}


def uneven(method: str, *names: str) -> dict[str, Any]:
    """A trial with noise and running statistics, and these measurements at every step or epoch."""
    settings = {"delta": "positive"} if method == CGGM else {}
    model, measure = MODEL | {"norm": "batch", "dropout": 0.2}, dict.fromkeys(names, 1)
    return small(method, settings, model=model, epochs=3, measure=measure)


@cache
def unobserved(method: str) -> Outcome:
    return fit(uneven(method), load(SMALL))


@pytest.mark.parametrize(
    ("names", "method"),
    [
        *(([name], BOGC if name == "weights" else AGM) for name in sorted(MEASUREMENTS)),
        *(pytest.param(sorted(MEASUREMENTS), method, marks=marks) for method, marks in SEVERAL.items()),
    ],
)
def test_an_observed_run_is_the_run_unobserved_bit_for_bit(names: list[str], method: str, dataset: Dataset) -> None:
    """Each measurement by itself, and all of them together."""
    plain, seen = unobserved(method), fit(uneven(method, *names), dataset)
    assert [row for row in seen.rows if row in plain.rows] == plain.rows
    assert len(seen.rows) > len(plain.rows)
    assert seen.final == plain.final
    assert all(np.array_equal(a.outputs, b.outputs) for a, b in zip(seen.predictions, plain.predictions, strict=True))
    assert seen.weights == plain.weights


def test_every_measurement_is_of_one_kind() -> None:
    for name, kind in MEASUREMENTS.items():
        assert isinstance(measurement_module(name), StepMeasurement) == (kind.counts == "steps")
        assert isinstance(measurement_module(name), EpochMeasurement) == (kind.counts == "epochs")


@pytest.mark.parametrize(
    ("measure", "metric", "expected"),
    [
        ({"contribution": 1}, "share", [1, 2, 3, 4, 5]),
        ({"contribution": 2}, "share", [2, 4, 5]),
        ({"contribution": 0}, "share", [5]),
        ({"probe": 3}, "probe_accuracy", [3, 5]),
        ({"gradients": 10}, "gradient_norm", [1, 2, 3, 4, 5]),
        ({"gradients": 15}, "gradient_norm", [1, 2, 4, 5]),  # steps 1, 16, 31 and 46, of 10 an epoch
    ],
)
def test_intervals_are_respected(measure: dict[str, int], metric: str, expected: list[int], dataset: Dataset) -> None:
    rows = fit(small(epochs=5, measure=measure), dataset).rows
    assert [
        row.epoch for row in rows if row.metric == metric and row.modality == "m0" and row.split != "test"
    ] == expected


def test_the_test_split_is_probed_at_the_end_alone(dataset: Dataset) -> None:
    rows = fit(small(epochs=3, measure={"probe": 1}), dataset).rows
    assert {row.epoch for row in rows if row.split == "test"} == {3}


def test_shapley_values_sum_to_the_joint_score_minus_the_empty_one(dataset: Dataset) -> None:
    outcome = fit(small(epochs=12, lr=0.1, measure={"shapley": 0, "shape": 0}), dataset)
    gains = [value(outcome.rows, "shapley", m) for m in dataset.train.inputs]
    empty = value(outcome.rows, "shapley_empty")
    assert sum(gains) == pytest.approx(outcome.final["validation.accuracy"] - empty, abs=1e-9)
    assert [value(outcome.rows, "shape_contribution", m) for m in dataset.train.inputs] == gains
    shares = [value(outcome.rows, "shapley_share", m) for m in dataset.train.inputs]
    assert shares == pytest.approx([gain / sum(gains) for gain in gains])


def test_gains_whose_sum_is_rounding_have_no_shares() -> None:
    gains = np.array([0.0479, 0.0104, -0.0583 + 1.4e-17])
    assert 0 < gains.sum() < 1e-16
    assert np.isnan(shapley.gain_shares(gains, 0.1)).all()
    assert np.isnan(shapley.gain_shares(np.array([-0.2, 0.1]), 0.1)).all()
    one = np.array([0.25, -0.25 + 1e-6])  # one sample of a million
    assert shapley.gain_shares(one, 0.5) == pytest.approx(one / 1e-6)


def test_the_score_of_a_coalition_is_that_with_the_others_zeroed(dataset: Dataset) -> None:
    setup, learner = trained(small(epochs=3), dataset)
    scores = all_coalition_scores(setup, learner)
    for code, expected in enumerate(scores.tolist()):
        heard = {
            m: x if code >> i & 1 else torch.zeros_like(x)
            for i, (m, x) in enumerate(setup.inputs["validation"].items())
        }
        muted = setup._replace(inputs={"validation": heard})
        logits = compute_signals(muted, learner, "validation", frozenset()).logits
        assert expected == pytest.approx(float((logits.argmax(-1) == setup.target["validation"]).double().mean()))


def test_share_losses_are_those_of_the_shares_that_sum_to_the_logits() -> None:
    data = load(SMALL | {"modalities": 2, "snr": 6})
    setup, learner = trained(small(dtype="float64"), data)
    x = setup.inputs["validation"]

    def logits(*heard: str) -> Tensor:
        zeroed = {m: v if m in heard else torch.zeros_like(v) for m, v in x.items()}
        return compute_signals(setup._replace(inputs={"validation": zeroed}), learner, "validation", frozenset()).logits

    share = (logits("m0", "m1") - logits("m1") + logits("m0")) / 2
    assert float(share_losses(setup, learner)[0]) == pytest.approx(
        float(F.cross_entropy(share, setup.target["validation"]))
    )


def test_beyond_eight_modalities_orders_are_drawn_and_the_gains_still_sum() -> None:
    data = load({"name": "synthetic", "modalities": MAX_EXACT + 1, "samples": [64, 40, 20]})
    setup, learner = trained(small(), data)
    gains, empty = shapley_values(setup, learner)
    accuracy = fit(small(), data).final["validation.accuracy"]
    assert gains.sum() == pytest.approx(accuracy - empty, abs=1e-9)
    assert (
        shapley.rows(setup, (), learner, Progress(1, 1))[:-1] == shapley.rows(setup, (), learner, Progress(1, 1))[:-1]
    )
    assert share_losses(setup, learner).isfinite().all()


def test_a_sample_without_a_modality_does_not_count_in_its_share() -> None:
    data = load(SMALL | {"missing": [0.5, 0, 0]})
    setup, learner = trained(small(), data)
    losses = share_losses(setup, learner)
    held = setup.present["validation"]
    assert held is not None
    kept = held[0]
    fewer = setup._replace(
        inputs={"validation": {m: x[kept] for m, x in setup.inputs["validation"].items()}},
        target={"validation": setup.target["validation"][kept]},
        present={"validation": held[:, kept]},
    )
    assert float(share_losses(fewer, learner)[0]) == pytest.approx(float(losses[0]), rel=1e-6)


def test_a_modality_that_no_sample_of_validation_has_is_not_measured() -> None:
    """Its loss is no number: none of 0, which would beat all others."""
    data = load(SMALL)
    nobody = np.zeros(len(data.validation.target), dtype=bool)
    data = data._replace(validation=data.validation._replace(present={"m0": nobody}))
    for method in (METHODS["mses"], METHODS["mslr"]):
        setup = build_setup(small(method), data)
        judged = validate(setup, init_learner(setup), 1)
        for number in (judged.loss, judged.score):
            assert number.isnan().tolist() == [True, False, False]
        assert fit(small(method, measure={}), data).status == "done"
    rows = fit(small(measure={"contribution": 0}), data).rows
    shares = [value(rows, "share", m) for m in ("m0", "m1", "m2")]
    assert math.isnan(shares[0])
    assert sum(shares[1:]) == pytest.approx(1)


def test_missing_samples_are_compared_with_planted_contributions_over_all() -> None:
    """A modality that few have is worth little, and its share is of those few."""
    data = load(SMALL | {"missing": [0.9, 0, 0]})
    rows = fit(small(measure={"truth": 0, "shapley": 0}), data).rows
    gains = [value(rows, "shapley", m) for m in data.train.inputs]
    assert data.truth is not None
    assert value(rows, "shapley_truth_rank") == pytest.approx(rank_correlation(gains, list(data.truth.values())))
    assert not {"truth_rank", "truth_error"} & {row.metric for row in rows}


@pytest.mark.parametrize(("name", "metric"), [("joint-uni", "score"), ("agm", "score"), ("cggm", "eps")])
def test_metrics_of_a_modality_are_over_the_steps_that_have_it(name: str, metric: str) -> None:
    """Nothing is learnt: as a batch that lacks it says nothing of it, what few have looks as what all have."""
    data = load(SMALL | {"missing": [0.95, 0, 0]})
    settings = {"eps_metric": "p_y"} if name == "cggm" else {}
    rows = fit(small(METHODS[name], settings, epochs=1, batch_size=8, lr=0.0), data).rows
    result = [value([row for row in rows if row.split == "train"], metric, m) for m in data.train.inputs]
    assert result[0] == pytest.approx(result[1], rel=0.25)
    scales = {row.metric: row.value for row in rows if row.metric.startswith("scale") and row.modality == "m0"}
    assert all(math.isfinite(value) for value in scales.values())


def test_metrics_of_any_shape_are_recorded_where_samples_lack_modalities() -> None:
    data = load(SMALL | {"missing": [0.5, 0, 0]})
    series = {"method.one": torch.ones(2, 4), "method.all": torch.ones(2), "attended": torch.ones(2, 3) > 0}
    rows = training_rows(build_setup(small(), data), series, 1, 2)
    assert [row.modality for row in rows] == ["m0", "m1", "m2", None, None]


def test_a_modality_absent_from_training_has_no_records() -> None:
    data = load(SMALL)
    nobody = np.zeros(len(data.train.target), dtype=bool)
    data = data._replace(train=data.train._replace(present={"m0": nobody}))
    rows = fit(small(AGM, {"alpha": 1.0}), data).rows
    recorded = {row.metric: row.value for row in rows if row.split == "train" and row.modality == "m0"}
    assert {"scale", "scale_min", "scale_max", "score"} <= {*recorded}
    assert all(math.isnan(value) for value in recorded.values())


def test_the_score_of_a_concept_is_of_the_samples_that_have_the_modality() -> None:
    data = load(SMALL | {"missing": [0.6, 0, 0]})
    setup, learner = trained(small(), data)
    alone = trained(small(modality="m0"), data)
    own = samples_with_modality(setup, "validation", 0)
    hits = compute_signals(*alone, "validation", frozenset()).logits[own].argmax(-1) == setup.target["validation"][own]
    known = measurement_module("competition").begin(setup)
    rows = measurement_module("competition").rows(setup, known, learner, Progress(1, 1, last=True))
    assert value(rows, "concept_accuracy", "m0") == hits.double().mean()


def test_samples_of_a_group_are_in_one_half_of_a_competition() -> None:
    """Clips of av-digits serve several images: a half must not know the clips of the other."""
    data = load({"name": "av-digits"})
    units, clips = connected_groups(data.validation.links), data.validation.inputs["audio"]
    first = fit_mask(len(units), units).numpy()
    halves = [{row.tobytes() for row in clips[side]} for side in (first, ~first)]
    assert not halves[0] & halves[1]
    assert abs(2 * first.sum() - len(first)) <= 2
    own = np.arange(10)
    assert fit_mask(10, own).tolist() == fit_mask(10, None).tolist() == [True, False] * 5
    assert fit_mask(4, np.zeros(4)).all()


def test_a_classifier_that_is_the_unimodal_head_is_faithful_in_head_space() -> None:
    """A classifier without layers, which projects by the identity: relu(h) = h through the same W.

    By the feature it is blind where h = 0, and so is the encoder's own ReLU, but the joint head is not.
    """
    data = load(SMALL | {"modalities": 1, "snr": 6})
    setup, learner = trained(small(dtype="float64"), data)
    classifier = Classifier(layers=0)
    width = setup.model.encoders["m0"].width
    own = setup._replace(model=setup.model._replace(classifier=classifier))
    shared = learner.params.shared
    eye = torch.eye(width, dtype=torch.float64)
    layers = {"proj.weight": eye, "proj.bias": eye.new_zeros(width)}
    layers |= {"out.weight": shared["head.weight"], "out.bias": shared["head.bias"]}
    heads = {"classifiers": {name: layer[None] for name, layer in layers.items()}}
    learner = learner._replace(params=learner.params._replace(heads=heads))
    _, values = fidelity.step(own, None, learner, first_batch(setup), due=True)
    features = compute_signals(setup, learner, "validation", frozenset({"features"})).features["m0"]
    assert (features >= 0).all()  # so that the projection's own ReLU changes nothing
    for space in ("f1", "f3"):
        assert float(values[space]) == pytest.approx(1, abs=1e-12)
    assert float(values["f1_joint"]) == pytest.approx(1, abs=1e-12)
    assert abs(float(values["f1_permuted"])) < 0.99


@pytest.mark.parametrize("fusion", ["concat", "sum", "early"])
def test_fidelity_is_the_cosine_of_gradients_by_hand(fusion: str, dataset: Dataset) -> None:
    config = small(CGGM, {"magnitude": False, "lam": 0.0}, dtype="float64", model=MODEL | {"fusion": fusion})
    setup, learner = trained(config, dataset)
    batch = first_batch(setup)
    _, values = fidelity.step(setup, None, learner, batch, due=True)
    target = setup.target["train"][batch.indices]
    silenced = {m: x if m == "m1" else torch.zeros_like(x) for m, x in batch.inputs.items()}
    params = detach_params(learner.params)
    plain = setup.model._replace(classifier=None)
    signals, _ = plain(params, learner.buffers, silenced, frozenset({"features"}), training=False)
    assert setup.model.classifier is not None
    classified, (inputs, _) = setup.model.classifier(params.heads["classifiers"], signals.features)
    losses = F.cross_entropy(signals.logits, target), F.cross_entropy(classified[1], target)
    by = (signals.features["m1"], *params.encoders["m1"].values())
    true, proxy = (torch.autograd.grad(loss, by, retain_graph=True) for loss in losses)
    assert cosine(true[:1], proxy[:1]) == pytest.approx(float(values["f2"][1]), abs=1e-9)
    assert cosine(true[1:], proxy[1:]) == pytest.approx(float(values["f3"][1]), abs=1e-9)
    head = [g["weight"] for g in params.readouts.values()] if fusion == "sum" else [params.shared["head.weight"]]
    true_head = torch.cat(torch.autograd.grad(losses[0], head), -1)
    slope = torch.softmax(classified[1], -1) - F.one_hot(target, 4)
    assert cosine([true_head], [slope.T @ inputs[1]]) == pytest.approx(float(values["f1"][1]), abs=1e-9)


@pytest.mark.parametrize("fusion", ["concat", "sum"])
def test_fidelity_is_measured_beside_a_method_that_knows_its_own_heads_alone(fusion: str, dataset: Dataset) -> None:
    config = small("trainables.methods.bogc:BOGC", {"where": "repr", "estimator": "laplace"}, measure={"fidelity": 3})
    rows = fit(config | {"model": MODEL | {"fusion": fusion}}, dataset).rows
    assert math.isfinite(value(rows, "fidelity_f1", "m0"))


def cosine(one: Any, other: Any) -> float:
    a, b = (torch.cat([t.detach().flatten() for t in tensors]) for tensors in (one, other))
    return float(a @ b / a.norm() / b.norm())


def test_the_measurements_own_classifiers_learn_as_those_of_cggm_beside_joint_training(dataset: Dataset) -> None:
    off = {"magnitude": False, "lam": 0.0}
    one, other = (fit(small(m, s, measure={"fidelity": 3}), dataset).rows for m, s in ((JOINT, {}), (CGGM, off)))
    measured = [
        [(r.epoch, r.metric, r.modality, r.value) for r in rows if r.metric.startswith("fidelity")]
        for rows in (one, other)
    ]
    assert len(measured[0]) == 2 * 3 * (8 * 5 + 3)  # epochs, modalities, series and their statistics, bands of controls
    for ours, theirs in zip(*measured, strict=True):
        assert ours[:3] == theirs[:3]
        assert ours[3] == pytest.approx(theirs[3], abs=1e-4, nan_ok=True)


@pytest.mark.parametrize("method", [JOINT, CGGM])
@pytest.mark.parametrize("fusion", ["concat", "gated"])
def test_where_the_others_are_silent_a_run_is_the_network_of_one_modality(
    fusion: str, method: str, dataset: Dataset
) -> None:
    """Step by step, with momentum and a schedule: what f({m}) says is what the network of m says."""
    splits = {
        name: one._replace(inputs={m: x if m == "m1" else np.zeros_like(x) for m, x in one.inputs.items()})
        for name in ("train", "validation", "test") for one in [getattr(dataset, name)]
    }  # fmt: skip
    off = {} if method == JOINT else {"magnitude": False, "lam": 0.0}
    measure = {"fidelity": 3, "separate": 3}
    config = small(method, off, model=MODEL | {"fusion": fusion}, schedule="cosine", epochs=3, measure=measure)
    rows = fit(config, dataset._replace(**splits)).rows
    result = {
        (row.metric.removeprefix("fidelity_f1_separate").removeprefix("fidelity_f1"), row.epoch, "separate" in row.metric):
        row.value for row in rows
        if row.modality == "m1" and row.metric in {f"fidelity_f1{s}{p}" for s in ("", "_separate") for p in ("", "_low")}
    }  # fmt: skip
    assert len(result) == 12
    for (name, epoch, apart), number in result.items():
        assert number == pytest.approx(result[name, epoch, not apart], abs=1e-6)
    others = [r.value for r in rows if r.metric == "fidelity_f1_separate" and r.modality == "m0"]
    assert not np.allclose(others, [number for (name, _, apart), number in result.items() if apart and not name])


@pytest.mark.parametrize("fusion", ["concat", "sum", "gated", "attention"])
def test_gradient_norms_and_cosines_are_those_of_autograd(fusion: str, dataset: Dataset) -> None:
    setup, learner = trained(small(dtype="float64", model=MODEL | {"fusion": fusion}), dataset)
    batch = first_batch(setup)
    _, values = gradients.step(setup, (), learner, batch, due=True)
    target = setup.target["train"][batch.indices]

    def grads(*heard: str) -> Any:
        params = detach_params(learner.params)
        inputs = {m: x if m in heard else torch.zeros_like(x) for m, x in batch.inputs.items()}
        signals, _ = setup.model(params, learner.buffers, inputs, frozenset(), training=False)
        F.cross_entropy(signals.logits, target).backward()
        return params

    joint, alone = grads("m0", "m1", "m2"), grads("m2")

    def by(group: dict[str, Tensor]) -> list[Tensor]:
        return [p.grad for p in group.values()]

    def heads(params: Any) -> list[Tensor]:
        if fusion == "sum":
            return [g["weight"].grad for g in params.readouts.values()]
        return [params.shared["head.weight"].grad]

    beyond = [p for group in (*joint.readouts.values(), joint.shared) for p in by(group)]
    norms = [[*by(joint.encoders["m0"])], beyond]
    expected = [float(torch.cat([g.flatten() for g in norm]).norm()) for norm in norms]
    assert values["gradient_norm"][[0, 3]].tolist() == pytest.approx(expected, rel=1e-9)
    assert float(values["gradient_cosine"][2]) == pytest.approx(cosine(heads(joint), heads(alone)), abs=1e-9)
    ours = cosine(by(joint.encoders["m2"]), by(alone.encoders["m2"]))
    assert float(values["encoder_cosine"][2]) == pytest.approx(ours, abs=1e-9)


def test_the_gradients_are_those_that_the_run_takes_its_step_by() -> None:
    """Normalised over the samples that have a modality, as the run's are."""
    data = load(SMALL | {"missing": [0.6, 0, 0]})
    setup = build_setup(small(dtype="float64", momentum=0.0, lr=0.05, model=MODEL | {"norm": "batch"}), data)
    learner, batch = init_learner(setup), first_batch(setup)
    _, values = gradients.step(setup, (), learner, batch, due=True)
    after, _ = step(setup, learner, batch.inputs, batch.task)
    moved = [
        math.sqrt(sum(float((after.params.encoders[m][k] - p).square().sum()) for k, p in group.items())) / 0.05
        for m, group in learner.params.encoders.items()
    ]
    assert values["gradient_norm"][:3].tolist() == pytest.approx(moved, rel=1e-9)


def test_what_lacks_a_modality_is_neither_probed_nor_spoilt_nor_compared() -> None:
    """Probes and competition are of the samples that have it; noise is added to none of the others."""
    data = load(SMALL | {"missing": [0.5, 0, 0]})
    setup, learner = trained(small(dtype="float64"), data)
    last = Progress(1, 1, last=True)
    own = {split: samples_with_modality(setup, split, 0) for split in ("train", "validation", "test")}
    seen = {split: compute_signals(setup, learner, split, frozenset({"features", "fused"})) for split in own}
    features = {split: seen[split].features["m0"][rows].numpy() for split, rows in own.items()}
    targets = {split: setup.target[split][rows].numpy() for split, rows in own.items()}
    expected = linear_probe(features, targets, "classification")
    for split in ("validation", "test"):
        rows = [row for row in measurement_module("probe").rows(setup, (), learner, last) if row.split == split]
        assert value(rows, "probe_accuracy", "m0") == expected[split]
    competition = measurement_module("competition")
    known = competition.begin(setup)
    fused, concept = seen["validation"].fused[own["validation"]], known["m0"].feature[own["validation"]]
    strength = competition_strength((fused[::2], fused[1::2]), (concept[::2], concept[1::2])).strength
    assert value(competition.rows(setup, known, learner, last), "competition", "m0") == pytest.approx(
        strength, rel=1e-9
    )
    spoilt = corruption.corrupt(setup.inputs["test"]["m0"], "noise", 4.0, setup.trial["seed"], "m0")
    spoilt = torch.where(setup.present["test"][0][:, None], spoilt, 0.0)
    score = corruption.score(setup, learner, setup.inputs["test"] | {"m0": spoilt})
    assert value(corruption.rows(setup, (), learner, last), "noise_accuracy_4", "m0") == score


@pytest.mark.parametrize("count", [1, 10, 31])
def test_of_few_samples_the_variance_is_of_two_parts(count: int) -> None:
    data = load(SMALL | {"samples": [count, 20, 20]})
    result = fit(small(JOINT, measure={"variance": 0}), data).rows
    assert math.isfinite(value(result, "variance_median", "m0")) == (count > 1)


def test_a_concept_is_that_of_the_unimodal_trial(dataset: Dataset) -> None:
    outcome = fit(small(AGM, {"alpha": 0.0}, measure={"competition": 0}, dtype="float64"), dataset)
    joint = trained(small(dtype="float64"), dataset)
    alone = trained(small(modality="m1", dtype="float64"), dataset)
    fused = compute_signals(*joint, "validation", frozenset({"fused"})).fused
    concept = compute_signals(*alone, "validation", frozenset({"features"})).features["m1"]
    expected = competition_strength((fused[::2], fused[1::2]), (concept[::2], concept[1::2]))
    assert value(outcome.rows, "competition", "m1") == pytest.approx(expected.strength, rel=1e-6)
    assert value(outcome.rows, "competition_rank", "m1") == expected.rank
    accuracy = fit(small(modality="m1", dtype="float64"), dataset).final["validation.accuracy"]
    assert value(outcome.rows, "concept_accuracy", "m1") == accuracy
    strengths = {m: value(outcome.rows, "competition", m) for m in dataset.train.inputs}
    preferred = {m: value(outcome.rows, "competition_preferred", m) for m in dataset.train.inputs}
    assert preferred == {m: float(m == min(strengths, key=strengths.__getitem__)) for m in strengths}


def test_a_concept_that_diverged_has_no_strength(dataset: Dataset) -> None:
    competition = measurement_module("competition")
    setup, learner = trained(small(), dataset)
    broken = {m: competition.Concept(torch.full((60, 12), math.nan), 0.0) for m in dataset.train.inputs}
    rows = competition.rows(setup, broken, learner, Progress(1, 1))
    assert math.isnan(value(rows, "competition", "m0"))
    assert value(rows, "competition_preferred", "m0") == 0


def test_truth_compares_with_what_is_planted(dataset: Dataset) -> None:
    rows = fit(small(AGM, epochs=4, measure={"truth": 0, "contribution": 0}), dataset).rows
    shares = np.array([value(rows, "share", m) for m in dataset.train.inputs])
    assert dataset.truth is not None
    planted = np.array(list(dataset.truth.values()))
    assert value(rows, "truth_error") == pytest.approx(np.abs(shares - planted / planted.sum()).mean())
    assert -1 <= value(rows, "truth_rank") <= 1
    with pytest.raises(ValueError, match="no planted contributions"):
        fit(small(measure={"truth": 0}), load("mfeat"))


@pytest.mark.parametrize(
    ("data", "modality"),
    [
        ({"task": "regression"}, None),
        ({"task": "segmentation", "positions": 4}, None),
        ({"missing": 0.4}, None),
        ({}, "m1"),
    ],
)
def test_all_are_measured_whatever_the_task(data: dict[str, Any], modality: str | None) -> None:
    names = [n for n, kind in MEASUREMENTS.items() if modality is None or not kind.multimodal]
    outcome = fit(small(measure=dict.fromkeys(names, 1), modality=modality, epochs=1), load(SMALL | data))
    assert outcome.status == "done"
    assert all(math.isfinite(row.value) for row in outcome.rows if row.metric != "shapley_share")  # of no gain, nan


def test_unlabelled_positions_affect_no_measurement_but_attribution() -> None:
    """Which is about the outputs; nor does it move the trained weights."""
    names = [name for name in MEASUREMENTS if name not in {"attribution", "cost", "truth"}]
    config = small(BOGC, {"estimator": "sample"}, measure=dict.fromkeys(names, 1), epochs=2, dtype="float64")
    one, other = fit(config, dense()), fit(config, dense(fill=3.0))
    assert (one.status, one.error) == ("done", None)
    assert all(math.isfinite(row.value) for row in one.rows if row.metric != "shapley_share")
    assert max(relative_differences(one, other)) < 1e-9
    assert not np.allclose(one.predictions[0].outputs, other.predictions[0].outputs, atol=0.1)


def test_positions_without_a_label_are_no_samples_of_a_probe_and_none_of_a_concept() -> None:
    setup, learner = trained(small(dtype="float64"), dense())
    last = Progress(1, 1, last=True)
    known = {split: setup.target[split] >= 0 for split in ("train", "validation", "test")}
    seen = {split: compute_signals(setup, learner, split, frozenset({"features", "fused"})) for split in known}
    features = {split: seen[split].features["a"][rows].numpy() for split, rows in known.items()}
    targets = {split: setup.target[split][rows].numpy() for split, rows in known.items()}
    expected = linear_probe(features, targets, "classification")
    rows = measurement_module("probe").rows(setup, (), learner, last)
    assert {row.split: row.value for row in rows if row.modality == "a"} == pytest.approx(expected)
    competition = measurement_module("competition")
    concepts = competition.begin(setup)
    halves = [
        [x[i::2][known["validation"][i::2]] for i in (0, 1)] for x in (seen["validation"].fused, concepts["a"].feature)
    ]
    assert value(competition.rows(setup, concepts, learner, last), "competition", "a") == pytest.approx(
        competition_strength(tuple(halves[0]), tuple(halves[1])).strength, rel=1e-9
    )


@pytest.mark.parametrize("fusion", ["early", "film", "attention"])
@pytest.mark.parametrize("encoder", ["mlp", "gru", "transformer"])
def test_batches_are_measured_whatever_the_model(fusion: str, encoder: str) -> None:
    data = load({"name": "av-digits", "image": "pca25", "modalities": ["audio"]}) if encoder != "mlp" else load(SMALL)
    model = MODEL | {"fusion": fusion, "encoder": encoder, "hidden": 4}
    setup = build_setup(small(model=model), data)
    state = fidelity.begin(setup)
    for one in (fidelity, gradients):
        _, values = one.step(setup, state if one is fidelity else (), init_learner(setup), first_batch(setup), due=True)
        assert values


def test_the_shares_of_agm_rank_the_modalities_as_planted() -> None:
    """The first draws of `python -m benchmarks.truth`."""
    assert np.mean([benchmark.measure_draw(number).rank for number in range(3)]) >= 0.9


@pytest.mark.parametrize("fusion", ["concat", "sum"])
@pytest.mark.parametrize("mute", ["zero", "mean", "feature"])
def test_attribution_follows_the_theory_of_additive_heads(fusion: str, mute: str, dataset: Dataset) -> None:
    """Shares are branches where silence is nothing but equal parts of the bias (METHODS.md 6.4)."""
    config = small(AGM, {"mute": mute}, model=MODEL | {"fusion": fusion}, measure={"attribution": 0})
    rows = fit(config, dataset).rows
    assert max(value(rows, "attribution_theory", m) for m in ("m0", "m1", "m2")) < 1e-6
    gap = value(rows, "attribution_gap", "m0")
    assert gap < 1e-6 if (fusion, mute) == ("concat", "feature") else gap > 1e-3
    assert value(rows, "attribution_gap_mean", "m0") <= gap


def test_evidence_is_combined_as_dempster_defines_it(dataset: Dataset) -> None:
    for frame in ("modality", "reliability", "dims"):
        rows = fit(small(BOGC, {"frame": frame}, measure={"combination": 0}), dataset).rows
        assert value(rows, "combination_error") < 1e-12
        assert value(rows, "combination_conflict_0.9") == pytest.approx(0.81)  # b^2 goes to the empty set
        assert value(rows, "combination_certain_1") > value(rows, "combination_certain_10000")


def test_dempster_by_hand() -> None:
    """Two sources of evidence 1 and 3 with K = 2: b = 1/3 and 3/5, of which 1/5 is conflict; 2/15, 6/15, 4/15 over 12/15."""
    masses, conflict = dempster(combination.modality_opinions(torch.tensor([1.0, 3.0]), 2.0))
    assert conflict == pytest.approx(1 / 5)
    known = {frozenset({0}): 2 / 12, frozenset({1}): 6 / 12, frozenset({0, 1}): 4 / 12}
    assert masses == {subset: pytest.approx(mass) for subset, mass in known.items()}


def test_the_error_of_a_variance_estimate_falls_with_its_samples() -> None:
    """The variance of N normal numbers has the relative deviation sqrt(2 / (N - 1)); half of the errors are below 0.67 of it."""
    for seen, count in ((precision.batch_estimate(0, 64), 64), (precision.running_estimate(0, 0.95), 39)):
        error = (seen.estimate / seen.variance - 1).abs().median().item()
        assert error == pytest.approx(0.6745 * math.sqrt(2 / (count - 1)), rel=0.35)
        assert (seen.errors.abs() <= 1.96 * seen.variance.sqrt()).double().mean() > 0.9
    few, many = (precision.laplace_estimate(0, draws) for draws in (64, 16384))
    assert (many.estimate / many.variance - 1).abs().median() < 0.03
    assert (few.estimate / few.variance - 1).abs().median() > 0.1


def test_weights_by_the_true_variances_are_the_unit_of_the_error() -> None:
    """Inverse-variance weights of two sources are the method at kappa 1, k 0 and no unit, once its moments are known."""
    best = bogc.BOGC(kappa=1.0, k=0.0, scale="none", beta=0.999)
    plain = bogc.BOGC(kappa=0.0)
    assert laws.update_errors(best, laws.LAWS["normal"], 0)[0] == pytest.approx(1, abs=0.1)
    ours, mean = laws.update_errors(plain, laws.LAWS["normal"], 0)
    assert ours == pytest.approx(mean)
    assert mean > 2


def test_the_update_of_other_laws_is_as_the_method_is_set() -> None:
    """The running unit of noise that stays what it is is that of the tensor; doubt about shares leaves their mean."""

    def error(**settings: Any) -> float:
        return laws.update_errors(bogc.BOGC(**settings), laws.LAWS["rare"], 0)[0]

    assert error(scale="ema") == pytest.approx(error(), rel=0.01)
    assert error(scale="none") != pytest.approx(error(), rel=0.1)
    assert error(where="phi", fallback="fusion") == pytest.approx(error(where="phi"))
    assert error(fallback="fusion") != pytest.approx(error(), rel=0.1)


@pytest.mark.parametrize("law", laws.LAWS)
def test_planted_laws_have_mean_zero_and_variance_one(law: str) -> None:
    drawn = laws.LAWS[law](np.random.default_rng(0), (400_000,))
    assert drawn.mean() == pytest.approx(0, abs=0.01)
    assert drawn.var() == pytest.approx(1, rel=0.15)


def test_a_step_of_joint_training_costs_one_step_of_joint_training(dataset: Dataset) -> None:
    rows = fit(small(JOINT, measure={"cost": 0}), dataset).rows
    assert value(rows, "kept_ratio") == 1
    assert value(rows, "step_ratio") == pytest.approx(1, abs=0.5)
    assert value(rows, "state_bytes") == 0
    more = fit(small(AGM, measure={"cost": 0}), dataset).rows
    assert value(more, "kept_ratio") > 1
    assert value(more, "seconds_per_step") > 0


def test_corruption_grows_and_leaves_missing_samples_unchanged(dataset: Dataset) -> None:
    rows = fit(small(JOINT, epochs=6, measure={"corruption": 0}), dataset).rows
    assert value(rows, "missing_accuracy_1", "m0") == value(rows, "blank_accuracy_1", "m0")
    one = corruption.corrupt(torch.ones(50, 4), "blank", 0.5, 0, "m0")
    more = corruption.corrupt(torch.ones(50, 4), "blank", 0.75, 0, "m0")
    assert bool((more <= one).all())
    assert 0.3 < one.mean() < 0.7
    assert {row.split for row in rows if "noise" in row.metric} == {"test"}


def test_macro_scores_by_hand() -> None:
    """Class 0: 1 hit, 1 in the prediction alone; class 1: 1 hit, 1 missed; class 2 is neither predicted nor there."""
    result = quality.overlap_metrics(np.array([0, 0, 1]), np.array([0, 1, 1]))
    assert result == {"dice": pytest.approx(2 / 3), "iou": pytest.approx(1 / 2)}
    assert result == quality.overlap_metrics(
        np.array([[0, 0], [1, 2]]), np.array([[0, 1], [1, -1]])
    )  # of those with a label
    assert quality.correlation(np.array([[1.0], [2.0]]), np.array([[3.0], [5.0]])) == {"correlation": pytest.approx(1)}
    assert math.isnan(quality.correlation(np.ones((3, 1)), np.ones((3, 1)))["correlation"])


def test_the_variance_of_a_gradient_grows_with_the_square_of_its_unit(dataset: Dataset) -> None:
    """Targets and outputs are classes, so that only the loss of a batch is a unit: the rows are about one sample."""
    setup, learner = trained(small(JOINT), dataset)
    parts = variance.begin(setup)
    result = variance.rows(setup, parts, learner, Progress(1, 1, last=True))
    assert value(result, "variance_spread", "m0") == pytest.approx(
        value(result, "variance_high", "m0") - value(result, "variance_low", "m0")
    )
    gradients_ = torch.stack(
        [variance.encoder_gradient(setup, learner, part, Progress(1, 1)) for part in parts if len(part) == 16]
    )
    width = sum(p.numel() for p in learner.params.encoders["m0"].values())
    each = 16 * gradients_[:, :width].var(0)
    assert value(result, "variance_median", "m0") == pytest.approx(each[each > 0].log10().median().item(), abs=0.02)


def after_steps(settings: dict[str, Any], dataset: Dataset) -> tuple[Setup, Learner, dict[str, Tensor]]:
    """BOGC after four steps, and the metrics of the last."""
    setup = build_setup(small(BOGC, settings), dataset)
    learner = init_learner(setup)
    for number, indices in enumerate(batches(setup, 1)[:4], start=1):
        inputs = {m: x[indices] for m, x in setup.inputs["train"].items()}
        learner, metrics = step(setup, learner, inputs, batch_task(setup, indices, 1, number))
    return setup, learner, metrics


@pytest.mark.parametrize(
    "settings",
    [
        {}, {"scale": "dim"}, {"scale": "ema", "kappa": 1.0}, {"scale": "none"}, {"snr": False, "k": 0.2},
        {"frame": "dims"}, {"frame": "reliability"}, {"losses": "split"}, {"losses": "split", "where": "joint"},
    ],
)  # fmt: skip
def test_the_weights_are_those_of_the_last_step(settings: dict[str, Any], dataset: Dataset) -> None:
    """Its mean uncertainty is that which the step itself had; weights and uncertainty sum to 1 dimension by dimension."""
    setup, learner, metrics = after_steps(settings, dataset)
    opinions = setup.method.opinions(learner.state, learner.params)
    for opinion in opinions.values():
        if "frame" not in settings:
            assert torch.allclose(opinion.weights.sum(0) + opinion.uncertainty, torch.ones(()))
    if "encoders" in opinions:
        widths = [sum(p.numel() for p in group.values()) for group in learner.params.encoders.values()]
        doubt = torch.stack([part.mean() for part in opinions["encoders"].uncertainty.split(widths)])
        assert torch.allclose(doubt, metrics["method.uncertainty"].float())
    rows = weights.rows(setup, (), learner, Progress(1, 4, last=True))
    joint = [row for row in rows if row.metric == "weight_joint_median"]
    assert [row.modality for row in joint] == (["m0", "m1", "m2", None] if "losses" in settings else [])
    assert all(math.isfinite(row.value) for row in rows)


def test_weights_by_hand(dataset: Dataset) -> None:
    """Evidence is the root of the precision in units of the tensor's geometric mean, K the number of sources."""
    setup, learner, _ = after_steps({}, dataset)
    first = next(iter(learner.params.encoders["m0"].values())).numel()
    variance_ = learner.state.moments["encoders"].variance[:, :first].double()
    precision_ = 1 / variance_.clamp(min=1e-6 * variance_.flatten().median().item())
    held = (precision_ / precision_.log().mean().exp()).sqrt()
    total = held.sum(0) + 2
    opinion = setup.method.opinions(learner.state, learner.params)["encoders"]
    assert torch.allclose(opinion.weights[:, :first].double(), held / total, rtol=1e-4)
    assert torch.allclose(opinion.uncertainty[:first].double(), 2 / total, rtol=1e-4)


def test_another_modalitys_share_has_no_weight_in_an_encoder(dataset: Dataset) -> None:
    """What adds up is reached by its own share alone, but for what it makes of silence, a part of all; dead units by none.

    Of silence, zeros, the first weights make nothing.
    """
    setup, learner, _ = after_steps({"where": "phi"}, dataset)
    widths = [sum(p.numel() for p in group.values()) for group in learner.params.encoders.values()]
    held = setup.method.opinions(learner.state, learner.params)["encoders"].weights.split(widths, -1)
    known = learner.state.moments["encoders"].variance.split(widths, -1)
    for place, (share, spread) in enumerate(zip(held, known, strict=True)):
        first = next(iter(learner.params.encoders[f"m{place}"].values())).numel()
        alive = (spread[place] > 0).nonzero().flatten()
        alive, others = alive[alive < first], [s for s in range(3) if s != place]
        assert len(alive) > first // 4
        assert share[others][:, alive].count_nonzero() == 0
        assert bool((share[place][alive] > 0).all())
    rows = weights.rows(setup, (), learner, Progress(1, 4, last=True))
    assert 0 < value(rows, "weight_own_median", "m0") < 1


def test_a_method_without_moments_has_no_weights(dataset: Dataset) -> None:
    for method, settings in ((AGM, {}), (BOGC, {"where": "repr", "estimator": "laplace"})):
        assert not [
            row for row in fit(small(method, settings, measure={"weights": 0}), dataset).rows if "weight_" in row.metric
        ]


def test_concepts_of_other_seeds_differ_and_are_the_same_for_all_trials(dataset: Dataset) -> None:
    config = small(JOINT, epochs=1, measure={"concepts": 0})
    setup, learner = trained(config | {"measure": {}}, dataset)
    one, two, again = (concepts.train_concept(setup, "m0", seed) for seed in (1, 2, 1))
    assert one.equal(again)
    assert not one.equal(two)
    rows = concepts.rows(setup, {"m0": [one, two]}, learner, Progress(1, 1, last=True))
    assert [row.metric for row in rows] == ["competition_concept_0", "competition_concept_1"]
    assert rows[0].value != rows[1].value
