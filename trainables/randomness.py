"""Random numbers that depend on a trial's seed, a purpose and a moment, and on nothing else.

Trials that train together draw each from its own stream: `torch.func.vmap` is told how to stack what is drawn.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

NAME = "ablate::normal"


def stream(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return a generator of its own for one purpose of one trial, as ``stream(seed, "order", epoch)``."""
    key = hashlib.blake2b(repr((seed, *purpose)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))


def uniform(seed: int, name: str, shape: tuple[int, ...], bound: float) -> Tensor:
    """Return initial weights of a parameter, uniform on [-bound, bound], float32."""
    drawn = stream(seed, "init", name).random(shape, dtype=np.float32)
    return torch.from_numpy(bound * (2 * drawn - 1))


def normal(shape: Sequence[int], seed: int, *purpose: str | int) -> Tensor:
    """Return standard normal numbers, float32."""
    return torch.from_numpy(stream(seed, *purpose).standard_normal(tuple(shape), dtype=np.float32))


def permutation(count: int, seed: int, *purpose: str | int) -> Tensor:
    """Return the numbers below ``count`` in random order, int64."""
    return torch.from_numpy(stream(seed, *purpose).permutation(count))


def sent(drawn: Tensor, device: torch.device) -> Tensor:
    """Return what the host has drawn on a device; a GPU fetches it from pinned memory, and the host need not wait."""
    pinned = drawn.pin_memory() if device.type == "cuda" else drawn
    return pinned.to(device, non_blocking=True)


def noise(seeds: Tensor, number: Tensor, purpose: str, shape: Sequence[int], device: torch.device) -> Tensor:
    """Return what `normal` draws for each of the seeds [...] at step ``number`` [], [..., *shape], on a device.

    Seeds and number lie on the host, which draws.
    """
    drawn: Tensor = torch.ops.ablate.normal.default(seeds, number, purpose, shape, device)
    return drawn


def drawn(seeds: Tensor, number: Tensor, purpose: str, shape: Sequence[int], device: torch.device) -> Tensor:
    """Return `noise`, each seed's from its own stream; a seed that comes again draws once."""
    values, known = np.empty((seeds.numel(), *shape), dtype=np.float32), dict[int, np.ndarray]()
    for seed, row in zip(seeds.flatten().tolist(), values, strict=True):
        if seed in known:
            row[...] = known[seed]
        else:
            stream(seed, purpose, int(number)).standard_normal(dtype=np.float32, out=row)
            known[seed] = row
    return sent(torch.from_numpy(values).view(*seeds.shape, *shape), device)


def promised(seeds: Tensor, number: Tensor, purpose: str, shape: Sequence[int], device: torch.device) -> Tensor:
    """Return `noise` without numbers in it."""
    return torch.empty([*seeds.shape, *shape], dtype=torch.float32, device=device)


def stacked(
    info: Any, axes: tuple[int | None, ...], seeds: Tensor, number: Tensor, purpose: str, shape: Sequence[int],
    device: torch.device,
) -> tuple[Tensor, int]:  # fmt: skip
    """Return `noise` of stacked seeds, and where it is stacked."""
    return noise(seeds.movedim(axes[0] or 0, 0), number, purpose, shape, device), 0


torch.library.define(NAME, "(Tensor seeds, Tensor number, str purpose, SymInt[] shape, Device device) -> Tensor")
torch.library.impl(NAME, "CPU", drawn)
torch.library.register_fake(NAME, promised)
torch.library.register_vmap(NAME, stacked)
