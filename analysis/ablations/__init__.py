"""The papers' ablations by name: each a function from tables of runs to effects, one number per seed, and lines."""

from collections.abc import Callable

from analysis.ablations.differences import difference, quantity
from analysis.ablations.factorial import factorial
from analysis.ablations.finding import Effect, Finding
from analysis.ablations.ranking import ceiling, ranking
from analysis.ablations.relations import correlation, gain_correlation, growth, trend
from analysis.ablations.response import response
from analysis.ablations.traces import curve_distance
from analysis.ablations.variance import agreement, heterogeneity, variance_shares

ABLATIONS: dict[str, Callable[..., Finding]] = {
    "agreement": agreement,
    "apart": curve_distance,
    "ceiling": ceiling,
    "companion": gain_correlation,
    "correlation": correlation,
    "difference": difference,
    "factorial": factorial,
    "growth": growth,
    "heterogeneity": heterogeneity,
    "quantity": quantity,
    "ranking": ranking,
    "response": response,
    "trend": trend,
    "variance_shares": variance_shares,
}

PAIRED = {"apart", "difference", "factorial", "ranking", "response", "trend"}  # whose effects have a baseline

__all__ = ["ABLATIONS", "PAIRED", "Effect", "Finding"]
