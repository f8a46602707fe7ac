"""Variance components over nested blocks of seeds, and intraclass correlation.

Components come from the mean squares of an analysis of variance of nested blocks, their intervals from those mean
squares' chi-square distributions: generalised confidence intervals from ten thousand draws of the variances given the
mean squares (Tsui, Weerahandi 1989).
"""

import math
from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analysis.statistics import LEVEL, NAN, Estimate
from analysis.tables import table_from_rows

DRAWS = 10_000
COMPONENTS = {
    "source": pl.String,  # a block
    "levels": pl.Int64,
    "variance": pl.Float64,
    "low": pl.Float64,  # 95 % interval of the variance
    "high": pl.Float64,
    "share": pl.Float64,  # of the sum of all
}

Draws = NDArray[np.float64]  # [DRAWS]


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
