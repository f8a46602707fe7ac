"""Quadratic response surfaces of the score over the settings: curvature along each, and interactions."""

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
    "effect": pl.Float64,  # on the metric, of a step from the middle of an axis to its end
    "low": pl.Float64,  # 95 % interval over seeds
    "high": pl.Float64,
    "p": pl.Float64,  # corrected for all terms (Holm)
    "seeds": pl.Int64,
}


SLICE = {
    "kind": pl.String,  # surface | optimum: the best point of a single seed's surface
    "x": pl.Float64,  # position on the axis of a figure: log10 of the value on a log axis
    "y": pl.Float64,
    "mean": pl.Float64,
    "low": pl.Float64,  # 95 % interval over seeds
    "high": pl.Float64,
    "seeds": pl.Int64,
}
MIN_RESIDUAL_LEVERAGE = 1e-9  # below it a point determines a term alone
SLICE_POINTS = 33  # along each axis


class Surface(NamedTuple):
    """A quadratic fitted to the validation scores of each seed."""

    terms: pl.DataFrame  # SURFACE
    r2: float  # of the mean scores
    predicted_r2: float  # of leave-one-out predictions (PRESS); nan where a point determines a term alone
    points: int
    dropped: int  # configurations without a result for every seed
    positions: dict[str, NDArray[np.float64]]  # axis -> positions of the configurations, best first
    weights: NDArray[np.float64]  # [T, S] of 1, the axes, and their products; nan where nothing could be fitted


def surface(run: Run, method: str) -> Surface:
    """Return the quadratic response surface of a method over its numeric axes, each scaled to [-1, 1] as in a figure.

    Its terms are null where there are too few points, or the terms are collinear.
    """
    configurations = design(run, method)
    names = [axis for axis in configurations.axes if is_numeric(configurations.points[axis].to_list())]
    is_complete = [bool(configurations.seeds) and bool(np.isfinite(row).all()) for row in configurations.scores]
    complete = np.array(is_complete, dtype=bool)
    scores = configurations.scores[complete]
    positions = {axis: configurations.positions(axis, run.vary[axis]["scale"]) for axis in names}
    columns = [rescaled(column, column)[complete] for column in positions.values()]
    matrix = quadratic_terms(columns, len(scores))
    terms = [*names, *(f"{first} x {second}" for first, second in combinations_with_replacement(names, 2))]
    is_determined = len(scores) >= matrix.shape[1] > 1 and np.linalg.matrix_rank(matrix) == matrix.shape[1]
    shape = (matrix.shape[1], scores.shape[1])
    weights = np.linalg.lstsq(matrix, scores)[0] if is_determined else np.full(shape, np.nan)  # [T, S]
    effects = [paired(values, np.zeros(len(values))) for values in weights[1:]]
    rows = [
        {"term": term, "effect": effect.mean, "low": effect.low, "high": effect.high, "p": p, "seeds": effect.pairs}
        for term, effect, p in zip(terms, effects, holm([effect.p for effect in effects]), strict=True)
    ]
    r2, predicted_r2 = fit_quality(scores, matrix, weights) if is_determined else (NAN, NAN)
    table, dropped = table_from_rows(rows, SURFACE), int((~complete).sum())
    return Surface(table, r2, predicted_r2, len(scores), dropped, positions, weights)


def surface_slice(fitted: Surface, x: str, y: str, *, higher_is_better: bool = True) -> pl.DataFrame:
    """Return a fitted surface over two axes, with the columns of SLICE; others are held at the best configuration."""
    axes = [fitted.positions[axis] for axis in (x, y)]
    ticks = [np.linspace(positions.min(), positions.max(), SLICE_POINTS) for positions in axes]
    grid = dict(zip((x, y), (side.ravel() for side in np.meshgrid(*ticks)), strict=True))
    num_points = SLICE_POINTS * SLICE_POINTS
    values = {axis: np.full(num_points, positions[0]) for axis, positions in fitted.positions.items()} | grid
    columns = [rescaled(values[axis], positions) for axis, positions in fitted.positions.items()]
    heights = quadratic_terms(columns, num_points) @ fitted.weights  # [N, S]
    best = (heights if higher_is_better else -heights).argmax(axis=0)
    places = [{"x": right, "y": up} for right, up in zip(grid[x], grid[y], strict=True)]
    rows = [{"kind": "surface", **places[n], **estimate(row)._asdict()} for n, row in enumerate(heights)]
    rows += [{"kind": "optimum", **places[n], "mean": heights[n, seed], "seeds": 1} for seed, n in enumerate(best)]
    return table_from_rows(rows, SLICE)


def quadratic_terms(columns: Sequence[NDArray[np.float64]], points: int) -> NDArray[np.float64]:
    """Return the design matrix of a quadratic, [N, T]: 1, the axes, and their products."""
    products = [first * second for first, second in combinations_with_replacement(columns, 2)]
    return np.array([np.ones(points), *columns, *products]).T


def rescaled(positions: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return positions scaled such that the range of `reference` is [-1, 1]."""
    low, high = reference.min(initial=np.inf), reference.max(initial=-np.inf)
    return (2 * positions - low - high) / (high - low) if high > low else np.zeros(len(positions))


def fit_quality(
    scores: NDArray[np.float64], matrix: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[float, float]:
    """Return the R² of the mean scores by the fit, and by leave-one-out predictions."""
    means, heights = scores.mean(axis=1), (matrix @ weights).mean(axis=1)
    return r_squared(means, heights), r_squared(means, means - (means - heights) / residual_leverage(matrix))


def residual_leverage(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 minus the leverage of each point, [N]; nan where a point determines a term alone."""
    residual = 1 - np.einsum("nt,tn->n", matrix, np.linalg.pinv(matrix))
    return np.where(residual > MIN_RESIDUAL_LEVERAGE, residual, np.nan)


def r_squared(values: NDArray[np.float64], fitted: NDArray[np.float64]) -> float:
    """Return the share of the variance of values [N] that fitted ones explain; nan if they do not vary."""
    total = float(((values - values.mean()) ** 2).sum())
    return 1 - float(((values - fitted) ** 2).sum()) / total if total else NAN
