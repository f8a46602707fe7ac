"""Random numbers that depend on a trial's seed, a purpose and a moment, and on nothing else."""

import hashlib

import numpy as np
import torch
from torch import Tensor


def stream(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return a generator of its own for one purpose of one trial, as ``stream(seed, "order", epoch)``."""
    key = hashlib.blake2b(repr((seed, *purpose)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))


def uniform(seed: int, name: str, shape: tuple[int, ...], bound: float) -> Tensor:
    """Return initial weights of a parameter, uniform on [-bound, bound], float32."""
    drawn = stream(seed, "init", name).random(shape, dtype=np.float32)
    return torch.from_numpy(bound * (2 * drawn - 1))


def normal(shape: tuple[int, ...], seed: int, *purpose: str | int) -> Tensor:
    """Return standard normal numbers, float32."""
    return torch.from_numpy(stream(seed, *purpose).standard_normal(shape, dtype=np.float32))


def permutation(count: int, seed: int, *purpose: str | int) -> Tensor:
    """Return the numbers below ``count`` in random order, int64."""
    return torch.from_numpy(stream(seed, *purpose).permutation(count))
