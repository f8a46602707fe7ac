"""Functions from tables to matplotlib figures, all in one style."""

from analysis.plots.bars import plot_importance, plot_indices
from analysis.plots.curves import plot_curve
from analysis.plots.forest import plot_forest
from analysis.plots.maps import plot_map
from analysis.plots.ranks import plot_ranks, ranks_table
from analysis.plots.style import save_figure
from analysis.plots.surfaces import plot_surface
from analysis.plots.training import plot_coefficients, plot_learning
from analysis.plots.tuning import plot_best_of, plot_front, plot_slices

__all__ = [
    "plot_best_of",
    "plot_coefficients",
    "plot_curve",
    "plot_forest",
    "plot_front",
    "plot_importance",
    "plot_indices",
    "plot_learning",
    "plot_map",
    "plot_ranks",
    "plot_slices",
    "plot_surface",
    "ranks_table",
    "save_figure",
]
