"""Trials a second in packs of many sizes on a GPU, and the share of what the device can do.

    python -m benchmarks.gpu [cuda|cpu] [sizes...]

AGM on av-digits (10 epochs) and joint training on the six views of mfeat (20 epochs), in packs of 1, 64, 1,024 and
4,096 trials, from their configurations to their scores; a first pack, which is not timed, brings the device up. A pack
of one is what plain Ray Tune does with a GPU process a trial, but for Tune's own time. Beside the rate stand what the
products do a second, as a share of what large products of single precision do, and the bytes of parameters, gradients
and velocities that an update must read and write, as a share of what a copy of a large tensor moves. On `cpu`, which is
for a look at the benchmark itself, it uses one thread.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.configurations import trial_configs
from benchmarks.step import count_flops, step_timers
from trainables.data import Dataset, load
from trainables.memory import retain_freed_memory
from trainables.signals import leaves
from trainables.train import fit_pack

STUDIES = {"agm on av-digits": ("agm", "av-digits", 10), "joint on mfeat": ("joint", "mfeat", 20)}
SIZES = (1, 64, 1024, 4096)
LARGE = 8192  # rows and columns of a large matrix on a GPU
# per parameter that an update must move: gradient out and in, velocity and parameter in and out
UPDATE_BYTES = 6 * 4


def best_time(work: Callable[[], Any], device: str, repeats: int = 5) -> float:
    """Return the shortest time of a function over some repeats, in seconds."""
    seconds = []
    for _ in range(repeats):
        synchronize(device)
        began = time.perf_counter()
        work()
        synchronize(device)
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def synchronize(device: str) -> None:
    """Wait for all work on the device."""
    if device == "cuda":
        torch.cuda.synchronize()


def device_limits(device: str) -> tuple[float, float]:
    """Return the operations a second of large matrix products, and the bytes a second of a copy."""
    size = LARGE if device == "cuda" else LARGE // 4
    matrix = torch.ones(size, size, device=device)
    return 2 * size**3 / best_time(lambda: matrix @ matrix, device), 8 * size**2 / best_time(matrix.clone, device)


def trials_per_second(trials: list[dict[str, Any]], dataset: Dataset, device: str) -> float:
    """Return how many of the trials, which differ in their seeds, a pack trains in a second."""
    warm_up = [trial | {"train": trial["train"] | {"epochs": 1}} for trial in trials]
    fit_pack(warm_up, dataset, device=device)
    synchronize(device)
    began = time.perf_counter()
    fit_pack(trials, dataset, device=device)
    synchronize(device)
    return len(trials) / (time.perf_counter() - began)


def main(device: str, sizes: list[int]) -> None:
    """Print trials a second, the ratio to packs of the first size, and the shares of the device's limits."""
    torch.set_num_threads(1)
    retain_freed_memory()
    flops, bandwidth = device_limits(device)
    name = torch.cuda.get_device_name() if device == "cuda" else "one thread of a CPU"
    sys.stdout.write(f"{name}: products {flops / 1e12:.2f} TFLOP/s, copies {bandwidth / 1e9:.0f} GB/s\n")
    for study, (method, data, epochs) in STUDIES.items():
        dataset = load({"name": data})
        trials = trial_configs({"name": data}, method, seeds=max(sizes), train={"epochs": epochs})
        alone = step_timers(trials[:1], dataset, compiles=False)["alone"]
        steps = epochs * -(-len(dataset.train.target) // 64)
        trial_flops = count_flops(alone) * steps
        trial_bytes = UPDATE_BYTES * sum(p.numel() for p in leaves(alone.learner.params)) * steps
        rates = {size: trials_per_second(trials[:size], dataset, device) for size in sizes}
        for size, rate in rates.items():
            sys.stdout.write(
                f"{study}, packs of {size:5d}: {rate:9.2f} trials/s, {rate / rates[sizes[0]]:7.1f} x the first; "
                f"{rate * trial_flops / flops:4.0%} of the products' rate, "
                f"{rate * trial_bytes / bandwidth:4.0%} of the copies'\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    words = sys.argv[1:] or ["cuda"]
    main(words[0], [int(word) for word in words[1:]] or list(SIZES))
