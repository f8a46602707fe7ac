"""Searches through the whole engine: known functions, real processes, a real kill."""

import os
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import polars as pl
import pytest

from analysis import load
from analysis.designs import indices
from analysis.indices import sobol
from tests.ablate import surface
from tests.ablate.helpers import ablate, start, table, write
from tests.ablate.surface import analytic, prepare

TPE: dict[str, Any] = {
    "methods": ["agm"], "vary": {"agm.alpha": {"log": [0.1, 10]}}, "seeds": 1, "trials": 12,
    "search": {"tpe": {"batch": 3}}, "train": {"epochs": 20}, "resources": {"pack": 1},
}  # fmt: skip


def watched(log: Path) -> list[optuna.trial.FrozenTrial]:
    """Return the trials of a search as Optuna's dashboard reads them, while another process writes."""
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(log)))
    return optuna.load_study(study_name="small/agm", storage=storage).trials


def history(log: Path) -> list[Any]:
    return [(t.number, t.state.name, t.params, t.values, t.user_attrs["trials"]) for t in watched(log)]


@pytest.mark.nightly
def test_a_search_that_was_killed_ends_with_the_history_of_one_that_was_not(tmp_path: Path) -> None:
    file, log = write(tmp_path, **TPE), tmp_path / "killed/small/search.log"
    assert ablate("run", file, "--store", tmp_path / "whole", "--cpus", 1).returncode == 0
    with start("run", file, "--store", tmp_path / "killed", "--cpus", 1) as process:
        deadline = time.monotonic() + 240
        states: Counter[str] = Counter()
        while states["COMPLETE"] < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
            with suppress(KeyError):  # the file is there a moment before what it is about
                states = Counter(t.state.name for t in watched(log)) if log.is_file() else states
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    states = Counter(t.state.name for t in watched(log))
    assert states.keys() <= {"COMPLETE", "RUNNING"}
    assert 3 <= states["COMPLETE"] < 12
    ended = ablate("run", file, "--store", tmp_path / "killed", "--cpus", 1)
    assert ended.returncode == 0, ended.stderr
    assert history(log) == history(tmp_path / "whole/small/search.log")
    told = {trials[0]: values[0] for _, _, _, values, trials in history(log)}
    stored = table(tmp_path / "killed", "small", "trials")
    assert told == dict(stored.select("trial", "validation.accuracy").iter_rows())
    assert stored.equals(table(tmp_path / "whole", "small", "trials"))


@pytest.mark.nightly
def test_a_study_ends_at_its_target_and_says_so(tmp_path: Path) -> None:
    """Any accuracy will do: the first pack reaches it, and the others never start."""
    vary = {"agm.alpha": {"linear": [0, 1], "num": 40}}
    changes = {"methods": ["agm"], "vary": vary, "resources": {"pack": 2}, "train": {"epochs": 8}}
    file = write(tmp_path, **changes, budget={"target": 0.0})
    ended = ablate("run", file, "--store", tmp_path / "s", "--cpus", 1)
    assert ended.returncode == 0, ended.stderr
    assert "Stopped by the budget: a configuration reached 0." in ended.stderr
    known = table(tmp_path / "s", "small", "trials").height
    assert 2 <= known < 80
    assert f"{known} trials are known; raise the budget and run the same command to continue." in ended.stderr
    again = ablate("run", file, "--store", tmp_path / "s", "--cpus", 1)
    assert again.returncode == 0, again.stderr
    assert table(tmp_path / "s", "small", "trials").height == known
    assert "Nothing will run: a configuration reached 0." in ablate("plan", file, "--store", tmp_path / "s").stdout


def searched(folder: Path, samples: int, *, second_order: bool) -> pl.DataFrame:
    """Run a Sobol design of Ishigami's function; return its indices."""
    prepare(folder)
    search = {"sobol": {"samples": samples, "second_order": second_order}}
    file = write(folder, **surface.STUDY | {"search": search})
    ended = ablate("run", file, "--store", folder / "s", "--cpus", 1)
    assert ended.returncode == 0, ended.stderr
    return indices(load(folder / "s/ishigami"))["Ishigami"]


@pytest.mark.nightly
def test_the_indices_of_a_design_are_those_of_the_function_that_it_ran(tmp_path: Path) -> None:
    result = searched(tmp_path, 16, second_order=False)
    axes = [f"Ishigami.x{i}" for i in (1, 2, 3)]
    trials = table(tmp_path / "s", "ishigami", "trials").sort("point")
    values = np.array([surface.LIFT + surface.ishigami(*point) for point in trials.select(axes).iter_rows()])
    assert trials["validation.mae"].to_numpy() == pytest.approx(values, abs=1e-4)
    direct = sobol(values[:, None], axes)
    assert result["value"].drop_nulls().to_list() == pytest.approx(direct["value"].drop_nulls().to_list(), abs=1e-4)
    assert trials.height == 16 * (3 + 2)


@pytest.mark.nightly
def test_8192_points_of_a_sobol_design_give_the_analytic_indices(tmp_path: Path) -> None:
    result = searched(tmp_path, 1024, second_order=True)
    assert table(tmp_path / "s", "ishigami", "trials").height == 8192
    for (factor, index), value in analytic().items():
        assert result.filter(factor=factor, index=index)["value"].item() == pytest.approx(value, abs=0.05)
