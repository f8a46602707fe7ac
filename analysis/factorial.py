"""Main effects and interactions of a factorial design.

Every seed has run the whole design, so that each effect is a number per seed and is tested over seeds like any other
paired difference. The shares of the variance, and the test of a term with more than two levels, are from an analysis of
variance with the seeds as blocks (statsmodels).
"""

import warnings
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analysis.statistics import NAN, estimate, holm, is_constant, paired
from analysis.tables import table_from_rows

TERMS = {
    "term": pl.String,  # `a`, or `a x b`
    "effect": pl.Float64,  # second level less first; of two factors, what the one's effect grows by with the other
    "low": pl.Float64,  # 95 % interval
    "high": pl.Float64,
    "p": pl.Float64,  # corrected for all terms (Holm)
    "share": pl.Float64,  # of the variance within seeds
    "seeds": pl.Int64,  # that have the whole design
    "dropped": pl.Int64,  # that lack a score somewhere
}


def factorial(table: pl.DataFrame, factors: Sequence[str], score: str = "score") -> pl.DataFrame:
    """Return main effects and interactions of two factors, with the columns of TERMS.

    The table has one row per seed and combination of levels.

    Levels are ordered as they sort. A term of more than two levels has no single effect: null, with its p and share.
    """
    levels = {factor: sorted(table[factor].drop_nulls().unique()) for factor in factors}
    design = [(factor,) for factor in factors] + list(combinations(factors, 2))
    complete, dropped = complete_seeds(table, levels, score)
    shares, tests = anova(complete, factors, score)
    rows, p = [], []
    for term in design:
        row: dict[str, Any] = {"term": " x ".join(term), "share": shares.get(term, NAN)}
        if all(len(levels[factor]) == 2 for factor in term):
            contrast = seed_contrasts(complete, {factor: levels[factor] for factor in term}, score)
            effect = estimate(contrast)
            row |= {"effect": effect.mean, "low": effect.low, "high": effect.high}
            p.append(paired(contrast, np.zeros_like(contrast)).p)
        else:
            p.append(tests.get(term, NAN))
        rows.append(row | {"seeds": complete["seed"].n_unique(), "dropped": dropped})
    rows = [row | {"p": corrected} for row, corrected in zip(rows, holm(p), strict=True)]
    return table_from_rows(rows, TERMS)


def complete_seeds(table: pl.DataFrame, levels: dict[str, list[Any]], score: str) -> tuple[pl.DataFrame, int]:
    """Return the seeds with all combinations of levels, as means over other settings, and the number of others."""
    size = int(np.prod([len(values) for values in levels.values()]))
    cells = (
        table.filter(pl.col(score).is_finite())
        .group_by("seed", *levels, maintain_order=True)
        .agg(pl.col(score).mean())
        .filter(pl.len().over("seed") == size, size > 0)
        .sort("seed", *levels)
    )
    return cells, table["seed"].n_unique() - cells["seed"].n_unique()


def seed_contrasts(cells: pl.DataFrame, levels: dict[str, list[Any]], score: str) -> NDArray[np.float64]:
    """Return a contrast of two-level factors, one number per seed; the other factors are averaged over."""
    signs = [pl.when(pl.col(factor) == second).then(1.0).otherwise(-1.0) for factor, (_, second) in levels.items()]
    signed = pl.col(score)
    for sign in signs:
        signed = signed * sign
    weight = 2 ** len(levels)
    contrasts = cells.group_by("seed", maintain_order=True).agg((weight * signed.mean()).alias(score))
    return contrasts[score].to_numpy().astype(float)


def anova(
    cells: pl.DataFrame, factors: Sequence[str], score: str
) -> tuple[dict[tuple[str, ...], float], dict[tuple[str, ...], float]]:
    """Return each term's share of the sum of squares within seeds, and the p of its F-test."""
    values = cells[score]
    if cells["seed"].n_unique() < 2 or is_constant(values):
        return {}, {}
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    names = {factor: f"f{i}" for i, factor in enumerate(factors)}
    frame = {name: [str(value) for value in cells[factor]] for factor, name in names.items()}
    varied = [name for name in names.values() if len(set(frame[name])) > 1]
    if not varied:
        return {}, {}
    frame |= {"y": values.to_list(), "seed": [str(seed) for seed in cells["seed"]]}
    terms = " + ".join([*varied, *(f"{first}:{second}" for first, second in combinations(varied, 2))])
    with warnings.catch_warnings():
        # of results that differ by rounding alone, or leave no residual degrees of freedom
        warnings.simplefilter("ignore")
        fitted = anova_lm(ols(f"y ~ seed + {terms}", pl.DataFrame(frame).to_pandas()).fit(), typ=2)
    within = fitted["sum_sq"].drop("seed").sum()
    keys: dict[tuple[str, ...], str] = {
        term: ":".join(names[factor] for factor in term) for size in (1, 2) for term in combinations(factors, size)
    }
    fitted_terms = {term: fitted.loc[key] for term, key in keys.items() if key in fitted.index}
    shares = {term: float(row["sum_sq"] / within) for term, row in fitted_terms.items()}
    return shares, {term: float(row["PR(>F)"]) for term, row in fitted_terms.items()}
