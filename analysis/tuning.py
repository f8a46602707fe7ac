"""Expected best of n configurations, so that methods compare at equal tuning budgets (Dodge et al. 2019)."""

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import special

from analysis.choice import design, without_dummy
from analysis.statistics import UNBOUNDED, bounds, estimate
from analysis.tables import Run, table_from_rows

BEST = {
    "method": pl.String,
    "n": pl.Int64,  # configurations tried
    "mean": pl.Float64,  # expected validation score of the best of them
    "low": pl.Float64,  # 95 % interval over seeds
    "high": pl.Float64,
    "seeds": pl.Int64,
    "failed": pl.Int64,  # configurations without a result for every seed, which are never the best
    "pruned": pl.Int64,  # others, ended by the pruner, which are worse than every one with a result
}


def best_of(run: Run) -> pl.DataFrame:
    """Return the expected score of the best of n random configurations, for each method and n: BEST.

    The curve of a method ends at its number of configurations; at equal n methods have the same budget.
    """
    tables = []
    for method in run.trials.select("method").unique(maintain_order=True).collect()["method"]:
        if method != "unimodal":
            configurations = design(without_dummy(run), method)
            table = expected_best(
                configurations.scores,
                configurations.pruned,
                higher_is_better=run.higher_is_better,
                within=bounds(run.metric),
            )
            tables.append(table.with_columns(method=pl.lit(method)).select(list(BEST)))
    return pl.concat([pl.DataFrame(schema=BEST), *tables])


def expected_best(
    scores: NDArray[np.float64],
    pruned: NDArray[np.bool_] | None = None,
    *,
    higher_is_better: bool = True,
    within: tuple[float, float] = UNBOUNDED,
) -> pl.DataFrame:
    """Return BEST, without `method`, from scores [N, S] of N configurations for S seeds, nan without a result.

    The best is that with the best mean over seeds. One that failed is drawn like the others and never chosen; draws of
    n that hold no other have no best, and enter no mean. One of the `pruned`, [N], is worse than those with a result by
    an unknown amount: where it may be the best of n, there is no mean.
    """
    known = np.isfinite(scores).all(axis=1) if scores.shape[1] else np.zeros(len(scores), dtype=bool)
    complete, num_pruned = scores[known], 0 if pruned is None else int((pruned & ~known).sum())
    count, lost = len(scores), len(scores) - len(complete)
    mean = complete.sum(axis=1)
    ranked = complete[np.argsort(mean if higher_is_better else -mean)]
    rows = []
    for n in range(1, count + 1):
        worse = np.arange(lost, count)  # configurations that are no better than each
        weight = np.exp(log_choose(worse, n - 1) - log_choose(np.array(count), n))
        is_known = len(ranked) and (n > lost or not num_pruned)
        expected = weight @ ranked / weight.sum() if is_known else np.empty(0)
        rows.append({"n": n, **estimate(expected, within)._asdict(), "failed": lost - num_pruned, "pruned": num_pruned})
    return table_from_rows(rows, {name: kind for name, kind in BEST.items() if name != "method"})


def log_choose(n: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """Return the logarithm of the binomial coefficient, n over k."""
    at_least_k = np.maximum(n, k)
    log_count = special.gammaln(at_least_k + 1) - special.gammaln(k + 1) - special.gammaln(at_least_k - k + 1)
    return np.where(n < k, -np.inf, log_count)
