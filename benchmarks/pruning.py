"""Measure what pruning saves and what it misses: 64 configurations in full, and under successive halving.

    python -m benchmarks.pruning [cpus]

AGM on av-digits, random values of alpha and the learning rate, 27 epochs. Printed are the epochs and the seconds of
training that `prune: asha` needs beside all 64 to the end, start-up excluded; and what its choice lacks to the best of
all on validation, over seeds that neither was chosen by, beside the standard error of the best.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import polars as pl

from ablate.run import run_study
from benchmarks.configurations import write_study
from benchmarks.scale import SilentCallback

AXES = ("agm.alpha", "train.lr")
SEEDS = 10  # by which the two chosen configurations are compared
STUDY: dict[str, Any] = {
    "name": "full", "data": "av-digits", "methods": ["agm"], "train": {"epochs": 27}, "seeds": 1,
    "search": "random", "trials": 64, "vary": {"agm.alpha": {"log": [0.05, 5]}, "train.lr": {"log": [0.0005, 0.5]}},
}  # fmt: skip


def run_trials(folder: Path, cpus: int, **changes: Any) -> pl.DataFrame:
    """Run the study with changes, in a store of its own, and return its trials."""
    content = {key: value for key, value in (STUDY | changes).items() if value is not None}
    study = write_study(folder, content, folder / f"store-{content['name']}")
    run_study(study, cpus, SilentCallback())
    return pl.read_parquet(study.folder / "trials/*.parquet")


def best_settings(trials: pl.DataFrame) -> dict[str, float]:
    """Return the settings of the best finished trial on validation."""
    done = trials.filter(status="done").sort("validation.accuracy", descending=True, maintain_order=True)
    return done.select(AXES).row(0, named=True)


def rescore(folder: Path, cpus: int, name: str, point: dict[str, float]) -> pl.Series:
    """Return the validation accuracies of a configuration, with seeds that were not used to choose it."""
    vary = {axis: [value] for axis, value in point.items()}
    table = run_trials(folder, cpus, name=name, vary=vary, seeds=SEEDS + 1, search="grid", trials=None)
    return table.filter(pl.col("seed") > 0)["validation.accuracy"]


def main(cpus: int) -> None:
    """Print what pruning saves and what it misses."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        full = run_trials(folder, cpus)
        asha = run_trials(folder, cpus, name="asha", prune="asha")
        for what, unit in (("steps", 55), ("seconds", 1)):
            total, used = float(full[what].sum()) / unit, float(asha[what].sum()) / unit
            label = "epochs" if what == "steps" else what
            sys.stdout.write(f"{label}: {used:.1f} of {total:.1f}, {1 - used / total:.0%} saved\n")
        points = {"best of all": best_settings(full), "choice of asha": best_settings(asha)}
        scores = {what: rescore(folder, cpus, what.replace(" ", "-"), point) for what, point in points.items()}
    for what, point in points.items():
        settings = ", ".join(f"{axis} {value:.3g}" for axis, value in point.items())
        error = float(scores[what].std()) / SEEDS**0.5  # type: ignore[arg-type]
        sys.stdout.write(f"{what}: {settings}: {scores[what].mean():.4f}, standard error {error:.4f}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
