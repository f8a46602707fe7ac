"""Measure the embedded data sets and write the table into their datasheets.

    python -m benchmarks.datasheets [STORE]

Runs the ready studies `measure-*`: joint and unimodal training, SGD and Adam, 5 seeds, test split, last epoch.
`alone` is an encoder trained by itself with a linear head; `probe` a linear model on frozen features; `gap` the probe
of the jointly trained encoder minus that of the same encoder trained alone, paired by seed: the cost of joint training.
Each number is a mean and a standard deviation over the seeds.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl

from analysis import load
from trainables.data import dataset_names
from trainables.data.archive import EMBEDDED

DESCRIPTION = (
    "ablate run measure-{name}: MLP encoders of 64, concatenation, 20 epochs; test split, mean and sd over 5 seeds"
)


def measure_dataset(name: str, store: Path) -> dict[str, Any]:
    """Run a data set's study, and return its table: optimiser -> joint score, and the scores of each modality."""
    subprocess.run(
        [sys.executable, "-c", "from ablate.cli import main; main()", "run", f"measure-{name}", "--store", store],
        check=True,
    )
    run = load(store / f"measure-{name}")
    metric = run.metric
    trials = run.trials.select(
        "trial", "method", "modality", "seed", f"test.{metric}", optimizer="train.optimizer"
    ).collect()
    probes = (
        run.metrics.filter(metric=f"probe_{metric}", split="test")
        .select("trial", "value", encoder="modality")
        .collect()
    )
    probed = probes.join(trials.drop("modality"), on="trial")
    table: dict[str, Any] = {"how": DESCRIPTION.format(name=name), "metric": metric}
    for optimizer in trials["optimizer"].unique().sort(descending=True):
        runs, probes = trials.filter(optimizer=optimizer), probed.filter(optimizer=optimizer)
        table[optimizer] = {"joint": mean_and_sd(runs.filter(method="joint")[f"test.{metric}"])}
        for modality in run.study["modalities"]:
            alone = probes.filter(method="unimodal", encoder=modality).sort("seed")["value"]
            joint = probes.filter(method="joint", encoder=modality).sort("seed")["value"]
            table[optimizer][modality] = {
                "alone": mean_and_sd(runs.filter(method="unimodal", modality=modality)[f"test.{metric}"]),
                "probe alone": mean_and_sd(alone),
                "probe joint": mean_and_sd(joint),
                "gap": mean_and_sd(joint - alone),
            }
    return table


def mean_and_sd(values: pl.Series) -> list[float]:
    """Return mean and standard deviation, rounded to 4 digits."""
    assert values.len() == 5, "a trial is missing"
    return [round(float(number), 4) for number in (values.to_numpy().mean(), values.to_numpy().std(ddof=1))]


def main(store: Path) -> None:
    """Measure every embedded data set."""
    for name in dataset_names():
        sheet = EMBEDDED / f"{name}.json"
        if sheet.is_file():
            content = json.loads(sheet.read_text("utf-8")) | {"measured": measure_dataset(name, store)}
            sheet.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs"))
