"""`ablate plan` says what has changed where trials that ran before are to run again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from ablate import identity, outdated
from ablate.forecast import forecast
from ablate.study import load
from ablate.tables import TableWriter
from ablate.trial import Trial
from ablate.trial_queue import open_queue
from tests.ablate.helpers import here, train, write

OWN = {"data": {"path": "mine.npz"}, "methods": ["joint", "ogm"], "vary": {"ogm.alpha": [0.5, 1]}}


def write_data(folder: Path, factor: float = 1.0, **more: Any) -> None:
    random = np.random.default_rng(0)
    arrays = {m: factor * random.normal(size=(60, 4)).astype(np.float32) for m in ("sound", "sight")}
    np.savez(folder / "mine.npz", **arrays, label=np.arange(60) % 3, split=np.repeat([0, 1, 2], 20))
    sheet = {"name": "mine", "task": "classification", "modalities": ["sound", "sight"], **more}
    (folder / "mine.json").write_text(json.dumps(sheet))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return the store of a study of a file of one's own that has run."""
    return train_study(tmp_path)


def train_study(folder: Path, **changes: Any) -> Path:
    """Run a study of a file of one's own, with changes, and return its store."""
    write_data(folder)
    file, store, plan = write(folder, **OWN | changes), folder / "runs", list[Trial]()
    train(file, store)
    study = load(str(file), str(store))
    TableWriter(study, open_queue(study, plan=plan), pytest.fail, plan).close()
    return store


def patch_version(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Let another version of a package be installed."""
    for module in (identity, outdated):
        monkeypatch.setattr(
            module, "package_version", lambda name: "99" if name == package else identity.metadata.version(name)
        )


def changes_of(store: Path, **changes: Any) -> dict[str, tuple[Any, Any]]:
    return forecast(load(str(write(store.parent, **OWN | changes)), str(store))).changed


@pytest.mark.parametrize(
    "more",
    [{}, {"seeds": 4}, {"vary": {"ogm.alpha": [0.5, 1, 2]}}, {"train": {"epochs": 3}}, {"name": "other", "seeds": 3}],
)
def test_what_is_known_or_asked_for_the_first_time_has_not_changed(store: Path, more: dict[str, Any]) -> None:
    assert changes_of(store, **more) == {}


def test_what_is_measured_has_changed_and_no_code_with_it(store: Path) -> None:
    assert changes_of(store, measure=["probe"]) == {"measure": ({}, {"probe": 0})}


def test_other_data_under_the_same_name_is_said(store: Path) -> None:
    write_data(store.parent, factor=2)
    assert changes_of(store).keys() == {"data"}
    write_data(store.parent, standardise={"sound": "all"})
    assert changes_of(store).keys() == {"datasheet"}


def test_versions_and_code_are_said_with_what_they_were(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    then = identity.package_version("torch")
    patch_version(monkeypatch, "torch")
    assert changes_of(store) == {"torch": (then, "99")}
    output = here("plan", store.parent / "small.yaml", "--store", store).stdout
    assert f"so its trials run again: torch ({then}, now 99)." in " ".join(output.split())
    monkeypatch.setattr(identity, "fingerprint", lambda *modules: "another")
    assert changes_of(store).keys() == {"torch", "code"}
    assert json.loads(here("plan", store.parent / "small.yaml", "--store", store, "--json").stdout)["changed"][
        "torch"
    ] == [then, "99"]


def test_what_is_measured_by_depends_on_scikit_learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train_study(tmp_path, measure=["probe"])
    then = identity.package_version("scikit-learn")
    patch_version(monkeypatch, "scikit-learn")
    assert changes_of(tmp_path / "runs", measure=["probe"]) == {"scikit-learn": (then, "99")}
    assert changes_of(tmp_path / "runs") == {"measure": ({"probe": 0}, {})}
    output = here("plan", tmp_path / "small.yaml", "--store", tmp_path / "runs").stdout
    assert "scikit-learn" not in output


def rewrite_rows(store: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change columns of the trials of a store, whose files are not checked from then on."""
    for file in store.glob("trials/*/trials.parquet"):
        table = pl.read_parquet(file)
        rows = [row | change(row) for row in table.iter_rows(named=True)]
        pl.DataFrame(rows, schema=table.schema).write_parquet(file)
        index = json.loads((file.parent / "index.json").read_text())
        (file.parent / "index.json").write_text(json.dumps(index | {"files": {}}))


@pytest.mark.parametrize("origin", [None, "null", "[]", "{", "{}"])
def test_rows_that_do_not_say_their_origin_are_skipped(store: Path, origin: str | None) -> None:
    rewrite_rows(store, lambda row: {"origin": origin})
    assert changes_of(store, measure=["probe"]) == {}


def test_an_origin_without_a_version_says_nothing_of_it(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rewrite_rows(store, lambda row: {"origin": json.dumps({"numpy": "1"})})
    monkeypatch.setattr(identity, "fingerprint", lambda *modules: "another")
    assert changes_of(store) == {"numpy": ("1", identity.package_version("numpy"))}


def test_a_measurement_that_is_gone_is_said_without_its_code(store: Path) -> None:
    rewrite_rows(store, lambda row: {"config": json.dumps(json.loads(row["config"]) | {"measure": {"gone": 0}})})
    assert changes_of(store, measure=["probe"]) == {"measure": ({"gone": 0}, {"probe": 0})}


def test_a_store_is_not_searched_for_what_never_ran(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = load(str(store.parent / "small.yaml"), str(store))
    trial = next(iter(open_queue(study).trials.values()))
    monkeypatch.setattr(outdated.store, "locate", lambda *where: pytest.fail("searched"))
    assert list(outdated.previous_trials(study, trial._replace(seed=99))) == []


def test_results_that_are_gone_have_not_changed(store: Path) -> None:
    for folder in (store / "trials").iterdir():
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    assert changes_of(store, measure=["probe"]) == {}
