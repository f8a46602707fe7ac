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

from benchmarks.configurations import configurations
from benchmarks.step import operations, ways
from trainables.data import Dataset, load
from trainables.memory import retain_freed_memory
from trainables.signals import leaves
from trainables.train import fit_pack

STUDIES = {"agm on av-digits": ("agm", "av-digits", 10), "joint on mfeat": ("joint", "mfeat", 20)}
SIZES = (1, 64, 1024, 4096)
LARGE = 8192  # rows and columns of a large matrix on a GPU
TOUCHED = 6 * 4  # bytes a parameter that an update must move: gradient out and in, velocity and parameter in and out


def best(work: Callable[[], Any], device: str, repeats: int = 5) -> float:
    """Return the seconds that some work takes at best."""
    seconds = []
    for _ in range(repeats):
        settle(device)
        began = time.perf_counter()
        work()
        settle(device)
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def settle(device: str) -> None:
    """Wait for what the device has been asked to do."""
    if device == "cuda":
        torch.cuda.synchronize()


def limits(device: str) -> tuple[float, float]:
    """Return the operations a second of large products, and the bytes a second of a copy."""
    size = LARGE if device == "cuda" else LARGE // 4
    one = torch.ones(size, size, device=device)
    return 2 * size**3 / best(lambda: one @ one, device), 8 * size**2 / best(one.clone, device)


def rate(trials: list[dict[str, Any]], dataset: Dataset, device: str) -> float:
    """Return how many of these trials, which differ in their seeds, a pack of them trains in a second."""
    short = [one | {"train": one["train"] | {"epochs": 1}} for one in trials]
    fit_pack(short, dataset, device=device)
    settle(device)
    began = time.perf_counter()
    fit_pack(trials, dataset, device=device)
    settle(device)
    return len(trials) / (time.perf_counter() - began)


def main(device: str, sizes: list[int]) -> None:
    """Print trials a second, the ratio to packs of the first size, and the shares of the device's limits."""
    torch.set_num_threads(1)
    retain_freed_memory()
    flops, moved = limits(device)
    name = torch.cuda.get_device_name() if device == "cuda" else "one thread of a CPU"
    sys.stdout.write(f"{name}: products {flops / 1e12:.2f} TFLOP/s, copies {moved / 1e9:.0f} GB/s\n")
    for study, (method, data, epochs) in STUDIES.items():
        dataset = load({"name": data})
        trials = configurations({"name": data}, method, seeds=max(sizes), train={"epochs": epochs})
        alone = ways(trials[:1], dataset, compiles=False)["alone"]
        steps = epochs * -(-len(dataset.train.target) // 64)
        work = operations(alone) * steps
        touched = TOUCHED * sum(p.numel() for p in leaves(alone.learner.params)) * steps
        rates = {size: rate(trials[:size], dataset, device) for size in sizes}
        for size, found in rates.items():
            sys.stdout.write(
                f"{study}, packs of {size:5d}: {found:9.2f} trials/s, {found / rates[sizes[0]]:7.1f} x the first; "
                f"{found * work / flops:4.0%} of the products' rate, {found * touched / moved:4.0%} of the copies'\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    words = sys.argv[1:] or ["cuda"]
    main(words[0], [int(word) for word in words[1:]] or list(SIZES))
