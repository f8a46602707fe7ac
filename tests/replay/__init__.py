"""Replays numbers of the authors' own code through this project's methods, models and optimisers.

    python -m tests.replay FILE.json ...

Prints one line a case with the worst relative deviation, |ours - theirs| / max(1, |theirs|), over every number of
the case that has a counterpart here, and exits with 1 if one exceeds the tolerance. Trajectories run from
`init_params` to `final_params` without looking back, so an error at any step shows at all that follow.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tests.replay import agm, cggm, competition, epochs, evidence, ogm

TOLERANCE = 1e-9
MODULES = (agm, ogm, cggm, epochs, evidence, competition)  # each has `select_replay(case)` for its own cases


def deviation(ours: Any, theirs: Any) -> float:
    """Return the largest relative deviation between two numbers or nests of numbers; equal infinities have none."""
    a = torch.as_tensor(ours, dtype=torch.float64)
    b = torch.as_tensor(theirs, dtype=torch.float64)
    if a.shape != b.shape:
        return float("inf")
    relative = ((a - b).abs() / b.abs().clamp(min=1)).nan_to_num(nan=float("inf"))
    worst = torch.where(a == b, 0.0, relative).flatten()
    return float(worst.max()) if worst.numel() else 0.0


class ReplayResult(NamedTuple):
    """The agreement of a case."""

    name: str
    worst: float
    where: str  # the number with the largest deviation, or the error
    count: int  # number of comparisons
    unread: list[str]  # official numbers without a counterpart here
    tolerance: float = TOLERANCE


def replay(file: Path) -> Iterator[ReplayResult]:
    """Replay every case of a file; a case that raises an error has failed, and the others continue."""
    for index, case in enumerate(json.loads(file.read_text())["cases"]):
        name = f"{file.stem}/{case.get('name') or index}"
        run = next((run for run in (module.select_replay(case) for module in MODULES) if run), None)
        if run is None:
            yield ReplayResult(name, float("inf"), "no method of this project replays it", 0, [])
            continue
        try:
            pairs = list(run(case))
            deviations = [
                (deviation(ours, theirs), what)
                for what, ours, theirs in pairs
                if ours is not None and theirs is not None
            ]
        except Exception as error:
            yield ReplayResult(name, float("inf"), f"{type(error).__name__}: {error}", 0, [])
            continue
        worst, where = max(deviations, default=(float("inf"), "nothing was compared"))
        unread = [what for what, ours, theirs in pairs if ours is None and theirs is not None]
        yield ReplayResult(name, worst, where, len(deviations), unread, cggm.tolerance(case) or TOLERANCE)


def main(files: list[str]) -> int:
    """Replay every case of every file; return 1 if a deviation exceeds the tolerance, 2 without files."""
    if not files:
        sys.stderr.write("usage: python -m tests.replay FILE.json ...\n")
        return 2
    failed = False
    for case in (case for file in files for case in replay(Path(file))):
        failed |= not case.worst <= case.tolerance
        unread = f"; not read: {', '.join(case.unread)}" if case.unread else ""
        verdict = "ok  " if case.worst <= case.tolerance else "FAIL"
        line = f"{verdict} {case.worst:8.1e}  {case.name}  ({case.count} comparisons; worst: {case.where}{unread})"
        sys.stdout.write(line + "\n")
    return int(failed)
