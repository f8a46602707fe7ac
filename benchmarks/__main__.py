"""What a step of each method costs beside joint training: the same model, batches and process, turn by turn.

    python -m benchmarks

One thread, two-layer MLP encoders of 64 on av-digits (M = 2) and mfeat (M = 3, 6), batch 64, SGD. A round times some
steps of every method in turn; the ratio is the median over rounds of its time to joint's in the same round.
"""

import sys
import time
from statistics import median
from typing import Any

import torch

from search_spaces.methods import METHODS as AXES
from trainables.data import load
from trainables.methods import METHODS
from trainables.setup import Learner, Setup, prepare, start
from trainables.train import batches, pose, step

DATA: dict[int, dict[str, Any]] = {
    2: {"name": "av-digits"},
    3: {"name": "mfeat", "modalities": ["fou", "fac", "zer"]},
    6: {"name": "mfeat"},
}
ROUNDS, STEPS = 15, 15


def trial(method: str) -> dict[str, Any]:
    """Return a trial of a method with its published settings."""
    settings = {name: axis.default for name, axis in AXES[method].items()}
    return {
        "method": METHODS[method], "settings": settings, "start": 1, "end": float("inf"), "warmup": 0,
        "modality": None, "measure": [], "seed": 0,
        "model": {"fusion": "concat", "encoder": "mlp", "hidden": 64, "norm": "none", "dropout": 0.0},
        "train": {
            "epochs": 1, "batch_size": 64, "optimizer": "sgd", "lr": 0.02, "momentum": 0.9, "weight_decay": 0.0,
            "loss": "mse", "reduction": "mean", "clip": None, "clip_before": None, "clip_trigger": None,
            "dtype": "float32",
        },
    }  # fmt: skip


def seconds(setup: Setup, learner: Learner) -> float:
    """Return the time of STEPS steps."""
    chosen = batches(setup, 1)[:STEPS]
    began = time.perf_counter()
    for number, indices in enumerate(chosen):
        inputs = {m: x.index_select(0, indices) for m, x in setup.inputs["train"].items()}
        learner, _ = step(setup, learner, inputs, pose(setup, indices, 1, number))
    return (time.perf_counter() - began) / len(chosen)


def main() -> None:
    """Print milliseconds a step and the ratio to joint training, for 2, 3 and 6 modalities."""
    torch.set_num_threads(1)
    names = [name for name in METHODS if name != "unimodal"]
    for modalities, spec in DATA.items():
        dataset = load(spec)
        setups = {name: prepare(trial(name), dataset) for name in names}
        learners = {name: start(setup) for name, setup in setups.items()}
        rounds = [{name: seconds(setups[name], learners[name]) for name in names} for _ in range(ROUNDS + 1)][1:]
        sys.stdout.write(f"M = {modalities} ({spec['name']})\n")
        for name in names:
            cost = median(times[name] for times in rounds)
            ratio = median(times[name] / times["joint"] for times in rounds)
            sys.stdout.write(f"  {name:10s} {1e3 * cost:6.2f} ms a step  {ratio:5.2f} x joint\n")


if __name__ == "__main__":
    main()
