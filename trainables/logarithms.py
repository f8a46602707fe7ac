"""Logarithms of tensors that lie side by side, each floored at a share of its own median, or powers: as one operation.

Trials of a pack are done one after another, while their numbers are in the cache. A trial alone gains more where a
compiler joins the parts of this with what is around them (`PARTS`): but for the floors, which remain an operation. On a
CPU numpy selects whole numbers sooner than others, and faster than torch where many are; the bits of numbers that are
not negative are whole numbers in the same order. Where no number lies below a share of the largest, or of twice the
mean, none lies below that of the median, which then is not looked for. Numpy is called in a third of the time, and
torch adds up many numbers in a quarter of it. `torch.func.vmap` needs to be told how to stack what is not torch's.
"""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

NAME, FLOORS = "ablate::logs", "ablate::floors"
MANY = 2**15  # numbers, that torch adds up sooner
FEW = 2**14  # numbers, of which the median is selected at once
EVERY = 31  # which of more numbers are a sample: a prime, so that it follows no rows


def each(
    values: Tensor, sizes: Sequence[int], share: float, least: float, centred: bool, times: Tensor | None, most: float
) -> Tensor:
    """Return `logs` for any leading dimensions, [..., S, D]; ``times`` [...] has the same."""
    if not selectable(values):
        parts = torch.split(values, list(sizes), -1)
        return powers(torch.cat([whole(part, share, least, centred) for part in parts], -1), times, most)
    values = values.contiguous()
    found = torch.empty_like(values)
    shape = -1, *values.shape[-2:]
    factors = [None] * len(values.view(shape)) if times is None else times.flatten()
    for given, made, factor in zip(values.view(shape).unbind(), found.view(shape).unbind(), factors, strict=True):
        torch.log(given, out=made)
        reach = settle(given, made, sizes, share, least, centred)
        powers(made, factor, most, reach)
    return found


def selectable(values: Tensor) -> bool:
    """Say whether numpy can select from them."""
    return values.device.type == "cpu" and values.dtype in (torch.float32, torch.float64)


def whole(part: Tensor, share: float, least: float, centred: bool) -> Tensor:
    """Return the logarithms of one tensor by torch's own operations, [..., S, D]."""
    low = (part.flatten(-2).median(-1).values * share).clamp(min=least)
    logs = torch.maximum(part, low[..., None, None]).log()
    return logs - logs.mean((-2, -1), keepdim=True) if centred else logs


def settle(values: Tensor, logs: Tensor, sizes: Sequence[int], share: float, least: float, centred: bool) -> float:
    """Raise the logarithms of values below a share of their tensor's median, or the least; centre them; in place.

    Return how far from zero they may be.
    """
    own, made, starts = values.numpy(), logs.numpy(), beginnings(sizes)
    low, high = np.minimum.reduceat(made, starts, 1).min(0), np.maximum.reduceat(made, starts, 1).max(0)
    raised = floors(own, low.tolist(), high.tolist(), sizes, share, least)
    for start, size, bottom, floor in zip(starts, sizes, low, raised, strict=True):
        found = made[:, start : start + size]
        if not floor <= bottom:
            np.maximum(found, floor, out=found)
        if centred:
            found -= mean(found)
    return float((high - raised).max() if centred else np.maximum(np.abs(raised), high).max())


def floors(
    values: Any, low: list[float], high: list[float], sizes: Sequence[int], share: float, least: float
) -> list[float]:
    """Return the logarithm that none of each tensor's is to be below, or their own lowest, where that is higher.

    ``low`` and ``high`` are their lowest and highest. A median is looked for where it may matter, or one is no number:
    half of the numbers are not below it, so that it is twice the mean at most.
    """
    near, bound, found = math.log(share), math.log(least), []
    for start, size, bottom, top in zip(beginnings(sizes), sizes, low, high, strict=True):
        floor, part = bottom, values[:, start : start + size]
        if not bottom >= max(top + near, bound) and not bottom >= math.log(max(share * 2 * mean(part), least)):
            floor = max(math.log(max(share * median(part), least)), bottom)
        found.append(floor)
    return found


def beginnings(sizes: Sequence[int]) -> list[int]:
    """Return where each of the tensors begins."""
    return [0, *accumulate(sizes[:-1])]


def median(values: Any) -> float:
    """Return the median of an array without negative numbers, the lower one of two."""
    row = values.reshape(-1)
    found = select(row.view(f"i{row.itemsize}"), (row.size - 1) // 2)
    return float(found.view(row.dtype))


def select(row: Any, place: int) -> Any:
    """Return the number at a place of an array in order, from 0.

    Of many it is looked for between two of a sample that it is sure to be between but for three in a thousand (Floyd
    and Rivest, Communications of the ACM 18(3), 1975).
    """
    if row.size > FEW:
        sample = np.sort(row[::EVERY])
        middle, reach = place * sample.size // row.size, math.ceil(1.5 * sample.size**0.5)
        low, high = sample[max(middle - reach, 0)], sample[min(middle + reach, sample.size - 1)]
        among, below = row[(row >= low) & (row <= high)], int(np.count_nonzero(row < low))
        if below <= place < below + among.size:
            row, place = among, place - below
    return np.partition(row, place)[place]


def mean(values: Any) -> float:
    """Return the mean of an array."""
    total = torch.from_numpy(values).sum().item() if values.size > MANY else np.add.reduce(values, None)
    return float(total / values.size)


def powers(exponents: Tensor, times: Tensor | None, most: float, reach: float | None = None) -> Tensor:
    """Make of exponents [..., S, D] their powers of e, in place, as `logs` does; without ``times`` nothing.

    No logarithm is further than ``reach`` from zero; None: nothing is known of that.
    """
    if times is None:
        return exponents
    exponents.mul_(times.view(*times.shape, *[1] * (exponents.ndim - times.ndim)))
    if reach is None or not reach * abs(float(times)) <= most:
        exponents.clamp_(-most, most)
    return exponents.exp_()


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


def apart(
    values: Tensor, sizes: Sequence[int], share: float, least: float, centred: bool, times: Tensor | None, most: float
) -> Any:
    """Return what `each` does of [S, D], by operations that a compiler can join with others; of more dimensions not."""
    if values.ndim > 2:
        return NotImplemented
    if not selectable(values):
        return each(values, sizes, share, least, centred, times, most)
    parts = torch.split(values.log(), list(sizes), -1)
    low, high = (torch.stack([end(part) for part in parts]) for end in (torch.amin, torch.amax))
    raised = torch.ops.ablate.floors.default(values, low, high, sizes, share, least)
    found = [torch.maximum(part, floor) for part, floor in zip(parts, raised.unbind(), strict=True)]
    found = [part - part.mean() for part in found] if centred else found
    return torch.cat([powers(part, times, most) for part in found], -1)


def ends(values: Tensor, low: Tensor, high: Tensor, sizes: Sequence[int], share: float, least: float) -> Tensor:
    """Return `floors` of tensors, [S, D] and [T] twice, as a tensor, [T]."""
    found = floors(values.numpy(), low.tolist(), high.tolist(), sizes, share, least)
    return torch.from_numpy(np.array(found)).to(low.dtype)


def promised(values: Tensor, low: Tensor, high: Tensor, sizes: Sequence[int], share: float, least: float) -> Tensor:
    """Return `ends` without numbers in it."""
    return torch.empty_like(low)


torch.library.define(
    NAME, "(Tensor values, SymInt[] sizes, float share, float least, bool centred, Tensor? times, float most) -> Tensor"
)
torch.library.impl(NAME, ("CPU", "CUDA", "Meta"), each)
torch.library.register_vmap(NAME, stacked)
torch.library.define(
    FLOORS, "(Tensor values, Tensor low, Tensor high, SymInt[] sizes, float share, float least) -> Tensor"
)
torch.library.impl(FLOORS, "CPU", ends)
torch.library.impl(FLOORS, "Meta", promised)
PARTS = {torch.ops.ablate.logs.default: apart}  # of one trial


def logs(
    values: Tensor, sizes: Sequence[int], share: float, least: float, *, centred: bool, times: Tensor | None = None,
    most: float = math.inf,
) -> Tensor:  # fmt: skip
    """Return the logarithms of values, [S, D], no less than ``least`` and ``share`` of their tensor's median.

    That is over its places and the S sources, and the lower one of two. ``centred``: about their tensor's mean.
    With ``times`` [], return e to the power of so many times them; that exponent is kept within -``most`` and ``most``.
    ``values`` are not negative, ``share`` and ``least`` positive; ``sizes`` of T tensors split D. No gradients pass.
    """
    times = None if times is None else times.detach()
    found: Tensor = torch.ops.ablate.logs.default(values.detach(), sizes, share, least, centred, times, most)
    return found
