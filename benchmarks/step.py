"""Time the steps of each method beside joint training: the same model, batches and process, in turn.

    python -m benchmarks.step [rounds]

One thread, two-layer MLP encoders of 64 on av-digits (M = 2) and mfeat (M = 3, 6), batch 64, SGD, concatenation.
A step is timed in the ways in which a study makes it: of a trial `alone`, plain and compiled; and in a `pack` of 64
trials, a trial's share, traced, with native products (`trainables.products`) and for M = 2 compiled. A round times some
steps of every method in turn, each after a few steps that are not timed; a ratio is the median over rounds of a time to
joint's in the same round. Time is that of the processor: others delay it, and count only as far as they share caches.

Beside it stand the floating-point operations of the matrix products that a step must do, in units of joint's: what the
method would cost if nothing but arithmetic counted; and the rate at which its steps in a pack do them, all their time
counted, as a share of the rate of a large matrix product of single precision on one core, the median over rounds.
"""

import sys
import time
from itertools import islice
from statistics import median
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.configurations import trial_configs
from trainables.compilation import StepModes, clone_contiguous
from trainables.data import Dataset, load
from trainables.memory import retain_freed_memory
from trainables.methods import METHODS
from trainables.packs import Pack, build_pack, stack
from trainables.setup import Learner, build_setup, init_learner, replace_trial
from trainables.train import example_step_inputs, step_pack

DATA: dict[int, dict[str, Any]] = {
    2: {"name": "av-digits"},
    3: {"name": "mfeat", "modalities": ["fou", "fac", "zer"]},
    6: {"name": "mfeat"},
}
ROUNDS, WARM, STEPS = 15, 3, 15
SIZE = 64  # trials of a pack
LARGE = 2048  # rows and columns of a large matrix
PRODUCT_KEY = "", "large product"  # key of its time in a round


class StepTimer(NamedTuple):
    """The steps of a pack, to be timed."""

    pack: Pack
    learner: Learner
    steps: int

    def seconds(self) -> float:
        """Return the time of a step divided by the trials of the pack, after WARM steps."""
        learner, began = clone_contiguous(self.learner), 0.0
        inputs = islice(example_step_inputs(self.pack, learner), WARM + self.steps)
        for number, step_inputs in enumerate(inputs):
            if number == WARM:
                began = time.thread_time()
            learner, _ = step_pack(self.pack, learner, step_inputs, number, full=True)
        return (time.thread_time() - began) / self.steps / len(self.pack.members)


def step_timers(trials: list[dict[str, Any]], dataset: Dataset, *, compiles: bool) -> dict[str, StepTimer]:
    """Return timers of the steps of trials of one shape, by mode; ``compiles``: also of a compiled pack."""
    first = build_setup(trials[0], dataset)
    setups = [first, *(replace_trial(first, trial) for trial in trials[1:])]
    alone, many = init_learner(first), stack([init_learner(setup) for setup in setups])
    timers = {
        "alone": StepTimer(build_pack([first]), alone, STEPS),
        "alone compiled": StepTimer(build_pack([first], StepModes("compiled")), alone, STEPS),
        "pack": StepTimer(build_pack(setups, StepModes("traced")), many, STEPS // 3),
        "pack native": StepTimer(build_pack(setups, StepModes("native")), many, STEPS // 3),
    }
    return timers | (
        {"pack compiled": StepTimer(build_pack(setups, StepModes("compiled")), many, STEPS // 3)} if compiles else {}
    )


def count_flops(timer: StepTimer) -> int:
    """Return the floating-point operations of the matrix products of a step."""
    with FlopCounterMode(display=False) as counter:
        step_pack(timer.pack, timer.learner, next(example_step_inputs(timer.pack, timer.learner)), 1, full=True)
    return int(counter.get_total_flops())


def time_large_product() -> float:
    """Return the time of a large matrix product, in seconds."""
    matrix = torch.ones(LARGE, LARGE)
    began = time.thread_time()
    torch.mm(matrix, matrix)
    return time.thread_time() - began


def main(rounds: int) -> None:
    """Print milliseconds of a step and their ratios to joint training, for 2, 3 and 6 modalities."""
    torch.set_num_threads(1)
    retain_freed_memory()
    names = [name for name in METHODS if name != "unimodal"]
    for modalities, spec in DATA.items():
        dataset = load(spec)
        trials = {name: trial_configs(spec, name, seeds=SIZE) for name in names}  # with published settings
        timers = {name: step_timers(trials[name], dataset, compiles=modalities == 2) for name in names}
        flops = {name: count_flops(timers[name]["alone"]) for name in names}
        timed = [
            {(name, mode): timer.seconds() for name in names for mode, timer in timers[name].items()}
            | {PRODUCT_KEY: time_large_product()}
            for _ in range(rounds + 1)
        ][1:]
        packs = [timer.pack for ways in timers.values() for timer in ways.values()]
        made = [traced.step for pack in packs for traced in pack.traced_steps.values()]
        assert all(step is not None for step in made), "a step could not be compiled, and was timed as it is"
        rate = median(2 * LARGE**3 / times[PRODUCT_KEY] for times in timed)
        sys.stdout.write(f"M = {modalities} ({spec['name']}), large products: {rate / 1e9:.0f} GFLOP/s\n")
        for name in names:
            sys.stdout.write(f"  {name:10s} {flops[name] / 1e6:6.2f} MFLOP {flops[name] / flops['joint']:5.2f} x joint")
            for mode in timers[name]:
                cost = median(times[name, mode] for times in timed)
                ratio = median(times[name, mode] / times["joint", mode] for times in timed)
                share = median(flops[name] / times[name, mode] * times[PRODUCT_KEY] / (2 * LARGE**3) for times in timed)
                reached = f" {share:4.0%} of the rate" if mode.startswith("pack") else ""
                sys.stdout.write(f" | {mode} {1e3 * cost:6.3f} ms {ratio:5.2f} x joint{reached}")
            sys.stdout.write("\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
