"""Logarithms of tensors that lie side by side, each floored at a share of its own median, or powers: as one operation.

Trials of a pack are done one after another, while their numbers are in the cache. A trial alone gains more where a
compiler joins the parts of this with what is around them (`PARTS`): but for the floors, which remain an operation. On a
CPU numpy does it, which is called in a third of the time and selects faster than torch, which adds up many numbers in a
quarter of it. Where no logarithm lies further below the largest than the floor below the median, or half of them lie no
further than that above the lowest, the median is not looked for. `torch.func.vmap` needs to be told how to stack what
is not torch's.
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
FEW = 2**12  # numbers, of which the median is selected at once
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
        reach = settle(made, sizes, share, least, centred)
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


def settle(logs: Tensor, sizes: Sequence[int], share: float, least: float, centred: bool) -> float:
    """Raise the logarithms of values below a share of their tensor's median, or the least; centre them; in place.

    Return how far from zero they may be.
    """
    made, starts = logs.numpy(), beginnings(sizes)
    low, high = ends(made, starts)
    raised = floors(made, low, high, sizes, share, least)
    for start, size, bottom, floor in zip(starts, sizes, low, raised, strict=True):
        found = made[:, start : start + size]
        if not floor <= bottom:
            np.maximum(found, floor, out=found)
        if centred:
            found -= mean(found)
    return float((high - raised).max() if centred else np.maximum(np.abs(raised), high).max())


def ends(logs: Any, starts: list[int]) -> tuple[Any, Any]:
    """Return the lowest and the highest logarithm of each tensor, [S, D] -> [T] twice."""
    return np.minimum.reduceat(logs, starts, 1).min(0), np.maximum.reduceat(logs, starts, 1).max(0)


def floors(logs: Any, low: Any, high: Any, sizes: Sequence[int], share: float, least: float) -> list[float]:
    """Return the logarithm that none of each tensor's is to be below, or their own lowest, where that is higher.

    A median is looked for where it may matter: where more than half of the logarithms, and not only the highest, lie so
    far above the lowest that their share does, or one is no number.
    """
    near, bound, found = math.log(share), math.log(least), []
    for start, size, bottom, top in zip(beginnings(sizes), sizes, low.tolist(), high.tolist(), strict=True):
        floor, part = bottom, logs[:, start : start + size]
        if not bottom >= max(top + near, bound) and not (bottom >= bound and outnumbered(part, bottom - near)):
            floor = max(near + median(part), bound, bottom)
        found.append(floor)
    return found


def outnumbered(values: Any, limit: float) -> bool:
    """Say whether half of the numbers are not above a limit."""
    return bool(2 * np.count_nonzero(values > limit) <= values.size)


def beginnings(sizes: Sequence[int]) -> list[int]:
    """Return where each of the tensors begins."""
    return [0, *accumulate(sizes[:-1])]


def median(values: Any) -> float:
    """Return the median of an array, the lower one of two."""
    row = values.reshape(-1)
    return float(select(row, (row.size - 1) // 2))


def select(row: Any, place: int) -> Any:
    """Return the number at a place of an array in order, from 0; what is no number comes last.

    Of many it is looked for between two of a sample that it is sure to be between but for three in a thousand (Floyd
    and Rivest, Communications of the ACM 18(3), 1975).
    """
    if row.size > FEW:
        sample = np.sort(row[::EVERY])
        middle, reach = place * sample.size // row.size, math.ceil(1.5 * sample.size**0.5)
        low, high = sample[max(middle - reach, 0)], sample[min(middle + reach, sample.size - 1)]
        among = row.take(np.flatnonzero((row >= low) & (row <= high)))
        below = int(np.count_nonzero(row < low))
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
    made = values.log()
    raised = torch.ops.ablate.floors.default(made, sizes, share, least).unbind()
    found = [torch.maximum(part, floor) for part, floor in zip(torch.split(made, list(sizes), -1), raised, strict=True)]
    found = [part - part.mean() for part in found] if centred else found
    return torch.cat([powers(part, times, most) for part in found], -1)


def lowest(logs: Tensor, sizes: Sequence[int], share: float, least: float) -> Tensor:
    """Return the logarithm that none of each tensor's is to be below, [S, D] -> [T]."""
    made = logs.numpy()
    return logs.new_tensor(floors(made, *ends(made, beginnings(sizes)), sizes, share, least))


def promised(logs: Tensor, sizes: Sequence[int], share: float, least: float) -> Tensor:
    """Return `lowest` without numbers in it."""
    return logs.new_empty(len(sizes))


torch.library.define(
    NAME, "(Tensor values, SymInt[] sizes, float share, float least, bool centred, Tensor? times, float most) -> Tensor"
)
torch.library.impl(NAME, ("CPU", "CUDA", "Meta"), each)
torch.library.register_vmap(NAME, stacked)
torch.library.define(FLOORS, "(Tensor logs, SymInt[] sizes, float share, float least) -> Tensor")
torch.library.impl(FLOORS, "CPU", lowest)
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
