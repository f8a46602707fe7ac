"""The papers' ablations by name: each a function from tables of runs to numbers, one per seed, and lines to draw."""

from collections.abc import Callable

from analysis.ablations.differences import difference, quantity
from analysis.ablations.factorial import factorial
from analysis.ablations.finding import Effect, Finding

ABLATIONS: dict[str, Callable[..., Finding]] = {
    "difference": difference,
    "factorial": factorial,
    "quantity": quantity,
}

__all__ = ["ABLATIONS", "Effect", "Finding"]
