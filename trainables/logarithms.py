"""Logarithms of tensors that lie side by side, each floored at a share of its own median, or powers: as one operation.

Trials of a pack are done one after another, while their numbers are in the cache; and a compiler, which would compute
powers anew wherever they are read, takes these as they are. On a CPU numpy selects eight times faster than torch, and
whole numbers nearly twice as fast as others; the bits of numbers that are not negative are whole numbers in the same
order. Where no number lies below a share of three times the mean, none lies below that of the median, which then is not
looked for. Numpy is called in a third of the time, and torch adds up many numbers in a quarter of it. `torch.func.vmap`
needs to be told how to stack what is not torch's.
"""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

NAME = "ablate::logs"
MANY = 2**15  # numbers, that torch adds up sooner
MOST = 3.0  # the median of numbers that are not negative is at most twice their mean; the rest is for rounding


def median(values: Any) -> float:
    """Return the median of an array without negative numbers, the lower one of two."""
    row, middle = values.flatten(), (values.size - 1) // 2
    row.view(f"i{row.itemsize}").partition(middle)
    return float(row[middle])


def each(
    values: Tensor, sizes: Sequence[int], share: float, least: float, centred: bool, times: Tensor | None, most: float
) -> Tensor:
    """Return `logs` for any leading dimensions, [..., S, D]; ``times`` [...] has the same."""
    if values.device.type != "cpu" or values.dtype not in (torch.float32, torch.float64):
        parts = torch.split(values, list(sizes), -1)
        return powers(torch.cat([whole(part, share, least, centred) for part in parts], -1), times, most)
    values = values.contiguous()
    found = torch.empty_like(values)
    shape = -1, *values.shape[-2:]
    factors = [None] * len(values.view(shape)) if times is None else times.flatten()
    with np.errstate(over="ignore"):
        for given, made, factor in zip(values.view(shape).unbind(), found.view(shape).unbind(), factors, strict=True):
            torch.log(given, out=made)
            settle(given, made, sizes, share, least, centred)
            powers(made, factor, most)
    return found


def whole(part: Tensor, share: float, least: float, centred: bool) -> Tensor:
    """Return the logarithms of one tensor by torch's own operations, [..., S, D]."""
    low = (part.flatten(-2).median(-1).values * share).clamp(min=least)
    logs = torch.maximum(part, low[..., None, None]).log()
    return logs - logs.mean((-2, -1), keepdim=True) if centred else logs


def settle(values: Tensor, logs: Tensor, sizes: Sequence[int], share: float, least: float, centred: bool) -> None:
    """Raise the logarithms of values below a share of their tensor's median, or the least; centre them; in place."""
    own, made = values.numpy(), logs.numpy()
    for size, end in zip(sizes, accumulate(sizes), strict=True):
        place = slice(None), slice(end - size, end)
        given, found = own[place], made[place]
        bound = max(share * MOST * mean(given), least)
        if not np.minimum.reduce(given, None) >= bound:  # nor where one is not a number
            np.maximum(found, math.log(max(share * median(given), least)), out=found)
        if centred:
            found -= mean(found)


def mean(values: Any) -> float:
    """Return the mean of an array."""
    total = torch.from_numpy(values).sum().item() if values.size > MANY else np.add.reduce(values, None)
    return float(total / values.size)


def powers(exponents: Tensor, times: Tensor | None, most: float) -> Tensor:
    """Make of exponents [..., S, D] their powers of 2, in place, as `logs` does; without ``times`` nothing."""
    if times is None:
        return exponents
    return exponents.mul_(times.view(*times.shape, *[1] * (exponents.ndim - times.ndim))).clamp_(-most, most).exp2_()


def stacked(
    info: Any, axes: tuple[int | None, ...], values: Tensor, sizes: Sequence[int], share: float, least: float,
    centred: bool, times: Tensor | None, most: float,
) -> tuple[Tensor, int]:  # fmt: skip
    """Return `logs` of stacked values, with stacked factors or one for all, and where the results are stacked."""
    values = values.expand(info.batch_size, *values.shape) if axes[0] is None else values.movedim(axes[0], 0)
    if times is not None:
        times = times.expand(info.batch_size, *times.shape) if axes[5] is None else times.movedim(axes[5], 0)
    found: Tensor = torch.ops.ablate.logs.default(values, sizes, share, least, centred, times, most)
    return found, 0


torch.library.define(
    NAME, "(Tensor values, SymInt[] sizes, float share, float least, bool centred, Tensor? times, float most) -> Tensor"
)
torch.library.impl(NAME, ("CPU", "CUDA", "Meta"), each)
torch.library.register_vmap(NAME, stacked)


def logs(
    values: Tensor, sizes: Sequence[int], share: float, least: float, *, centred: bool, times: Tensor | None = None,
    most: float = math.inf,
) -> Tensor:  # fmt: skip
    """Return the logarithms of values, [S, D], no less than ``least`` and ``share`` of their tensor's median.

    That is over its places and the S sources, and the lower one of two. ``centred``: about their tensor's mean.
    With ``times`` [], return 2 to the power of so many times them; that exponent is kept within -``most`` and ``most``.
    ``values`` are not negative; ``sizes`` of T tensors split D. No gradients pass.
    """
    times = None if times is None else times.detach()
    found: Tensor = torch.ops.ablate.logs.default(values.detach(), sizes, share, least, centred, times, most)
    return found
