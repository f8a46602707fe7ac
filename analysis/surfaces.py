"""A response surface: how the score bends along the settings, and which of them bend it together."""

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analysis.choice import design
from analysis.statistics import NAN, estimate, holm, paired
from analysis.tables import Run, is_numeric, table_from_rows

SURFACE = {
    "term": pl.String,  # `a`, `a x a`, `a x b`
    "effect": pl.Float64,  # on the metric of going from the middle of an axis to its end
    "low": pl.Float64,  # 95 % interval over seeds
    "high": pl.Float64,
    "p": pl.Float64,  # corrected for all terms (Holm)
    "seeds": pl.Int64,
}


SLICE = {
    "kind": pl.String,  # surface | optimum: where a seed's own surface is best
    "x": pl.Float64,  # place on the axis as a figure has it: of a log axis the decimal logarithm
    "y": pl.Float64,
    "mean": pl.Float64,
    "low": pl.Float64,  # 95 % interval over seeds
    "high": pl.Float64,
    "seeds": pl.Int64,
}
MIN_RESIDUAL_LEVERAGE = 1e-9  # freedom of a point, below which there is none
SLICE_POINTS = 33  # places along each axis of a slice


class Surface(NamedTuple):
    """A quadratic fitted to the validation scores of each seed."""

    terms: pl.DataFrame  # SURFACE
    r2: float  # of the mean scores; what it leaves, a quadratic cannot say
    predicted: float  # the same of each mean score by a fit to the others (PRESS); nan where one alone decides a term
    points: int
    dropped: int  # configurations without a result for every seed
    places: dict[str, NDArray[np.float64]]  # axis -> where the configurations stand on it, best first
    weights: NDArray[np.float64]  # [T, S] of 1, the axes, and their products; nan where nothing could be fitted


def surface(run: Run, method: str) -> Surface:
    """Return the quadratic response surface of a method over its numeric axes, each drawn as in a figure from -1 to 1.

    Null where the points are too few for its terms, or lie so that they cannot be told apart.
    """
    found = design(run, method)
    names = [axis for axis in found.axes if is_numeric(found.points[axis].to_list())]
    whole = np.array([bool(found.seeds) and bool(np.isfinite(row).all()) for row in found.scores], dtype=bool)
    scores = found.scores[whole]
    places = {axis: found.positions(axis, run.vary[axis]["scale"]) for axis in names}
    columns = [_rescaled(place, place)[whole] for place in places.values()]
    matrix = _quadratic_terms(columns, len(scores))
    terms = [*names, *(f"{one} x {other}" for one, other in combinations_with_replacement(names, 2))]
    fits = len(scores) >= matrix.shape[1] > 1 and np.linalg.matrix_rank(matrix) == matrix.shape[1]
    shape = (matrix.shape[1], scores.shape[1])
    weights = np.linalg.lstsq(matrix, scores)[0] if fits else np.full(shape, np.nan)  # [T, S]
    effects = [paired(values, np.zeros(len(values))) for values in weights[1:]]
    rows = [
        {"term": term, "effect": one.mean, "low": one.low, "high": one.high, "p": p, "seeds": one.pairs}
        for term, one, p in zip(terms, effects, holm([one.p for one in effects]), strict=True)
    ]
    r2, predicted = _fit_quality(scores, matrix, weights) if fits else (NAN, NAN)
    return Surface(table_from_rows(rows, SURFACE), r2, predicted, len(scores), int((~whole).sum()), places, weights)


def surface_slice(found: Surface, x: str, y: str, *, higher_is_better: bool = True) -> pl.DataFrame:
    """Return a fitted surface over two axes, as SLICE says; others are held where the best configuration is."""
    axes = {axis: np.linspace(found.places[axis].min(), found.places[axis].max(), SLICE_POINTS) for axis in (x, y)}
    grid = dict(zip((x, y), (flat.ravel() for flat in np.meshgrid(axes[x], axes[y])), strict=True))
    held = {axis: np.full(SLICE_POINTS * SLICE_POINTS, place[0]) for axis, place in found.places.items()} | grid
    columns = [_rescaled(held[axis], place) for axis, place in found.places.items()]
    heights = _quadratic_terms(columns, SLICE_POINTS * SLICE_POINTS) @ found.weights  # [N, S]
    best = (heights if higher_is_better else -heights).argmax(axis=0)
    at = [{"x": right, "y": upward} for right, upward in zip(grid[x], grid[y], strict=True)]
    rows = [{"kind": "surface", **at[n], **estimate(row)._asdict()} for n, row in enumerate(heights)]
    rows += [{"kind": "optimum", **at[n], "mean": heights[n, seed], "seeds": 1} for seed, n in enumerate(best)]
    return table_from_rows(rows, SLICE)


def _quadratic_terms(columns: Sequence[NDArray[np.float64]], points: int) -> NDArray[np.float64]:
    """Return the terms of a quadratic at some points, [N, T]."""
    products = [one * other for one, other in combinations_with_replacement(columns, 2)]
    return np.array([np.ones(points), *columns, *products]).T


def _rescaled(places: NDArray[np.float64], ends: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return places between -1 and 1, which are the least and the greatest of `ends`."""
    low, high = ends.min(initial=np.inf), ends.max(initial=-np.inf)
    return (2 * places - low - high) / (high - low) if high > low else np.zeros(len(places))


def _fit_quality(
    scores: NDArray[np.float64], matrix: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[float, float]:
    """Return the share of the variance of mean scores that a fit explains, and that fits to the others predict."""
    means, heights = scores.mean(axis=1), (matrix @ weights).mean(axis=1)
    return _r2(means, heights), _r2(means, means - (means - heights) / residual_leverage(matrix))


def residual_leverage(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how free of the fit each of N points is, [N]: 1 less its leverage; nan where it decides a term alone."""
    left = 1 - np.einsum("nt,tn->n", matrix, np.linalg.pinv(matrix))
    return np.where(left > MIN_RESIDUAL_LEVERAGE, left, np.nan)


def _r2(values: NDArray[np.float64], fitted: NDArray[np.float64]) -> float:
    whole = float(((values - values.mean()) ** 2).sum())
    return 1 - float(((values - fitted) ** 2).sum()) / whole if whole else NAN
