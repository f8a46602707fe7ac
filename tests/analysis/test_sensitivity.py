from pathlib import Path

import polars as pl
import pytest

from analysis import load
from analysis.sensitivity import axes, changes, choices, curve, probe_curve
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


def names(*values: object) -> dict[str, object]:
    return {"values": list(values), "scale": "choice"}


def test_values_that_are_names_are_compared_with_the_first_by_seed(write_run: Write) -> None:
    """At route=phi, that of the best configuration; a seed that failed with ema has no difference."""
    reference, route = "agm.reference", "agm.route"
    scores = {("cumulative", "phi"): (0.6, 0.8), ("ema", "phi"): (0.7, 0.94), ("fixed", "phi"): (0.5, None)}
    scores |= {("cumulative", "encoder"): (0.1, 0.2), ("ema", "encoder"): (0.9, None)}
    rows = [
        trial(f"{ref}{path}{seed}", "agm", seed, score, score, **{reference: ref, route: path})
        for (ref, path), pair in scores.items()
        for seed, score in enumerate(pair)
    ]
    rows += [trial(f"joint{seed}", "joint", seed, 0.5, 0.5) for seed in range(2)]
    vary = {reference: names("cumulative", "ema", "fixed"), route: names("phi", "encoder"), LR: names(0.1, 0.2)}
    run = load(write_run(rows, vary=vary))
    assert choices(run) == {reference: [reference], route: [route]}
    table = changes(run, [reference])
    assert table.select("method", "settings", "change", "mean", "pairs").rows() == [
        ("agm", "route=phi, train.lr=0.1", "reference=ema", pytest.approx(0.12), 2),
        ("agm", "route=phi, train.lr=0.1", "reference=fixed", pytest.approx(-0.1), 1),
    ]
    assert table["low"][0] < 0.12 < table["high"][0]
    assert table["low"][1] is None
    assert changes(run, [route])["mean"].to_list() == [pytest.approx(0.2)]


def test_the_variants_of_an_ablation_are_compared_with_the_complete_method(write_run: Write) -> None:
    magnitude, lam = "cggm.magnitude", "cggm.lam"
    scores = {(True, 0.2): 0.8, (False, 0.2): 0.7, (True, 0.0): 0.75, (False, 0.0): 0.6}
    rows = [trial(str(at), "cggm", 0, x, x, **{magnitude: at[0], lam: at[1]}) for at, x in scores.items()]
    rows.append(trial("joint", "joint", 0, 0.5, 0.5))
    vary = {magnitude: names(True, False), lam: names(0.2, 0.0)}
    run = load(write_run(rows, vary=vary, search="ablate", methods=["joint", "cggm"]))
    assert choices(run) == {"cggm": [lam, magnitude]}
    assert dict(changes(run, [magnitude, lam]).select("change", "mean").rows()) == {
        "lam=0": pytest.approx(-0.05),
        "magnitude=False": pytest.approx(-0.1),
        "magnitude=False, lam=0": pytest.approx(-0.2),
    }


def test_without_a_result_at_the_first_value_there_is_no_difference(write_run: Write) -> None:
    rows = [trial("a", "agm", 0, None, None, **{"agm.route": "phi"})]
    rows += [trial("b", "agm", 0, 0.8, 0.8, **{"agm.route": "encoder"}), trial("c", "joint", 0, 0.5, 0.5)]
    assert changes(load(write_run(rows, vary={"agm.route": names("phi", "encoder")})), ["agm.route"]).is_empty()
