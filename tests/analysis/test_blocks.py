"""Seeds of several kinds, nested in each other."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from ablate.claims import load as load_claim
from ablate.errors import UserError
from analysis import load, report_tables
from analysis.ablations import ABLATIONS
from analysis.blocks import independent, seed_variance
from analysis.choice import configurations
from analysis.gallery import run_figures
from analysis.pareto import pareto_front
from analysis.summary import summary
from analysis.tables import Run
from analysis.verdicts import write_verdict
from tests.analysis.conftest import Write, probe, trial

NESTED = {"auto": None, "split": 3, "init": None, "order": 2}
SCORES = {"joint": [0.1, 0.3, 0.4, 0.4, 0.5, 0.9], "ogm": [0.2, 0.4, 0.5, 0.5, 0.6, 1.0]}


def rows() -> list[dict[str, object]]:
    return [
        trial(f"{method}-{seed}", method, seed, one, one / 2, **{"seed.split": seed // 2, "seed.order": seed})
        for method, scores in SCORES.items()
        for seed, one in enumerate(scores)
    ]


def test_what_is_nested_in_a_seed_is_repetition(write_run: Write) -> None:
    run = load(
        write_run(rows(), [*probe("ogm-2", "a", 0.6, 0.2), *probe("ogm-3", "a", 0.8, 0.4)], seeds=NESTED, vary={})
    )
    assert run.seed_counts == {"split": 3, "order": 2}
    result = independent(run)
    assert result.looks == [3]
    trials = result.trials.sort("method", "seed").collect()
    assert trials["trial"].to_list() == [f"{m}-{s}" for m in ("joint", "ogm") for s in (0, 2, 4)]
    assert trials["seed"].to_list() == [0, 1, 2] * 2
    assert trials["validation.accuracy"].to_list() == pytest.approx([0.2, 0.4, 0.7, 0.3, 0.5, 0.8])
    last = result.metrics.filter(pl.col("epoch") == 2, pl.col("split") == "test").collect()
    assert last.select("trial", "value").rows() == [("ogm-2", pytest.approx(0.3))]
    ogm = summary(result).row(by_predicate=pl.col("method") == "ogm", named=True)
    assert (ogm["seeds"], ogm["pairs"], ogm["test"], ogm["difference"]) == (
        3,
        3,
        pytest.approx(0.8 / 3),
        pytest.approx(0.05),
    )


def test_a_mean_of_what_is_nested_in_a_seed_is_the_same_bit_for_bit(write_run: Write) -> None:
    kinds = {"auto": None, "split": 2, "init": None, "order": 6}
    trials = [
        trial(str(seed), "joint", seed, 0.5, 0.5, **{"seed.split": seed // 6, "seed.order": seed}) for seed in range(12)
    ]
    values = np.random.default_rng(0).random((12, 200))
    metrics = [
        {
            "trial": str(seed),
            "epoch": epoch,
            "step": 1,
            "split": "train",
            "modality": None,
            "metric": "loss",
            "value": x,
        }
        for seed, row in enumerate(values)
        for epoch, x in enumerate(row)
    ]
    run = load(write_run(trials, metrics, seeds=kinds, vary={}))
    result = [independent(run).metrics.collect().sort("trial", "epoch") for _ in range(10)]
    assert all(one.equals(result[0]) for one in result)


def test_a_mean_is_of_all_or_there_is_none(write_run: Write) -> None:
    """Of ogm one trial failed, and one is still to come."""
    lost = rows()
    lost[6] = trial("ogm-0", "ogm", 0, None, None, **{"seed.split": 0, "seed.order": 0})
    del lost[9]
    trials = (
        independent(load(write_run(lost, seeds=NESTED, vary={}))).trials.filter(method="ogm").sort("seed").collect()
    )
    assert trials["seed"].to_list() == [0, 2]
    assert trials["status"].to_list() == ["failed", "done"]
    assert trials["error"].to_list() == ["out of memory", None]
    assert trials["test.accuracy"].to_list() == [None, pytest.approx(0.4)]


@pytest.mark.parametrize("seeds", [6, {"auto": None, "split": None, "init": 6, "order": 1}])
def test_seeds_of_one_kind_are_independent(write_run: Write, seeds: object) -> None:
    run = load(write_run(rows(), seeds=seeds, vary={}))
    assert independent(run) is run
    assert run.looks == [6]


def test_the_spread_is_shared_among_the_kinds(write_run: Write) -> None:
    """By hand: of ogm on test, means of the splits 0.15, 0.25, 0.4, and within them +-0.05, 0, +-0.1."""
    table = seed_variance(load(write_run(rows(), seeds=NESTED, vary={}))).filter(method="ogm")
    assert table["source"].to_list() == ["split", "order"]
    assert table["levels"].to_list() == [3, 6]
    within = (2 * 0.05**2 + 2 * 0.1**2) / 3
    between = 2 * sum((mean - 0.8 / 3) ** 2 for mean in (0.15, 0.25, 0.4)) / 2
    assert table["variance"].to_list() == pytest.approx([(between - within) / 2, within])
    assert table["share"].sum() == pytest.approx(1)


def test_the_spread_of_differences_is_shared_among_the_kinds_too(write_run: Write) -> None:
    """Ogm less joint is 0.05 but for an order of each split, by which it is 0.01, 0.02 and -0.03 more.

    Within a split these differ by 0.01, 0.02 and 0.03, and the means are 0.055, 0.06 and 0.035.
    """
    table = rows()
    for seed, more in ((1, 0.01), (3, 0.02), (5, -0.03)):
        table[6 + seed]["test.accuracy"] += more  # type: ignore[operator]
    run = load(write_run(table, seeds=NESTED, vary={}))
    result = seed_variance(run)
    assert result["method"].to_list() == ["joint"] * 2 + ["ogm"] * 2 + ["ogm - joint"] * 2
    within = (0.01**2 + 0.02**2 + 0.03**2) / 2 / 3
    between = 2 * sum((mean - 0.05) ** 2 for mean in (0.055, 0.06, 0.035)) / 2
    gains = result.filter(method="ogm - joint")
    assert gains["variance"].to_list() == pytest.approx([(between - within) / 2, within])
    shown = report_tables.variance_table(run, result)
    assert shown.columns[-1].title == "standard error"
    assert shown.rows[-1][-1].sort_key == pytest.approx((within / 6) ** 0.5)
    assert "The largest contribution is that of order for ogm - joint. More seeds of a kind" in shown.note


def test_lost_trials_are_counted_and_not_lost_seeds(write_run: Write) -> None:
    """Both trials of the first split are lost, and one of the second."""
    lost = rows()
    for seed in (0, 1, 2):
        ended = {"status": "diverged"} if seed == 1 else {}
        lost[6 + seed] = trial(f"ogm-{seed}", "ogm", seed, None, None, **ended, **seeds_of(seed))
    run = load(write_run(lost, seeds=NESTED, vary={}))
    ogm = summary(independent(run)).row(by_predicate=pl.col("method") == "ogm", named=True)
    assert (ogm["seeds"], ogm["failed"], ogm["diverged"]) == (1, 2, 1)
    assert configurations(independent(run)).filter(method="ogm").select("failed", "diverged").row(0) == (2, 1)
    table = report_tables.failures_table(run)
    assert [column.title for column in table.columns[2:5]] == ["seed", "split", "order"]
    assert [[cell.text for cell in row[2:5]] for row in table.rows] == [
        ["0", "0", "0"],
        ["1", "0", "1"],
        ["2", "1", "2"],
    ]


def seeds_of(seed: int) -> dict[str, Any]:
    """Return what a seed of NESTED is made of."""
    return {"seed.split": seed // 2, "seed.order": seed}


def crossed(write_run: Write, **study: Any) -> Run:
    """Return two orders a split, in which modalities change places: apart by 0.5 in each, and alike on the average."""
    trials = [trial(f"{s}", "joint", s, 0.5, 0.5, **seeds_of(s)) for s in range(6)]
    metrics = []
    for s in range(6):
        for m, place in (("audio", -1), ("text", 0), ("image", 1)):
            told = place * (-1) ** s
            metrics += probe(f"{s}", m, 0.5 + 0.25 * told, 0.5)
            metrics.append(metrics[-1] | {"metric": "place", "split": "validation", "value": float(told)})
    return load(write_run(trials, metrics, seeds=NESTED, vary={}, methods=["joint"], **study))


def test_the_balance_of_a_seed_is_the_mean_of_that_of_its_trials(write_run: Write) -> None:
    run = independent(crossed(write_run, objectives={"accuracy": "max", "balance": "max"}))
    assert pareto_front(run)["balance"].to_list() == pytest.approx([-0.5])
    (figure,) = [one for one in run_figures(run) if one.stem == "front"]
    assert figure.data["balance_low"].to_list() == pytest.approx([-0.5])


def test_how_far_modalities_lie_apart_is_told_trial_by_trial(write_run: Write) -> None:
    side = {"method": "joint"}
    options = {"metric": "probe_accuracy", "split": "validation", "epochs": [2, 2], "of": side, "minus": side}
    finding = ABLATIONS["apart"]({"": crossed(write_run)}, **options)
    assert finding.effects[0].values == pytest.approx([0.5] * 3)
    assert finding.lines.select("mean", "seeds").rows() == [(pytest.approx(0.5), 3)]


def test_ranks_are_correlated_trial_by_trial(write_run: Write) -> None:
    """In each trial both metrics rank the modalities alike; the means of a seed do not rank them at all."""
    finding = ABLATIONS["correlation"]({"": crossed(write_run)}, metric="probe_accuracy", other="place")
    assert finding.effects[0].values == pytest.approx([1.0] * 3)


def test_a_law_of_growth_is_that_of_each_trial(write_run: Write) -> None:
    """Costs are x and 4 x^3: the exponents 1 and 3 have the mean 2, and costs that are averaged another."""
    trials = [
        trial(f"{x}-{s}", "agm", s, 0.5, 4 * x**3 if s % 2 else x, size=x, **seeds_of(s))
        for x in (1.0, 2.0, 4.0) for s in range(6)
    ]  # fmt: skip
    run = load(write_run(trials, seeds=NESTED, vary={}))
    (effect,) = ABLATIONS["growth"]({"": run}, along="size", metric="score", split="test").effects
    assert effect.values == pytest.approx([2.0] * 3)


def test_shares_of_the_variance_are_those_of_single_trials(write_run: Write) -> None:
    """The setting adds 0.2, and noise that two orders cancel 0.1 to each trial: shares are 0.5 and 0.5."""
    trials = [
        trial(f"{a}-{s}", "agm", s, 0.5, 0.5 + 0.1 * a + 0.1 * (-1) ** (s + s // 2 + (a > 0)), a=a, **seeds_of(s))
        for a in (-1, 1) for s in range(8)
    ]  # fmt: skip
    run = load(write_run(trials, seeds=NESTED | {"split": 4}, vary={}))
    result = ABLATIONS["variance_shares"]({"": run}, factors=["a"]).effects
    assert result[1].values.mean > 0.3  # type: ignore[union-attr]
    assert result[0].values.seeds == 4  # type: ignore[union-attr]


def test_agreement_is_that_of_single_trials(write_run: Write) -> None:
    """What is measured of a trial is the level of its split, and noise of the same size; two trials halve the noise."""
    drawn = np.random.default_rng(0)
    levels = drawn.normal(size=40)
    trials = [trial(str(s), "joint", s, 0.5, 0.5, **seeds_of(s)) for s in range(80)]
    metrics = [
        probe(str(s), "image", levels[s // 2] + drawn.normal(), 0)[1] | {"metric": f"d_{i}"}
        for s in range(80) for i in range(10)
    ]  # fmt: skip
    run = load(write_run(trials, metrics, seeds=NESTED | {"split": 40}, vary={}))
    (effect,) = ABLATIONS["agreement"]({"": run}, metric="d_*").effects
    assert effect.values.mean == pytest.approx(0.5, abs=0.1)  # type: ignore[union-attr]
    assert effect.values.seeds == 40  # type: ignore[union-attr]


def test_how_likely_a_run_is_to_win_is_that_of_single_trials(write_run: Write) -> None:
    """Agm is 10 points better in every first order and 5 worse in every other: better in the mean of each split."""
    scores = [("joint", 0.5, 0.5), ("ogm", 0.4, 0.4), ("agm", 0.6, 0.45)]
    trials = [trial(f"{m}{s}", m, s, 0.5, each[s % 2], **seeds_of(s)) for m, *each in scores for s in range(6)]
    run = load(write_run(trials, seeds=NESTED, vary={}))
    result = ABLATIONS["ranking"]({"": run}, methods=["joint", "ogm", "agm"])
    assert "agm 50% [50%, 50%]" in result.remarks[1]


def test_the_ceiling_of_a_seed_is_the_mean_of_those_of_its_trials(write_run: Write) -> None:
    """The ensemble is right in every first trial and wrong in every other; so is image, but in the second split."""
    trials, outputs = [], []
    for s in range(6):
        trials += [trial(f"{m}-{s}", m, s, 0.4, 0.4, **seeds_of(s)) for m in ("joint", "cggm")]
        for place, m in enumerate(("image", "audio")):
            right = s % 2 == 0
            score = float(right) if place == s // 2 % 2 else 0.0
            trials.append(trial(f"{m}-{s}", "unimodal", s, score, score, modality=m, **seeds_of(s)))
            outputs.append({"trial": f"{m}-{s}", "split": "test", "sample": 0, "target": 0.0,
                            "output": [2.0, 0.0] if right else [0.0, 2.0]})  # fmt: skip
    folder = write_run(trials, seeds=NESTED, vary={})
    (folder / "predictions").mkdir()
    table = pl.DataFrame(outputs, schema_overrides={"output": pl.Array(pl.Float32, 2)})
    table.write_parquet(folder / "predictions" / "00000.parquet")
    late, best, _ = ABLATIONS["ceiling"]({"": load(folder)}, of="cggm").beside
    assert late.values == pytest.approx([0.5] * 3)
    assert best.values == pytest.approx([0.5, 0.0, 0.5])


CLAIM = {"name": "x", "quick": False, "source": "s", "question": "q?", "says": "y", "support": "z"}


def test_one_trial_refutes_what_is_to_be_exact(write_run: Write, tmp_path: Path) -> None:
    """Errors of 0.5 and -0.5 cancel in the mean of a seed."""
    trials = [trial(f"{s}", "joint", s, 0.5, 0.5 * (-1) ** s, **seeds_of(s)) for s in range(6)]
    model, train = {"fusion": "concat", "encoder": "mlp", "hidden": 8}, {"optimizer": "sgd", "epochs": 2}
    folder = write_run(trials, seeds=NESTED, vary={}, model=model, train=train)
    analysis = [{"quantity": {"metric": "score"}}]
    verdict = write_verdict(CLAIM, analysis, [], {"exact": {"tolerance": 0.1}}, {"": folder}, tmp_path / "verdict")
    assert (verdict["verdict"], verdict["effect"], verdict["seeds"]) == ("refuted", 0.5, 6)
    assert "3 splits x 2 orders" in verdict["bed"]


def test_seeds_that_change_nothing_decide_nothing(write_run: Write, tmp_path: Path) -> None:
    """The loss of every seed is the same but for rounding; with a method whose seeds differ, pairs are pairs.

    A trial that failed is no reason to have no result.
    """
    model, train = {"fusion": "concat", "encoder": "mlp", "hidden": 8}, {"optimizer": "sgd", "epochs": 2}
    methods = (("joint", 0.5, 0.0), ("ogm", 0.7, 1e-8), ("agm", 0.7, 0.01))

    def verdict(*which: int, failed: int = 0) -> dict[str, Any]:
        trials = [
            trial(f"{m}{s}", m, s, 0.5, score,
                  **{"validation.loss": 1.0, "test.loss": score + noise * s, "seed.order": s})
            if s >= failed else trial(f"{m}{s}", m, s, None, None, **{"seed.order": s})
            for m, score, noise in (methods[i] for i in which) for s in range(8)
        ]  # fmt: skip
        about = {"seeds": {"order": 8}, "vary": {}, "model": model, "train": train}
        folder = write_run(trials, **about).rename(tmp_path / f"run-{which}-{failed}")
        analysis = {"difference": {"of": {"method": methods[which[1]][0]}, "minus": {"method": "joint"}}}
        return write_verdict(CLAIM, [analysis], [], {"greater": {}}, {"": folder}, tmp_path / "verdict")

    result = verdict(0, 1)
    assert (result["verdict"], result["seeds"], result["p"], result["low"]) == ("inconclusive", 1, None, None)
    assert result["remarks"] == ["alphas: all seeds have the same results, which count once."]
    assert verdict(0, 1, 2)["seeds"] == 1
    assert verdict(0, 1, failed=1)["effect"] == pytest.approx(0.2)
    moving = verdict(0, 2)
    assert (moving["verdict"], moving["seeds"], moving["remarks"]) == ("supported", 8, [])


def test_an_analysis_goes_by_seeds_of_no_kind(tmp_path: Path) -> None:
    claim = {
        "source": "s", "question": "q?", "says": "y", "support": "z", "rule": "report",
        "analysis": {"variance_shares": {"factors": ["seed.split"]}},
    }  # fmt: skip
    study = {
        "name": "x", "claim": claim, "data": {"name": "synthetic", "modalities": 2}, "methods": ["joint"],
        "seeds": {"split": 3, "init": 2}, "quick": {"train": {"epochs": 1}},
    }  # fmt: skip
    file = tmp_path / "x.yaml"
    file.write_text(yaml.safe_dump(study))
    with pytest.raises(UserError, match=re.escape("`seed.split` does not distinguish trials; use `seed`")):
        load_claim(str(file))
    claim["analysis"] = {"variance_shares": {"factors": ["seed"]}}
    file.write_text(yaml.safe_dump(study))
    load_claim(str(file))
