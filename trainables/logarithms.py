"""Logarithms of tensors that lie side by side, each floored at a share of its own median: as one operation.

On a CPU numpy selects eight times faster than torch, and whole numbers nearly twice as fast as others, which here is
the difference between a twentieth of a small model's step and half of it. The bits of numbers that are not negative are
whole numbers in the same order. Where no number lies below a share of three times the mean, none lies below that of the
median, which then is not looked for. Trials of a pack are done one after another, while their numbers are in the cache.
`torch.func.vmap` needs to be told how to stack what is not torch's.
"""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

NAME = "ablate::logs"
MOST = 3.0  # the median of numbers that are not negative is at most twice their mean; the rest is for rounding


def median(values: Any) -> float:
    """Return the median of an array without negative numbers, the lower one of two."""
    row, middle = values.flatten(), (values.size - 1) // 2
    row.view(f"i{row.itemsize}").partition(middle)
    return float(row[middle])


def each(values: Tensor, sizes: Sequence[int], share: float, least: float, centred: bool) -> Tensor:
    """Return `logs` for any leading dimensions, [..., S, D]."""
    if values.device.type != "cpu" or values.dtype not in (torch.float32, torch.float64):
        return torch.cat([whole(part, share, least, centred) for part in torch.split(values, list(sizes), -1)], -1)
    values = values.contiguous()
    found = torch.empty_like(values)
    shape = -1, *values.shape[-2:]
    with np.errstate(over="ignore"):
        for given, made in zip(values.view(shape).unbind(), found.view(shape).unbind(), strict=True):
            torch.log(given, out=made)
            own, logs = given.numpy(), made.numpy()
            for size, end in zip(sizes, accumulate(sizes), strict=True):
                settle(own[:, end - size : end], logs[:, end - size : end], share, least, centred)
    return found


def whole(part: Tensor, share: float, least: float, centred: bool) -> Tensor:
    """Return the logarithms of one tensor by torch's own operations, [..., S, D]."""
    low = (part.flatten(-2).median(-1).values * share).clamp(min=least)
    logs = torch.maximum(part, low[..., None, None]).log()
    return logs - logs.mean((-2, -1), keepdim=True) if centred else logs


def settle(values: Any, logs: Any, share: float, least: float, centred: bool) -> None:
    """Raise the logarithms of an array's values below a share of their median, or the least; centre them; in place."""
    bound = share * MOST * np.add.reduce(values, None) / values.size
    if not np.minimum.reduce(values, None) >= max(bound, least):  # nor where one is not a number
        np.maximum(logs, math.log(max(share * median(values), least)), out=logs)
    if centred:
        np.subtract(logs, np.add.reduce(logs, None) / logs.size, out=logs)


def stacked(info: Any, axes: tuple[int | None, ...], values: Tensor, *given: Any) -> tuple[Tensor, int]:
    """Return `logs` of stacked values, and where the results are stacked."""
    found: Tensor = torch.ops.ablate.logs.default(values.movedim(axes[0] or 0, 0), *given)
    return found, 0


torch.library.define(NAME, "(Tensor values, SymInt[] sizes, float share, float least, bool centred) -> Tensor")
torch.library.impl(NAME, ("CPU", "CUDA", "Meta"), each)
torch.library.register_vmap(NAME, stacked)


def logs(values: Tensor, sizes: Sequence[int], share: float, least: float, *, centred: bool) -> Tensor:
    """Return the logarithms of values, [S, D], no less than ``least`` and ``share`` of their tensor's median.

    That is over its places and the S sources, and the lower one of two. ``centred``: about their tensor's mean.
    ``values`` are not negative; ``sizes`` of T tensors split D. No gradients pass.
    """
    found: Tensor = torch.ops.ablate.logs.default(values.detach(), sizes, share, least, centred)
    return found
