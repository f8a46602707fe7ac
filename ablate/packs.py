"""Which trials train together: packs of equal shape and similar size, enough of them for every worker."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import ceil

from ablate.trial import Trial
from trainables.shape import pack_shape

Packing = Callable[[Sequence[Trial]], list[list[Trial]]]


def make_packing(max_size: int, workers: int) -> Packing:
    """Return `pack_trials` with its limits set."""
    return lambda trials: pack_trials(trials, max_size, workers)


def pack_trials(trials: Sequence[Trial], max_size: int, workers: int) -> list[list[Trial]]:
    """Return the packs of some trials, in the order of their first trials; sizes of a shape differ by one at most.

    The trials of a shape are spread over several packs where one would exceed ``max_size``, and where there are fewer
    shapes than workers, some of which would idle; then over as many packs for each worker.
    """
    by_shape: dict[str, list[Trial]] = {}
    for trial in trials:
        by_shape.setdefault(pack_shape(trial.config), []).append(trial)
    share = ceil(workers / len(by_shape)) if by_shape else 1
    return [
        pack
        for group in by_shape.values()
        for pack in split_evenly(group, min(len(group), share * ceil(len(group) / (max_size * share))))
    ]


def split_evenly(trials: Sequence[Trial], parts: int) -> list[list[Trial]]:
    """Return trials split into consecutive parts of similar size."""
    edges = [round(i * len(trials) / parts) for i in range(parts + 1)]
    return [list(trials[low:high]) for low, high in pairwise(edges)]
