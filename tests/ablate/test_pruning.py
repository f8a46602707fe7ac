"""Who goes on and who ends, by rules that were computed by hand."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ablate.keys import MedianRule, SuccessiveHalving
from ablate.pack_training import resolve_job, train_pack
from ablate.pruning import Pruner, comparison_group, group_scores, stored_scores
from ablate.run import build_job
from ablate.study import Study, load
from ablate.trial import Result, Trial
from ablate.trial_queue import open_queue
from tests.ablate.helpers import ROOT, ablate, here, write
from tests.ablate.nodes import APART, Cluster, node


def told(names: str, *scores: float) -> dict[str, dict[str, float]]:
    return {name: {"accuracy": score, "loss": -score} for name, score in zip(names, scores, strict=True)}


def test_halving_judges_at_its_rungs() -> None:
    assert [epoch for epoch in range(1, 30) if SuccessiveHalving(reduction=3, first=1).is_rung(epoch)] == [1, 3, 9, 27]
    assert [epoch for epoch in range(1, 30) if SuccessiveHalving(reduction=2, first=3).is_rung(epoch)] == [3, 6, 12, 24]


def test_halving_keeps_the_best_third_of_all_that_came() -> None:
    pruner = Pruner("asha", {"reduction": 3, "first": 1}, "accuracy", maximise=True)
    assert pruner.trials_to_prune(1, {"agm": told("abcdef", 0.1, 0.5, 0.4, 0.9, 0.2, 0.3)}) == set("acef")
    assert pruner.trials_to_prune(1, {"agm": told("ghi", 0.8, 0.05, 0.95)}) == {"h"}  # three of nine: 0.95, 0.9, 0.8
    assert pruner.trials_to_prune(1, {"cggm": told("k", 0.01)}) == set()  # another method is another race
    assert pruner.trials_to_prune(2, {"agm": told("b", 0.0)}) == set()  # no rung
    assert pruner.trials_to_prune(3, {"agm": told("bdi", 0.0, 0.1, float("nan"))}) == {"b", "i"}


def test_a_trial_that_is_told_again_is_counted_once() -> None:
    """A third of six go on, 0.9 and 0.8; were the first two counted twice, 0.9 and 0.9 would be the best of eight."""
    pruner = Pruner("asha", {"reduction": 3, "first": 1}, "accuracy", maximise=True)
    assert pruner.trials_to_prune(1, {"agm": told("ab", 0.9, 0.1)}) == {"b"}
    assert pruner.trials_to_prune(1, {"agm": told("ab", 0.9, 0.1)}) == {"b"}
    assert pruner.trials_to_prune(1, {"agm": told("cdef", 0.8, 0.2, 0.3, 0.4)}) == {"d", "e", "f"}


def test_less_is_better_where_the_metric_says_so() -> None:
    pruner = Pruner("asha", {"reduction": 2, "first": 1}, "loss", maximise=False)
    assert pruner.trials_to_prune(1, {"agm": told("abcd", 0.1, 0.5, 0.4, 0.9)}) == {"a", "c"}


def test_the_median_rule_waits_for_enough_trials() -> None:
    pruner = Pruner("median", {"first": 2, "enough": 4}, "accuracy", maximise=True)
    assert pruner.trials_to_prune(1, {"agm": told("ab", 0.0, 1.0)}) == set()
    assert pruner.trials_to_prune(2, {"agm": told("abc", 0.1, 0.2, 0.3)}) == set()
    assert pruner.trials_to_prune(2, {"agm": told("de", 0.25, 0.15)}) == {"e"}
    assert MedianRule(first=1, enough=2).threshold([3.0, 1.0, 2.0, 4.0]) == 2.0


@pytest.mark.nightly
def test_a_study_that_prunes_keeps_what_it_ended_and_repeats_nothing(tmp_path: Path) -> None:
    file = write(
        tmp_path, methods=["joint"], vary={"train.lr": [0.001 * 2**i for i in range(9)]}, seeds=1,
        train={"epochs": 4}, prune="asha", resources={"pack": 3},
    )  # fmt: skip
    done = ablate("run", file, "--store", tmp_path / "s", "--cpus", 1)
    assert done.returncode == 0, done.stderr
    trials = pl.read_parquet(tmp_path / "s/small/trials/*.parquet")
    epochs = pl.read_parquet(tmp_path / "s/small/metrics/*.parquet").group_by("trial").agg(pl.col("epoch").max())
    assert trials["status"].value_counts().rows_by_key("status").keys() == {"done", "pruned"}
    lasted = trials.join(epochs, on="trial")
    assert set(lasted.filter(pl.col("status") == "done")["epoch"]) == {4}
    assert set(lasted.filter(pl.col("status") == "pruned")["epoch"]) <= {1, 3}
    again = here("run", file, "--store", tmp_path / "s")
    assert "nothing to run" in again.stderr
    apart = load(str(write(tmp_path, methods=["joint"], vary=None, seeds=9, train={"epochs": 4})))
    assert apart.pruning == {}


def test_a_rule_takes_options(tmp_path: Path) -> None:
    made = load(str(write(tmp_path, prune={"asha": {"reduction": 4}})))
    assert made.pruning == {"rule": "asha", "options": {"reduction": 4, "first": 1}, "metric": "accuracy"}
    assert json.dumps(made.pruning)


def driven(study: Study, packs: int = 99) -> dict[str, str]:
    """Train packs of a study one after another, with a pruner as in a run; return how its trials ended."""
    queue, asked = open_queue(study, 1), build_job(study)
    pruner = Pruner(**asked["prune"])
    for where, scores in stored_scores(study.store, queue.trials, queue.results, study.metric).items():
        pruner.add_scores(*where, scores)
    while packs and (pack := queue.next_pack()):

        def ends(epoch: int, scores: dict[int, dict[str, float]], pack: list[Trial] = pack) -> set[int]:
            stops = pruner.trials_to_prune(epoch, group_scores(pack, scores))
            return {i for i in scores if pack[i].id in stops}

        told, packs = train_pack(resolve_job({**asked, "checkpoint": 0}), pack, ends), packs - 1
        for trial in pack:
            queue.complete(trial, Result(*told[trial.id][:2]))
    return {trial: result.status for trial, result in queue.results.items()}


RACE: dict[str, Any] = {
    "methods": ["joint"], "seeds": 3, "train": {"epochs": 4}, "resources": {"pack": 6},
    "vary": {"train.lr": [0.0001, 0.0002, 0.02, 0.05]}, "prune": {"asha": {"reduction": 2, "first": 1}},
}  # fmt: skip


def test_a_run_that_goes_on_prunes_as_one_that_never_stopped(tmp_path: Path) -> None:
    file = str(write(tmp_path, **RACE))
    through = driven(load(file, str(tmp_path / "through")))
    assert set(through.values()) == {"done", "pruned"}
    assert len(driven(load(file, str(tmp_path / "stopped")), packs=1)) == 6
    assert driven(load(file, str(tmp_path / "stopped"))) == through


def test_what_was_pruned_by_another_metric_is_no_result(tmp_path: Path) -> None:
    accuracy, loss = (load(str(write(tmp_path, **RACE, metric=metric)), "s") for metric in ("accuracy", "loss"))
    ids = [set(open_queue(study, 1).trials) for study in (accuracy, loss)]
    assert not ids[0] & ids[1]


def test_seeds_run_races_of_their_own_and_a_method_without_settings_keeps_all(tmp_path: Path) -> None:
    """Of each seed's four rates half go on, whichever seed is easier; joint training has nothing to lose to."""
    falling = {"metric": "loss", "vary": {"train.lr": RACE["vary"]["train.lr"][::-1]}}
    statuses = driven(study := load(str(write(tmp_path, **RACE | falling)), str(tmp_path / "s")))
    trials = open_queue(study, 1).trials
    ended = Counter(trials[trial].seed for trial, status in statuses.items() if status == "pruned")
    assert set(ended) == {0, 1, 2}
    assert min(ended.values()) >= 2
    alone = driven(load(str(write(tmp_path, **RACE | {"vary": None})), str(tmp_path / "alone")))
    assert set(alone.values()) == {"done"}


def test_modalities_alone_run_races_of_their_own(tmp_path: Path) -> None:
    study = load(str(write(tmp_path, **RACE | {"methods": ["unimodal"], "vary": None})), str(tmp_path / "s"))
    proposed = open_queue(study, 1).trials.values()
    result = {(trial.labels["modality"], trial.seed): comparison_group(trial) for trial in proposed}
    assert len(set(result.values())) == len(result) == 3 * len(study.sheet.modalities) > 3


SUPERVISED = """
import json, sys
from ablate.trial_queue import StudyRun, open_queue
from ablate.clusters import connect
from ablate.dispatcher import start_pruner
from ablate.launch import local_ray
from ablate.run import build_job
from ablate.study import load
from ablate.worker import Worker
import ray

study = load(*sys.argv[1:3])

def supervised():
    return start_pruner(StudyRun(open_queue(study), build_job(study), print))
"""
DIED = """
with local_ray(1):
    work = supervised()
    pack = work.queue.next_pack()
    ray.kill(work.pruner)
    worker = Worker.__new__(Worker)
    worker.reset_config({"job": json.dumps({**work.job, "pack": pack})})
    told = worker.train_or_split(pack)
print(json.dumps([*told.values()]))
"""
PLACED = """
def place(self):
    return ray.get_runtime_context().get_node_id()

with connect(sys.argv[3], study):
    nodes = {ray.get(supervised().pruner.__ray_call__.remote(place)) for _ in range(8)}
    print(sum(node["Alive"] for node in ray.nodes()), nodes == {place(None)})
"""


def run_supervised(code: str, *words: object, **environment: str) -> str:
    """Run code in a process of its own, where `supervised()` starts a study with its pruner; return what it prints."""
    command = [sys.executable, "-c", SUPERVISED + code, *map(str, words)]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    ended = subprocess.run(command, capture_output=True, text=True, env=variables, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_a_pruner_that_has_died_is_no_error_of_a_trial(tmp_path: Path) -> None:
    told = json.loads(run_supervised(DIED, write(tmp_path, **RACE), tmp_path / "s"))
    assert told == [["failed", None, "the process that prunes trials has died"]] * 6


@pytest.mark.nightly
@pytest.mark.skipif(not APART, reason="gives a node a file system of its own, which needs user namespaces")
def test_a_pruner_runs_where_the_driver_is_and_dies_with_no_other_node(cluster: Cluster, tmp_path: Path) -> None:
    with node(cluster, tmp_path / "log"):
        words = [write(tmp_path, **RACE), tmp_path / "s", cluster.address]
        assert run_supervised(PLACED, *words, **cluster.environment) == "2 True\n"
