"""The floor under tensors that lie side by side: a share of each one's median, as one operation.

On a CPU numpy selects eight times faster than torch, and whole numbers nearly twice as fast as others, which here is
the difference between a twentieth of a small model's step and half of it. The bits of numbers that are not negative are
whole numbers in the same order. `torch.func.vmap` needs to be told how to stack what is not torch's.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

NAME = "ablate::floor"


def median(values: Any) -> float:
    """Return the median of an array without negative numbers, the lower one of two."""
    row, middle = values.flatten(), (values.size - 1) // 2
    row.view(f"i{row.itemsize}").partition(middle)
    return float(row[middle])


def each(values: Tensor, sizes: Sequence[int], share: float, least: float) -> Tensor:
    """Return `floor` for any leading dimensions, [..., S, D] -> [..., D]."""
    if values.device.type != "cpu" or values.dtype not in (torch.float32, torch.float64):
        middles = [part.flatten(-2).median(-1, keepdim=True).values for part in torch.split(values, list(sizes), -1)]
        parts = [(x * share).clamp(min=least).expand(*x.shape[:-1], n) for x, n in zip(middles, sizes, strict=True)]
        return torch.cat(parts, -1)
    found = values.new_empty(*values.shape[:-2], values.shape[-1])
    rows = values.numpy().reshape(-1, *values.shape[-2:])
    for row, lowest in zip(rows, found.numpy().reshape(-1, values.shape[-1]), strict=True):
        for size, end in zip(sizes, accumulate(sizes), strict=True):
            lowest[end - size : end] = max(share * median(row[:, end - size : end]), least)
    return found


def stacked(
    info: Any, axes: tuple[int | None, ...], values: Tensor, sizes: Sequence[int], share: float, least: float
) -> tuple[Tensor, int]:
    """Return `floor` of stacked values, and where the results are stacked."""
    return floor(values.movedim(axes[0] or 0, 0), sizes, share, least), 0


torch.library.define(NAME, "(Tensor values, SymInt[] sizes, float share, float least) -> Tensor")
torch.library.impl(NAME, ("CPU", "CUDA", "Meta"), each)
torch.library.register_vmap(NAME, stacked)


def floor(values: Tensor, sizes: Sequence[int], share: float, least: float) -> Tensor:
    """Return a share of the median of each of T tensors over its places and S sources, or the least, at all its places.

    ``values`` [S, D] are not negative; ``sizes`` split D; the floor is [D].
    """
    found: Tensor = torch.ops.ablate.floor.default(values.detach(), sizes, share, least)
    return found
