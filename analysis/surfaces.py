"""A response surface: how the score bends along the settings, and which of them bend it together."""

from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
import polars as pl
import polars.selectors as cs
from numpy.typing import NDArray

from analysis.choice import design
from analysis.statistics import NAN, holm, paired
from analysis.tables import Run, numeric

SURFACE = {
    "term": pl.String,  # `a`, `a x a`, `a x b`
    "effect": pl.Float64,  # on the metric of going from the middle of an axis to its end
    "low": pl.Float64,  # 95 % interval over seeds
    "high": pl.Float64,
    "p": pl.Float64,  # corrected for all terms (Holm)
    "seeds": pl.Int64,
}


class Surface(NamedTuple):
    """A quadratic fitted to the validation scores of each seed."""

    terms: pl.DataFrame  # SURFACE
    r2: float  # of the mean scores; what it leaves, a quadratic cannot say
    points: int
    dropped: int  # configurations without a result for every seed


def surface(run: Run, method: str) -> Surface:
    """Return the quadratic response surface of a method over its numeric axes, each drawn as in a figure from -1 to 1.

    Null where the points are too few for its terms, or lie so that they cannot be told apart.
    """
    found = design(run, method)
    names = [axis for axis in found.axes if numeric(found.points[axis].to_list())]
    whole = np.array([bool(found.seeds) and bool(np.isfinite(row).all()) for row in found.scores], dtype=bool)
    scores = found.scores[whole]
    places = np.array([_scaled(found.places(axis, run.vary[axis]["scale"])) for axis in names])
    columns = places.reshape(len(names), len(whole))[:, whole]
    pairs = list(combinations_with_replacement(range(len(names)), 2))
    matrix = np.array([np.ones(len(scores)), *columns, *(columns[i] * columns[j] for i, j in pairs)]).T  # [N, T]
    terms = [*names, *(f"{names[i]} x {names[j]}" for i, j in pairs)]
    fits = len(scores) >= matrix.shape[1] > 1 and np.linalg.matrix_rank(matrix) == matrix.shape[1]
    shape = (matrix.shape[1], scores.shape[1])
    weights = np.linalg.lstsq(matrix, scores)[0] if fits else np.full(shape, np.nan)  # [T, S]
    effects = [paired(values, np.zeros(len(values))) for values in weights[1:]]
    rows = [
        {"term": term, "effect": one.mean, "low": one.low, "high": one.high, "p": p, "seeds": one.pairs}
        for term, one, p in zip(terms, effects, holm([one.p for one in effects]), strict=True)
    ]
    table = pl.DataFrame(rows, schema=SURFACE).with_columns(cs.float().fill_nan(None))
    r2 = _r2(scores.mean(axis=1), (matrix @ weights).mean(axis=1)) if fits else NAN
    return Surface(table, r2, len(scores), int((~whole).sum()))


def _scaled(places: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = places.min(initial=np.inf), places.max(initial=-np.inf)
    return (2 * places - low - high) / (high - low) if high > low else np.zeros(len(places))


def _r2(values: NDArray[np.float64], fitted: NDArray[np.float64]) -> float:
    whole = float(((values - values.mean()) ** 2).sum())
    return 1 - float(((values - fitted) ** 2).sum()) / whole if whole else NAN
