"""Several processes on one store: one driver a study, and what a full or a read-only disk is told."""

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ablate import tables
from ablate.errors import UserError
from ablate.lock import read_driver, run_lock
from ablate.pack_training import resolve_job, train_pack
from ablate.run import start_study
from ablate.store import locate
from ablate.study import load
from ablate.terminal import ProgressDisplay
from ablate.trial import Result
from tests.ablate.helpers import ROOT, here, start, table, train, write

HOLD = "import sys, time; from pathlib import Path; from ablate.lock import run_lock\nwith run_lock(Path(sys.argv[1]).parent, Path(sys.argv[1]), print): print('held', flush=True); time.sleep(600)"


@contextmanager
def held(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Hold a run's folder by another process."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_the_second_driver_of_a_study_says_who_runs_it(tmp_path: Path) -> None:
    file = write(tmp_path)
    with held(tmp_path / "store/small") as first:
        ended = here("run", file, "--store", tmp_path / "store")
        assert ended.returncode == 2
        assert f"small: is being run by process {first.pid} of " in ended.stderr
        assert ended.stderr.count("\n") == 1
        assert read_driver(tmp_path / "store/small") is not None


def test_a_driver_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    with held(tmp_path / "store/small") as first:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    assert (tmp_path / "store/small/driver.json").is_file()
    assert read_driver(tmp_path / "store/small") is None
    with run_lock(tmp_path / "store", tmp_path / "store/small", pytest.fail):
        now = read_driver(tmp_path / "store/small")
        assert now is not None
        assert now.pid == os.getpid()


def test_a_run_that_wrote_nothing_leaves_nothing(tmp_path: Path) -> None:
    with run_lock(tmp_path / "store", tmp_path / "store/small", pytest.fail):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.nightly
def test_two_studies_of_one_store_run_at_once_and_share_their_trials(tmp_path: Path) -> None:
    """They have 6 trials in common; each ends with the tables that it would have alone."""
    files = [write(tmp_path, name=name, vary={"agm.alpha": [0, 1, *more]}) for name, more in (("a", [2]), ("b", [3]))]
    running = [start("run", file, "--store", tmp_path / "s", "--cpus", 1) for file in files]
    for process in running:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    a, b = (table(tmp_path / "s", name, "trials") for name in "ab")
    shared = a.join(b, on="trial", how="semi")
    assert (a.height, b.height, shared.height) == (8, 8, 6)
    assert shared.equals(b.join(a, on="trial", how="semi"))
    for name in "ab":
        metrics = table(tmp_path / "s", name, "metrics")
        assert metrics.select("trial", "epoch", "split", "modality", "metric").is_duplicated().sum() == 0
    assert len(locate(tmp_path / "s", {*a["trial"], *b["trial"]})) == 10


@contextmanager
def small_files(most: int) -> Iterator[None]:
    """Let the system refuse to make a file larger, as it does where the disk is full."""
    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))


def test_tables_that_cannot_be_written_end_a_run_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MIN_INTERVAL", 0)
    monkeypatch.setattr(tables, "INTERVAL_RATIO", 0)
    study = load(str(write(tmp_path)), str(tmp_path / "store"))
    run = start_study(study, 1, 0, ProgressDisplay([study]).study_callback(study), lambda study, outcome: None)
    pack = run.queue.next_pack()
    assert pack is not None
    status, score, _ = train_pack(resolve_job(run.job), pack, None)[pack[0].id]
    said = "^File too large; run the same command to continue$"
    with small_files(100):
        with pytest.raises(UserError, match=said):
            run.on_result(pack[0], Result(status, score), None)
        with pytest.raises(UserError, match=said):
            run.close()
    assert read_driver(study.folder) is None
    assert here("status", study.folder).returncode == 0


DISK = """
mkdir disk; mount -t tmpfs -o size=230m none disk
"$@" run small.yaml --store disk/s --cpus 1 & pid=$!
while [ -d /proc/$pid ] && ! ls disk/s/trials/*/index.json; do sleep 0.05; done > /dev/null 2>&1
head -c 40M /dev/zero > disk/filler
wait $pid; echo "exit $?"
ls disk/s/trials/*/index.json
rm disk/filler; mount -o remount,ro disk
"$@" run small.yaml --store disk/s; echo "exit $?"
"$@" status disk/s/small; echo "exit $?"
"""
UNSHARE = ["unshare", "--map-root-user", "--mount"]
APART = shutil.which("unshare") is not None and subprocess.run([*UNSHARE, "true"], check=False).returncode == 0


def apart(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script, whose arguments are the command line, in a folder and with mounts of its own."""
    words = ["sh", "-c", script, "sh", sys.executable, "-c", "from ablate.cli import main; main()"]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([*UNSHARE, *words], cwd=folder, env=variables, capture_output=True, text=True, check=False)


READ_ONLY = """
mount --bind store store; mount -o remount,bind,ro store
"$@" plan small.yaml --store store; echo "exit $?"
"$@" run small.yaml --store store; echo "exit $?"
"""


@pytest.mark.skipif(not APART, reason="mounts a disk of its own, which needs user namespaces")
def test_a_study_of_a_read_only_store_is_planned_and_not_run(tmp_path: Path) -> None:
    train(write(tmp_path), tmp_path / "store")
    ended = apart(READ_ONLY, tmp_path)
    assert re.findall(r"exit (\d+)", ended.stdout) == ["0", "2"], ended.stderr
    assert "small on synthetic: 6 trials, 6 in the store, 0 to run." in ended.stdout
    assert f"Note: store: cannot write to {tmp_path / 'store'}, so `run` cannot start.\n" in ended.stdout
    assert ended.stderr == f"store: cannot write to {tmp_path / 'store'}\n"


@pytest.mark.nightly
@pytest.mark.skipif(not APART, reason="mounts a disk of its own, which needs user namespaces")
def test_a_full_disk_stops_a_run_and_a_read_only_one_begins_none(tmp_path: Path) -> None:
    write(tmp_path, seeds=20, train={"epochs": 30}, resources={"pack": 1})
    ended = apart(DISK, tmp_path)
    assert re.findall(r"exit (\d+)", ended.stdout) == ["2", "2", "0"], ended.stderr
    assert re.search(r"the disk of .* has 1[89]\d MB free", ended.stderr)
    assert "a run needs 200 MB; run the same command to continue" in ended.stderr
    stored = ended.stdout.count("index.json")
    assert 1 <= stored < 60
    assert "store: cannot write to" in ended.stderr
    seen = re.search(r"small: (\d+) of 60 trials done", ended.stdout)
    assert seen is not None
    assert stored - 1 <= int(seen[1]) <= stored  # one was in the air when Ray was stopped
