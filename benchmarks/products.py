"""Measure batched products of small matrices: torch's and this project's kernel (`trainables.products`), side by side.

    python -m benchmarks.products [rounds]

One thread, the products of a layer of 64 units for 32 trials with batches of 64, in turn: forward, and the gradients of
its weights and inputs. A round multiplies other matrices than the one before, as a step does, so that they are not in
the second-level cache. Medians over the rounds, in GFLOP/s.
"""

import sys
import time
from statistics import median

import torch
from torch import Tensor

from trainables import native
from trainables.memory import retain_freed_memory
from trainables.products import load_multiply_batch

ROUNDS, COPIES = 60, 6
TRIALS, BATCH, WIDTH = 32, 64, 64
INPUTS = {"av-digits, audio": 312, "av-digits, image": 784, "mfeat, fac": 216, "a hidden layer": 64, "classes": 10}
PRODUCTS = {"torch": torch.bmm, "here": torch.ops.ablate.small_bmm.default}


def layer_factors(inputs: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the factors of the three products of a layer."""
    x, weight = torch.randn(TRIALS, BATCH, inputs), torch.randn(TRIALS, WIDTH, inputs)
    gradient = torch.randn(TRIALS, BATCH, WIDTH)
    return {"forward": (x, weight.mT), "weights": (gradient.mT, x), "inputs": (gradient, weight)}


def main(rounds: int) -> None:
    """Print the rates of each layer's products."""
    torch.set_num_threads(1)
    retain_freed_memory()
    native.set_enabled(True)
    if load_multiply_batch() is None:
        sys.stdout.write("There is no kernel: no AVX-512, or no C++ compiler.\n")
    for layer, inputs in INPUTS.items():
        copies = [layer_factors(inputs) for _ in range(COPIES)]
        operations = 2 * TRIALS * BATCH * WIDTH * inputs
        sys.stdout.write(f"{layer:18s}")
        for name in copies[0]:
            rates: dict[str, list[float]] = {library: [] for library in PRODUCTS}
            for number in range(rounds):
                for library, multiply in PRODUCTS.items():
                    began = time.perf_counter()
                    multiply(*copies[number % COPIES][name])
                    rates[library].append(operations / (time.perf_counter() - began) / 1e9)
            theirs, ours = (median(rates[library]) for library in PRODUCTS)
            sys.stdout.write(f" | {name} {theirs:4.0f} -> {ours:4.0f} ({ours / theirs:.1f} times)")
        sys.stdout.write("\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
