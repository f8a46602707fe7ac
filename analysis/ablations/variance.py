"""Variance and where it comes from: shares of factors on a grid, agreement of measurements, heterogeneity of gains."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import optimize, special, stats

from analysis.ablations.differences import difference, require_rows
from analysis.ablations.finding import Effect, Finding, Sample, mean_estimate
from analysis.ablations.scores import Cells, Side, groups, partition_draws, scores, select_rows, unit_metric
from analysis.components import icc
from analysis.decisions import MAX_MISSING
from analysis.formatting import plural
from analysis.statistics import LEVEL, NAN, Estimate, estimate, is_constant, pseudovalues

MIN_SEEDS = 3  # of a jackknife
MIN_GROUPS = 2  # of `heterogeneity`
MIN_GROUP_SEEDS = 4  # of a group of `heterogeneity`: with fewer the variance of Student's t is not finite
EPSILON = 1e-6  # a share this far from 0 or 1 counts as 0 or 1
INTERACTIONS = "interactions"
Replicate = TypeVar("Replicate")


def variance_shares(
    cells: Cells, *, factors: Sequence[str], of: Side | None = None, metric: str = "score", split: str = "test"
) -> Finding:
    """Return the share of the variance of a metric that each factor explains alone, in every cell.

    The factors are columns of a full grid, `seed` among them if it is listed; what none explains alone are their
    `interactions`, or the `rest`, which includes the seeds. The shares are those in the population of seeds, estimated
    from some (`jackknife_estimates`). A seed with a trial without a result is left out: without it the grid would not
    be full. Nested seeds have a grid a draw, and the shares are the means over the draws.
    """
    effects, selected = [], require_rows(select_rows(scores(cells, metric, split), of or {}), of or {})

    def shares(seeds: pl.DataFrame) -> list[float]:
        return mean_shares([[*variance_decomposition(draw, factors).values()] for draw in partition_draws(seeds)])

    for cell, run in cells.items():
        estimates = jackknife_over_seeds(selected.filter(pl.col("cell") == cell), shares)
        names = [*factors, INTERACTIONS if "seed" in factors and len(factors) > 1 else "rest"]
        effects += [Effect(f"{cell or run.name}: {n}", share) for n, share in zip(names, estimates, strict=True)]
    return Finding(effects, "share of the variance")


def mean_shares(shares: Sequence[Sequence[float]]) -> list[float]:
    """Return the mean of each share over N tables, [N, shares] -> [shares]."""
    return [float(share) for share in np.mean(shares, axis=0)]


def variance_decomposition(table: pl.DataFrame, factors: Sequence[str]) -> dict[str, float]:
    """Return the share of the variance of `value` that the mean at each level of a factor explains, and the rest.

    On a full grid these are the first-order Sobol indices of the grid. They are nan of values that are all the same.
    """
    total = table["value"].var(ddof=0)
    if not isinstance(total, float) or is_constant(table["value"]):
        return dict.fromkeys([*factors, INTERACTIONS], NAN)
    explained = {f: table.select(pl.col("value").mean().over(f)).to_series().var(ddof=0) for f in factors}
    shares = {f: float(v) / total for f, v in explained.items() if isinstance(v, float)}
    return shares | {INTERACTIONS: max(0.0, 1 - sum(shares.values()))}


def agreement(
    cells: Cells, *, metric: str, of: Side | None = None, split: str = "validation", per: Sequence[str] = ("cell",)
) -> Finding:
    """Return the intraclass correlation ICC(2,1) of repeated measurements, by level, of what differs by seed and owner.

    The share of the variance that lies between the objects, and not between repetitions, which are the same for all
    objects: the twenty concepts that each network is compared with are a sample of many concepts. The modalities are
    fixed, those of the data set: the interval covers the share for these, and would not if they were a sample of all
    that there could be. It is not known where more seeds lack a result than a rule allows. Nested seeds have an ICC a
    draw, and the mean over the draws is returned.
    """
    table = require_rows(select_rows(scores(cells, metric, split), of or {}), of or {})
    effects, remarks = [], []
    for name, group in groups(table, per):
        part = table.filter(*(pl.col(column) == value for column, value in group.items()))
        complete = part.filter(pl.col("value").is_not_null().all().over("seed"))
        seeds, kept = part["seed"].n_unique(), complete["seed"].n_unique()
        is_known = seeds - kept <= MAX_MISSING * seeds
        draws = partition_draws(complete if is_known else complete.clear())
        result = mean_estimate([icc(measurement_matrix(draw)) for draw in draws])
        effects.append(Effect(name, result._replace(seeds=kept)))
        remarks += [f"{name}: {seeds - kept} of {plural(seeds, 'seed')} have no result."] if kept < seeds else []
    return Finding(effects, unit_metric(cells, "intraclass correlation"), remarks=tuple(remarks))


def measurement_matrix(table: pl.DataFrame) -> NDArray[np.float64]:
    """Return repeated measurements, [objects, repetitions]."""
    keys = ["cell", "trial", "owner"]
    wide = table.pivot("variant", index=keys, values="value")
    return np.asarray(wide.drop(keys).to_numpy(), dtype=float)


def heterogeneity(
    cells: Cells, *, of: Side, minus: Side, metric: str = "score", split: str = "test", per: Sequence[str] = ("cell",)
) -> Finding:
    """Return how much the gain of one side over another differs between groups: the standard deviation of true gains.

    The groups are the replicates; one that lacks results of more than a fifth of its seeds is left out.

    Raises:
        ValueError: a side selects no trial, or the gains may be in several units.
    """
    if not unit_metric(cells, metric) and "cell" not in of:
        raise ValueError("the cells have scores in several units; restrict `of` to cells of one unit")
    effects = difference(cells, of=of, minus=minus, metric=metric, split=split, per=per).effects
    incomplete = [effect.name for effect in effects if np.isnan(effect.seed_values).mean() > MAX_MISSING]
    gains = [e.seed_values[np.isfinite(e.seed_values)] for e in effects if e.name not in incomplete]
    remarks = tuple(f"{name} is left out: too many of its seeds have no result." for name in incomplete)
    effect = Effect("between groups", heterogeneity_sd(gains))
    return Finding([effect], "standard deviation of the gain", noun="group", remarks=remarks)


def heterogeneity_sd(samples: Sequence[Sample]) -> Estimate:
    """Return the standard deviation of the true means of groups, from samples [N]; nan with fewer than four seeds.

    Cochran's Q measures how much further means lie apart than their noise, whose variance is that of Student's t. At
    the estimate Q equals its expectation (Paule and Mandel 1982), at the ends of the interval the quantiles of its
    chi-square distribution (Viechtbauer 2007).
    """
    count = len(samples)
    if count < MIN_GROUPS or min(map(len, samples)) < MIN_GROUP_SEEDS:
        return Estimate(NAN, NAN, NAN, count)
    means = np.array([sample.mean() for sample in samples])
    noise = np.array([max(sample.var() / (len(sample) - 3), EPSILON**2) for sample in samples])

    def excess(variance: float, expected: float) -> float:
        weights = 1 / (noise + variance)
        return float(weights @ (means - weights @ means / weights.sum()) ** 2) - expected

    def deviation(expected: float) -> float:
        upper = means.var() * count / expected  # Q is no larger than without noise
        if excess(0, expected) <= 0:
            return 0.0
        return float(np.sqrt(optimize.brentq(excess, 0, upper, (expected,), xtol=1e-12 * upper)))

    mean, low, high = map(deviation, (count - 1, *stats.chi2.isf([LEVEL / 2, 1 - LEVEL / 2], count - 1)))
    return Estimate(mean, low, high, count)


def jackknife_over_seeds(table: pl.DataFrame, shares: Callable[[pl.DataFrame], list[float]]) -> list[Estimate]:
    """Return shares of a table, each with its interval over the seeds of which no trial failed."""
    complete = table.filter(pl.col("value").is_not_null().all().over("seed"))
    return jackknife_estimates(complete.partition_by("seed"), lambda seeds: shares(pl.concat([table.clear(), *seeds])))


def jackknife_estimates(
    replicates: Sequence[Replicate], shares: Callable[[Sequence[Replicate]], list[float]]
) -> list[Estimate]:
    """Return shares in [0, 1] in the population of some replicates, each with its 95 % interval.

    Their noise biases the shares of few replicates upwards, by how much is estimated by leaving out each in turn (Tukey
    1958). The interval is Student's t of the pseudo-values of the logit, and ends at 0 or 1 where that of the
    pseudo-values themselves reaches it. With fewer than three replicates it is not known.
    """
    values, count = shares(replicates), len(replicates)
    if count < MIN_SEEDS:
        return [Estimate(value, NAN, NAN, count) for value in values]
    without = np.transpose([shares([*replicates[:i], *replicates[i + 1 :]]) for i in range(count)])  # [shares, N]
    return [jackknife_estimate(value, left_out) for value, left_out in zip(values, without, strict=True)]


def jackknife_estimate(share: float, without: NDArray[np.float64]) -> Estimate:
    """Return the estimate of a share, given its values without each replicate, [N]; all nan where it is not defined."""
    if np.isnan(share) or np.isnan(without).any():
        return Estimate(NAN, NAN, NAN, len(without))
    linear, logit = (
        estimate(pseudovalues(f(share), f(without)))
        for f in (np.asarray, lambda p: special.logit(np.clip(p, EPSILON, 1 - EPSILON)))
    )
    low = float(special.expit(logit.low)) if linear.low > 0 else 0.0
    high = float(special.expit(logit.high)) if linear.high < 1 else 1.0
    return Estimate(min(max(linear.mean, low), high), low, high, len(without))
