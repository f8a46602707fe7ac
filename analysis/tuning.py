"""What tuning buys: the best of n configurations, so that methods compare at equal budgets (Dodge et al. 2019)."""

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import special

from analysis.choice import design, without_dummy
from analysis.statistics import ANYWHERE, bounds, estimate
from analysis.tables import Run, table_from_rows

BEST = {
    "method": pl.String,
    "n": pl.Int64,  # configurations tried
    "mean": pl.Float64,  # expected validation score of the best of them
    "low": pl.Float64,  # 95 % interval over seeds
    "high": pl.Float64,
    "seeds": pl.Int64,
    "failed": pl.Int64,  # configurations without a result for every seed, which are never the best
    "pruned": pl.Int64,  # others, ended for lagging behind, which are worse than every one with a result
}


def best_of(run: Run) -> pl.DataFrame:
    """Return, for each method and number n of configurations, what the best of n drawn at random scores, as BEST says.

    The curve of a method ends at what it was given; at equal n methods have had the same budget.
    """
    tables = []
    for method in run.trials.select("method").unique(maintain_order=True).collect()["method"]:
        if method != "unimodal":
            tried = design(without_dummy(run), method)
            found = expected_best(
                tried.scores, tried.pruned, higher_is_better=run.higher_is_better, within=bounds(run.metric)
            )
            tables.append(found.with_columns(method=pl.lit(method)).select(list(BEST)))
    return pl.concat([pl.DataFrame(schema=BEST), *tables])


def expected_best(
    scores: NDArray[np.float64],
    pruned: NDArray[np.bool_] | None = None,
    *,
    higher_is_better: bool = True,
    within: tuple[float, float] = ANYWHERE,
) -> pl.DataFrame:
    """Return BEST, without `method`, from scores [N, S] of N configurations for S seeds, nan without a result.

    The best is that with the best mean over seeds. One that failed is tried like the others and never chosen; n draws
    that hold no other have no best, and are in no mean. One of the `pruned`, [N], is worse than those with a result,
    nobody knows by how much: where it may be the best of n, there is no mean.
    """
    known = np.isfinite(scores).all(axis=1) if scores.shape[1] else np.zeros(len(scores), dtype=bool)
    whole, lagged = scores[known], 0 if pruned is None else int((pruned & ~known).sum())
    count, lost = len(scores), len(scores) - len(whole)
    mean = whole.sum(axis=1)
    ranked = whole[np.argsort(mean if higher_is_better else -mean)]
    rows = []
    for n in range(1, count + 1):
        worse = np.arange(lost, count)  # configurations that are no better than each
        weight = np.exp(_log_choose(worse, n - 1) - _log_choose(np.array(count), n))
        told = len(ranked) and (n > lost or not lagged)
        chosen = weight @ ranked / weight.sum() if told else np.empty(0)
        rows.append({"n": n, **estimate(chosen, within)._asdict(), "failed": lost - lagged, "pruned": lagged})
    return table_from_rows(rows, {name: kind for name, kind in BEST.items() if name != "method"})


def _log_choose(many: NDArray[np.int64], few: int) -> NDArray[np.float64]:
    """Return the logarithm of the number of ways to choose a few of many."""
    of = np.maximum(many, few)
    found = special.gammaln(of + 1) - special.gammaln(few + 1) - special.gammaln(of - few + 1)
    return np.where(many < few, -np.inf, found)
