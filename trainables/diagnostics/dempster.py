"""Dempster's rule by its definition, over all subsets of a frame: slow, and right whatever the opinions are."""

from collections.abc import Iterable, Mapping
from functools import reduce

Subset = frozenset[int]
Masses = Mapping[Subset, float]  # subset of the frame -> belief in it and nothing smaller; they sum to 1


def dempster(opinions: Iterable[Masses]) -> tuple[dict[Subset, float], float]:
    """Return the masses that some opinions combine to, and the conflict: what went to no subset and is left out."""
    nothing: dict[Subset, float] = {}
    together = reduce(product, opinions, nothing)
    conflict = together.pop(frozenset(), 0.0)
    total = sum(together.values())
    return {subset: mass / total for subset, mass in together.items()}, conflict


def product(one: dict[Subset, float], other: Masses) -> dict[Subset, float]:
    """Return the masses of all intersections, not divided by what is left; nothing is neutral."""
    if not one or not other:
        return dict(one or other)
    found: dict[Subset, float] = {}
    for a, first in one.items():
        for b, second in other.items():
            found[a & b] = found.get(a & b, 0.0) + first * second
    return found
