"""Who is ahead over data sets: Friedman's test of ranks, Nemenyi's of their pairs; and whether rankings agree.

Blocks are what a ranking is repeated over: data sets, their seeds averaged; or the seeds of one data set, which tell
of that one only.
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
    """How far judges (seeds, data sets) rank things (settings) alike."""

    w: float  # Kendall's coefficient of concordance: 0 by chance, 1 all alike
    p: float  # of no agreement at all (Friedman)
    spearman: float  # mean correlation of two judges' ranks
    best: float  # share of the judges that put the overall best first; tied firsts count by their number
    judges: int
    things: int


def ranking(scores: pl.DataFrame, *, higher_is_better: bool = True) -> Ranking:
    """Return the ranking of the methods in a table with columns `block`, `method` and `score`.

    A block in which a method has no score is dropped and counted: a failure has no rank.
    """
    known = pl.when(pl.col("score").is_finite()).then("score")
    methods = sorted(scores["method"].unique())
    wide = scores.with_columns(known).pivot("method", index="block", values="score", aggregate_function="mean")
    whole = wide.drop_nulls()
    table = np.array(whole.select(methods).rows(), dtype=float).reshape(len(whole), len(methods))
    places = stats.rankdata(-table if higher_is_better else table, axis=1)
    mean = {name: float(place) for name, place in zip(methods, places.mean(0), strict=True)} if len(table) else {}
    statistic, p = _friedman(table)
    counts = {"blocks": len(whole), "dropped": len(wide) - len(whole)}
    ranks = dict(sorted(mean.items(), key=lambda item: item[1]))
    if np.isnan(p):
        return Ranking(ranks, NAN, NAN, NAN, pl.DataFrame(schema=PAIRS), **counts)
    return Ranking(ranks, statistic, p, _critical(len(methods), len(table)), _nemenyi(table, methods, mean), **counts)


def said(found: Ranking, block: str) -> str:
    """Return mean ranks, and what the tests say of them, in words; `block` is what one of the blocks is called."""
    if np.isnan(found.p):
        return "Too few results to rank."
    order = ", ".join(f"{method} {rank:.2f}" for method, rank in found.ranks.items())
    apart = len(found.pairs.filter(pl.col("p") < LEVEL))
    whole = f" in which all methods have a score ({found.dropped} of {found.blocks + found.dropped} left out)"
    return (
        f"Mean ranks on test over {plural(found.blocks, block)}{whole if found.dropped else ''}, 1 is best: {order}. "
        f"Friedman's p {format_p_value(found.p)}; "
        f"Nemenyi's test separates {apart} of {plural(len(found.pairs), 'pair')} at 5 %."
    )


def agreement(scores: NDArray[np.float64], *, higher_is_better: bool = True) -> Agreement:
    """Return how far judges agree, from scores [judges, things]; things that lack a score are left out."""
    kept = scores[:, np.isfinite(scores).all(axis=0)]
    judges, things = kept.shape
    statistic, p = _friedman(kept)
    w = statistic / (judges * (things - 1)) if np.isfinite(statistic) else NAN
    spearman = (judges * w - 1) / (judges - 1) if np.isfinite(w) else NAN
    if not kept.size:
        return Agreement(NAN, NAN, NAN, NAN, judges, things)
    gain = kept if higher_is_better else -kept
    best = gain.mean(axis=0).argmax()
    firsts = gain == gain.max(axis=1, keepdims=True)
    return Agreement(w, p, spearman, float((firsts[:, best] / firsts.sum(axis=1)).mean()), judges, things)


def _friedman(table: NDArray[np.float64]) -> tuple[float, float]:
    """Return Friedman's statistic and p for scores [blocks, methods]; nan where it is not defined."""
    blocks, methods = table.shape
    if blocks < 2 or methods < 3 or not np.ptp(table, axis=1).any():
        return NAN, NAN
    found = stats.friedmanchisquare(*table.T)
    return float(found.statistic), float(found.pvalue)


def _critical(methods: int, blocks: int) -> float:
    """Return Nemenyi's critical difference (Demsar 2006)."""
    q = stats.studentized_range.isf(LEVEL, methods, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(methods * (methods + 1) / (6 * blocks)))


def _nemenyi(table: NDArray[np.float64], methods: list[str], ranks: dict[str, float]) -> pl.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the library's own dependencies deprecate
        import scikit_posthocs

        p = scikit_posthocs.posthoc_nemenyi_friedman(table).to_numpy()
    rows = [
        (one, other, ranks[other] - ranks[one], float(p[i, j]))
        for i, one in enumerate(methods)
        for j, other in enumerate(methods)
        if (ranks[one], i) < (ranks[other], j)
    ]
    return pl.DataFrame(rows, schema=PAIRS, orient="row").sort("p", maintain_order=True)
