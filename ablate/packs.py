"""Which trials train together: those of one shape, in packs of like size, enough of them for every worker."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import ceil

from ablate.trial import Trial
from trainables.shape import shape

Packing = Callable[[Sequence[Trial]], list[list[Trial]]]


def make_packing(most: int, workers: int) -> Packing:
    """Return how to pack trials: at most so many at once, and no fewer packs than workers where there are trials."""
    return lambda trials: pack_trials(trials, most, workers)


def pack_trials(trials: Sequence[Trial], most: int, workers: int) -> list[list[Trial]]:
    """Return the packs of some trials, in the order of their first trials; their sizes differ by one at most.

    A shape's trials are spread over several packs where one would be too large, or where there are fewer shapes than
    workers, which would wait; then over as many for each worker.
    """
    shapes: dict[str, list[Trial]] = {}
    for trial in trials:
        shapes.setdefault(shape(trial.config), []).append(trial)
    fair = ceil(workers / len(shapes)) if shapes else 1
    return [
        pack
        for group in shapes.values()
        for pack in split_evenly(group, min(len(group), fair * ceil(len(group) / (most * fair))))
    ]


def split_evenly(trials: Sequence[Trial], parts: int) -> list[list[Trial]]:
    """Return trials in so many parts, one after another, of like size."""
    edges = [round(i * len(trials) / parts) for i in range(parts + 1)]
    return [list(trials[low:high]) for low, high in pairwise(edges)]
