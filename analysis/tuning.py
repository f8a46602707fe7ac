"""What tuning buys: the best of n configurations, so that methods compare at equal budgets (Dodge et al. 2019)."""

import numpy as np
import polars as pl
import polars.selectors as cs
from numpy.typing import NDArray
from scipy import special

from analysis.choice import design
from analysis.statistics import ANYWHERE, bounds, estimate
from analysis.tables import Run

BEST = {
    "method": pl.String,
    "n": pl.Int64,  # configurations tried
    "mean": pl.Float64,  # expected validation score of the best of them
    "low": pl.Float64,  # 95 % interval over seeds
    "high": pl.Float64,
    "seeds": pl.Int64,
    "failed": pl.Int64,  # configurations without a result for every seed, which are never the best
}


def best_of(run: Run) -> pl.DataFrame:
    """Return, for each method and number n of configurations, what the best of n drawn at random scores, as BEST says.

    The curve of a method ends at what it was given; at equal n methods have had the same budget.
    """
    tables = []
    for method in run.trials.select("method").unique(maintain_order=True).collect()["method"]:
        if method != "unimodal":
            found = expected_best(
                design(run, method).scores, highest_is_best=run.highest_is_best, within=bounds(run.metric)
            )
            tables.append(found.with_columns(method=pl.lit(method)).select(list(BEST)))
    return pl.concat([pl.DataFrame(schema=BEST), *tables])


def expected_best(
    scores: NDArray[np.float64], *, highest_is_best: bool = True, within: tuple[float, float] = ANYWHERE
) -> pl.DataFrame:
    """Return BEST, without `method`, from scores [N, S] of N configurations for S seeds, nan without a result.

    The best is that with the best mean over seeds. One that lacks a result is tried like the others and never chosen;
    of n draws that hold no other there is no best, and they are in no mean.
    """
    whole = scores[np.isfinite(scores).all(axis=1)] if scores.shape[1] else scores[:0]
    count, failed = len(scores), len(scores) - len(whole)
    mean = whole.sum(axis=1)
    ranked = whole[np.argsort(mean if highest_is_best else -mean)]
    rows = []
    for n in range(1, count + 1):
        worse = np.arange(failed, count)  # configurations that are no better than each
        weight = np.exp(_log_choose(worse, n - 1) - _log_choose(np.array(count), n))
        chosen = weight @ ranked / weight.sum() if len(ranked) else np.empty(0)
        rows.append({"n": n, **estimate(chosen, within)._asdict(), "failed": failed})
    schema = {name: kind for name, kind in BEST.items() if name != "method"}
    return pl.DataFrame(rows, schema=schema).with_columns(cs.float().fill_nan(None))


def _log_choose(many: NDArray[np.int64], few: int) -> NDArray[np.float64]:
    """Return the logarithm of the number of ways to choose a few of many."""
    of = np.maximum(many, few)
    found = special.gammaln(of + 1) - special.gammaln(few + 1) - special.gammaln(of - few + 1)
    return np.where(many < few, -np.inf, found)
