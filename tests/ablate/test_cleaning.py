"""What of a store may go: never what a study may still want."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ablate import store
from ablate.cleaning import delete_unused, take_inventory
from ablate.errors import UserError
from ablate.files import atomic_write
from ablate.lock import run_lock, store_lock
from ablate.manifest import write_manifest
from ablate.run import start_study
from ablate.shards import write_shard
from ablate.study import load
from ablate.terminal import ProgressDisplay
from tests.ablate.helpers import ROOT, here, write
from tests.ablate.test_store import fill, trial

KILLED = """
import os, sys; from pathlib import Path; from ablate.files import atomic_write
with atomic_write(Path(sys.argv[1])) as draft: draft.mkdir(); (draft / "half").write_text("x" * 1000); os.kill(os.getpid(), 9)
"""

HALF_A_REPORT = """
import os, sys; from pathlib import Path; from analysis import files
os.fsync = lambda handle: os.kill(os.getpid(), 9); files.write_atomically(Path(sys.argv[1]), b"half")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store with a pack of which a study names one trial, a trial that none names, a damaged and a half one."""
    fill(tmp_path, [0, 1], [2], [3])
    written(tmp_path, 1)
    (tmp_path / "trials" / trial(3).id / "metrics.parquet").write_bytes(b"")
    store.set_aside(tmp_path / "trials" / trial(3).id)
    subprocess.run([sys.executable, "-c", KILLED, tmp_path / "trials" / trial(9).id], cwd=ROOT, check=False)
    return tmp_path


def written(folder: Path, planned: int) -> None:
    about = {"name": "s", "metric": "accuracy", "direction": "max"}
    write_manifest(folder / "s", {"study": about, "planned": planned})
    write_shard(folder, folder / "s", [trial(0)], {}, 0)


def folders(store: Path) -> set[str]:
    return {path.name for path in (store / "trials").iterdir()}


def test_what_no_study_names_is_damaged_or_half_written_may_go(folder: Path) -> None:
    inventory = take_inventory(folder)
    assert [(part.what.split()[0], len(part.folders), part.may_go) for part in inventory.parts] == [
        ("trials", 1, False), ("unused", 1, True), ("damaged", 1, True), ("partial", 1, True), ("tables", 1, False),
    ]  # fmt: skip
    assert inventory.parts[3].size == 1000
    assert delete_unused(folder) == inventory
    assert folders(folder) == {store.pack_name([trial(0).id, trial(1).id])}
    assert store.locate(folder, [trial(0).id, trial(1).id]).keys() == {trial(0).id, trial(1).id}


def test_a_report_half_written_by_a_process_that_died_may_go(folder: Path) -> None:
    subprocess.run([sys.executable, "-c", HALF_A_REPORT, folder / "s" / "report.html"], cwd=ROOT, check=False)
    (half,) = (folder / "s").glob(".*")
    assert half in delete_unused(folder).parts[3].folders
    assert not half.exists()


def test_what_an_unfinished_study_may_want_stays(folder: Path) -> None:
    written(folder, 2)
    delete_unused(folder)
    assert folders(folder) == {store.pack_name([trial(0).id, trial(1).id]), trial(2).id}


def test_a_study_whose_trial_failed_tries_it_again_and_wants_its_checkpoint(folder: Path) -> None:
    write_manifest(folder / "s", {"study": {"name": "s", "metric": "accuracy", "direction": "max"}, "planned": 2})
    write_shard(folder, folder / "s", [trial(0), trial(5)], {trial(5).id: "a process died"}, 0)
    assert take_inventory(folder).unfinished == ["s"]


def test_what_a_run_left_that_was_stopped_before_its_first_trial_is_a_store(tmp_path: Path) -> None:
    study = load(str(write(tmp_path)), str(tmp_path / "store"))
    start_study(study, 1, 0, ProgressDisplay([study]).study_callback(study), lambda study, outcome: None).close()
    assert sorted(path.name for path in study.store.iterdir()) == ["schema", "small"]
    seen = here("gc", study.store, "--delete", "--json")
    assert seen.returncode == 0
    told = json.loads(seen.stdout)
    assert (told["unfinished"], [part["what"] for part in told["parts"]]) == (["small"], ["tables and figures"])


def test_nothing_goes_while_a_study_runs(folder: Path) -> None:
    before = folders(folder)
    with (
        run_lock(folder, folder / "s", pytest.fail),
        pytest.raises(UserError, match=f"s, by process {os.getpid()} of .*being run"),
    ):
        delete_unused(folder)
    assert folders(folder) == before


def test_nothing_goes_while_a_run_begins_that_has_no_tables_yet(folder: Path) -> None:
    with run_lock(folder, folder / "new", pytest.fail):
        assert take_inventory(folder).running[0].startswith("new, by process")
        with pytest.raises(UserError, match="being run"):
            delete_unused(folder)


def test_a_run_waits_for_what_is_being_deleted(folder: Path) -> None:
    def begin() -> None:
        with run_lock(folder, folder / "new", pytest.fail):
            pass

    waiting = threading.Thread(target=begin)
    with store_lock(folder):
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        assert not (folder / "new/driver.json").exists()
    waiting.join(10)
    assert not waiting.is_alive()


def test_what_a_living_process_writes_stays(folder: Path) -> None:
    with atomic_write(folder / "trials" / trial(8).id) as draft:
        draft.mkdir()
        delete_unused(folder)
        assert draft.is_dir()
    assert trial(8).id in folders(folder)


def test_the_command_shows_first_and_deletes_when_told(folder: Path) -> None:
    seen = here("gc", folder)
    assert seen.returncode == 0
    assert "Use --delete to delete what can be deleted." in seen.stdout
    assert len(folders(folder)) == 4
    told = json.loads(here("gc", folder, "--delete", "--json").stdout)
    assert [part["folders"] for part in told["parts"] if part["may_go"]] == [1, 1, 1]
    assert len(folders(folder)) == 1
    assert here("gc", folder / "nowhere").returncode == 2
