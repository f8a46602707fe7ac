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
ROOMS = (
    agm,
    ogm,
    cggm,
    epochs,
    evidence,
    competition,
)  # with a `replayer(case)` that knows its cases by what they hold


def deviation(ours: Any, theirs: Any) -> float:
    """Return the largest relative deviation between two numbers or nests of numbers; equal infinities do not deviate."""
    a = torch.as_tensor(ours, dtype=torch.float64)
    b = torch.as_tensor(theirs, dtype=torch.float64)
    if a.shape != b.shape:
        return float("inf")
    apart = ((a - b).abs() / b.abs().clamp(min=1)).nan_to_num(nan=float("inf"))
    worst = torch.where(a == b, 0.0, apart).flatten()
    return float(worst.max()) if worst.numel() else 0.0


class Replayed(NamedTuple):
    """A case and how well it agrees."""

    name: str
    worst: float
    where: str  # the number that deviates most, or what went wrong
    count: int  # comparisons
    unread: list[str]  # official numbers that nothing here answers to
    tolerance: float = TOLERANCE


def replay(file: Path) -> Iterator[Replayed]:
    """Replay every case of a file; one that cannot be read has failed, and the others go on."""
    for index, case in enumerate(json.loads(file.read_text())["cases"]):
        name = f"{file.stem}/{case.get('name') or index}"
        run = next((found for found in (room.replayer(case) for room in ROOMS) if found), None)
        if run is None:
            yield Replayed(name, float("inf"), "no method of this project replays it", 0, [])
            continue
        try:
            pairs = list(run(case))
            offs = [
                (deviation(ours, theirs), what)
                for what, ours, theirs in pairs
                if ours is not None and theirs is not None
            ]
        except Exception as error:
            yield Replayed(name, float("inf"), f"{type(error).__name__}: {error}", 0, [])
            continue
        worst, where = max(offs, default=(float("inf"), "nothing was compared"))
        unread = [what for what, ours, theirs in pairs if ours is None and theirs is not None]
        yield Replayed(name, worst, where, len(offs), unread, cggm.tolerance(case) or TOLERANCE)


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
