"""Where the spread of results comes from: variance components over blocks of seeds, and intraclass correlation.

Components come from the mean squares of an analysis of variance (statsmodels), their intervals from those mean squares'
chi-square laws: a thousandfold draw of what the variances may be, given what was seen (Tsui and Weerahandi 1989).
"""

import math
import warnings
from collections.abc import Sequence

import numpy as np
import polars as pl
import polars.selectors as cs
from numpy.typing import NDArray

from analysis.statistics import LEVEL, NAN, Estimate

DRAWS = 10_000
RESIDUAL = "(rest)"
COMPONENTS = {
    "source": pl.String,  # a block, or the rest: what blocks do together, and what is left
    "levels": pl.Int64,
    "variance": pl.Float64,
    "low": pl.Float64,  # 95 % interval of the variance
    "high": pl.Float64,
    "share": pl.Float64,  # of the sum of all
}

Draws = NDArray[np.float64]  # [DRAWS]


def components(table: pl.DataFrame, blocks: Sequence[str], score: str = "score") -> pl.DataFrame:
    """Return the variance that each block of seeds adds, as COMPONENTS says; an estimate below 0 is 0.

    Blocks are columns, such as `data.seed` and `seed`, crossed with each other. One with a single level, or one that
    cannot be told from the rest since nothing was repeated, is null.
    """
    kept = table.filter(pl.col(score).is_finite())
    levels = {block: kept[block].n_unique() for block in blocks}
    varied = [block for block in blocks if levels[block] > 1]
    found = _mean_squares(kept, varied, score) if varied and len(kept) > 2 else {}
    rng = np.random.default_rng(0)
    drawn = {source: square * df / rng.chisquare(df, DRAWS) for source, (square, df) in found.items()}
    rest = found.get(RESIDUAL, (NAN, 0.0))[0]
    rows = []
    for source in [*blocks, RESIDUAL]:
        row = {"source": source, "levels": levels.get(source), "variance": NAN, "low": NAN, "high": NAN}
        if source in found and RESIDUAL in found:
            per_level = 1.0 if source == RESIDUAL else len(kept) / levels[source]
            less = 0.0 if source == RESIDUAL else 1.0
            draws = np.maximum(drawn[source] - less * drawn[RESIDUAL], 0) / per_level
            low, high = np.quantile(draws, [LEVEL / 2, 1 - LEVEL / 2])
            variance = max(found[source][0] - less * rest, 0.0) / per_level
            row |= {"variance": variance, "low": float(low), "high": float(high)}
        rows.append(row)
    whole = pl.col("variance") / pl.col("variance").sum()
    shown = pl.DataFrame(rows, schema={k: v for k, v in COMPONENTS.items() if k != "share"})
    return shown.with_columns(cs.float().fill_nan(None)).with_columns(share=whole.fill_nan(None))


def icc(scores: NDArray[np.float64]) -> Estimate:
    """Return the intraclass correlation ICC(2,1) of scores [targets, raters]: how alike raters find a target.

    The raters (seeds, say) are a sample of many, and differences between them count as disagreement (Shrout and Fleiss
    1979). `seeds` are the raters; targets that lack a score are left out. The interval is that of the drawn variances.
    """
    kept = scores[np.isfinite(scores).all(axis=1)]
    targets, raters = kept.shape
    if targets < 2 or raters < 2 or np.ptp(kept) == 0:
        return Estimate(NAN, NAN, NAN, raters)
    rows, columns = kept.mean(1), kept.mean(0)
    rest = kept - rows[:, None] - columns + kept.mean()
    freedom = np.array([targets - 1, raters - 1, (targets - 1) * (raters - 1)])
    squares = np.array([raters * rows.var() * targets, targets * columns.var() * raters, (rest**2).sum()]) / freedom
    rng = np.random.default_rng(0)
    drawn = squares * freedom / rng.chisquare(freedom, (DRAWS, 3))
    low, high = np.quantile(_icc(drawn, targets, raters), [LEVEL / 2, 1 - LEVEL / 2])
    return Estimate(float(_icc(squares, targets, raters)), float(low), float(high), raters)


def _icc(squares: NDArray[np.float64], targets: int, raters: int) -> NDArray[np.float64]:
    """Return ICC(2,1) from the mean squares of targets, raters and rest, [..., 3]."""
    target, rater, rest = np.moveaxis(squares, -1, 0)
    whole = target + (raters - 1) * rest + raters * (rater - rest) / targets
    return np.asarray((target - rest) / np.where(whole > 0, whole, np.inf))


def _mean_squares(table: pl.DataFrame, blocks: list[str], score: str) -> dict[str, tuple[float, float]]:
    """Return mean square and degrees of freedom of each block and of the rest.

    Where a single block varies and no level of it was repeated, all the spread is its own. Nothing is returned where
    the blocks cannot be told apart.
    """
    values = table[score].to_numpy().astype(float)
    if len(blocks) == 1 and table[blocks[0]].n_unique() == len(table):
        return {blocks[0]: (float(values.var(ddof=1)), len(table) - 1.0), RESIDUAL: (0.0, 1.0)}
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    names = {block: f"b{place}" for place, block in enumerate(blocks)}
    frame = {name: [str(value) for value in table[block]] for block, name in names.items()} | {"y": list(values)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of results that differ by rounding alone, and of what is told here
        fit = ols("y ~ " + " + ".join(names.values()), pl.DataFrame(frame).to_pandas()).fit()
        confounded = fit.model.rank < fit.model.exog.shape[1]
        if fit.df_resid < 1 or confounded or np.ptp(values) == 0:
            return {}
        rows = anova_lm(fit, typ=2)
    sources = {**names, RESIDUAL: "Residual"}
    found = {source: (float(rows.loc[key, "sum_sq"]), float(rows.loc[key, "df"])) for source, key in sources.items()}
    return {source: (squares / df, df) for source, (squares, df) in found.items() if math.isfinite(squares)}
