"""The figures of a run: for each kind of study those that its tables allow, with a caption that says what they show."""

from collections.abc import Callable, Iterator

from analysis.drawing import Drawing
from analysis.gallery.contest import differences, gaps, ranks, weighed
from analysis.gallery.course import budgets, learned, modulation, slices
from analysis.gallery.factors import importances, sensitivities
from analysis.gallery.response import curves, maps, surfaces
from analysis.tables import Run

DRAW: tuple[Callable[[Run], Iterator[Drawing]], ...] = (
    differences, weighed, curves, maps, surfaces, slices, sensitivities, importances, gaps, ranks, budgets, learned,
    modulation,
)  # fmt: skip

__all__ = ["Drawing", "gallery", "maps", "surfaces"]


def gallery(run: Run) -> Iterator[Drawing]:
    """Yield the figures of a run, what decides first."""
    for draw in DRAW:
        yield from draw(run)
