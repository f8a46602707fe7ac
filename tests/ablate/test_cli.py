"""The commands that run nothing: what they list is what there is, and the doctor's checks can fail."""

import json
import signal
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from ablate import claims, cli, doctor, forecast
from ablate.cli import app
from ablate.study import load
from ablate.terminal import ProgressDisplay
from search_spaces.axes import number
from search_spaces.methods import METHODS as AXES
from tests.ablate.helpers import ROOT, here, train, write
from trainables.data import dataset_names
from trainables.methods import METHODS


def command_output(*words: str) -> str:
    ended = CliRunner().invoke(app, list(words))
    assert ended.exit_code == 0, ended.output
    return ended.stdout


def test_methods_lists_every_method_with_defaults_and_neutral_values() -> None:
    listed = json.loads(command_output("methods", "--json"))
    assert listed.keys() == METHODS.keys()
    assert (listed["agm"]["alpha"]["default"], listed["agm"]["alpha"]["neutral"]) == (1.0, 0.0)
    assert all(name in command_output("methods") for name in METHODS)
    assert json.loads(command_output("methods", "--json"), parse_constant=pytest.fail)["agm"]["end"]["default"] == "inf"


def test_data_lists_every_set() -> None:
    listed = json.loads(command_output("data", "--json"))
    assert list(listed) == dataset_names()
    assert listed["mfeat"]["modalities"] == ["fou", "fac", "kar", "pix", "zer", "mor"]
    assert "CC BY-SA 4.0 (share-alike" in command_output("data")


def test_the_version_is_that_of_the_package() -> None:
    assert command_output("--version") == f"ablate {version('ablate')}\n"


@pytest.mark.parametrize(
    ("name", "message"), [("run", "Stopped; run the same command to continue.\n"), ("replay", "Stopped.\n")]
)
def test_ctrl_c_is_answered_once_and_then_the_process_ends_undisturbed(
    name: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        signal.raise_signal(signal.SIGINT)

    command.__name__ = name
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(typer.Exit) as ended:
            cli.handle_errors(command)()
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (ended.value.exit_code, capsys.readouterr().err) == (130, message)


def test_the_doctor_finds_all_well() -> None:
    text = command_output("doctor")
    assert "agm: alpha=0 is joint training" in text
    assert text.endswith("All checks passed.\n")


def test_the_doctor_sees_an_off_state_that_is_not_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(AXES["agm"], "alpha", number(1.0, 0, 10, neutral=0.5))
    checks = list(doctor.check_method("agm", METHODS["agm"]))
    assert [check.passed for check in checks] == [True, False]


@pytest.mark.parametrize(("fails", "found"), [("", "parameters differ by 0.0e+00"), ("no", "ValueError: no")])
def test_the_doctor_switches_off_by_a_name_and_says_what_fails_then(tmp_path: Path, fails: str, found: str) -> None:
    method = (ROOT / "ablate/templates/method.py").read_text()
    method = method.replace("import NamedTuple", "import Literal, NamedTuple").replace('"factor": 1.0', '"mode": "off"')
    method = method.replace("factor: float = 0.5", 'mode: Literal["on", "off"] = "on"')
    method = method.replace("self.factor *", '(0.5 if self.mode == "on" else 1.0) *')
    raises = f"        if self.mode == 'off' and '{fails}':\n            raise ValueError('{fails}')\n"
    (tmp_path / "switch.py").write_text(method.replace("        grads = pull", f"{raises}        grads = pull"))
    study = load(str(write(tmp_path, methods=["switch:Half"], vary=None)), str(tmp_path / "store"))
    works, switched = doctor.check_method("Half", study.methods["Half"])
    assert works.passed
    assert switched == ("Half: mode=off is joint training", not fails, found)


def test_the_doctor_sees_a_study_that_cannot_run(tmp_path: Path) -> None:
    study = load(str(write(tmp_path, resources={"cpu": 99})), str(tmp_path / "store"))
    refused = [check for check in doctor.run_checks(study, 2) if not check.passed]
    assert [check.detail for check in refused] == ["resources.cpu: a trial needs 99 CPUs, and this run has 2"]


def test_a_plan_refuses_what_a_run_would_refuse(tmp_path: Path) -> None:
    label, split = np.arange(30) % 3, np.repeat([0, 1, 2], 10)
    sound = np.ones((30, 4))
    sound[3, 1] = np.nan
    np.savez(tmp_path / "mine.npz", sound=sound, label=label, split=split)
    (tmp_path / "mine.json").write_text(json.dumps({"task": "classification", "modalities": ["sound"]}))
    ended = here("plan", write(tmp_path, data={"path": "mine.npz"}), "--store", tmp_path / "store")
    assert ended.returncode == 2
    assert "sound of mine: row 3 is partly NaN or infinite" in ended.stderr


def test_a_plan_creates_nothing(tmp_path: Path) -> None:
    file = write(tmp_path)
    text = command_output("plan", str(file), "--store", str(tmp_path / "store"))
    assert text.startswith("small on synthetic: 6 trials, 0 in the store, 6 to run.\n")
    assert "`ablate plan --measure` runs a few steps" in text
    assert [f.name for f in tmp_path.iterdir()] == ["small.yaml"]


@pytest.mark.parametrize("left", [": [", "", "[1]"])
def test_a_run_whose_study_is_damaged_is_named(tmp_path: Path, left: str) -> None:
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "study.yaml").write_text(left)
    ended = here("status", tmp_path / "small")
    assert ended.returncode == 2
    assert ended.stderr == f"{tmp_path / 'small'} cannot be read as a run: its study.yaml is damaged.\n"


def test_a_study_is_told_from_what_a_run_wrote(tmp_path: Path) -> None:
    """`ablate init` makes a folder of the same name as the study's results."""
    (tmp_path / "small").mkdir()
    write(tmp_path).rename(tmp_path / "small" / "study.yaml")
    ended = here("status", tmp_path / "small")
    assert ended.stderr == (
        f"{tmp_path / 'small'} cannot be read as a run: its study.yaml is a study to run, not the record of a run.\n"
    )


def test_a_study_of_other_data_by_the_same_name_is_said(tmp_path: Path) -> None:
    """Its tables make way; a study that was changed in anything else is the same study."""
    store = str(tmp_path / "runs")
    ran = here("run", write(tmp_path), "--store", store)
    assert "of the same name" not in ran.stdout + ran.stderr
    assert "of the same name" not in command_output("plan", str(write(tmp_path, seeds=5)), "--store", store)
    other = write(tmp_path, data="diabetes")
    warning = (
        f"Note: {store}/small contains a study of the same name on synthetic. Its tables, figures and report will be"
    )
    assert warning in command_output("plan", str(other), "--store", store)
    ran = here("run", other, "--store", store)
    assert warning.removeprefix("Note: ") in ran.stdout + ran.stderr


def test_a_method_that_fails_is_named_where_it_is_measured(tmp_path: Path) -> None:
    """It makes a step alone, and fails in a pack."""
    method = (ROOT / "ablate/templates/method.py").read_text()
    alone = "        if torch._C._functorch.is_batchedtensor(signals.logits):\n            raise ValueError('no')\n"
    (tmp_path / "broken.py").write_text(method.replace("        grads = pull", f"{alone}        grads = pull"))
    ended = here(
        "plan", write(tmp_path, methods=["broken:Half"], vary=None, seeds=8), "--measure", "--store", tmp_path / "s"
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "Half: ValueError: no\n"


def test_a_neutral_value_of_no_setting_is_refused(tmp_path: Path) -> None:
    method = (ROOT / "ablate/templates/method.py").read_text()
    assert '"factor": 1.0' in method
    (tmp_path / "other.py").write_text(method.replace('"factor": 1.0', '"facto": 1.0'))
    ended = here("plan", write(tmp_path, methods=["other:Half"], vary=None), "--store", tmp_path / "s")
    assert ended.returncode == 2
    assert "`neutral` names `facto`, which is not a setting (it has: factor). Did you mean `factor`?" in ended.stderr


def test_a_plan_can_measure_what_a_run_takes(tmp_path: Path) -> None:
    file, store = str(write(tmp_path)), str(tmp_path / "store")
    assert "; the largest pack needs " in command_output("plan", file, "--store", store, "--measure")
    seen = json.loads(command_output("plan", file, "--store", store, "--measure", "--json"))
    assert seen["seconds"] > 0
    assert 0.01 < seen["memory"] < 100  # of models with some thousand parameters
    assert [f.name for f in tmp_path.iterdir()] == ["small.yaml"]


def test_what_is_stored_tells_more_than_a_few_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "store"
    train(write(tmp_path, methods=["joint"], vary=None), store)
    monkeypatch.setattr(forecast, "measure_cost", pytest.fail)
    more = str(write(tmp_path))
    seen, other = (
        json.loads(command_output("plan", more, "--store", str(store), *words, "--json"))
        for words in ((), ["--measure"])
    )
    assert seen["stored"] == 2
    assert seen == other


def test_one_result_tells_no_rate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pack ends as a whole, after minutes or hours; time from then on is what the next results take."""
    display = ProgressDisplay([load(str(write(tmp_path)))])
    display.last_line_time -= 11
    display.count_result()
    display.last_line_time -= 11
    display.count_result()
    display.start_time -= 10
    display.last_line_time -= 11
    display.count_result()
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["1 done, 5 left", "2 done, 4 left", "3 done, 3 left, about 15 s; 0.2 trials/s"]


def test_few_long_trials_among_many_short_ones_count_in_the_time_of_a_plan(tmp_path: Path) -> None:
    store = tmp_path / "store"
    changes: dict[str, Any] = {"methods": ["joint"], "vary": {"train.epochs": [1, 2, 40]}}
    train(write(tmp_path, **changes), store)
    took = pl.read_parquet(store / "trials" / "*" / "trials.parquet")["seconds"]
    seen = json.loads(command_output("plan", str(write(tmp_path, **changes, seeds=4)), "--store", str(store), "--json"))
    assert seen["missing"] == 6
    assert seen["seconds"] == pytest.approx(6 * took.mean() / seen["cpus"])


def test_a_plan_that_measures_steps_says_that_measurements_are_not_in_it(tmp_path: Path) -> None:
    def plan_output(**changes: Any) -> str:
        return command_output("plan", str(write(tmp_path, **changes)), "--store", str(tmp_path / "store"), "--measure")

    assert plan_output(measure=["probe", "fidelity"]).endswith(
        "This does not include the measurements: fidelity, probe.\n"
    )
    assert "does not include the measurements" not in plan_output()


def test_figures_that_are_not_there_are_not_named(tmp_path: Path) -> None:
    ended = here("run", write(tmp_path, budget={"hours": 1e-7}), "--store", tmp_path / "store")
    assert ended.returncode == 0
    again = here("report", tmp_path / "store" / "small")
    for text in (ended.stdout, again.stdout):
        assert "figures: " not in text
        assert "report: " in text
    assert not (tmp_path / "store" / "small" / "figures").exists()


def test_a_page_of_claims_is_a_file(tmp_path: Path) -> None:
    ended = here("claims", "--store", tmp_path, "--write", tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"--write: must be a file, but {tmp_path} is a folder\n"


def test_claims_are_asked_for_by_name_and_by_group(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(cli, "execute_claims", lambda names, *_, **__: asked.extend(names))
    assert here("run", "--claims", "all, recipes,agm-alpha,").returncode == 0
    assert asked == [*claims.claim_names(), *claims.recipe_names()]
    for given in (",", ""):
        ended = here("run", "--claims", given)
        assert ended.returncode == 2
        assert ended.stderr == f"--claims: must be all, recipes or comma-separated names, got {given!r}\n"
