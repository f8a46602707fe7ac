"""Variance and where it comes from: shares of factors on a grid, agreement of measurements, heterogeneity of gains."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import optimize, special, stats

from analysis.ablations.differences import difference, some
from analysis.ablations.finding import Effect, Finding, Sample, mean_of
from analysis.ablations.scores import Cells, Side, draws, groups, scores, select, unit
from analysis.components import icc
from analysis.decisions import MAX_MISSING
from analysis.formatting import plural
from analysis.statistics import LEVEL, NAN, Estimate, estimate, pseudovalues, same

FEW = 3  # seeds
TINY = 1e-6  # a share beside which one is nothing
REST = "interactions"
Unit = TypeVar("Unit")


def variance_shares(
    cells: Cells, *, factors: Sequence[str], of: Side | None = None, metric: str = "score", split: str = "test"
) -> Finding:
    """Return the share of the variance of a metric that each factor explains alone, in every cell.

    The factors are columns of a full grid, `seed` among them if it is listed; what none explains alone are their
    `interactions`, or the `rest`, in which seeds are, too. They are those of all seeds, estimated from some
    (`jackknifed`). A seed of which a trial has no result is left out: without it the grid would not be full. Of seeds
    that are nested in one, a grid each, they are the means.
    """
    effects, whole = [], some(select(scores(cells, metric, split), of or {}), of or {})
    for cell, run in cells.items():
        table = whole.filter(pl.col("cell") == cell)
        found = by_seeds(table, lambda seeds: means_of([[*decomposed(one, factors).values()] for one in draws(seeds)]))
        names = [*factors, REST if "seed" in factors and len(factors) > 1 else "rest"]
        effects += [Effect(f"{cell or run.name}: {n}", one) for n, one in zip(names, found, strict=True)]
    return Finding(effects, "share of the variance")


def means_of(shares: Sequence[Sequence[float]]) -> list[float]:
    """Return the mean of each of several shares over the tables, [N], that have them."""
    return [float(share) for share in np.mean(shares, axis=0)]


def decomposed(table: pl.DataFrame, factors: Sequence[str]) -> dict[str, float]:
    """Return the share of the variance of `value` that the mean at each level of a factor explains, and the rest.

    On a full grid these are the first-order Sobol indices of the grid. They are nan of values that are all the same.
    """
    total = table["value"].var(ddof=0)
    if not isinstance(total, float) or same(table["value"]):
        return dict.fromkeys([*factors, REST], NAN)
    means = {f: table.select(pl.col("value").mean().over(f)).to_series().var(ddof=0) for f in factors}
    found = {f: float(v) / total for f, v in means.items() if isinstance(v, float)}
    return found | {REST: max(0.0, 1 - sum(found.values()))}


def agreement(
    cells: Cells, *, metric: str, of: Side | None = None, split: str = "validation", per: Sequence[str] = ("cell",)
) -> Finding:
    """Return the intraclass correlation ICC(2,1) of repeated measurements, by level, of what differs by seed and owner.

    The share of the variance that lies between the objects, and not between repetitions, which are the same for all
    objects: twenty concepts that each network is held against, say, are a sample of many concepts. The modalities
    are those of the data set, and nothing is said of others: the interval holds the share for these, and would not if
    they were drawn from all that there could be. It is not known where more seeds lack a result than a rule allows. Of
    seeds that are nested in one, each is with its like of the others.
    """
    table = some(select(scores(cells, metric, split), of or {}), of or {})
    effects, remarks = [], []
    for name, group in groups(table, per):
        part = table.filter(*(pl.col(column) == value for column, value in group.items()))
        whole = part.filter(pl.col("value").is_not_null().all().over("seed"))
        seeds, kept = part["seed"].n_unique(), whole["seed"].n_unique()
        known = seeds - kept <= MAX_MISSING * seeds
        found = mean_of([icc(crossed(draw)) for draw in draws(whole if known else whole.clear())])
        effects.append(Effect(name, found._replace(seeds=kept)))
        remarks += [f"{name}: {seeds - kept} of {plural(seeds, 'seed')} have no result."] if kept < seeds else []
    return Finding(effects, unit(cells, "intraclass correlation"), remarks=tuple(remarks))


def crossed(table: pl.DataFrame) -> NDArray[np.float64]:
    """Return repeated measurements, [objects, repetitions]."""
    keys = ["cell", "trial", "owner"]
    wide = table.pivot("variant", index=keys, values="value")
    return np.asarray(wide.drop(keys).to_numpy(), dtype=float)


def heterogeneity(
    cells: Cells, *, of: Side, minus: Side, metric: str = "score", split: str = "test", per: Sequence[str] = ("cell",)
) -> Finding:
    """Return how much the gain of one side over another differs between groups: the standard deviation of true gains.

    The groups take the seeds' place; one that lacks results of more than a fifth of its seeds is left out.

    Raises:
        ValueError: a side means no trial, or the gains may be in several units.
    """
    if not unit(cells, metric) and "cell" not in of:
        raise ValueError("the cells have scores in several units; `of` must name those of one")
    found = difference(cells, of=of, minus=minus, metric=metric, split=split, per=per).effects
    few = [one.name for one in found if np.isnan(one.numbers).mean() > MAX_MISSING]
    gains = [one.numbers[np.isfinite(one.numbers)] for one in found if one.name not in few]
    remarks = tuple(f"{name} is left out: too many of its seeds have no result" for name in few)
    effect = Effect("between groups", beyond_noise(gains))
    return Finding([effect], "standard deviation of the gain", noun="group", remarks=remarks)


def beyond_noise(groups: Sequence[Sample]) -> Estimate:
    """Return the standard deviation of the true means of groups, each [N]; nan with fewer than four seeds.

    Cochran's Q measures how much further means lie apart than their noise, whose variance is that of Student's t. At
    the estimate it is what is expected of it (Paule and Mandel 1982), at the ends of the interval those of its
    chi-square law (Viechtbauer 2007).
    """
    count = len(groups)
    if count < 2 or min(map(len, groups)) < 4:
        return Estimate(NAN, NAN, NAN, count)
    means = np.array([one.mean() for one in groups])
    noise = np.array([max(one.var() / (len(one) - 3), TINY**2) for one in groups])

    def excess(variance: float, expected: float) -> float:
        weights = 1 / (noise + variance)
        return float(weights @ (means - weights @ means / weights.sum()) ** 2) - expected

    def deviation(expected: float) -> float:
        most = means.var() * count / expected  # Q is no larger than without noise
        if excess(0, expected) <= 0:
            return 0.0
        return float(np.sqrt(optimize.brentq(excess, 0, most, (expected,), xtol=1e-12 * most)))

    mean, low, high = map(deviation, (count - 1, *stats.chi2.isf([LEVEL / 2, 1 - LEVEL / 2], count - 1)))
    return Estimate(mean, low, high, count)


def by_seeds(table: pl.DataFrame, shares: Callable[[pl.DataFrame], list[float]]) -> list[Estimate]:
    """Return shares of a table, each with its interval over the seeds of which no trial failed."""
    whole = table.filter(pl.col("value").is_not_null().all().over("seed"))
    return jackknifed(whole.partition_by("seed"), lambda seeds: shares(pl.concat([table.clear(), *seeds])))


def jackknifed(units: Sequence[Unit], shares: Callable[[Sequence[Unit]], list[float]]) -> list[Estimate]:
    """Return shares, in [0, 1], of what some units were drawn from, each with its 95 % interval.

    Leaving out each unit in turn tells by how much few of them make a share too large, for their noise is in every mean
    (Tukey 1958). The interval is Student's t of the pseudo-values of its logit, and ends at 0 or 1 where that of the
    pseudo-values themselves reaches it. Of fewer than three units it is not known.
    """
    whole, count = shares(units), len(units)
    if count < FEW:
        return [Estimate(value, NAN, NAN, count) for value in whole]
    without = np.transpose([shares([*units[:i], *units[i + 1 :]]) for i in range(count)])  # [shares, N]
    return [jackknife(value, others) for value, others in zip(whole, without, strict=True)]


def jackknife(share: float, without: NDArray[np.float64]) -> Estimate:
    """Return the estimate of a share, given what it is without each unit, [N]; all nan where it is not defined."""
    if np.isnan(share) or np.isnan(without).any():
        return Estimate(NAN, NAN, NAN, len(without))
    straight, bent = (
        estimate(pseudovalues(f(share), f(without)))
        for f in (np.asarray, lambda p: special.logit(np.clip(p, TINY, 1 - TINY)))
    )
    low = float(special.expit(bent.low)) if straight.low > 0 else 0.0
    high = float(special.expit(bent.high)) if straight.high < 1 else 1.0
    return Estimate(min(max(straight.mean, low), high), low, high, len(without))
