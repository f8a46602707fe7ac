"""Variance components over nested blocks of seeds, intraclass correlation, and shares of the axes of a grid.

They come from the mean squares of an analysis of variance, their intervals from those mean squares' chi-square
distributions: generalised confidence intervals from thousands of draws of the variances given the mean squares (Tsui,
Weerahandi 1989).
"""

import math
from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import special

from analysis.statistics import LEVEL, NAN, Estimate, is_constant
from analysis.tables import table_from_rows

DRAWS = 10_000
GRID_DRAWS = 2_000  # each needs the inverse of a noncentral distribution
LEAST_NOISE = 1e-8  # of the sum of squares, so that seeds that are all alike have a finite precision
LARGE_RATIO = 1_000  # to the noise, from which on the inverse would take seconds
COMPONENTS = {
    "source": pl.String,  # a block
    "levels": pl.Int64,
    "variance": pl.Float64,
    "low": pl.Float64,  # 95 % interval of the variance
    "high": pl.Float64,
    "share": pl.Float64,  # of the sum of all
}

Draws = NDArray[np.float64]  # [DRAWS]
Array = NDArray[np.float64]


def components(table: pl.DataFrame, blocks: Sequence[str], score: str = "score") -> pl.DataFrame:
    """Return the variance that each block of seeds adds, with the columns of COMPONENTS; an estimate below 0 is 0.

    Blocks are columns, such as `split` and `init`, each nested in those before: a level of one occurs with a single
    level of each before. The last one is the residual. Levels of the first that have fewer scores than others are left
    out. The variance of a block with a single level, or where nothing varies, is null.
    """
    kept = table.filter(pl.col(score).is_finite())
    kept = kept.filter(pl.len().over(blocks[0]) == pl.len().over(blocks[0]).max())
    squares = mean_squares(kept, blocks, score)
    rng = np.random.default_rng(0)
    drawn = [square * df / rng.chisquare(df, DRAWS) if df else np.full(DRAWS, NAN) for square, df, _ in squares]
    rows = []
    for i, (block, (square, _, size)) in enumerate(zip(blocks, squares, strict=True)):
        has_inner = i + 1 < len(blocks)
        inner, draws = (squares[i + 1][0], drawn[i] - drawn[i + 1]) if has_inner else (0.0, drawn[i])
        low, high = np.quantile(np.maximum(draws, 0) / size, [LEVEL / 2, 1 - LEVEL / 2])
        variance = max(square - inner, 0.0) / size if math.isfinite(square - inner) else NAN
        rows.append({"source": block, "levels": kept[block].n_unique(), "variance": variance, "low": low, "high": high})
    share = pl.col("variance") / pl.col("variance").sum()
    return table_from_rows(rows, COMPONENTS).with_columns(share=share.fill_nan(None))


def icc(scores: NDArray[np.float64]) -> Estimate:
    """Return the intraclass correlation ICC(2,1) of scores [targets, raters]: the agreement of raters on targets.

    The raters, such as seeds, are a sample of many, and differences between them count as disagreement (Shrout and
    Fleiss 1979). `seeds` are the raters; targets that lack a score are left out. The interval is a generalised
    confidence interval.
    """
    kept = scores[np.isfinite(scores).all(axis=1)]
    targets, raters = kept.shape
    if targets < 2 or raters < 2 or np.ptp(kept) == 0:
        return Estimate(NAN, NAN, NAN, raters)
    rows, columns = kept.mean(1), kept.mean(0)
    residuals = kept - rows[:, None] - columns + kept.mean()
    df = np.array([targets - 1, raters - 1, (targets - 1) * (raters - 1)])
    squares = np.array([raters * rows.var() * targets, targets * columns.var() * raters, (residuals**2).sum()]) / df
    rng = np.random.default_rng(0)
    drawn = squares * df / rng.chisquare(df, (DRAWS, 3))
    low, high = np.quantile(icc_from_mean_squares(drawn, targets, raters), [LEVEL / 2, 1 - LEVEL / 2])
    return Estimate(float(icc_from_mean_squares(squares, targets, raters)), float(low), float(high), raters)


def icc_from_mean_squares(squares: NDArray[np.float64], targets: int, raters: int) -> NDArray[np.float64]:
    """Return ICC(2,1) from the mean squares of targets, raters and residuals, [..., 3]."""
    target, rater, residual = np.moveaxis(squares, -1, 0)
    total = target + (raters - 1) * residual + raters * (rater - residual) / targets
    return np.asarray((target - residual) / np.where(total > 0, total, np.inf))


def grid_shares(scores: Array) -> list[Estimate]:
    """Return the share of each axis, and then of their interactions, in the variance of the mean over a full grid.

    The scores are [N, ...], of N seeds at every point. The noise of few seeds makes all sums of squares too large, most
    of all that of the interactions: what the residuals show of it is subtracted. All nan where nothing but noise is
    left, or all scores are equal; one seed leaves the noise in, and has no interval.
    """
    seeds, levels, size = len(scores), np.array(scores.shape[1:]), int(np.prod(scores.shape[1:]))
    if is_constant(scores.ravel()):
        return [Estimate(NAN, NAN, NAN, seeds)] * (len(levels) + 1)
    mean = scores.mean(axis=0)
    main = [np.moveaxis(mean, i, 0).reshape(count, -1).mean(axis=1).var() for i, count in enumerate(levels)]
    squares = seeds * size * np.array([*main, max(mean.var() - sum(main), 0.0)])
    if seeds < 2:
        return [Estimate(float(share), NAN, NAN, seeds) for share in squares / squares.sum()]
    df, residual_df = np.array([*(levels - 1), size - 1 - (levels - 1).sum()]), (seeds - 1) * (size - 1)
    flat = scores.reshape(seeds, size)
    residuals = flat - flat.mean(axis=0) - flat.mean(axis=1, keepdims=True) + flat.mean()
    noise = max((residuals**2).sum() / residual_df, LEAST_NOISE * squares.sum())
    values = shares_of(np.maximum(squares - df * noise, 0.0))
    rng = np.random.default_rng(0)
    drawn_noise = noise * residual_df / rng.chisquare(residual_df, (GRID_DRAWS, 1))
    drawn = drawn_noise * noncentrality(squares / drawn_noise, df, rng.random((GRID_DRAWS, len(df))))
    known = drawn[drawn.sum(axis=1) > 0]
    if np.isnan(values).any() or not len(known):
        return [Estimate(NAN, NAN, NAN, seeds)] * len(df)
    ends = np.quantile(shares_of(known), [LEVEL / 2, 1 - LEVEL / 2], axis=0).T
    return [
        Estimate(float(np.clip(value, low, high)), float(low), float(high), seeds)
        for value, (low, high) in zip(values, ends, strict=True)
    ]


def shares_of(squares: Array) -> Array:
    """Return the shares of sums of squares, [..., terms], in their sum; nan where that is 0."""
    total = squares.sum(axis=-1, keepdims=True)
    return np.asarray(np.divide(squares, total, out=np.full_like(squares, NAN), where=total > 0))


def noncentrality(ratios: Array, df: NDArray[np.int64], p: Array) -> Array:
    """Return at which noncentrality a chi-square variable is at most `ratios` with probability p; 0 if at none.

    The root of a variable that is large is nearly normal, with standard deviation 1.
    """
    at_least_one = np.broadcast_to(np.maximum(df, 1), ratios.shape)  # an axis with one value has ratio 0
    result = np.asarray(np.maximum((np.sqrt(ratios) - special.ndtri(p)) ** 2 - at_least_one + 1, 0.0))
    exact = ratios < LARGE_RATIO
    x, freedom, probability = ratios[exact], at_least_one[exact], p[exact]
    at_zero = special.chdtr(freedom, x)
    found = special.chndtrinc(x, freedom, np.minimum(probability, at_zero))
    result[exact] = np.where(probability < at_zero, np.maximum(found, 0.0), 0.0)
    return result


def mean_squares(table: pl.DataFrame, blocks: Sequence[str], score: str) -> list[tuple[float, float, float]]:
    """Return mean square, degrees of freedom and number of scores per level of each block, nested in those before."""
    values = table[score].to_numpy().astype(float)
    outer_means, outer_count, squares = np.full_like(values, values.mean() if len(values) else NAN), 1, []
    for i in range(len(blocks)):
        keys = blocks[: i + 1]
        means = table.select(pl.col(score).mean().over(keys)).to_series().to_numpy().astype(float)
        count = table.select(keys).n_unique()
        df = count - outer_count
        square = float(((means - outer_means) ** 2).sum()) / df if df > 0 and np.ptp(values) > 0 else NAN
        squares.append((square, float(max(df, 0)), len(values) / max(count, 1)))
        outer_means, outer_count = means, count
    return squares
