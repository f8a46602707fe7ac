"""The papers' ablations by name: each a function from tables of runs to numbers, one per seed, and lines to draw."""

from collections.abc import Callable

from analysis.ablations.differences import difference, quantity
from analysis.ablations.factorial import factorial
from analysis.ablations.finding import Effect, Finding
from analysis.ablations.ranking import ceiling, ranking
from analysis.ablations.relations import companion, correlation, growth, trend
from analysis.ablations.response import response
from analysis.ablations.traces import apart
from analysis.ablations.variance import agreement, heterogeneity, variance_shares

ABLATIONS: dict[str, Callable[..., Finding]] = {
    "agreement": agreement,
    "apart": apart,
    "ceiling": ceiling,
    "companion": companion,
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

PAIRED = {"apart", "difference", "factorial", "ranking", "response", "trend"}  # what they find has two sides

__all__ = ["ABLATIONS", "PAIRED", "Effect", "Finding"]
