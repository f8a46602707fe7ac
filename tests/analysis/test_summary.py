from pathlib import Path
from typing import Any

import polars as pl
import pytest

from analysis import choice, load
from analysis.headline import headline
from analysis.report_tables import encoders_table
from analysis.summary import encoder_summary, summary
from tests.analysis.conftest import Write, probe, trial


def row(table: pl.DataFrame, method: str, **where: str) -> dict[str, Any]:
    return table.row(
        by_predicate=pl.all_horizontal(pl.col("method") == method, *(pl.col(k) == v for k, v in where.items())),
        named=True,
    )


def test_methods_come_in_order_with_unimodal_last(folder: Path) -> None:
    assert summary(load(folder))["method"].to_list() == ["joint", "joint-uni", "agm", "unimodal", "unimodal"]


def test_validation_chooses_even_against_test(write_run: Write) -> None:
    scores = {0.0: (0.80, 0.90), 0.5: (0.85, 0.70)}
    rows = [trial(f"{a}{s}", "agm", s, v, t, **{"agm.alpha": a}) for a, (v, t) in scores.items() for s in range(2)]
    agm = row(summary(load(write_run(rows))), "agm")
    assert (agm["settings"], agm["test"]) == ("alpha=0.5", pytest.approx(0.70))


def test_a_configuration_with_failed_seeds_is_behind_complete_ones(folder: Path) -> None:
    """Alpha=2 has the best scores on both splits, from the one seed that did not fail."""
    agm = row(summary(load(folder)), "agm")
    assert agm["settings"] == "alpha=0.5"
    assert agm["test"] == pytest.approx(0.74)
    assert agm["validation"] == pytest.approx(0.82)
    assert agm["configurations"] == 3


def test_an_incomplete_configuration_is_chosen_only_where_none_is_complete(write_run: Write) -> None:
    run = load(write_run([trial("a", "joint", 0, 0.9, 0.9), trial("b", "joint", 1, None, None)]))
    joint = row(summary(run), "joint")
    assert (joint["test"], joint["seeds"], joint["failed"]) == (0.9, 1, 1)


def test_failures_count_and_have_no_number(folder: Path) -> None:
    agm = row(summary(load(folder)), "agm")
    assert (agm["failed"], agm["diverged"], agm["seeds"]) == (1, 1, 3)


def test_configurations_that_differ_in_what_does_nothing_are_one(write_run: Write) -> None:
    """Of two alphas one diverged for one seed of two; each is there with two values of a dummy."""
    rows = [trial(f"{a}{s}", "agm", s, 0.8, 0.8, **{"agm.alpha": a}) for a in (0.0, 0.5) for s in range(2)]
    rows[0] |= {"status": "diverged", "validation.accuracy": None}
    vary = {name: {"values": [0, 1], "scale": "linear"} for name in ("agm.alpha", "dummy")}
    run = load(write_run([one | {"dummy": d} for one in rows for d in (0, 1)], vary=vary))
    agm = row(summary(run), "agm")
    assert (agm["configurations"], agm["diverged"], agm["seeds"], agm["settings"]) == (2, 1, 2, "alpha=0.5")
    assert len(choice.configurations(run)) == len(choice.design(run, "agm").points) == 4


def test_a_method_that_always_fails_stays_in_the_table(write_run: Write) -> None:
    run = load(write_run([trial("a", "joint", 0, 0.8, 0.8), trial("b", "ogm", 0, None, None)]))
    ogm = row(summary(run), "ogm")
    assert (ogm["test"], ogm["settings"], ogm["difference"], ogm["seeds"], ogm["failed"]) == (None, None, None, 0, 1)


def test_the_difference_is_paired_by_seed(folder: Path) -> None:
    """Agm 73, 74, 75 minus joint 70, 72, 74: 3, 2, 1 points; joint-uni minus joint: 1, 3, 0 points."""
    table = summary(load(folder))
    agm, uni = row(table, "agm"), row(table, "joint-uni")
    assert agm["difference"] == pytest.approx(0.02)
    assert agm["difference_low"] < 0.02 < agm["difference_high"]
    assert uni["difference"] == pytest.approx(0.04 / 3)
    assert agm["pairs"] == uni["pairs"] == 3


def test_p_is_corrected_for_both_comparisons(folder: Path) -> None:
    """Uncorrected: agm t = 3.464, joint-uni t = 1.512 on 2 degrees of freedom; Holm doubles the smaller p."""
    table = summary(load(folder))
    assert row(table, "agm")["p"] == pytest.approx(2 * 0.07418, abs=1e-4)
    assert row(table, "joint-uni")["p"] == pytest.approx(0.26967, abs=1e-4)


def test_joint_and_unimodal_are_compared_with_nothing(folder: Path) -> None:
    table = summary(load(folder)).filter(pl.col("method").is_in(["joint", "unimodal"]))
    assert table.select("difference", "p", "pairs").null_count().row(0) == (3, 3, 3)


def test_only_common_seeds_are_paired(write_run: Write) -> None:
    """Seeds 1 and 2 are common: 0.6 - 0.5 and 0.8 - 0.5."""
    joint = [trial(f"j{s}", "joint", s, 0.5, 0.5) for s in (0, 1, 2)]
    ogm = [trial(f"o{s}", "ogm", s, 0.5, t) for s, t in ((2, 0.8), (1, 0.6), (3, 0.9))]
    difference = row(summary(load(write_run(joint + ogm))), "ogm")
    assert (difference["difference"], difference["pairs"]) == (pytest.approx(0.2), 2)


def test_a_loss_like_metric_is_chosen_by_its_minimum(write_run: Write) -> None:
    alphas = {0.0: 0.3, 0.5: 0.2, 2.0: 0.4}
    rows = [
        trial(f"a{a}", "agm", 0, v, v, **{"agm.alpha": a, "validation.mae": v, "test.mae": v})
        for a, v in alphas.items()
    ]
    run = load(write_run(rows, metric="mae", direction="min"))
    assert row(summary(run), "agm")["settings"] == "alpha=0.5"


def test_test_is_read_for_chosen_configurations_only(folder: Path) -> None:
    run = load(folder)
    read = choice.test_scores(run, choice.best_configurations(run))
    assert set(read.filter(pl.col("method") == "agm")["trial"]) == {"agm-half-0", "agm-half-1", "agm-half-2"}


def test_the_gap_is_to_the_same_encoder_alone(folder: Path) -> None:
    """Image under joint 55 minus 60, 61, 62 alone: mean -6, sd 1. Audio under agm 45 minus 50, 51, 52: the same."""
    table = encoder_summary(load(folder))
    assert table["method"].to_list() == ["joint", "agm", "unimodal", "unimodal"]
    for method, modality in (("joint", "image"), ("agm", "audio")):
        result = row(table, method, modality=modality)
        assert (result["gap"], result["gap_sd"]) == (pytest.approx(-0.06), pytest.approx(0.01))
    alone = row(table, "unimodal", modality="image")
    assert (alone["probe"], alone["gap"]) == (pytest.approx(0.61), None)


def test_a_gap_of_seeds_that_change_nothing_has_no_interval(write_run: Write) -> None:
    rows, metrics = [], []
    for seed in range(3):
        for method, modality, score in (("joint", None, 0.5), ("unimodal", "image", 0.6)):
            name, ended = f"{method}-{seed}", {"validation.loss": 1.0, "test.loss": score}
            rows.append(trial(name, method, seed, score, score, modality=modality) | ended)
            metrics += probe(name, "image", score, score)
    result = row(encoder_summary(load(write_run(rows, metrics))), "joint")
    assert (result["probe"], result["gap"], result["pairs"]) == (0.5, pytest.approx(-0.1), 3)
    assert [result[end] for end in ("low", "high", "gap_sd", "gap_low", "gap_high")] == [None] * 5


def test_a_gap_over_fewer_seeds_than_its_mean_is_said(write_run: Write) -> None:
    """As with `seeds: auto`, which adds seeds to the methods that are undecided, and not to the unimodal trials."""
    rows, metrics = [], []
    for seed in range(4):
        for method, modality in (("joint", None), ("unimodal", "image"))[: 2 - seed // 2]:
            rows.append(trial(f"{method}-{seed}", method, seed, 0.5, 0.5, modality=modality))
            metrics += probe(f"{method}-{seed}", "image", 0.5, 0.5 + seed / 10)
    run = load(write_run(rows, metrics))
    note = "Differences are over the seeds that both have (2), and need not agree with the means."
    assert encoders_table(run, encoder_summary(run)).note.endswith(note)


def test_a_gain_that_was_told_stays_one_whatever_the_mean_is_later(write_run: Write) -> None:
    """Five seeds tell it; the next five, that say nothing, pull the mean below 0."""
    gains = [0.05, 0.051, 0.049, 0.05, 0.052, -0.3, 0.2, -0.4, 0.1, -0.3]
    rows = [
        trial(f"{m}{s}", m, s, 0.5, 0.5 + gain * (m == "agm")) for m in ("joint", "agm") for s, gain in enumerate(gains)
    ]
    run = load(write_run(rows, seeds={"auto": [5, 10]}, vary={}))
    table = summary(run)
    result = row(table, "agm")
    assert result["difference"] < 0 < result["difference_low"]
    assert result["p"] < 0.05
    assert headline(run, table).endswith(": better than joint training.")


def test_equal_differences_of_few_seeds_are_told_without_an_interval(write_run: Write) -> None:
    rows = [trial(f"{m}{s}", m, s, 0.5, 0.5 + 0.1 * (m == "agm")) for m in ("joint", "agm") for s in range(5)]
    run = load(write_run(rows, seeds={"auto": [5, 10]}, vary={}))
    assert headline(run, summary(run)).endswith(
        "+10.0 points against joint, p=0.1: no significant difference from joint training over 5 seeds."
    )


def test_without_unimodal_trials_there_is_no_gap(folder: Path) -> None:
    for file in (folder / "trials").iterdir():
        pl.read_parquet(file).filter(pl.col("method") != "unimodal").write_parquet(file)
    run = load(folder)
    table = encoder_summary(run)
    assert table["method"].to_list() == ["joint", "agm"]
    assert table["gap"].null_count() == 2
    assert "both have" not in encoders_table(run, table).note


def test_a_method_of_ones_own_comes_where_the_study_has_it(write_run: Write) -> None:
    rows = [trial(method, method, 0, 0.5, 0.5) for method in ("unimodal", "agm", "Half", "joint")]
    run = load(write_run(rows, methods=["unimodal", "mine:Half", "agm", "joint"]))
    assert summary(run)["method"].to_list() == ["joint", "Half", "agm", "unimodal"]
