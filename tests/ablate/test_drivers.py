"""Several processes on one store: one driver a study, and what a full or a read-only disk is told."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ablate.lock import alone, driver
from ablate.store import finished
from tests.ablate.helpers import ROOT, here, start, table, write

HOLD = "import sys, time; from pathlib import Path; from ablate.lock import alone\nwith alone(Path(sys.argv[1]).parent, Path(sys.argv[1]), print): print('held', flush=True); time.sleep(600)"


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
        assert driver(tmp_path / "store/small") is not None


def test_a_driver_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    with held(tmp_path / "store/small") as first:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    assert (tmp_path / "store/small/driver.json").is_file()
    assert driver(tmp_path / "store/small") is None
    with alone(tmp_path / "store", tmp_path / "store/small", pytest.fail):
        now = driver(tmp_path / "store/small")
        assert now is not None
        assert now.pid == os.getpid()


def test_a_run_that_wrote_nothing_leaves_nothing(tmp_path: Path) -> None:
    with alone(tmp_path / "store", tmp_path / "store/small", pytest.fail):
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
    assert len(finished(tmp_path / "s", {*a["trial"], *b["trial"]})) == 10


DISK = """
mkdir disk; mount -t tmpfs -o size=230m none disk
"$@" run small.yaml --store disk/s --cpus 1 & pid=$!
while [ -d /proc/$pid ] && ! ls disk/s/trials/*/index.json; do sleep 0.05; done > /dev/null 2>&1
head -c 40M /dev/zero > disk/filler
wait $pid; echo "exit $?"
ls disk/s/trials/*/index.json
mount -o remount,ro disk
"$@" run small.yaml --store disk/s; echo "exit $?"
"$@" status disk/s/small; echo "exit $?"
"""
UNSHARE = ["unshare", "--map-root-user", "--mount"]
APART = shutil.which("unshare") is not None and subprocess.run([*UNSHARE, "true"], check=False).returncode == 0


@pytest.mark.nightly
@pytest.mark.skipif(not APART, reason="mounts a disk of its own, which needs user namespaces")
def test_a_full_disk_stops_a_run_and_a_read_only_one_begins_none(tmp_path: Path) -> None:
    write(tmp_path, seeds=20, train={"epochs": 30}, resources={"pack": 1})
    words = ["sh", "-c", DISK, "sh", sys.executable, "-c", "from ablate.cli import main; main()"]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([*UNSHARE, *words], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    assert re.findall(r"exit (\d+)", ended.stdout) == ["2", "2", "0"], ended.stderr
    assert re.search(r"1[89]\d MB are free on the disk of", ended.stderr)
    assert "a run needs 200; the same command continues with what is missing" in ended.stderr
    stored = ended.stdout.count("index.json")
    assert 1 <= stored < 60
    assert "store: cannot write to" in ended.stderr
    seen = re.search(r"small: (\d+) of 60 trials done", ended.stdout)
    assert seen is not None
    assert stored - 1 <= int(seen[1]) <= stored  # one was in the air when Ray was stopped
