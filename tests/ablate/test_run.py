"""Whole runs on a real local Ray: equal numbers whatever the store and the number of CPUs, and no work done twice."""

import contextlib
import json
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ablate import shards, tables
from ablate.dispatcher import PackDispatcher
from ablate.launch import StopOnSignal, scratch_folder
from ablate.manifest import build_manifest
from ablate.preflight import inactive_method_warnings
from ablate.store import pack_folders, trial_ids
from ablate.study import load
from ablate.tables import TableWriter
from ablate.terminal import ProgressDisplay
from ablate.trial import Trial
from ablate.trial_queue import open_queue
from tests.ablate.helpers import ROOT, ablate, here, start, table, train, write
from tests.ablate.test_drivers import held

STUDY: dict[str, Any] = {"measure": ["probe"], "train": {"epochs": 40}, "resources": {"pack": 2}}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which the small study has run on two CPUs."""
    folder = tmp_path_factory.mktemp("two")
    study = write(folder, **STUDY | {"resources": {"pack": 2, "cpu": 2}})
    ended = ablate("run", study, "--store", folder / "store", "--cpus", 2)
    assert ended.returncode == 0, ended.stderr
    assert "small: 6 trials to run on synthetic." in ended.stderr
    assert "report: " in ended.stdout
    return folder / "store"


def test_a_run_ends_in_tables_figures_and_a_report(store: Path) -> None:
    made = {str(file.relative_to(store / "small")) for file in (store / "small").rglob("*") if file.is_file()}
    assert {"study.yaml", "report.html", "report.md", "tables/methods.tex", "figures/curve-agm.alpha.svg"} <= made
    trials, metrics = table(store, "small", "trials"), table(store, "small", "metrics")
    assert trials["status"].to_list() == ["done"] * 6
    assert trials["agm.alpha"].to_list() == [None, None, 0.0, 0.0, 1.0, 1.0]
    assert trials["seed"].to_list() == [0, 1] * 3
    of_agm = {"scale", "scale_min", "scale_max", "score", "ratio", "reference"}
    assert set(metrics["metric"]) == {"loss", "accuracy", "probe_accuracy", *of_agm}
    predictions = table(store, "small", "predictions").join(trials.select("trial", "test.accuracy"), on="trial")
    hit = pl.col("output").arr.arg_max() == pl.col("target")
    again = (
        predictions.filter(split="test").group_by("trial").agg(hit.mean().alias("hit"), pl.col("test.accuracy").first())
    )
    assert again["hit"].to_list() == pytest.approx(again["test.accuracy"].to_list(), abs=1e-12)
    assert {file.name for file in store.rglob(".*")} <= {".compiled"}


def test_a_finished_study_runs_nothing_and_says_so(store: Path, tmp_path: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in (store / "trials").rglob("*.parquet")}
    ended = here("run", write(tmp_path, **STUDY), "--store", store)
    assert ended.returncode == 0
    assert ended.stderr == "small: all 6 trials are in the store; nothing to run.\n"
    assert {file: file.stat().st_mtime_ns for file in (store / "trials").rglob("*.parquet")} == before


def test_a_trial_of_a_run_is_the_same_when_it_trains_again(store: Path) -> None:
    trial = table(store, "small", "trials")["trial"][4]
    ended = here("replay", trial, "--store", store)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    assert ended.stderr == f"{trial}: retraining, with 1 other trial of its pack.\n"
    assert "Identical bit for bit: the weights, the scores, and " in ended.stdout


def test_a_larger_grid_runs_only_what_is_new(store: Path, tmp_path: Path) -> None:
    larger = write(tmp_path, name="larger", **STUDY, vary={"agm.alpha": [0, 1, 3]})
    planned = json.loads(here("plan", larger, "--store", store, "--json").stdout)
    assert (planned["trials"], planned["stored"], planned["missing"], planned["methods"]) == (8, 6, 2, {"agm": 2})
    assert planned["seconds"] > 0
    assert [trial.labels["agm.alpha"] for trial in train(larger, store)] == [3, 3]
    assert "larger: all 8 trials are in the store; nothing to run." in here("run", larger, "--store", store).stderr
    small, now = table(store, "small", "trials"), table(store, "larger", "trials")
    assert now.height == 8
    assert now.filter(pl.col("trial").is_in(small["trial"].implode())).equals(small)


def test_an_edited_study_does_not_show_the_old_numbers(store: Path, tmp_path: Path) -> None:
    file = write(tmp_path, name="edited", **STUDY)
    assert here("run", file, "--store", store).returncode == 0
    study = load(str(write(tmp_path, name="edited", train={"epochs": 3})), str(store))
    plan: list[Trial] = []
    view = ProgressDisplay([study]).study_callback(study)
    TableWriter(study, open_queue(study, 2, plan=plan), view.note, plan)  # as a run does before its first trial
    seen = json.loads(here("status", store / "edited", "--json").stdout)
    assert (seen["planned"], seen["done"]) == (6, 0)


def test_a_study_made_smaller_shows_no_old_numbers_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tables had more shards then."""
    for module in (tables, shards):
        monkeypatch.setattr(module, "SHARD_SIZE", 2)
    file = write(tmp_path)
    train(file, tmp_path / "s")
    assert here("run", file, "--store", tmp_path / "s").returncode == 0
    study, plan = load(str(write(tmp_path, vary={"agm.alpha": [1, 2]}, seeds=1)), str(tmp_path / "s")), list[Trial]()
    TableWriter(study, open_queue(study, plan=plan), pytest.fail, plan)
    seen = json.loads(here("status", tmp_path / "s/small", "--json").stdout)
    assert (seen["planned"], seen["done"]) == (3, 2)
    assert {file.stem for file in (tmp_path / "s/small").glob("*/0*.parquet")} == {"00000"}


def test_what_the_store_has_lost_since_it_was_read_has_failed(tmp_path: Path) -> None:
    file = write(tmp_path, resources={"pack": 2})
    train(file, tmp_path / "s")
    study, plan = load(str(file), str(tmp_path / "s")), list[Trial]()
    queue = open_queue(study, plan=plan)
    lost = trial_ids(folder := next(iter(pack_folders(study.store))))
    shutil.rmtree(folder)
    TableWriter(study, queue, pytest.fail, plan).close()
    trials = pl.read_parquet(study.folder / "trials/*.parquet")
    assert set(trials.filter(pl.col("status") == "failed")["trial"]) == set(lost)
    assert {queue.results[trial].status for trial in lost} == {"failed"}
    assert trials.height == 6
    assert [trial.id for trial in train(file, study.store)] == list(lost)


def test_a_study_that_is_no_search_any_more_has_no_log_of_one(tmp_path: Path) -> None:
    study, plan = load(str(write(tmp_path)), str(tmp_path / "s")), list[Trial]()
    study.folder.mkdir(parents=True)
    (study.folder / "search.log").write_text("{}")
    TableWriter(study, open_queue(study, plan=plan), pytest.fail, plan)
    assert not (study.folder / "search.log").exists()


@pytest.mark.parametrize("asked", ["on", "auto"])
def test_steps_that_cannot_be_compiled_as_asked_are_named(
    asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said() -> str:
        study = load(str(write(tmp_path, resources={"compile": asked})), str(tmp_path / "store"))
        ProgressDisplay([study]).study_callback(study).on_start(open_queue(study, 2))
        return capsys.readouterr().err

    monkeypatch.setenv("CXX", sys.executable)  # any program that is there
    assert "compile" not in said()
    with monkeypatch.context() as bare:
        bare.delenv("CXX")
        bare.setenv("PATH", "")
        assert ("Note: resources.compile is on, but this machine has no C++ compiler" in said()) == (asked == "on")
    monkeypatch.setenv("CXX", sys.executable)
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))  # a Python without its headers
    assert ("without one, steps are not compiled." in said()) == (asked == "on")


def test_methods_that_wait_longer_than_a_study_trains_are_named(tmp_path: Path) -> None:
    """One that is to wait for ever is switched off on purpose."""

    def said(**changes: Any) -> list[str]:
        return inactive_method_warnings(
            load(str(write(tmp_path, methods=["mses", "mslr"], **{"vary": None} | changes)))
        )

    late = "mses.patience is 10: mses first acts in epoch 12, so with 11 epochs it is joint training."
    assert said(train={"epochs": 11}) == [late]
    assert said(train={"epochs": 12}) == []
    assert said(train={"epochs": 1}, vary={"train.epochs": {"log": [5, 20]}}, search="random") == []
    assert said(train={"epochs": 6}, set={"mses.patience": 4}) == [
        "mslr.window is 5: mslr first acts in epoch 7, so with 6 epochs it is joint training."
    ]
    assert said(train={"epochs": 6}, set={"mses.patience": 4, "mslr.factor": 1.3}) == []
    assert said(train={"epochs": 4}, vary={"mses.patience": [2, 9], "mslr.window": [1]}) == []
    assert said(train={"epochs": 9}, set={"mses.patience": float("inf")}) == []


def test_status_reads_the_tables_from_another_process(store: Path, tmp_path: Path) -> None:
    assert json.loads(here("status", store / "small", "--json").stdout)["done"] == 6
    assert ablate("status", store / "small").stdout == "small: 6 of 6 trials done.\n"
    with contextlib.chdir(store / "small"):
        assert here("status", ".").stdout == "small: 6 of 6 trials done.\n"
    nowhere = here("status", tmp_path)
    assert nowhere.returncode == 2
    assert "is not a run" in nowhere.stderr


@pytest.mark.parametrize("command", ["status", "report"])
def test_another_shell_sees_a_run_that_goes_on_without_ray(store: Path, command: str) -> None:
    without = "import sys; sys.modules['ray'] = None; from ablate.cli import main; main()"
    with held(store / "small") as other:
        words = [sys.executable, "-c", without, command, str(store / "small")]
        ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    if command == "status":
        done, running = ended.stdout.splitlines()
        assert done == "small: 6 of 6 trials done."
        assert running.startswith(f"Running: process {other.pid} of ")


def test_a_search_that_prunes_runs_in_rounds_and_is_found_again(tmp_path: Path) -> None:
    search = {"search": {"tpe": {"batch": 2}}, "trials": 4, "seeds": 1, "vary": {"agm.alpha": {"log": [0.1, 10]}}}
    file = write(tmp_path, **search, train={"epochs": 4}, metric="loss", prune="asha")
    ended = ablate("run", file, "--store", tmp_path / "store", "--cpus", 1)
    assert ended.returncode == 0, ended.stderr
    trials = table(tmp_path / "store", "small", "trials")
    assert trials.filter(method="agm")["agm.alpha"].n_unique() == 4
    assert (tmp_path / "store/small/search.log").is_file()
    epochs = table(tmp_path / "store", "small", "metrics").group_by("trial").agg(pl.col("epoch").max())
    lasted = trials.join(epochs, on="trial")
    assert set(lasted.filter(status="done")["epoch"]) == {4}
    assert set(lasted.filter(status="pruned")["epoch"]) <= {1, 3}
    assert set(lasted["status"]) == {"done", "pruned"}
    assert "all 5 trials are in the store" in here("run", file, "--store", tmp_path / "store").stderr
    assert table(tmp_path / "store", "small", "trials").equals(trials)


@pytest.mark.nightly
def test_a_trial_that_diverges_is_a_row_and_the_others_are_what_they_would_have_been(
    store: Path, tmp_path: Path
) -> None:
    lrs = {"agm.alpha": [0], "train.lr": [0.02, 1e30]}
    ended = ablate("run", write(tmp_path, **STUDY, vary=lrs), "--store", tmp_path / "store")
    assert ended.returncode == 0
    assert "4 of 8 trials diverged; the report lists them." in ended.stderr
    trials = table(tmp_path / "store", "small", "trials")
    assert trials.filter(pl.col("train.lr") > 1)["status"].to_list() == ["diverged"] * 4
    assert trials.filter(pl.col("train.lr") > 1)["error"][0].startswith("the train loss was nan in epoch 1")
    assert trials.filter(pl.col("train.lr") > 1)["test.accuracy"].null_count() == 4
    kept = trials.filter(pl.col("train.lr") < 1)
    assert kept.select("trial", "test.loss").equals(table(store, "small", "trials")[:4].select("trial", "test.loss"))


def test_a_modality_that_no_sample_has_is_planned_and_trained(tmp_path: Path) -> None:
    data = {"name": "synthetic", "modalities": 2, "samples": [64, 32, 32], "missing": [0, 1]}
    file = write(tmp_path, data=data, vary=None, seeds=1)
    assert here("plan", file, "--store", tmp_path / "store").returncode == 0
    assert len(train(file, tmp_path / "store")) == 2
    found = open_queue(load(str(file), str(tmp_path / "store"))).results
    assert {result.status for result in found.values()} == {"done"}


def test_what_breaks_off_before_the_first_trial_leaves_nothing_behind(tmp_path: Path) -> None:
    """Not even the journal of a search, which is there by then."""
    method = (ROOT / "ablate/templates/method.py").read_text()
    leaves = "        raise SystemExit(3)\n        grads = pull"
    (tmp_path / "leaving.py").write_text(method.replace("        grads = pull", leaves))
    vary = {"Half.factor": {"linear": [0.1, 1]}}
    file = write(tmp_path, methods=["leaving:Half"], vary=vary, search="tpe", trials=4)
    assert here("run", file, "--store", tmp_path / "store").returncode == 3
    assert not (tmp_path / "store").exists()


def test_a_finished_study_that_has_reached_its_target_says_that_nothing_runs(tmp_path: Path) -> None:
    train(write(tmp_path), tmp_path / "store")
    ended = here("run", write(tmp_path, budget={"target": 0}), "--store", tmp_path / "store")
    assert (ended.returncode, ended.stderr) == (0, "small: all 6 trials are in the store; nothing to run.\n")


def test_a_model_that_cannot_read_the_data_is_refused_before_anything_starts(tmp_path: Path) -> None:
    ended = here("run", write(tmp_path, model={"encoder": "cnn"}), "--store", tmp_path / "store")
    assert ended.returncode == 2
    assert "model: cnn cannot read modality 'm0' with samples of shape (16,)" in ended.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["small.yaml"]


def test_what_a_method_cannot_do_at_0_is_refused_though_it_can_at_another_integer(tmp_path: Path) -> None:
    """AGM under another name, of which a study knows nothing beforehand; 0 draws are all 128 coalitions."""
    data = {"name": "synthetic", "modalities": 7, "samples": [64, 32, 32]}
    file = write(tmp_path, data=data, methods=["trainables.methods.agm:AGM"], vary={"AGM.samples": [8, 0]})
    ended = here("plan", file, "--store", tmp_path / "store")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "methods[0]: agm: 7 modalities have 128 coalitions; set agm.samples" in ended.stderr


def test_results_replace_no_study(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    file = write(tmp_path).rename(tmp_path / "small/study.yaml")
    written = file.read_text()
    ended = here("run", file, "--store", tmp_path)
    said = f"store: results would replace {file}, which belongs to no run; choose another store or `name`\n"
    assert (ended.returncode, ended.stderr) == (2, said)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file]
    assert file.read_text() == written


def test_a_run_says_how_to_repeat_it_with_its_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write(tmp_path), write(tmp_path, name="own", store="mine")

    def words(study: str, store: str | None) -> list[str]:
        return shlex.split(build_manifest(load(study, store))["command"])

    assert words("small.yaml", None) == words("small.yaml", "runs/") == ["ablate", "run", "small.yaml"]
    assert words("own.yaml", None) == ["ablate", "run", "own.yaml"]
    assert words("own.yaml", "runs") == ["ablate", "run", "own.yaml", "--store", "runs"]
    for store in ("my runs", "/elsewhere", "file:///bucket"):
        assert words("small.yaml", store) == ["ablate", "run", "small.yaml", "--store", store]


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        dispatcher = PackDispatcher(iter(()), None, {})
        StopOnSignal(dispatcher)
        signal.raise_signal(signal.SIGHUP)
        assert not dispatcher.stopped
        signal.raise_signal(signal.SIGTERM)
        assert dispatcher.stopped
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_machine_on_which_ray_does_not_start_is_told_so_in_one_sentence(tmp_path: Path) -> None:
    """As with too little memory for its objects."""
    ended = ablate("run", write(tmp_path), "--store", tmp_path / "s", RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES="1")
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("Ray does not start on this machine: ")
    assert "Traceback" not in ended.stderr


def test_what_ray_wrote_for_a_run_that_was_killed_is_removed(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as killed:
        pass
    ours = scratch_folder()
    theirs = [Path(tempfile.mkdtemp(prefix=f"ablate-{pid}-", dir=ours.parent)) for pid in (killed.pid, 10**30)]
    again = scratch_folder()
    assert [folder.exists() for folder in (ours, *theirs, again)] == [True, False, False, True]
    ours.rmdir()
    again.rmdir()


def test_more_cpus_a_trial_than_there_are_is_refused(tmp_path: Path) -> None:
    ended = here("run", write(tmp_path, resources={"cpu": 9}), "--store", tmp_path / "store", "--cpus", 2)
    assert ended.returncode == 2
    assert "a trial needs 9 CPUs, and this run has 2" in ended.stderr


def test_after_ctrl_c_the_same_command_continues_and_the_tables_are_the_same_bit_for_bit(
    store: Path, tmp_path: Path
) -> None:
    """Another store, and one CPU where the first gave each trial two: the number of threads is always one."""
    words = ("run", write(tmp_path, **STUDY), "--store", tmp_path / "s", "--cpus", 1)
    with start(*words) as process:
        deadline = time.monotonic() + 300
        while not list((tmp_path / "s/trials").glob("[!.]*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "run the same command to continue" in errors
    stored = sum(len(trial_ids(folder)) for folder in pack_folders(tmp_path / "s"))
    assert 1 <= stored < 6
    again = ablate(*words)
    assert again.returncode == 0, again.stderr
    assert f"{6 - stored} trials to run on synthetic, {stored} of 6 already in the store." in again.stderr
    for name in ("trials", "metrics", "predictions"):
        assert table(store, "small", name).equals(table(tmp_path / "s", "small", name))


def test_ctrl_c_while_ray_starts_and_again_is_answered_once(tmp_path: Path) -> None:
    with start("run", write(tmp_path), "--store", tmp_path / "s", "--cpus", 1) as process:
        deadline = time.monotonic() + 60
        while not list(Path("/tmp").glob(f"ablate-{process.pid}-*")) and time.monotonic() < deadline:  # noqa: S108
            time.sleep(0.05)
        while process.poll() is None and time.monotonic() < deadline:
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
        _, errors = process.communicate(timeout=60)
    said = [line for line in errors.splitlines() if not line.startswith("Note: ")]
    assert said == ["small: 6 trials to run on synthetic.", "Stopped; run the same command to continue."]
    assert process.returncode == 130


def test_a_study_with_every_measurement_has_their_rows(tmp_path: Path) -> None:
    names = ["competition", "contribution", "fidelity", "gradients", "probe", "shape", "shapley", "truth"]
    file = write(tmp_path, measure=names, methods=["agm", "unimodal"], vary=None, seeds=1)
    train(file, tmp_path / "store")
    ended = here("run", file, "--store", tmp_path / "store")
    assert (ended.returncode, ended.stderr) == (0, "small: all 3 trials are in the store; nothing to run.\n")
    rows, trials = (table(tmp_path / "store", "small", name) for name in ("metrics", "trials"))
    rows = rows.join(trials.select("trial", "method"), on="trial")
    wanted = {
        "competition",
        "share",
        "fidelity_f1",
        "gradient_cosine",
        "probe_accuracy",
        "shape_cooperation",
        "shapley",
        "truth_rank",
    }
    assert wanted <= set(rows.filter(method="agm")["metric"])
    assert wanted & set(rows.filter(method="unimodal")["metric"]) == {
        "fidelity_f1",
        "gradient_cosine",
        "probe_accuracy",
    }
