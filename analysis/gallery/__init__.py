"""The figures of a run, those that its design and results allow, each with its data and a caption."""

from collections.abc import Callable, Iterator

from analysis.drawing import Drawing
from analysis.gallery.comparisons import differences, encoder_gaps, pareto_fronts, ranks
from analysis.gallery.factors import importances, sensitivities
from analysis.gallery.response import choice_differences, curves, heat_maps, response_surfaces
from analysis.gallery.training import coefficients, learning
from analysis.gallery.tuning import best_of_n, slices
from analysis.tables import Run

FIGURES: tuple[Callable[[Run], Iterator[Drawing]], ...] = (
    differences,
    pareto_fronts,
    curves,
    choice_differences,
    heat_maps,
    response_surfaces,
    slices,
    sensitivities,
    importances,
    encoder_gaps,
    ranks,
    best_of_n,
    learning,
    coefficients,
)

__all__ = ["Drawing", "heat_maps", "response_surfaces", "run_figures"]


def run_figures(run: Run) -> Iterator[Drawing]:
    """Yield the figures of a run, the most decisive first."""
    for figures in FIGURES:
        yield from figures(run)
