"""Measure what a trial costs the driver: a study of many trivial trials, through the real engine.

    python -m benchmarks.scale [trials]

Joint training on a small synthetic set, one epoch, hidden 1. Printed are the CPU seconds of the driver for each trial -
planning, dispatch, collection of results and tables - its peak memory, and the wall time.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ablate.run import run_study
from benchmarks.configurations import write_study

CPUS = 2
SEEDS = 10
STUDY: dict[str, Any] = {
    "name": "scale", "methods": ["joint"], "seeds": SEEDS, "model": {"hidden": 1}, "train": {"epochs": 1},
    "data": {"name": "synthetic", "modalities": 2, "samples": [64, 16, 16]}, "resources": {"pack": 1000},
}  # fmt: skip


class SilentCallback:
    """A callback that does nothing."""

    def on_start(self, queue: Any) -> None:
        """Ignore the start."""

    def on_result(self, *result: Any) -> None:
        """Ignore a result."""

    def note(self, sentence: str) -> None:
        """Ignore a note."""


def main(trials: int) -> None:
    """Print the cost of a study of a number of trials for its driver."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vary = {"train.lr": {"log": [0.001, 0.1], "num": max(2, trials // SEEDS)}}
        began, spent = time.perf_counter(), time.process_time()
        outcome = run_study(write_study(folder, STUDY | {"vary": vary}, folder / "runs"), CPUS, SilentCallback())
        wall, cpu = time.perf_counter() - began, time.process_time() - spent
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(
        f"{outcome.trials} trials ({outcome.failed} failed): {1e3 * cpu / outcome.trials:.2f} ms of driver CPU each, "
        f"peak {peak:.0f} MiB, {wall:.0f} s\n"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
