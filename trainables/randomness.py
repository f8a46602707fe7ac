"""Random numbers that depend on a trial's seed, a purpose and a step, and on nothing else.

Each trial of a pack draws from its own stream: an operator with a rule for `torch.func.vmap` stacks the numbers.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

OPERATOR = "ablate::normal"


def stream(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return a generator that is keyed by seed and purpose, as ``stream(seed, "order", epoch)``."""
    key = hashlib.blake2b(repr((seed, *purpose)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))


def uniform(seed: int, name: str, shape: tuple[int, ...], bound: float) -> Tensor:
    """Return initial weights of a parameter, uniform on [-bound, bound], float32."""
    values = stream(seed, "init", name).random(shape, dtype=np.float32)
    return torch.from_numpy(bound * (2 * values - 1))


def normal(shape: Sequence[int], seed: int, *purpose: str | int) -> Tensor:
    """Return standard normal numbers, float32."""
    return torch.from_numpy(stream(seed, *purpose).standard_normal(tuple(shape), dtype=np.float32))


def permutation(count: int, seed: int, *purpose: str | int) -> Tensor:
    """Return the integers below ``count`` in random order, int64."""
    return torch.from_numpy(stream(seed, *purpose).permutation(count))


def copy_to_device(values: Tensor, device: torch.device) -> Tensor:
    """Return values of the host on a device; the copy to a GPU is from pinned memory and asynchronous."""
    pinned = values.pin_memory() if device.type == "cuda" else values
    return pinned.to(device, non_blocking=True)


def noise(seeds: Tensor, number: Tensor, purpose: str, shape: Sequence[int], device: torch.device) -> Tensor:
    """Return `normal` of each of the seeds [...] at step ``number`` [], [..., *shape], on a device.

    Seeds and number are on the host, which draws.
    """
    values: Tensor = torch.ops.ablate.normal.default(seeds, number, purpose, shape, device)
    return values


def draw_noise(seeds: Tensor, number: Tensor, purpose: str, shape: Sequence[int], device: torch.device) -> Tensor:
    """Implement `noise`: each seed draws from its own stream; a repeated seed draws once."""
    values, drawn = np.empty((seeds.numel(), *shape), dtype=np.float32), dict[int, np.ndarray]()
    for seed, row in zip(seeds.flatten().tolist(), values, strict=True):
        if seed in drawn:
            row[...] = drawn[seed]
        else:
            stream(seed, purpose, int(number)).standard_normal(dtype=np.float32, out=row)
            drawn[seed] = row
    return copy_to_device(torch.from_numpy(values).view(*seeds.shape, *shape), device)


def fake_noise(seeds: Tensor, number: Tensor, purpose: str, shape: Sequence[int], device: torch.device) -> Tensor:
    """Return an uninitialised tensor of the shape of `noise`, for tracing."""
    return torch.empty([*seeds.shape, *shape], dtype=torch.float32, device=device)


def batch_noise(
    info: Any, axes: tuple[int | None, ...], seeds: Tensor, number: Tensor, purpose: str, shape: Sequence[int],
    device: torch.device,
) -> tuple[Tensor, int]:  # fmt: skip
    """Implement `noise` under vmap: return the noise of stacked seeds, and its batch axis."""
    return noise(seeds.movedim(axes[0] or 0, 0), number, purpose, shape, device), 0


torch.library.define(OPERATOR, "(Tensor seeds, Tensor number, str purpose, SymInt[] shape, Device device) -> Tensor")
torch.library.impl(OPERATOR, "CPU", draw_noise)
torch.library.register_fake(OPERATOR, fake_noise)
torch.library.register_vmap(OPERATOR, batch_noise)
