"""Several workers with a share of each batch do what one does with all of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from search_spaces.methods import METHODS as AXES
from tests.trainables.helpers import max_difference
from tests.trainables.test_methods import OPTIONS, STABLE_SETTINGS
from tests.trainables.test_packs import MODEL, NETWORKS, configurations, dataset_of_kind, relative_differences, tiny
from tests.trainables.test_train import trial
from tests.trainables.workers import run_workers
from trainables import compilation
from trainables.methods import METHODS
from trainables.parallel import WorkerGroup, current_workers
from trainables.setup import Learner, build_setup, init_learner
from trainables.shape import replace_values
from trainables.train import Outcome, fit_pack, iterate_epochs

BATCH = 17  # of 52 samples: shares of 8 and 9, and a last batch of which the first of two workers has nothing
EPOCHS = 8  # of four steps
Trial = dict[str, Any]
Trained = tuple[Learner, list[Any]]  # the final learner of a trial, and its rows


def trial_of(method: str, settings: Mapping[str, Any], **changes: Any) -> Trial:
    """A trial of 32 steps in float64, which starts late and warms up."""
    defaults = {name: axis.default for name, axis in AXES[method].items()}
    named = {"factor": {"a": 1.3}} if "factor" in settings else {"target": {"a": 0.5, "b": 0.6}}
    known = {key: named.get(key, value) for key, value in settings.items()}
    usual = {"batch_size": BATCH, "epochs": EPOCHS, "dtype": "float64", "model": MODEL, "start": 2, "warmup": 1}
    return trial(METHODS[method], defaults | STABLE_SETTINGS.get(method, {}) | known, **usual | changes)


def variants(options: bool) -> dict[str, Trial]:
    """Every method, with every option of it or with its defaults."""
    chosen = OPTIONS if options else {}
    cases = [(m, settings) for m in METHODS if m != "unimodal" for settings in [{}, *chosen.get(m, [])]]
    return {f"{method}{settings or ''}": trial_of(method, settings) for method, settings in cases}


def train_trials(trials: Mapping[str, Trial], kind: str = "") -> dict[str, Trained]:
    """Train each of the trials by itself on the workers of this process's group."""
    torch.set_num_threads(1)
    dataset, result = dataset_of_kind(kind), {}
    for name, one in trials.items():
        setup = build_setup(one, dataset, current_workers())
        ended = list(iterate_epochs(setup, init_learner(setup)))
        result[name] = ended[-1].learner, [row for epoch in ended for row in epoch.rows]
    return result


def check(folder: Path, trials: Mapping[str, Trial], kind: str = "", rounding: float = 1e-8) -> None:
    """Check that one worker and two end with the same parameters, and the two with the same bits."""
    first, second = run_workers(folder, 2, train_trials, trials, kind)
    for name, (learner, rows) in train_trials(trials, kind).items():
        assert max_difference(first[name][0].params, learner.params) < rounding, name
        assert max_difference(first[name][0], second[name][0]) == 0, name
        assert first[name][1] == second[name][1], name
        assert [row[:5] for row in first[name][1]] == [row[:5] for row in rows], name


@pytest.mark.parametrize("options", [False, pytest.param(True, marks=pytest.mark.nightly)])
def test_every_method_trains_on_two_workers_as_on_one(options: bool, tmp_path: Path) -> None:
    check(tmp_path, variants(options))


@pytest.mark.parametrize("kind", ["missing", "gaps", pytest.param("regression", marks=pytest.mark.nightly)])
def test_targets_and_missing_modalities_are_of_all_workers(kind: str, tmp_path: Path) -> None:
    more = {"bogc": [{"estimator": "sample"}, {"where": "phi"}, {"where": "repr", "estimator": "laplace", "draws": 8}]}
    cases = [(m, settings) for m in METHODS if m != "unimodal" for settings in [{}, *more.get(m, [])]]
    check(tmp_path, {f"{m}{settings}": trial_of(m, settings, epochs=4) for m, settings in cases}, kind)


@pytest.mark.nightly
def test_every_training_setting_and_network_works_on_two_workers_as_on_one(tmp_path: Path) -> None:
    """Clipping is by the norm of the whole gradient, dropout and normalisation are of the whole batch."""
    changes: dict[str, dict[str, Any]] = {
        "clip": {"clip": 0.1}, "clip_before": {"clip_before": 0.1}, "trigger": {"clip": 0.1, "clip_trigger": 0.05},
        "sum": {"reduction": "sum", "lr": 0.001}, "adam": {"optimizer": "adam", "weight_decay": 0.1},
    }  # fmt: skip
    for name, (samples, network) in NETWORKS.items():
        if samples == (5,):
            changes[name] = {"model": MODEL | network}
    chosen = {f"agm {name}": trial_of("agm", {}, epochs=4, **how) for name, how in changes.items()}
    for name in ("clip", "sum", "dropout"):
        chosen[f"cggm {name}"] = trial_of("cggm", {}, epochs=4, **changes[name])
    chosen["bogc batch"] = trial_of(
        "bogc", {"estimator": "sample"}, epochs=4, model=MODEL | {"norm": "batch", "dropout": 0.3}
    )
    chosen["mses batch"] = trial_of("mses", {"patience": 0.0}, model=MODEL | {"norm": "batch"})
    check(tmp_path, chosen)


def train_pack(trials: list[Trial], leaver: bool) -> list[Outcome]:
    """Train a pack on the workers of this process's group; the first asks for the third trial's end in epoch 5."""

    def prune(epoch: int, scores: dict[int, dict[str, float]]) -> set[int]:
        assert current_workers().rank == 0
        return {2} if epoch == 5 else set()

    compilation.MIN_TRACED_STEPS = 0  # steps are many, in these processes
    return fit_pack(trials, tiny(), prune if leaver else None, workers=current_workers())


def test_a_pack_trains_on_two_workers_as_its_members_do_alone(tmp_path: Path) -> None:
    """One diverges, another is pruned, the rest are measured; what is measured is the first worker's business."""
    chosen = configurations("agm", 4, batch_size=BATCH, model=MODEL | {"norm": "batch", "dropout": 0.2})
    chosen = [
        each | {"measure": {"gradients": 2, "contribution": 3, "probe": 0, "competition": 3, "concepts": 0}}
        for each in chosen
    ]
    chosen = [replace_values(each, {("train", "epochs"): 6 + i % 2}) for i, each in enumerate(chosen)]
    chosen[1] = replace_values(chosen[1], {("train", "lr"): 1e30})
    first, second = run_workers(tmp_path, 2, train_pack, chosen, True)
    assert [each.status for each in first] == [each.status for each in second] == ["done", "diverged", "pruned", "done"]
    for i in (0, 3):
        assert max(relative_differences(first[i], fit_pack([chosen[i]], tiny())[0])) < 1e-8
        assert first[i].final == second[i].final
        assert "probe_accuracy" not in {row.metric for row in second[i].rows}


def test_single_precision_agrees_to_rounding(tmp_path: Path) -> None:
    plain = {m: trial_of(m, {}, dtype="float32", epochs=2) for m in METHODS if m != "unimodal"}
    check(tmp_path, plain, rounding=1e-5)


def test_the_workers_share_a_batch_without_gap_or_overlap() -> None:
    for size in (1, 2, 3, 7):
        for count in (0, 1, 2, 5, 64):
            parts = [
                list(range(count))[WorkerGroup(rank, size).local_slice(count) or slice(None)] for rank in range(size)
            ]
            assert [row for part in parts for row in part] == list(range(count))
            assert max(map(len, parts)) - min(map(len, parts)) <= 1
