"""Nothing is lost: drivers, workers and nodes are killed at random moments, and the tables end as if nothing had been."""

import os
import random
import signal
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from tests.ablate.helpers import ROOT, foreign, start, table, write
from tests.ablate.nodes import APART, Cluster, below, eventually, node, trainers

KINDS = ("driver", "worker", "node")
TABLES = ("trials", "metrics", "predictions")


def study(folder: Path, seeds: int) -> Path:
    """Write a study of a method that leaves a line in `begun` for every trial that begins, and return its file."""
    method = (ROOT / "ablate/templates/method.py").read_text()
    noted = f"        with open({str(folder / 'begun')!r}, 'a') as file:\n            file.write('begun\\n')\n"
    (folder / "noted.py").write_text(method.replace("        return ()\n", f"{noted}        return ()\n"))
    return write(
        folder, methods=["noted:Half"], vary={"Half.factor": [0.25, 0.5]}, seeds=seeds,
        train={"epochs": 40, "dtype": "float64"}, resources={"pack": 2},
    )  # fmt: skip


def kill(process: int) -> None:
    """Kill a process, unless it has ended meanwhile."""
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


class Disturbed:
    """A run on a cluster of a head and another node, with what it takes to kill a part of it and go on."""

    def __init__(self, cluster: Cluster, file: Path, store: Path, stack: ExitStack) -> None:
        """Start it all."""
        self.cluster, self.file, self.store, self.nodes = cluster, file, store, stack
        self.said = ""
        self.drive()
        self.join()

    def drive(self) -> None:
        """Start a driver."""
        words = ("run", self.file, "--address", self.cluster.address, "--store", self.store, "--cpus", 2)
        self.driver = start(*words, **self.cluster.environment)

    def join(self) -> None:
        """Start the other node."""
        log = self.store.parent / f"node-{time.monotonic_ns()}"
        self.other = self.nodes.enter_context(node(self.cluster, log))

    def kill(self, kind: str, draw: random.Random) -> None:
        """Kill something with SIGKILL, and start what a person would start again."""
        if kind == "driver":
            self.driver.kill()
            self.end()
            self.drive()
        elif kind == "worker":
            while not (training := self.trainers()):
                time.sleep(0.1)
            kill(draw.choice(training))
        else:
            for process in [self.other, *below(self.other)]:
                kill(process)
            self.nodes.close()
            self.join()

    def trainers(self) -> list[int]:
        """Return the processes that train, on both nodes."""
        return trainers(self.cluster.process) + trainers(self.other)

    def end(self) -> int:
        """Wait for the driver to end; return its exit code."""
        output, errors = self.driver.communicate(timeout=600)
        self.said += output + errors
        return self.driver.returncode


def pause(begun: Path, longest: int, draw: random.Random) -> None:
    """Wait for a random moment: a while, whatever happens in it, or until some more trials have begun."""
    if draw.random() < 0.3:
        time.sleep(draw.uniform(0, longest / 2))
    else:
        enough = count(begun) + draw.randint(1, longest)
        assert eventually(lambda: count(begun) >= enough, 300)
        time.sleep(draw.uniform(0, 0.5))


def count(begun: Path) -> int:
    """Return how many trials have begun."""
    return len(begun.read_text().splitlines()) if begun.exists() else 0


def disturb(cluster: Cluster, file: Path, store: Path, kinds: list[str], longest: int, draw: random.Random) -> str:
    """Run a study while something is killed again and again; return what its drivers said."""
    with ExitStack() as stack:
        run = Disturbed(cluster, file, store, stack)
        for kind in kinds:
            pause(file.parent / "begun", longest, draw)
            assert run.driver.poll() is None, f"it ended before the {kind} was killed: {run.said}"
            run.kill(kind, draw)
        while run.end() == 1:  # a trial whose process was killed three times has failed, and is tried again
            run.drive()
        assert run.driver.returncode == 0, run.said
    return run.said


def lose(cluster: Cluster, folder: Path, kills: int, seeds: int, longest: int) -> None:
    """Compare a run in which so much was killed with one in which nothing was."""
    draw = random.Random(kills)
    kinds = [KINDS[i % 3] for i in range(kills)]
    draw.shuffle(kinds)
    file, begun = study(folder, seeds), folder / "begun"
    said = disturb(cluster, file, folder / "disturbed", kinds, longest, draw)
    repeated = count(begun) - 2 * seeds
    with start("run", file, "--store", folder / "calm", "--cpus", 2) as calm:
        assert calm.wait(900) == 0
    killed = ", ".join(f"{number} {kind}s" for kind, number in sorted(Counter(kinds).items()))
    print(f"\n{killed} killed: {repeated} trials began again beside the {2 * seeds} of the study")
    assert foreign(said) == []
    assert table(folder / "disturbed", "small", "trials")["status"].to_list() == ["done"] * 2 * seeds
    assert table(folder / "disturbed", "small", "trials")["trial"].n_unique() == 2 * seeds
    for name in TABLES:
        ours, theirs = (table(folder / store, "small", name) for store in ("disturbed", "calm"))
        rounding = 1e-6 if name == "predictions" else 1e-9  # of halves of packs; predictions are in single precision
        assert_frame_equal(ours, theirs, abs_tol=rounding, rel_tol=rounding)
    assert repeated <= 8 * kills  # two workers, of packs of two, and those that waited ready


@pytest.mark.nightly
@pytest.mark.skipif(not APART, reason="gives a node a file system of its own, which needs user namespaces")
def test_a_driver_a_worker_and_a_node_are_killed(cluster: Cluster, tmp_path: Path) -> None:
    lose(cluster, tmp_path, kills=3, seeds=16, longest=3)


@pytest.mark.nightly
@pytest.mark.skipif(not APART, reason="gives a node a file system of its own, which needs user namespaces")
def test_twenty_are_killed(cluster: Cluster, tmp_path: Path) -> None:
    lose(cluster, tmp_path, kills=20, seeds=60, longest=5)
