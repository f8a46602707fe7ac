"""What a step of each method costs beside joint training: the same model, batches and process, turn by turn.

    python -m benchmarks [rounds]

One thread, two-layer MLP encoders of 64 on av-digits (M = 2) and mfeat (M = 3, 6), batch 64, SGD, concatenation. A
round times some steps of every method in turn, each after a few steps that are not timed; the ratio is the median
over rounds of its time to joint's in the same round. Time is that of the processor: others delay it, and count only as
far as they share caches. Beside it stand the floating-point operations of the matrix products that it must do, and
their ratio to joint's: what the method would cost if nothing but arithmetic counted.
"""

import sys
import time
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from search_spaces.methods import METHODS as AXES
from trainables.data import load
from trainables.methods import METHODS
from trainables.setup import Learner, Setup, prepare, start
from trainables.signals import EpochMethod
from trainables.train import batches, pose, step

DATA: dict[int, dict[str, Any]] = {
    2: {"name": "av-digits"},
    3: {"name": "mfeat", "modalities": ["fou", "fac", "zer"]},
    6: {"name": "mfeat"},
}
ROUNDS, WARM, STEPS = 15, 3, 15


def trial(method: str) -> dict[str, Any]:
    """Return a trial of a method with its published settings."""
    settings = {name: axis.default for name, axis in AXES[method].items()}
    return {
        "method": METHODS[method], "settings": settings, "start": 1, "end": float("inf"), "warmup": 0,
        "modality": None, "measure": {}, "seed": 0,
        "model": {"fusion": "concat", "encoder": "mlp", "hidden": 64, "norm": "none", "dropout": 0.0},
        "train": {
            "epochs": 1, "batch_size": 64, "optimizer": "sgd", "lr": 0.02, "momentum": 0.9, "weight_decay": 0.0,
            "loss": "mse", "reduction": "mean", "order": "shuffled", "schedule": "constant",
            "clip": None, "clip_before": None, "clip_trigger": None,
            "dtype": "float32",
        },
    }  # fmt: skip


def seconds(setup: Setup, learner: Learner) -> float:
    """Return the time of one of STEPS steps, after WARM others."""
    rates = setup.method.rates(learner.state) if isinstance(setup.method, EpochMethod) else None
    chosen, began = batches(setup, 1)[: WARM + STEPS], 0.0
    for number, indices in enumerate(chosen):
        if number == WARM:
            began = time.thread_time()
        inputs = {m: x.index_select(0, indices) for m, x in setup.inputs["train"].items()}
        learner, _ = step(setup, learner, inputs, pose(setup, indices, 1, number), rates)
    return (time.thread_time() - began) / (len(chosen) - WARM)


def operations(setup: Setup, learner: Learner) -> int:
    """Return the floating-point operations of the matrix products of a step."""
    indices = batches(setup, 1)[0]
    inputs = {m: x.index_select(0, indices) for m, x in setup.inputs["train"].items()}
    with FlopCounterMode(display=False) as counter:
        step(setup, learner, inputs, pose(setup, indices, 1, 1))
    return int(counter.get_total_flops())


def main(rounds: int) -> None:
    """Print milliseconds and operations of a step and their ratios to joint training, for 2, 3 and 6 modalities."""
    torch.set_num_threads(1)
    names = [name for name in METHODS if name != "unimodal"]
    for modalities, spec in DATA.items():
        dataset = load(spec)
        setups = {name: prepare(trial(name), dataset) for name in names}
        learners = {name: start(setup) for name, setup in setups.items()}
        work = {name: operations(setups[name], learners[name]) for name in names}
        timed = [{name: seconds(setups[name], learners[name]) for name in names} for _ in range(rounds + 1)][1:]
        sys.stdout.write(f"M = {modalities} ({spec['name']})\n")
        for name in names:
            cost = median(times[name] for times in timed)
            ratio = median(times[name] / times["joint"] for times in timed)
            sys.stdout.write(
                f"  {name:10s} {1e3 * cost:6.2f} ms a step {ratio:6.2f} x joint  "
                f"{work[name] / 1e6:7.2f} MFLOP {work[name] / work['joint']:6.2f} x joint\n"
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
