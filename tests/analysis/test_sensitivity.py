from pathlib import Path

import polars as pl
import pytest

from analysis import load
from analysis.sensitivity import axes, curve, probe_curve
from tests.analysis.conftest import Write, trial

ALPHA, LR = "agm.alpha", "train.lr"


def test_a_curve_has_zero_the_failures_and_the_baselines(folder: Path) -> None:
    table = curve(load(folder), ALPHA)
    assert table["kind"].to_list() == ["baseline", "baseline", "curve", "curve", "curve"]
    assert table["method"].to_list() == ["joint", "joint-uni", "agm", "agm", "agm"]
    assert table["value"].to_list() == [None, None, 0.0, 0.5, 2.0]
    assert table["mean"].to_list() == pytest.approx([0.8, 0.81, 0.8, 0.82, 0.9])
    assert table["seeds"].to_list() == [3, 3, 3, 3, 1]
    assert table["failed"].to_list() == [0, 0, 0, 0, 2]


def test_one_seed_has_no_interval(folder: Path) -> None:
    last = curve(load(folder), ALPHA).row(-1, named=True)
    assert (last["value"], last["low"], last["high"]) == (2.0, None, None)


def test_a_value_at_which_all_failed_stays(write_run: Write) -> None:
    rows = [trial("a", "agm", 0, 0.8, 0.7, **{ALPHA: 0.5}), trial("b", "agm", 0, None, None, **{ALPHA: 2.0})]
    table = curve(load(write_run(rows)), ALPHA)
    assert table.select("value", "mean", "seeds", "failed").rows() == [(0.5, 0.8, 1, 0), (2.0, None, 0, 1)]


def test_probes_are_those_of_the_last_epoch_on_validation(folder: Path) -> None:
    table = probe_curve(load(folder), ALPHA).select("kind", "method", "modality", "value", "mean")
    assert table.rows() == [
        ("baseline", "joint", "image", None, pytest.approx(0.55)),
        ("curve", "agm", "audio", 0.5, pytest.approx(0.45)),
        ("baseline", "unimodal", "audio", None, pytest.approx(0.5)),
        ("baseline", "unimodal", "image", None, pytest.approx(0.6)),
    ]


def test_a_grid_is_cut_through_the_chosen_configuration(write_run: Write) -> None:
    """The best of the grid is alpha=1, lr=0.2: along alpha, lr stays 0.2; along lr, alpha stays 1."""
    score = {(0.5, 0.1): 0.5, (0.5, 0.2): 0.6, (1.0, 0.1): 0.7, (1.0, 0.2): 0.8}
    rows = [trial(f"{a}{lr}", "agm", 0, v, v, **{ALPHA: a, LR: lr}) for (a, lr), v in score.items()]
    run = load(write_run(rows, vary={axis: {"values": [0.1, 1.0], "scale": "log"} for axis in (ALPHA, LR)}))
    assert axes(run) == [ALPHA, LR]
    assert curve(run, ALPHA).select("value", "mean", "settings").rows() == [
        (0.5, 0.6, "train.lr=0.2"),
        (1.0, 0.8, "train.lr=0.2"),
    ]
    assert curve(run, LR).select("value", "mean", "settings").rows() == [(0.1, 0.7, "alpha=1"), (0.2, 0.8, "alpha=1")]


def test_a_one_at_a_time_design_is_cut_where_it_varies_the_axis(write_run: Write) -> None:
    """Alpha moves at lr=0.1, lr at alpha=1; the best, alpha=1 and lr=0.2, is no point of alpha's line."""
    score = {(0.5, 0.1): 0.5, (1.0, 0.1): 0.7, (1.0, 0.2): 0.8}
    rows = [trial(f"{a}{lr}", "agm", 0, v, v, **{ALPHA: a, LR: lr}) for (a, lr), v in score.items()]
    run = load(write_run(rows, vary={axis: {"values": [0.1, 1.0], "scale": "log"} for axis in (ALPHA, LR)}))
    assert curve(run, ALPHA).select("value", "mean").rows() == [(0.5, 0.5), (1.0, 0.7)]
    assert curve(run, LR).select("value", "mean").rows() == [(0.1, 0.7), (0.2, 0.8)]


def test_a_setting_of_all_methods_gives_a_curve_to_each(write_run: Write) -> None:
    rows = [trial(f"{m}{lr}", m, 0, 0.5, 0.5, **{LR: lr}) for m in ("agm", "joint") for lr in (0.1, 0.2)]
    table = curve(load(write_run(rows, vary={LR: {"values": [0.1, 0.2], "scale": "log"}})), LR)
    assert table.filter(pl.col("kind") == "curve")["method"].to_list() == ["joint", "joint", "agm", "agm"]
