"""Who goes on and who ends, by rules that were computed by hand."""

import json
from pathlib import Path

import polars as pl
import pytest

from ablate.pruning import Halving, Judge, Median
from ablate.study import load
from tests.ablate.helpers import ablate, here, write


def told(names: str, *scores: float) -> dict[str, dict[str, float]]:
    return {name: {"accuracy": score, "loss": -score} for name, score in zip(names, scores, strict=True)}


def test_halving_judges_at_its_rungs() -> None:
    assert [epoch for epoch in range(1, 30) if Halving(3, 1).rung(epoch)] == [1, 3, 9, 27]
    assert [epoch for epoch in range(1, 30) if Halving(2, 3).rung(epoch)] == [3, 6, 12, 24]


def test_halving_keeps_the_best_third_of_all_that_came() -> None:
    judge = Judge("asha", {"reduction": 3, "first": 1}, "accuracy", maximise=True)
    assert judge.ends("agm", 1, told("abcdef", 0.1, 0.5, 0.4, 0.9, 0.2, 0.3)) == set("acef")
    assert judge.ends("agm", 1, told("ghi", 0.8, 0.05, 0.95)) == {"h"}  # three of nine: 0.95, 0.9, 0.8
    assert judge.ends("cggm", 1, told("k", 0.01)) == set()  # another method is another race
    assert judge.ends("agm", 2, told("b", 0.0)) == set()  # no rung
    assert judge.ends("agm", 3, told("bdi", 0.0, 0.1, float("nan"))) == {"b", "i"}


def test_a_trial_that_is_told_again_is_counted_once() -> None:
    """A third of six go on, 0.9 and 0.8; were the first two counted twice, 0.9 and 0.9 would be the best of eight."""
    judge = Judge("asha", {"reduction": 3, "first": 1}, "accuracy", maximise=True)
    assert judge.ends("agm", 1, told("ab", 0.9, 0.1)) == {"b"}
    assert judge.ends("agm", 1, told("ab", 0.9, 0.1)) == {"b"}
    assert judge.ends("agm", 1, told("cdef", 0.8, 0.2, 0.3, 0.4)) == {"d", "e", "f"}


def test_less_is_better_where_the_metric_says_so() -> None:
    judge = Judge("asha", {"reduction": 2, "first": 1}, "loss", maximise=False)
    assert judge.ends("agm", 1, told("abcd", 0.1, 0.5, 0.4, 0.9)) == {"a", "c"}


def test_the_median_rule_waits_for_enough_trials() -> None:
    judge = Judge("median", {"first": 2, "enough": 4}, "accuracy", maximise=True)
    assert judge.ends("agm", 1, told("ab", 0.0, 1.0)) == set()
    assert judge.ends("agm", 2, told("abc", 0.1, 0.2, 0.3)) == set()
    assert judge.ends("agm", 2, told("de", 0.25, 0.15)) == {"e"}
    assert Median(1, 1).kept([3.0, 1.0, 2.0, 4.0]) == 2.0


@pytest.mark.nightly
def test_a_study_that_prunes_keeps_what_it_ended_and_repeats_nothing(tmp_path: Path) -> None:
    file = write(
        tmp_path, methods=["joint"], vary=None, seeds=9, train={"epochs": 4}, prune="asha", resources={"pack": 3}
    )
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
    assert made.pruning == {"rule": "asha", "options": {"reduction": 4, "first": 1}}
    assert json.dumps(made.pruning)
