"""Logarithms of concatenated tensors, each floored at a ratio of its own median, or powers: as one operator.

Trials of a pack are computed one after another, while their numbers are in the cache. A single trial gains more where a
compiler fuses the operations with those around them (`DECOMPOSITIONS`), all but the floors, which stay an operator. On
a CPU numpy computes them: a call takes a third of the time, and it selects faster than torch, which in turn sums large
arrays in a quarter of the time. A kernel (`logarithms.cpp`) finds the same floors in a third of numpy's time. The
median is computed only where the floor may exceed the lowest value: not where all values are at least ``ratio`` times
the highest, nor where that ratio of half of them is at most the lowest. A custom operator needs its own rule for
`torch.func.vmap`.
"""

import math
from collections.abc import Sequence
from functools import cache, partial
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainables.native import DOUBLE, INDEX, POINTER, load_kernel

OPERATOR, FLOORS_OPERATOR = "ablate::floored_log", "ablate::log_floors"
SIGNATURE = POINTER, INDEX, INDEX, POINTER, INDEX, DOUBLE, DOUBLE, POINTER
load_find_floors = partial(load_kernel, "logarithms", "find_log_floors", SIGNATURE)
TORCH_SUM_SIZE = 2**15  # elements above which torch sums faster than numpy
SAMPLING_SIZE = 2**12  # elements above which selection samples first
SAMPLING_STRIDE = 31  # of the sample; a prime, so that it is not aligned with rows


def floored_log_kernel(
    values: Tensor, sizes: Sequence[int], ratio: float, minimum: float, centred: bool, power: Tensor | None,
    limit: float,
) -> Tensor:  # fmt: skip
    """Implement `floored_log` for any leading dimensions, [..., S, D]; those of ``power`` [...] are the same."""
    if not is_selectable(values):
        parts = torch.split(values, list(sizes), -1)
        logs = torch.cat([floored_log_torch(part, ratio, minimum, centred) for part in parts], -1)
        return exp_scaled(logs, power, limit)
    values = values.contiguous()
    results = torch.empty_like(values)
    shape = -1, *values.shape[-2:]
    powers = [None] * len(values.view(shape)) if power is None else power.flatten()
    rows = zip(values.view(shape).unbind(), results.view(shape).unbind(), powers, strict=True)
    for value, result, exponent in rows:
        torch.log(value, out=result)
        bound = floor_in_place(result, sizes, ratio, minimum, centred)
        exp_scaled(result, exponent, limit, bound)
    return results


def is_selectable(values: Tensor) -> bool:
    """Return whether numpy can select from a tensor."""
    return values.device.type == "cpu" and values.dtype in (torch.float32, torch.float64)


def floored_log_torch(part: Tensor, ratio: float, minimum: float, centred: bool) -> Tensor:
    """Return the floored logarithms of one tensor by operations of torch, [..., S, D]."""
    floor = (part.flatten(-2).median(-1).values * ratio).clamp(min=minimum)
    logs = torch.maximum(part, floor[..., None, None]).log()
    return logs - logs.mean((-2, -1), keepdim=True) if centred else logs


def floor_in_place(logs: Tensor, sizes: Sequence[int], ratio: float, minimum: float, centred: bool) -> float:
    """Floor the logarithms of each tensor as `floored_log`, and centre them, in place.

    Return a bound on their absolute values.
    """
    array = logs.numpy()
    low, high, floors = extrema_and_floors(logs, sizes, ratio, minimum)
    for start, size, lowest, floor in zip(start_offsets(sizes), sizes, low, floors, strict=True):
        part = array[:, start : start + size]
        if not floor <= lowest:
            np.maximum(part, floor, out=part)
        if centred:
            part -= mean(part)
    return float((np.subtract(high, floors) if centred else np.maximum(np.abs(floors), high)).max())


def extrema_and_floors(logs: Tensor, sizes: Sequence[int], ratio: float, minimum: float) -> tuple[list[float], ...]:
    """Return the lowest and highest logarithm of each tensor, and its floor, [S, D] -> [T] thrice, by either way."""
    is_fit = logs.dtype == torch.float32 and logs.is_contiguous() and sum(sizes) == logs.shape[1] and min(sizes) > 0
    kernel = load_find_floors() if is_fit else None
    if kernel is not None:
        results = torch.empty(3, len(sizes), dtype=torch.float64, device="cpu")
        widths, logarithms = size_tensor(tuple(sizes)), (math.log(ratio), math.log(minimum))
        kernel(logs.data_ptr(), *logs.shape, widths.data_ptr(), len(sizes), *logarithms, results.data_ptr())
        low, high, floors = results.tolist()
        if not any(map(math.isnan, low)):
            return low, high, floors
    array, starts = logs.numpy(), start_offsets(sizes)
    extrema = [f.reduceat(array, starts, 1) for f in (np.minimum, np.maximum)]
    low, high = extrema[0].min(0).tolist(), extrema[1].max(0).tolist()
    return low, high, log_floors(array, low, high, sizes, ratio, minimum)


@cache
def size_tensor(sizes: tuple[int, ...]) -> Tensor:
    """Return the sizes of tensors as a tensor."""
    return torch.tensor(sizes, device="cpu")


def log_floors(
    logs: Any, low: list[float], high: list[float], sizes: Sequence[int], ratio: float, minimum: float
) -> list[float]:
    """Return the floor of each tensor's logarithms, or their lowest, where that is higher.

    The median is computed only where the floor may exceed the lowest logarithm, or one is nan.
    """
    log_ratio, log_minimum, floors = math.log(ratio), math.log(minimum), []
    for start, size, lowest, highest in zip(start_offsets(sizes), sizes, low, high, strict=True):
        floor, part = lowest, logs[:, start : start + size]
        above_all = lowest >= max(highest + log_ratio, log_minimum)
        if not above_all and not (lowest >= log_minimum and is_median_at_most(part, lowest - log_ratio)):
            floor = max(log_ratio + median(part), log_minimum, lowest)
        floors.append(floor)
    return floors


def is_median_at_most(values: Any, limit: float) -> bool:
    """Return whether at most half of the elements are above a limit."""
    return bool(2 * np.count_nonzero(values > limit) <= values.size)


def start_offsets(sizes: Sequence[int]) -> list[int]:
    """Return the offset of the first element of each of the concatenated tensors."""
    return [0, *accumulate(sizes[:-1])]


def median(values: Any) -> float:
    """Return the median of an array, the lower one of two."""
    row = values.reshape(-1)
    return float(order_statistic(row, (row.size - 1) // 2))


def order_statistic(row: Any, rank: int) -> Any:
    """Return the element of a rank, from 0 in ascending order; nan comes last.

    In large arrays it is looked for between two elements of a sample, which enclose it but for three cases in a
    thousand (Floyd and Rivest, Communications of the ACM 18(3), 1975).
    """
    if row.size > SAMPLING_SIZE:
        sample = np.sort(row[::SAMPLING_STRIDE])
        middle, margin = rank * sample.size // row.size, math.ceil(1.5 * sample.size**0.5)
        low, high = sample[max(middle - margin, 0)], sample[min(middle + margin, sample.size - 1)]
        candidates = row.take(np.flatnonzero((row >= low) & (row <= high)))
        below = int(np.count_nonzero(row < low))
        if below <= rank < below + candidates.size:
            row, rank = candidates, rank - below
    return np.partition(row, rank)[rank]


def mean(values: Any) -> float:
    """Return the mean of an array."""
    total = torch.from_numpy(values).sum().item() if values.size > TORCH_SUM_SIZE else np.add.reduce(values, None)
    return float(total / values.size)


def exp_scaled(logs: Tensor, power: Tensor | None, limit: float, bound: float | None = None) -> Tensor:
    """Replace logarithms [..., S, D] by exp(power * logs), in place, as `floored_log`; without ``power`` do nothing.

    ``bound`` is one on the absolute values of the logarithms; None: unknown.
    """
    if power is None:
        return logs
    logs.mul_(power.view(*power.shape, *[1] * (logs.ndim - power.ndim)))
    if bound is None or not bound * abs(float(power)) <= limit:
        logs.clamp_(-limit, limit)
    return logs.exp_()


def floored_log_vmap(
    info: Any, axes: tuple[int | None, ...], values: Tensor, sizes: Sequence[int], ratio: float, minimum: float,
    centred: bool, power: Tensor | None, limit: float,
) -> tuple[Tensor, int]:  # fmt: skip
    """Implement `floored_log` under vmap, where ``power`` may be stacked; return the result and its batch axis."""
    values = values.expand(info.batch_size, *values.shape) if axes[0] is None else values.movedim(axes[0], 0)
    if power is not None:
        power = power.expand(info.batch_size, *power.shape) if axes[5] is None else power.movedim(axes[5], 0)
    results: Tensor = torch.ops.ablate.floored_log.default(values, sizes, ratio, minimum, centred, power, limit)
    return results, 0


def decompose(
    values: Tensor, sizes: Sequence[int], ratio: float, minimum: float, centred: bool, power: Tensor | None,
    limit: float,
) -> Any:  # fmt: skip
    """Return `floored_log` of [S, D] by operations that a compiler can fuse with others; more dimensions stay as is."""
    if values.ndim > 2:
        return NotImplemented
    if not is_selectable(values):
        return floored_log_kernel(values, sizes, ratio, minimum, centred, power, limit)
    logs = values.log()
    floors = torch.ops.ablate.log_floors.default(logs, sizes, ratio, minimum).unbind()
    parts = [torch.maximum(part, floor) for part, floor in zip(torch.split(logs, list(sizes), -1), floors, strict=True)]
    parts = [part - part.mean() for part in parts] if centred else parts
    return torch.cat([exp_scaled(part, power, limit) for part in parts], -1)


def log_floors_kernel(logs: Tensor, sizes: Sequence[int], ratio: float, minimum: float) -> Tensor:
    """Return the floor of each tensor's logarithms, [S, D] -> [T]."""
    return logs.new_tensor(extrema_and_floors(logs, sizes, ratio, minimum)[2])


def fake_log_floors(logs: Tensor, sizes: Sequence[int], ratio: float, minimum: float) -> Tensor:
    """Return an uninitialised tensor of the shape of `log_floors_kernel`, for tracing."""
    return logs.new_empty(len(sizes))


torch.library.define(
    OPERATOR,
    "(Tensor values, SymInt[] sizes, float ratio, float minimum, bool centred, Tensor? power, float limit) -> Tensor",
)
torch.library.impl(OPERATOR, ("CPU", "CUDA", "Meta"), floored_log_kernel)
torch.library.register_vmap(OPERATOR, floored_log_vmap)
torch.library.define(FLOORS_OPERATOR, "(Tensor logs, SymInt[] sizes, float ratio, float minimum) -> Tensor")
torch.library.impl(FLOORS_OPERATOR, "CPU", log_floors_kernel)
torch.library.impl(FLOORS_OPERATOR, "Meta", fake_log_floors)
DECOMPOSITIONS = {torch.ops.ablate.floored_log.default: decompose}  # for a single trial


def floored_log(
    values: Tensor, sizes: Sequence[int], ratio: float, minimum: float, *, centred: bool, power: Tensor | None = None,
    limit: float = math.inf,
) -> Tensor:  # fmt: skip
    """Return the logarithms of values, [S, D], floored at ``minimum`` and at ``ratio`` times their tensor's median.

    The median is over the tensor's elements of all S sources, the lower one of two. ``centred`` subtracts the mean of
    the tensor. With ``power`` [], return exp(power * logarithm), whose exponent is clamped to [-``limit``, ``limit``].
    ``values`` are not negative, ``ratio`` and ``minimum`` positive; ``sizes`` of T tensors split D. Has no gradient.
    """
    power = None if power is None else power.detach()
    results: Tensor = torch.ops.ablate.floored_log.default(
        values.detach(), sizes, ratio, minimum, centred, power, limit
    )
    return results
