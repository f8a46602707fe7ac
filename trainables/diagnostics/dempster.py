"""Dempster's rule by its definition, over all subsets of a frame: slow, and exact for any opinions."""

from collections.abc import Iterable, Mapping
from functools import reduce

Subset = frozenset[int]
Masses = Mapping[Subset, float]  # subset of the frame -> belief in it and nothing smaller; they sum to 1


def dempster(opinions: Iterable[Masses]) -> tuple[dict[Subset, float], float]:
    """Return the normalised masses of combined opinions, and the conflict: the mass of the empty set, left out."""
    neutral: dict[Subset, float] = {}
    combined = reduce(intersect_masses, opinions, neutral)
    conflict = combined.pop(frozenset(), 0.0)
    total = sum(combined.values())
    return {subset: mass / total for subset, mass in combined.items()}, conflict


def intersect_masses(left: dict[Subset, float], right: Masses) -> dict[Subset, float]:
    """Return the masses of all intersections, not normalised; no masses are the neutral element."""
    if not left or not right:
        return dict(left or right)
    masses: dict[Subset, float] = {}
    for a, mass_a in left.items():
        for b, mass_b in right.items():
            masses[a & b] = masses.get(a & b, 0.0) + mass_a * mass_b
    return masses
