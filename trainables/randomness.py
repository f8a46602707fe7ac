"""Random numbers that depend on a trial's seed, a purpose and a moment, and on nothing else."""

import hashlib

import torch
from torch import Tensor


def stream(seed: int, *purpose: str | int) -> torch.Generator:
    """Return a generator of its own for one purpose of one trial, as ``stream(seed, "order", epoch)``."""
    key = hashlib.blake2b(repr((seed, *purpose)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(key, "little"))


def uniform(seed: int, name: str, shape: tuple[int, ...], bound: float) -> Tensor:
    """Return initial weights of a parameter, uniform on [-bound, bound], float32."""
    return torch.empty(shape).uniform_(-bound, bound, generator=stream(seed, "init", name))
