"""Measure the regret of searches for their budget: one proposal at a time, and in rounds, beside random points.

    python -m benchmarks.search [seeds]

Branin's function over the unit square stands for the score of a trial; the searches are those of the engine, without
its training. Printed is the median over seeds of what the best point so far lacks to the optimum, after so many points;
and for each search, in how many seeds it ends better than random points and than TPE asked one by one, with the p-value
of a sign test.
"""

import math
import sys
import tempfile
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import Any

from scipy.stats import binomtest

from ablate.search import rounds
from ablate.trial import Result, Trial
from benchmarks.configurations import write_study

AXES = ("agm.alpha", "agm.cap")
STUDY: dict[str, Any] = {
    "name": "plane", "data": {"name": "synthetic", "modalities": 2, "samples": [64, 16, 16]}, "methods": ["agm"],
    "vary": {axis: {"linear": [0, 1]} for axis in AXES}, "seeds": 1, "trials": 128,
}  # fmt: skip
SEARCHES: dict[str, tuple[str, dict[str, int]]] = {
    "random": ("random", {}),
    "tpe one by one": ("tpe", {"batch": 1}),
    "tpe rounds of 4": ("tpe", {"batch": 4}),
    "tpe rounds of 8": ("tpe", {"batch": 8}),
    "tpe rounds of 32": ("tpe", {"batch": 32}),
    "cma rounds of 8": ("cma", {"batch": 8}),
}
BUDGETS = (16, 32, 64, 128)


def branin(u: float, v: float) -> float:
    """Return Branin's function over the unit square, less its minimum."""
    x, y = 15 * u - 5, 15 * v
    bowl = (y - 5.1 * x**2 / (4 * math.pi**2) + 5 * x / math.pi - 6) ** 2
    return bowl + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10 - 0.39788735772973816


def regret(trial: Trial) -> float:
    """Return the difference of a trial's score to the optimum."""
    return branin(*(trial.labels[axis] for axis in AXES))


def regret_curve(folder: Path, search: str, options: dict[str, int]) -> list[float]:
    """Return the regret of the best point so far after each point of a search."""
    search_rounds = rounds(write_study(folder, STUDY | {"search": {search: options}}))
    trials = next(search_rounds)
    regrets: list[float] = []
    while True:
        regrets += map(regret, trials)
        try:
            trials = search_rounds.send({trial.id: Result("done", -regret(trial)) for trial in trials})
        except StopIteration:
            return list(accumulate(regrets, min))


def compare_searches(curves: list[list[float]], baseline: list[list[float]]) -> str:
    """Return in how many seeds a search ends better than another, and the p-value of a sign test."""
    wins = sum(curve[-1] < other[-1] for curve, other in zip(curves, baseline, strict=True))
    return f"{wins:2d} of {len(curves)}, p = {binomtest(wins, len(curves)).pvalue:.3f}"


def main(seeds: int) -> None:
    """Print the regret of each search."""
    with tempfile.TemporaryDirectory() as folder:
        curves = {
            name: [regret_curve(Path(folder), search, options | {"seed": seed}) for seed in range(seeds)]
            for name, (search, options) in SEARCHES.items()
        }
    sys.stdout.write(
        f"{'points':18s}" + "".join(f"{n:9d}" for n in BUDGETS) + "   better than random    than one by one\n"
    )
    for name, runs in curves.items():
        regrets = "".join(f"{median(run[n - 1] for run in runs):9.4f}" for n in BUDGETS)
        against = [
            compare_searches(runs, curves[other]) if name != other else "" for other in ("random", "tpe one by one")
        ]
        sys.stdout.write(f"{name:18s}{regrets}   {against[0]:22s}{against[1]}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
