"""Ranking of methods over data sets: Friedman's test of ranks, Nemenyi's of pairs; and agreement of rankings.

Blocks are the replicates of a ranking: data sets, their seeds averaged; or the seeds of one data set, whose ranking
holds for that one only.
"""

import warnings
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from analysis.formatting import format_p_value, plural
from analysis.statistics import LEVEL, NAN

PAIRS = {"one": pl.String, "other": pl.String, "difference": pl.Float64, "p": pl.Float64}  # of mean ranks; Nemenyi's


class Ranking(NamedTuple):
    """Mean ranks of methods, 1 being best."""

    ranks: dict[str, float]  # best first
    statistic: float  # Friedman's chi-square; nan with fewer than three methods or two blocks
    p: float
    critical: float  # the difference of mean ranks that Nemenyi's test needs at 5 %
    pairs: pl.DataFrame  # PAIRS
    blocks: int
    dropped: int  # blocks that lack a method's score


class Agreement(NamedTuple):
    """Agreement of raters (seeds, data sets) on the ranking of items (settings)."""

    w: float  # Kendall's coefficient of concordance: 0 by chance, 1 for equal rankings
    p: float  # of no agreement at all (Friedman)
    spearman: float  # mean correlation of two raters' ranks, from w: exact without ties
    best: float  # share of the raters that rank the overall best first; of n tied firsts each counts 1 / n
    raters: int
    items: int


def ranking(scores: pl.DataFrame, *, higher_is_better: bool = True) -> Ranking:
    """Return the ranking of the methods in a table with columns `block`, `method` and `score`.

    A block in which a method has no score is dropped and counted, as a failure has no rank.
    """
    known = pl.when(pl.col("score").is_finite()).then("score")
    methods = sorted(scores["method"].unique())
    wide = scores.with_columns(known).pivot("method", index="block", values="score", aggregate_function="mean")
    complete = wide.drop_nulls()
    table = np.array(complete.select(methods).rows(), dtype=float).reshape(len(complete), len(methods))
    block_ranks = stats.rankdata(-table if higher_is_better else table, axis=1)
    mean = {name: float(rank) for name, rank in zip(methods, block_ranks.mean(0), strict=True)} if len(table) else {}
    statistic, p = friedman(table)
    counts = {"blocks": len(complete), "dropped": len(wide) - len(complete)}
    ranks = dict(sorted(mean.items(), key=lambda item: item[1]))
    if np.isnan(p):
        return Ranking(ranks, NAN, NAN, NAN, pl.DataFrame(schema=PAIRS), **counts)
    return Ranking(
        ranks, statistic, p, critical_difference(len(methods), len(table)), nemenyi(table, methods, mean), **counts
    )


def ranking_text(ranking: Ranking, block: str) -> str:
    """Return mean ranks and the results of their tests in words; `block` is the noun for a block."""
    if np.isnan(ranking.p):
        return "Too few results to rank."
    order = ", ".join(f"{method} {rank:.2f}" for method, rank in ranking.ranks.items())
    separated = len(ranking.pairs.filter(pl.col("p") < LEVEL))
    total = ranking.blocks + ranking.dropped
    left_out = f" in which all methods have a score ({ranking.dropped} of {total} left out)"
    restriction = left_out if ranking.dropped else ""
    return (
        f"Mean ranks on test over {plural(ranking.blocks, block)}{restriction}, 1 is best: {order}. "
        f"Friedman's p {format_p_value(ranking.p)}; "
        f"Nemenyi's test separates {separated} of {plural(len(ranking.pairs), 'pair')} at 5 %."
    )


def agreement(scores: NDArray[np.float64], *, higher_is_better: bool = True) -> Agreement:
    """Return the agreement of raters, from scores [raters, items]; items that lack a score are left out."""
    kept = scores[:, np.isfinite(scores).all(axis=0)]
    raters, items = kept.shape
    statistic, p = friedman(kept)
    w = statistic / (raters * (items - 1)) if np.isfinite(statistic) else NAN
    spearman = (raters * w - 1) / (raters - 1) if np.isfinite(w) else NAN
    if not kept.size:
        return Agreement(NAN, NAN, NAN, NAN, raters, items)
    oriented = kept if higher_is_better else -kept
    best = oriented.mean(axis=0).argmax()
    firsts = oriented == oriented.max(axis=1, keepdims=True)
    return Agreement(w, p, spearman, float((firsts[:, best] / firsts.sum(axis=1)).mean()), raters, items)


def friedman(table: NDArray[np.float64]) -> tuple[float, float]:
    """Return Friedman's statistic and p for scores [blocks, methods]; nan where it is not defined."""
    blocks, methods = table.shape
    if blocks < 2 or methods < 3 or not np.ptp(table, axis=1).any():
        return NAN, NAN
    result = stats.friedmanchisquare(*table.T)
    return float(result.statistic), float(result.pvalue)


def critical_difference(methods: int, blocks: int) -> float:
    """Return Nemenyi's critical difference (Demsar 2006)."""
    q = stats.studentized_range.isf(LEVEL, methods, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(methods * (methods + 1) / (6 * blocks)))


def nemenyi(table: NDArray[np.float64], methods: list[str], ranks: dict[str, float]) -> pl.DataFrame:
    """Return the difference of mean ranks of each pair of methods, and its p by Nemenyi's test: PAIRS."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations in the library's own dependencies
        import scikit_posthocs

        p = scikit_posthocs.posthoc_nemenyi_friedman(table).to_numpy()
    rows = [
        (better, worse, ranks[worse] - ranks[better], float(p[i, j]))
        for i, better in enumerate(methods)
        for j, worse in enumerate(methods)
        if (ranks[better], i) < (ranks[worse], j)
    ]
    return pl.DataFrame(rows, schema=PAIRS, orient="row").sort("p", maintain_order=True)
