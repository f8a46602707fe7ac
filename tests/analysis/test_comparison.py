from pathlib import Path
from typing import Any

import polars as pl
import pytest

from analysis import load
from analysis.comparison import changes, comparison, same_data
from analysis.tables import Run
from tests.analysis.conftest import STUDY, Write, trial, write_folder


@pytest.fixture
def other(folder: Path, write_run: Write) -> Path:
    """A second run: joint is the same three trials, agm at 0.5 alone is 1, 2 and 3 points better."""
    folder.rename(folder.with_name("first"))
    rows = [trial(f"joint-{s}", "joint", s, 0.80, [0.70, 0.72, 0.74][s]) for s in range(3)]
    rows += [trial(f"better-{s}", "agm", s, 0.9, [0.74, 0.76, 0.78][s], **{"agm.alpha": 0.5}) for s in range(3)]
    rows.append(trial("only-here", "ogm", 0, 0.5, 0.5))
    return write_run(rows, name="better", seeds=4)


def test_methods_of_both_runs_are_compared_by_seed(folder: Path, other: Path) -> None:
    """1, 2 and 3 points are t = 2 sqrt(3) with 2 degrees of freedom, p = 0.0742; Holm doubles it."""
    joint, agm = comparison(load(folder.with_name("first")), load(other)).iter_rows(named=True)
    assert (joint["method"], joint["difference"], joint["pairs"], joint["shared"]) == ("joint", 0, 3, 3)
    assert (agm["method"], agm["settings"], agm["other_settings"]) == ("agm", "alpha=0.5", "alpha=0.5")
    assert (agm["test"], agm["other"]) == (pytest.approx(0.74), pytest.approx(0.76))
    assert agm["difference"] == pytest.approx(0.02)
    assert (agm["pairs"], agm["shared"], agm["p"]) == (3, 0, pytest.approx(0.1484, abs=1e-4))


def test_only_what_differs_is_listed(folder: Path, other: Path) -> None:
    assert changes(load(folder.with_name("first")), load(other)) == {"study.seeds": (3, 4)}


def test_seeds_of_different_data_are_no_pairs(folder: Path, other: Path) -> None:
    file = other / "study.yaml"
    file.write_text(file.read_text() + "data_sha256: another\n")
    _, agm = comparison(load(folder.with_name("first")), load(other)).iter_rows(named=True)
    assert (agm["difference"], agm["pairs"]) == (pytest.approx(0.02), 0)
    assert (agm["low"], agm["high"], agm["p"]) == (None, None, None)


def test_means_of_what_is_no_pair_are_over_all_seeds(folder: Path, write_run: Write) -> None:
    """Joint has 70, 72 and 74 % in the first run, and 50 and 60 % in the other, which is about another deal."""
    first = folder.rename(folder.with_name("first"))
    rows = [trial(f"other-{s}", "joint", s + 2, 0.8, [0.5, 0.6][s]) for s in range(2)]
    other = write_run(rows, data={"name": "av-digits", "deal": 1})
    (joint,) = comparison(load(first), load(other)).iter_rows(named=True)
    assert (joint["test"], joint["other"]) == (pytest.approx(0.72), pytest.approx(0.55))
    assert (joint["difference"], joint["pairs"], joint["p"]) == (pytest.approx(-0.17), 0, None)


def asked(**study: Any) -> Run:
    return Run("", {"study": STUDY | study, "data_sha256": "abc"}, pl.LazyFrame(), pl.LazyFrame())


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"seeds": {"split": 3, "init": 2}}, {"seeds": {"split": 5, "init": 2}}, True),
        ({"seeds": {"split": 3, "init": 2}}, {"seeds": {"split": 3, "init": 3}}, False),
        ({"seeds": {"init": 3}}, {"seeds": {"order": 3}}, False),
        ({"seeds": {"init": 3}}, {"seeds": {"init": 8, "order": 1}}, True),
        ({"data": {"name": "mfeat", "deal": 1}}, {"data": {"name": "mfeat", "deal": 2}}, False),
        ({"data": {"name": "mfeat", "deal": 0}}, {"data": "mfeat"}, True),
        ({"data": {"name": "mfeat", "shots": 8}}, {"data": "mfeat"}, False),
        ({"data": {"name": "mfeat", "modalities": ["fac"]}}, {"data": "mfeat"}, True),
        ({"data": {"path": "x.npz", "protocol": "o"}}, {"data": {"path": "x.npz", "split": "o"}}, True),
        ({"data": {"path": "x.npz", "protocol": "o"}}, {"data": {"path": "x.npz", "split": "p"}}, False),
        ({"data": {"path": "x.npz", "groups": "who"}}, {"data": {"path": "x.npz"}}, True),
        ({"data": {"path": "x.npz", "groups": "who", "deal": 1}}, {"data": {"path": "x.npz", "deal": 1}}, False),
    ],
)
def test_seeds_are_pairs_where_they_decide_the_same_of_the_same_samples(one: Any, other: Any, same: bool) -> None:
    assert same_data(asked(**one), asked(**other)) is same


def test_seeds_that_change_neither_run_are_one_pair(tmp_path: Path) -> None:
    ended = {"validation.loss": 0.3, "test.loss": 0.4}
    runs = [
        load(write_folder(tmp_path / name, [trial(f"{name}-{s}", "joint", s, 0.8, test, **ended) for s in range(8)]))
        for name, test in (("one", 0.7), ("two", 0.6))
    ]
    (joint,) = comparison(*runs).iter_rows(named=True)
    assert joint["difference"] == pytest.approx(-0.1)
    assert (joint["low"], joint["high"], joint["p"]) == (None, None, None)


def test_different_metrics_are_not_compared(folder: Path, write_run: Write) -> None:
    first = folder.rename(folder.with_name("first"))
    with pytest.raises(ValueError, match="alphas is scored by accuracy, but alphas by mae"):
        comparison(load(first), load(write_run([], metric="mae")))
