"""A stored trial is trained again as it was: the same bits, or what has changed since."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ablate import cli, store
from ablate.designs import DesignPoint
from ablate.errors import UserError
from ablate.identity import code_hash
from ablate.plan import point_trials
from ablate.provenance import training_environment
from ablate.replay import load_trial, replay
from ablate.study import Study, load
from ablate.trial import Trial
from tests.ablate.helpers import here, write
from trainables.data import load as load_data
from trainables.train import Outcome, PruneCallback, fit_pack


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return load(str(write(tmp_path, measure=["probe", "cost"])), str(tmp_path / "store"))


def keep(study: Study, number: int, prune: PruneCallback | None = None, **origin: Any) -> list[tuple[Trial, Outcome]]:
    """Train some trials of AGM in a pack, and put them into the store as a worker does."""
    chosen = [
        trial for alpha in (0.0, 1.0) for trial in point_trials(study, "agm", DesignPoint({"agm.alpha": alpha}, {}))
    ][:number]
    outcomes = fit_pack([trial.config for trial in chosen], load_data(study.data), prune)
    members = list(zip(chosen, outcomes, strict=True))
    asked = {"data": study.data, "folders": [], "compile": "off", "code": code_hash(chosen[0].config)}
    store.write_pack(study.store, members, training_environment() | asked | origin)
    return members


@pytest.mark.parametrize("number", [1, 3])
def test_a_trial_trained_again_in_its_pack_is_the_same_bit_for_bit(study: Study, number: int) -> None:
    trial, outcome = keep(study, number)[-1]
    result = load_trial(study.store, trial.id[:7])
    assert (result.id, len(result.configs)) == (trial.id, number)
    seen = replay(result)
    assert seen.same
    assert seen.weights == (outcome.weights, outcome.weights)
    assert seen.scores["test.loss"] == (outcome.final["test.loss"],) * 2
    assert seen.measured == sum(row.metric not in {"seconds_per_step", "step_ratio"} for row in outcome.rows)


def test_of_two_packs_with_a_trial_the_one_that_tables_show_is_trained_again(study: Study) -> None:
    """Two studies that ran at once have both trained it."""
    ((trial, _),) = keep(study, 1)
    keep(study, 3)
    assert len(store.pack_folders(study.store)) == 2
    shown = len(store.trial_ids(store.locate(study.store, [trial.id])[trial.id]))
    assert len(load_trial(study.store, trial.id).configs) == shown


def test_trials_have_a_hash_of_their_weights_each(study: Study) -> None:
    hashes = [outcome.weights for _, outcome in keep(study, 4)]
    assert len(set(hashes)) == 4
    assert all(len(str(each)) == 64 for each in hashes)


def test_a_trial_that_was_pruned_is_pruned_again_where_it_was(study: Study) -> None:
    members = keep(study, 3, prune=lambda epoch, scores: {1} if epoch == 1 else set())
    assert [outcome.status for _, outcome in members] == ["done", "pruned", "done"]
    for trial, outcome in members:
        seen = replay(load_trial(study.store, trial.id))
        assert seen.same
        assert seen.status == (outcome.status, outcome.status)


def test_what_has_changed_is_said(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    members = keep(study, 1, torch="1.13.0", threads=8)
    (trial, outcome), folder = members[0], store.locate(study.store, [members[0][0].id]).popitem()[1]
    other = outcome._replace(weights="0" * 64, final=outcome.final | {"test.loss": outcome.final["test.loss"] + 0.5})
    other = other._replace(rows=[row._replace(value=row.value + 0.25) for row in outcome.rows[:1]] + outcome.rows[1:])
    origin = json.loads(store.read_table(folder, "trials")["origin"][0])
    folder.rename(folder.with_name("gone"))
    store.write_pack(study.store, [(trial, other)], origin)
    seen = replay(load_trial(study.store, trial.id))
    assert not seen.same
    assert {name: was for name, (was, _) in seen.changed.items()} == {"torch": "1.13.0", "threads": 8}
    assert (seen.apart, seen.largest) == (1, pytest.approx(0.25))
    with pytest.raises(SystemExit) as ended:
        cli.app(["replay", trial.id, "--store", str(study.store)])
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert said.err == f"{trial.id}: retraining.\n"
    assert "The weights differ; 1 of" in said.out
    assert "threads: was 8, is now 1" in said.out
    assert "-0.5" in said.out


def test_a_compiler_that_has_gone_is_said(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    (trial, _), *_ = keep(study, 1, compiler="c++")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    assert replay(load_trial(study.store, trial.id)).changed == {"compiler": ("c++", None)}


def test_a_trial_of_a_gpu_trains_on_the_cpu_where_there_is_none_and_that_is_said(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (trial, _), *_ = keep(study, 1, device="NVIDIA H200")
    with pytest.raises(SystemExit):
        cli.app(["replay", trial.id, "--store", str(study.store)])
    place = "on the CPU: it was trained on NVIDIA H200, and this machine has no GPU"
    assert capsys.readouterr().err == f"{trial.id}: retraining, {place}.\n"
    assert replay(load_trial(study.store, trial.id)).changed == {"device": ("NVIDIA H200", "cpu")}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_trial_of_a_gpu_trains_on_one_again(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told that there is one, and torch knows better."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    (trial, _), *_ = keep(study, 1, device="NVIDIA H200")
    with pytest.raises(UserError, match=f"{trial.id}: cannot be retrained: .*(CUDA|NVIDIA)"):
        replay(load_trial(study.store, trial.id))


def test_data_that_moved_is_found_by_the_study(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert here("init", home).returncode == 0
    subprocess.run([sys.executable, home / "data.py"], check=True)
    before = load(str(home / "study.yaml"), str(tmp_path / "store"))
    (trial, _), *_ = keep(before, 1)
    home.rename(tmp_path / "moved")
    for name in ("method", "encoder"):  # it trains again in another process
        del sys.modules[name]
    result = load_trial(before.store, trial.id)
    with pytest.raises(
        UserError, match=r"there is no file or folder .*; give a study file with the current paths as --study"
    ):
        replay(result)
    assert replay(result, load(str(tmp_path / "moved/study.yaml"))).same


def test_a_trial_that_the_store_cannot_train_again_is_explained(study: Study) -> None:
    (trial, outcome), *_ = keep(study, 2)
    with pytest.raises(UserError, match=r"contains no trial zzz$"):
        load_trial(study.store, "zzz")
    with pytest.raises(UserError, match=r"contains 2 trials that begin with "):
        load_trial(study.store, "")
    folder = store.locate(study.store, [trial.id])[trial.id]
    table = store.read_table(folder, "trials").drop("origin")
    old = study.store / "old"
    store.write_pack(old, [(trial, outcome)])
    (old / "trials" / trial.id / "index.json").unlink()
    table.head(1).write_parquet(old / "trials" / trial.id / "trials.parquet")
    with pytest.raises(UserError, match="was stored by an earlier release"):
        load_trial(old, trial.id)
