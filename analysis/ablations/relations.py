"""How one number goes with another: laws of growth, trends of a gain, rank correlations."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy import special, stats

from analysis.ablations.differences import among, chosen, some
from analysis.ablations.finding import GAIN, Effect, Finding, Sample, drawn, point
from analysis.ablations.scores import (
    Cells,
    Side,
    averaged,
    by_seed,
    draws,
    flipped,
    groups,
    label,
    scores,
    select,
    unit,
)
from analysis.decisions import MAX_MISSING
from analysis.statistics import LEVEL, NAN, Estimate, bounds

TINY = 1e-12  # squares that rounding leaves
MEASURED = ("params", "steps", "seconds")  # columns that a trial without a result does not have


def growth(
    cells: Cells, *, along: str, metric: str, of: Side | None = None, split: str = "train", per: Sequence[str] = ()
) -> Finding:
    """Return the exponent b of the law y = a x^b of a metric along a column, one fit a seed, in every group.

    A metric that is 0 or less somewhere, as the state of a method that keeps none, follows no such law; it is said so.
    A remark says how far off the law is, and whether an exponential one, y = a 2^(b x), fits better.
    """
    table = some(chosen(cells, scores(cells, metric, split), of or {}), of or {})
    effects, rows, remarks = [], [], []
    ends = bounds(unit(cells, metric))

    def exponents(part: pl.DataFrame) -> dict[int, float]:
        curves = by_x(part, along)
        return dict(zip(curves, slopes([*curves.values()], law=True).tolist(), strict=True))

    for name, group in groups(table, per):
        part = among(table, group)
        curves = list(by_x(part, along).values())
        effects.append(Effect(name, np.array(list(averaged(part, exponents).values()))))
        if any(y <= 0 for one in draws(part) for curve in by_x(one, along).values() for y in curve.values()):
            remarks.append(f"{name}: {metric} is not above 0 everywhere, and follows no power law.")
        if words := bent(curves):
            remarks.append(f"{name}: {metric} {words}.")
        rows += [point(unit(cells, metric), name, x, [c[x] for c in curves if x in c], ends) for x in places(curves)]
    return Finding(effects, f"exponent of {unit(cells, metric)}", drawn(rows), along, "log", remarks=tuple(remarks))


def trend(
    cells: Cells,
    *,
    along: str,
    of: Side,
    minus: Side,
    metric: str = "score",
    split: str = "test",
    per: Sequence[str] = (),
) -> Finding:
    """Return how much a gain rises with each doubling of a column, one fit a seed, in every group.

    A side that has no such column is the same all along.
    """
    table = scores(cells, metric, split)
    ours, theirs = (flipped(some(chosen(cells, table, side), side), cells, metric) for side in (of, minus))
    if theirs[along].is_null().all():
        theirs = theirs.drop(along).join(ours.select(along).drop_nulls().unique(), how="cross")
    effects, rows = [], []
    ends = bounds(unit(cells, metric), change=True)
    for name, group in groups(ours, per):
        left, right = (by_x(among(side, group), along) for side in (ours, theirs))
        both = [(left[seed], right[seed]) for seed in left if seed in right]
        gains = [{x: a[x] - b[x] for x in a.keys() & b.keys()} for a, b in both]
        found = slopes(gains, law=False)
        effects.append(Effect(name, found, np.zeros_like(found)))
        words = f"{label({k: v for k, v in of.items() if k != 'choose'})} - {label(minus)}"
        rows += [point(GAIN, words, x, [c[x] for c in gains if x in c], ends) for x in places(gains)]
    return Finding(effects, unit(cells, metric), drawn(rows), along, "log")


def correlation(
    cells: Cells,
    *,
    metric: str,
    other: str,
    of: Side | None = None,
    split: str = "validation",
    others_split: str | None = None,
    per: Sequence[str] = ("cell",),
    sign: int = 1,
) -> Finding:
    """Return Spearman's rank correlation of two metrics over modalities and configurations, one a seed, in every group.

    ``sign`` -1 turns one of them round, where less of it means the same as more of the other.
    """
    one, two = (scores(cells, name, s) for name, s in ((metric, split), (other, others_split or split)))
    effects = []
    keys = ["cell", "trial", "owner"]
    both = some(chosen(cells, one, of or {}), of or {}).join(two.select(*keys, twin="value"), on=keys, nulls_equal=True)

    def ranked(part: pl.DataFrame) -> dict[int, float]:
        return {one["seed"][0]: rank(one["value"], one["twin"]) * sign for one in part.partition_by("seed")}

    for name, group in groups(both, per):
        found = averaged(among(both, group), ranked)
        effects.append(Effect(name, np.array(list(found.values()))))
    return Finding(effects, "rank correlation")


def companion(cells: Cells, *, metric: str, of: Side, minus: Side, within: Side, split: str = "train") -> Finding:
    """Return Spearman's rank correlation, over the cells, of a metric with the gain of one side over another.

    Of their means over the seeds, as the noise of single seeds would hide what there is: cells take the seeds' place,
    and the interval is that over data sets of which these are drawn. ``within`` says in which trials the metric is
    read. Beside it, the metric and the gain of every cell, over seeds.
    """
    table = scores(cells)
    seen = by_seed(some(select(scores(cells, metric, split), within), within))
    ours, theirs = (by_seed(flipped(some(chosen(cells, table, side), side), cells)) for side in (of, minus))
    gains = {key: ours[key] - theirs[key] for key in ours.keys() & theirs.keys()}
    seeds = sorted({seed for _, seed in gains})
    both = [{c: np.array([side.get((c, s), NAN) for s in seeds]) for c in cells} for side in (seen, gains)]
    effect = Effect("over cells", ranked(*([mean(numbers) for numbers in side.values()] for side in both)))
    beside = [Effect(f"{c}: {metric}", numbers, metric=metric, noun="seed") for c, numbers in both[0].items()]
    beside += [
        Effect(f"{c}: gain", numbers, np.zeros_like(numbers), cells[c].metric, "seed") for c, numbers in both[1].items()
    ]
    return Finding([effect], "rank correlation", beside=tuple(beside), noun="data set")


def mean(numbers: Sample) -> float:
    """Return the mean of numbers [N], one per seed; nan where more of them are missing than a rule allows."""
    known = numbers[np.isfinite(numbers)]
    return float(known.mean()) if len(known) and len(known) >= (1 - MAX_MISSING) * len(numbers) else NAN


def ranked(one: Sequence[float], other: Sequence[float]) -> Estimate:
    """Return Spearman's correlation of N pairs, and its interval if there are four (Bonett and Wright 2000).

    That of two orders that are the same begins where one would that is half a step from them.
    """
    found, count = rank(*(pl.Series(side, dtype=pl.Float64) for side in (one, other))), len(one)
    if np.isnan(found) or count < 4:
        return Estimate(found, NAN, NAN, count)
    most = 1 - 6 / (count**3 - count)
    held = np.clip(found, -most, most)
    reach = special.ndtri(1 - LEVEL / 2) * np.sqrt((1 + held**2 / 2) / (count - 3))
    low, high = np.tanh(np.arctanh(held) + np.array([-reach, reach])).tolist()
    return Estimate(found, min(low, found), max(high, found), count)


def rank(one: pl.Series, other: pl.Series) -> float:
    """Return Spearman's correlation; nan where either is constant or has gaps."""
    x, y = (s.cast(pl.Float64).fill_null(NAN).to_numpy() for s in (one, other))
    if len(x) < 3 or not (np.isfinite(x).all() and np.isfinite(y).all()) or np.ptp(x) == 0 or np.ptp(y) == 0:
        return NAN
    return float(stats.spearmanr(x, y).statistic)


def by_x(table: pl.DataFrame, along: str) -> dict[int, dict[float, float]]:
    """Return for each seed, in order, its mean values along a column.

    They are nan for a seed of which a trial has no result, and so no place on a column that is measured.
    """
    found: dict[int, dict[float, float]] = {}
    nowhere = table.filter(pl.col(along).is_null(), pl.col("value").is_null()) if along in MEASURED else table.clear()
    for (x,), part in table.drop_nulls(along).group_by(along, maintain_order=True):
        by_cell: dict[int, list[float]] = {}
        for (_, seed), value in by_seed(part).items():
            by_cell.setdefault(seed, []).append(value)
        for seed, values in by_cell.items():
            found.setdefault(seed, {})[float(str(x))] = float(np.mean(values))
    gaps = {seed: dict.fromkeys(found.get(seed, {}), NAN) for seed in nowhere["seed"]}
    return dict(sorted((found | gaps).items()))


def places(curves: list[dict[float, float]]) -> list[float]:
    """Return all values of the column, in order."""
    return sorted({x for curve in curves for x in curve})


def bent(curves: list[dict[float, float]]) -> str:
    """Return in words how far the means of curves over the seeds lie off the power law that is fitted to them.

    And off an exponential law, where the squares that it leaves are less than half. Two points lie on both.
    """
    whole = [c for c in curves if np.isfinite([*c.values()]).all() and min(*c, *c.values(), 1.0) > 0]
    x = np.array(places(whole))
    if len(x) < 3:
        return ""
    y = np.array([np.mean([np.log(c[at]) for c in whole if at in c]) for at in x])
    fits = [(across, np.polyfit(across, y, 1)) for across in (np.log(x), x)]
    (power, exponential), rates = [y - np.polyval(fit, across) for across, fit in fits], [fit[0] for _, fit in fits]
    off = [f"{100 * np.expm1(np.abs(left).max()):.1f} %" for left in (power, exponential)]
    words = f"lies up to {off[0]} off the power law"
    if 2 * (exponential**2).sum() + TINY >= (power**2).sum():
        return words
    return f"{words}, and up to {off[1]} off y = a 2^({rates[1] / np.log(2):.3g} x), which fits better"


def slopes(curves: list[dict[float, float]], *, law: bool) -> Sample:
    """Return the least-squares slope of each curve, [N]: of log y over log x for a power law, else of y over log2 x.

    nan where a curve has fewer than two points, a gap, or a number that has no logarithm.
    """
    found = []
    for curve in curves:
        x, y = np.array(sorted(curve)), np.array([curve[x] for x in sorted(curve)])
        if len(x) < 2 or not np.isfinite(y).all() or (x <= 0).any() or (law and (y <= 0).any()):
            found.append(NAN)
            continue
        across, up = (np.log(x), np.log(y)) if law else (np.log2(x), y)
        found.append(float(np.polyfit(across, up, 1)[0]))
    return np.array(found)
