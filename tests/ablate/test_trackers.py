"""Trackers show the curves of a run, in their real local stores, and each trial once."""

import shutil
import sqlite3
from pathlib import Path

import polars as pl
import pytest
import wandb

from ablate import trackers
from ablate.errors import UserError
from ablate.trackers import MAX_FLOAT32, TRACKERS, Trackers, check_installed
from tests.ablate.helpers import ablate, foreign, here, table, write

ALL = ["tensorboard", "mlflow", "wandb"]
pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that all trackers followed while it ran."""
    folder = tmp_path_factory.mktemp("tracked")
    vary = {"agm.alpha": [1], "train.lr": [0.02, 1e30], "dummy": [0, 1]}  # a trial of two points is one trial
    file = write(folder, track=ALL, vary=vary, seeds=1, resources={"pack": 1})
    ended = ablate("run", file, "--store", folder / "store")
    assert ended.returncode == 0, ended.stderr
    assert foreign(ended.stderr) == []
    return folder / "store/small"


def ended(run: Path) -> pl.DataFrame:
    """Return the trials of a run, each once."""
    trials = table(run.parent, "small", "trials")
    assert trials["trial"].is_duplicated().any()
    return trials.unique("trial", keep="first", maintain_order=True)


def test_tensorboard_has_every_curve(run: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    trials, metrics = ended(run), table(run.parent, "small", "metrics")
    metrics = metrics.filter(pl.col("value").abs() < MAX_FLOAT32)
    for trial in trials["trial"]:
        (folder,) = (run / "tensorboard").glob(f"* {trial}")
        events = reader.EventAccumulator(str(folder)).Reload()
        rows = metrics.filter(trial=trial).unique()
        names = {"/".join(filter(None, key)) for key in rows.select("split", "metric", "modality").unique().iter_rows()}
        assert {tag for tag in events.Tags()["scalars"] if not tag.startswith("final/")} == names
        losses = rows.filter(split="validation", metric="loss").sort("epoch")
        seen = [(event.step, event.value) for event in events.Scalars("validation/loss")] if len(losses) else []
        assert seen == [(e, pytest.approx(v, rel=1e-6)) for e, v in losses.select("epoch", "value").iter_rows()]


def test_mlflow_has_settings_scores_and_curves(run: Path) -> None:
    trials = ended(run)
    with sqlite3.connect(run / "mlflow.db") as database:
        tags = database.execute(
            "select t.value, r.run_uuid from tags t join runs r using (run_uuid) where t.key = 'trial'"
        )
        pairs = tags.fetchall()
        assert sorted(trial for trial, _ in pairs) == sorted(trials["trial"])
        result = dict(pairs)
        for row in trials.filter(method="agm").iter_rows(named=True):
            of = (result[row["trial"]],)
            params = dict(database.execute("select key, value from params where run_uuid = ?", of))
            assert (params["agm.alpha"], params["method"], float(params["train.lr"])) == ("1.0", "agm", row["train.lr"])
            latest = dict(database.execute("select key, value from latest_metrics where run_uuid = ?", of))
            assert latest.get("final/test/accuracy") == row["test.accuracy"]
            if row["status"] == "done":
                epochs = database.execute("select step from metrics where run_uuid = ? and key = 'validation/loss'", of)
                assert sorted(epochs) == [(1,), (2,)]


def test_wandb_writes_offline_runs(run: Path) -> None:
    trials = ended(run)
    written = [*(run / "wandb").glob("offline-run-*/run-*.wandb")]
    files = {file.stem.removeprefix("run-"): file for file in written}
    assert sorted(file.stem.removeprefix("run-") for file in written) == sorted(trials["trial"])
    for trial in trials.filter(status="done")["trial"]:
        assert b"validation/loss" in files[trial].read_bytes()


def test_a_trial_is_shown_once(run: Path) -> None:
    """Whoever runs the study next goes on from what the trackers have."""
    for name in ALL:
        assert TRACKERS[name](run).logged_trials() == set(table(run.parent, "small", "trials")["trial"])
    before = sorted(run.rglob("*"))
    Trackers(ALL, run, pytest.fail).update()
    assert sorted(run.rglob("*")) == before


@pytest.mark.parametrize("name", ALL)
def test_what_a_kill_has_cut_is_written_again(
    name: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies after it has begun a trial, and the next one hands over all of them."""
    folder = tmp_path / "small"
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("tensorboard", "mlflow.db", "wandb"))
    tracker, trial = TRACKERS[name](folder), next(trackers.finished_trials(folder, set()))

    class Killed(BaseException):
        pass

    def dies(*_: object, **__: object) -> None:
        raise Killed

    broken = {
        "tensorboard": "tensorboardX.SummaryWriter.add_hparams",
        "mlflow": "mlflow.tracking.MlflowClient.set_terminated",
    }
    with monkeypatch.context() as patch:
        patch.setattr(broken.get(name, "wandb.Run.finish"), dies)
        with pytest.raises(Killed):
            tracker.log_trial(trial)
    if name == "wandb":
        wandb.finish()
    after = TRACKERS[name](folder)
    assert after.logged_trials() == set()
    Trackers([name], folder, pytest.fail).update()
    assert TRACKERS[name](folder).logged_trials() == set(ended(run)["trial"])
    if name == "wandb":
        assert len([*(folder / "wandb").glob("*run-*-*")]) == len(ended(run))
    if name == "mlflow":
        assert len(after.client.search_runs([after.experiment])) == len(ended(run))


def test_a_tracker_that_fails_stops_nothing(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://x")
    said: list[str] = []
    active = Trackers(["mlflow", "tensorboard"], run, said.append)
    active.update()
    active.update()
    assert len(said) == 1
    assert said[0].startswith("mlflow stops logging this run: ")
    assert list(active.trackers) == ["tensorboard"]


@pytest.mark.parametrize("name", ["a?b", "a%25b"])
def test_mlflow_writes_nowhere_else(name: str, tmp_path: Path) -> None:
    folder, said = tmp_path / name / "small", list[str]()
    folder.mkdir(parents=True)
    active = Trackers(["mlflow"], folder, said.append)
    active.update()
    assert said == [
        f"mlflow stops logging this run: ValueError: the path of the run must not contain `?`, or `%` followed by two digits, got {folder}"
    ]
    assert [*tmp_path.rglob("*")] == [tmp_path / name, folder]


def test_a_tracker_that_is_not_installed_is_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"track: wandb is not installed; pip install 'ablate\[wandb\]'"):
        check_installed(["wandb"])


def test_an_unknown_tracker_is_refused(tmp_path: Path) -> None:
    ended = here("plan", write(tmp_path, track=["tensorbord"]))
    assert ended.returncode == 2
    assert "tensorboard" in ended.stderr
