"""Seeds of each kind by themselves: `seeds: {split: a, init: b, order: c}`."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from ablate.contradictions import DETERMINISTIC_METHODS
from ablate.errors import UserError
from ablate.plan import num_trials
from ablate.search import rounds
from ablate.study import Study, load
from ablate.trial import Trial, block_seeds
from tests.ablate.helpers import ablate, here, table, train, write
from trainables.data import load as load_data
from trainables.methods import METHODS
from trainables.setup import build_setup, init_learner
from trainables.step import sample_order
from trainables.train import fit

FEW = {"train": {"epochs": 2}, "methods": ["joint", "agm"], "vary": None}


def load_study(tmp_path: Path, seeds: Any, **changes: Any) -> Study:
    return load(str(write(tmp_path, **FEW | {"seeds": seeds} | changes)), str(tmp_path / "s"))


def plan_trials(study: Study) -> list[Trial]:
    return [trial for trials in rounds(study) for trial in trials]


def test_each_kind_is_nested_in_those_before_and_one_alone_is_held() -> None:
    result = [tuple(block_seeds(seed, (2, 1, 3)).values()) for seed in range(6)]
    assert result == [(0, 0, 0), (0, 0, 1), (0, 0, 2), (1, 0, 10_000), (1, 0, 10_001), (1, 0, 10_002)]
    result = [tuple(block_seeds(seed, (2, 2, 1)).values()) for seed in range(4)]
    assert result == [(0, 0, 0), (0, 1, 0), (1, 10_000, 0), (1, 10_001, 0)]
    assert block_seeds(3, ()) == {}


def test_a_kind_of_which_nothing_is_said_is_held(tmp_path: Path) -> None:
    """The first trial is that of seed 0 of any study; of the others the order is still its order."""
    plain, study = load_study(tmp_path, 4), load_study(tmp_path, {"init": 4})
    assert study.looks == [4]
    assert num_trials(study) == 8
    known, result = plan_trials(plain), plan_trials(study)
    assert [one.id for one in result[::4]] == [one.id for one in known[::4]]
    assert not {one.id for one in result[1:4]} & {one.id for one in known}
    assert [(one.config["seed"], one.config.get("init", 0)) for one in result[:4]] == [(0, 0), (0, 1), (0, 2), (0, 3)]
    assert result[3].labels | {"seed": 3, "seed.split": 0, "seed.init": 3, "seed.order": 0} == result[3].labels
    assert plan_trials(load_study(tmp_path, {"init": 4, "split": 1, "order": 1})) == result


def test_more_seeds_of_any_kind_leave_those_that_there_were(tmp_path: Path) -> None:
    few = {one.id for one in plan_trials(load_study(tmp_path, {"split": 2, "init": 2, "order": 2}))}
    for kind in ("split", "init", "order"):
        more = {one.id for one in plan_trials(load_study(tmp_path, {"split": 2, "init": 2, "order": 2} | {kind: 3}))}
        assert few < more
        assert len(more) == 24


def test_a_split_is_a_deal_of_the_data(tmp_path: Path) -> None:
    result = plan_trials(load_study(tmp_path, {"split": 3}))[:3]
    assert ["deal" in one.config["data"] for one in result] == [False, True, True]
    assert [one.config["data"].get("deal", 0) for one in result] == [0, 1, 2]
    assert {one.config["seed"] for one in result} == {0}


def test_what_seeds_decide_is_drawn_from_their_own(tmp_path: Path) -> None:
    """Weights are those of the seed of `init`, and the order is that of the other."""
    one, other = plan_trials(load_study(tmp_path, 2))[:2]
    study = plan_trials(load_study(tmp_path, {"init": 2}))[1]
    dataset = load_data(load_study(tmp_path, 1).data)
    setups = [build_setup(trial.config, dataset) for trial in (one, other, study)]
    weights = [next(iter(init_learner(setup).params.encoders["m0"].values())) for setup in setups]
    orders = [sample_order(setup, 1) for setup in setups]
    assert weights[2].equal(weights[1])
    assert not weights[2].equal(weights[0])
    assert orders[2].equal(orders[0])
    assert not orders[2].equal(orders[1])


def test_a_study_trains_them_and_says_where_the_spread_comes_from(tmp_path: Path) -> None:
    """Four draws of the data, two of the weights for each: eight trials a method, and four independent results."""
    file = write(tmp_path, **FEW | {"seeds": {"split": 4, "init": 2}})
    assert ablate("run", file, "--store", tmp_path / "s").returncode == 0
    trials = table(tmp_path / "s", "small", "trials").filter(method="joint").sort("seed")
    assert trials["seed.split"].to_list() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert trials["seed.init"].to_list() == [0, 1, 10_000, 10_001, 20_000, 20_001, 30_000, 30_001]
    assert trials["validation.accuracy"].n_unique() > 2
    shown = here("report", str(tmp_path / "s" / "small"))
    assert re.search(r"joint +4 ", shown.stdout)
    page = (tmp_path / "s" / "small" / "report.md").read_text()
    assert "Sources of variance" in page
    assert "| joint | split of training and validation | 4 |" in page
    assert "| joint | initial weights | 8 |" in page
    assert "seeds of order are fixed" in page
    means = trials.group_by("seed.split").agg(pl.col("test.accuracy").mean())["test.accuracy"].mean()
    assert f"{100 * float(means):.1f} " in shown.stdout  # type: ignore[arg-type]


def test_a_trial_that_another_study_has_is_not_trained_again(tmp_path: Path) -> None:
    file = write(tmp_path, **FEW | {"seeds": 1})
    train(file, tmp_path / "s")
    file = write(tmp_path, **FEW | {"seeds": {"split": 2, "order": 2}})
    assert here("plan", str(file), "--store", str(tmp_path / "s")).stdout.startswith(
        "small on synthetic: 8 trials, 2 in the store, 6 to run."
    )


def test_there_are_no_more_splits_than_deals(tmp_path: Path) -> None:
    """Four speakers, one of whom is held out: three other deals."""
    arrays = {"sound": np.random.default_rng(0).normal(size=(40, 4)), "label": np.arange(40) % 2}
    np.savez(tmp_path / "mine.npz", **arrays, split=np.repeat([0, 1, 2], [24, 8, 8]), speaker=np.arange(40) // 8)
    sheet = {"name": "mine", "task": "classification", "modalities": ["sound"], "groups": "speaker"}
    (tmp_path / "mine.json").write_text(json.dumps(sheet))
    deals = {
        one.config["data"].get("deal")
        for one in plan_trials(load_study(tmp_path, {"split": 4}, data={"path": "mine.npz"}))
    }
    assert deals == {None, 1, 2, 3}
    with pytest.raises(UserError, match=r"seeds\.split: .* has only 3 deals other than the split of the file"):
        load_study(tmp_path, {"split": 5}, data={"path": "mine.npz"})


def test_orders_of_what_has_one_order_are_refused(tmp_path: Path) -> None:
    """Else the same trial would count as several seeds."""
    stream = {"order": "stream", "epochs": 2}
    with pytest.raises(UserError, match=r"seeds\.order: have no effect: with `train\.order: stream`"):
        load_study(tmp_path, {"order": 3}, train=stream)
    load_study(tmp_path, {"init": 3}, train=stream)
    load_study(tmp_path, {"order": 3}, train=stream, model={"dropout": 0.1})
    load_study(tmp_path, {"order": 3}, train=stream, methods=["joint", "ogm-ge"])
    load_study(tmp_path, {"order": 3}, train=stream, set={"agm.samples": 2})
    load_study(tmp_path, {"order": 3}, train={"epochs": 2}, vary={"train.order": ["stream", "shuffled"]})


def test_the_methods_that_draw_are_those_that_are_said_to(tmp_path: Path) -> None:
    """Of two seeds that have the initial weights and the order in common; BOGC draws by `laplace` alone."""
    drawing = {"bogc.estimator": "laplace", "bogc.where": "repr"}
    study = load_study(tmp_path, 1, methods=[*METHODS], train={"epochs": 2, "order": "stream"}, set=drawing)
    dataset = load_data(study.data)
    drawn = set()
    for trial in plan_trials(study):
        seeds = ({"seed": seed, "init": 0} for seed in range(2))
        if len({fit(trial.config | one, dataset).weights for one in seeds}) > 1:
            drawn.add(trial.labels["method"])
    assert drawn == METHODS.keys() - DETERMINISTIC_METHODS


@pytest.mark.parametrize(
    ("seeds", "rule"),
    [
        ({}, "must be a number, {auto: [5, 40]}, or numbers of split, init and order"),
        ({"auto": [5, 10], "init": 3}, "`auto`, or split, init and order"),
        ({"split": 100, "init": 100, "order": 100}, "must be at most 10,000 in total"),
        ({"inits": 3}, "seeds.inits: there is no such key (it has: auto, split, init, order). Did you mean `init`?"),
        ({"init": 0}, "must be greater than or equal to 1"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, seeds: Any, rule: str) -> None:
    with pytest.raises(UserError, match=re.escape(rule)):
        load_study(tmp_path, seeds)


def test_data_that_are_dealt_are_not_dealt_again(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.deal.* fixes one split of the samples"):
        load_study(tmp_path, {"split": 2}, data={"name": "mfeat", "deal": 1})
    assert (
        plan_trials(load_study(tmp_path, {"init": 2}, data={"name": "mfeat", "deal": 1}))[1].config["data"]["deal"] == 1
    )


def test_a_verdict_is_about_independent_seeds(tmp_path: Path) -> None:
    claim = {
        "source": "here", "question": "Does it help?", "says": "It does.", "support": "It is more accurate.",
        "analysis": {"difference": {"of": {"method": "agm"}, "minus": {"method": "joint"}}}, "rule": "greater",
    }  # fmt: skip
    file = write(tmp_path, **FEW | {"seeds": {"split": 3, "init": 2}, "claim": claim})
    assert ablate("run", file, "--store", tmp_path / "s").returncode == 0
    verdict = json.loads((tmp_path / "s" / "small" / "verdict.json").read_text())
    assert verdict["seeds"] == 3
    assert verdict["bed"].endswith("2 epochs, 3 splits x 2 initialisations".replace(", ", "; ", 1))
    assert verdict["trials"] == {"planned": 12, "done": 12, "pruned": 0, "diverged": 0, "failed": 0}
