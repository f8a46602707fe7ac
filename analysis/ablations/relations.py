"""Relations of one number to another: power laws, trends of a gain, rank correlations."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy import special, stats

from analysis.ablations.differences import group_rows, require_rows, select_tuned
from analysis.ablations.finding import GAIN_PANEL, Effect, Finding, Sample, line_point, line_table
from analysis.ablations.scores import (
    Cells,
    Side,
    groups,
    label,
    mean_over_draws,
    orient_scores,
    partition_draws,
    scores,
    seed_means,
    select_rows,
    unit_metric,
)
from analysis.decisions import MAX_MISSING
from analysis.statistics import LEVEL, NAN, Estimate, bounds

EPSILON = 1e-12  # a sum of squares of rounding errors
MIN_RANKED = 3  # pairs of a rank correlation
MIN_PAIRS = 4  # of one with an interval
MEASURED_COLUMNS = ("params", "steps", "seconds")  # null for a trial without a result

Curve = dict[float, float]  # x -> mean value


def growth(
    cells: Cells, *, along: str, metric: str, of: Side | None = None, split: str = "train", per: Sequence[str] = ()
) -> Finding:
    """Return the exponent b of the law y = a x^b of a metric along a column, one fit per seed, in every group.

    A metric that is 0 or less somewhere, as the state of a method that keeps none, follows no such law; a remark
    states it. Another states how far the metric is from the law, and whether an exponential, y = a 2^(b x), fits
    better.
    """
    table = require_rows(select_tuned(cells, scores(cells, metric, split), of or {}), of or {})
    effects, points, remarks = [], [], []
    panel, within = unit_metric(cells, metric), bounds(unit_metric(cells, metric))

    def exponents(part: pl.DataFrame) -> dict[int, float]:
        curves = seed_curves(part, along)
        return dict(zip(curves, slopes([*curves.values()], power_law=True).tolist(), strict=True))

    for name, group in groups(table, per):
        part = group_rows(table, group)
        curves = list(seed_curves(part, along).values())
        effects.append(Effect(name, np.array(list(mean_over_draws(part, exponents).values()))))
        by_draw = [curve for draw in partition_draws(part) for curve in seed_curves(draw, along).values()]
        if any(y <= 0 for curve in by_draw for y in curve.values()):
            remarks.append(f"{name}: {metric} is not positive everywhere, so it follows no power law.")
        if misfit := power_law_misfit(curves):
            remarks.append(f"{name}: {metric} {misfit}.")
        points += [
            line_point(panel, name, x, [c[x] for c in curves if x in c], within) for x in curve_positions(curves)
        ]
    return Finding(effects, f"exponent of {panel}", line_table(points), along, "log", remarks=tuple(remarks))


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
    """Return how much a gain rises with each doubling of a column, one fit per seed, in every group.

    A baseline that has no such column is constant along it.
    """
    table = scores(cells, metric, split)
    treatment, baseline = (
        orient_scores(require_rows(select_tuned(cells, table, side), side), cells, metric) for side in (of, minus)
    )
    if baseline[along].is_null().all():
        baseline = baseline.drop(along).join(treatment.select(along).drop_nulls().unique(), how="cross")
    effects, points = [], []
    within = bounds(unit_metric(cells, metric), change=True)
    for name, group in groups(treatment, per):
        left, right = (seed_curves(group_rows(side, group), along) for side in (treatment, baseline))
        pairs = [(left[seed], right[seed]) for seed in left if seed in right]
        gains = [{x: a[x] - b[x] for x in a.keys() & b.keys()} for a, b in pairs]
        rates = slopes(gains, power_law=False)
        effects.append(Effect(name, rates, np.zeros_like(rates)))
        line = f"{label({k: v for k, v in of.items() if k != 'choose'})} - {label(minus)}"
        points += [
            line_point(GAIN_PANEL, line, x, [c[x] for c in gains if x in c], within) for x in curve_positions(gains)
        ]
    return Finding(effects, unit_metric(cells, metric), line_table(points), along, "log")


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
    """Return Spearman's rank correlation of two metrics over modalities and configurations, per seed and group.

    ``sign`` -1 negates it, where less of one metric means the same as more of the other.
    """
    table, other_table = (scores(cells, name, s) for name, s in ((metric, split), (other, others_split or split)))
    effects = []
    keys = ["cell", "trial", "owner"]
    selected = require_rows(select_tuned(cells, table, of or {}), of or {})
    pairs = selected.join(other_table.select(*keys, other="value"), on=keys, nulls_equal=True)

    def correlations(part: pl.DataFrame) -> dict[int, float]:
        return {rows["seed"][0]: spearman(rows["value"], rows["other"]) * sign for rows in part.partition_by("seed")}

    for name, group in groups(pairs, per):
        by_seed = mean_over_draws(group_rows(pairs, group), correlations)
        effects.append(Effect(name, np.array(list(by_seed.values()))))
    return Finding(effects, "rank correlation")


def gain_correlation(
    cells: Cells, *, metric: str, of: Side, minus: Side, within: Side, split: str = "train"
) -> Finding:
    """Return Spearman's rank correlation, over the cells, of a metric with the gain of one side over another.

    Both are means over the seeds, as the noise of single seeds would attenuate the correlation: the cells are the
    replicates, and the interval is that over data sets of which these are drawn. The metric is read in the trials
    ``within``. Shown as well: the metric and the gain of every cell, over seeds.
    """
    table = scores(cells)
    measured = seed_means(require_rows(select_rows(scores(cells, metric, split), within), within))
    treatment, baseline = (
        seed_means(orient_scores(require_rows(select_tuned(cells, table, side), side), cells)) for side in (of, minus)
    )
    gains = {key: treatment[key] - baseline[key] for key in treatment.keys() & baseline.keys()}
    seeds = sorted({seed for _, seed in gains})
    metrics_by_cell, gains_by_cell = (
        {c: np.array([values.get((c, s), NAN) for s in seeds]) for c in cells} for values in (measured, gains)
    )
    means = ([mean_if_complete(sample) for sample in side.values()] for side in (metrics_by_cell, gains_by_cell))
    effect = Effect("over cells", spearman_estimate(*means))
    beside = [Effect(f"{c}: {metric}", sample, metric=metric, noun="seed") for c, sample in metrics_by_cell.items()]
    beside += [
        Effect(f"{c}: gain", sample, np.zeros_like(sample), cells[c].metric, "seed")
        for c, sample in gains_by_cell.items()
    ]
    return Finding([effect], "rank correlation", beside=tuple(beside), noun="data set")


def mean_if_complete(sample: Sample) -> float:
    """Return the mean of a sample [N], one per seed; nan where more results are missing than a rule allows."""
    known = sample[np.isfinite(sample)]
    return float(known.mean()) if len(known) and len(known) >= (1 - MAX_MISSING) * len(sample) else NAN


def spearman_estimate(x: Sequence[float], y: Sequence[float]) -> Estimate:
    """Return Spearman's correlation of N pairs, and its interval if there are four (Bonett and Wright 2000).

    The interval of two identical rankings begins where that of rankings half a step from them does.
    """
    coefficient, count = spearman(*(pl.Series(side, dtype=pl.Float64) for side in (x, y))), len(x)
    if np.isnan(coefficient) or count < MIN_PAIRS:
        return Estimate(coefficient, NAN, NAN, count)
    largest = 1 - 6 / (count**3 - count)
    clipped = np.clip(coefficient, -largest, largest)
    half_width = special.ndtri(1 - LEVEL / 2) * np.sqrt((1 + clipped**2 / 2) / (count - 3))
    low, high = np.tanh(np.arctanh(clipped) + np.array([-half_width, half_width])).tolist()
    return Estimate(coefficient, min(low, coefficient), max(high, coefficient), count)


def spearman(first: pl.Series, second: pl.Series) -> float:
    """Return Spearman's correlation; nan where either is constant or has gaps."""
    x, y = (s.cast(pl.Float64).fill_null(NAN).to_numpy() for s in (first, second))
    if len(x) < MIN_RANKED or not (np.isfinite(x).all() and np.isfinite(y).all()) or np.ptp(x) == 0 or np.ptp(y) == 0:
        return NAN
    return float(stats.spearmanr(x, y).statistic)


def seed_curves(table: pl.DataFrame, along: str) -> dict[int, Curve]:
    """Return the curve of each seed, in order: its mean values along a column.

    The values are nan for a seed of which a trial has no result, and so no position along a column that is measured.
    """
    curves: dict[int, Curve] = {}
    is_lost = pl.col(along).is_null() & pl.col("value").is_null()
    lost = table.filter(is_lost) if along in MEASURED_COLUMNS else table.clear()
    for (x,), part in table.drop_nulls(along).group_by(along, maintain_order=True):
        by_cell: dict[int, list[float]] = {}
        for (_, seed), value in seed_means(part).items():
            by_cell.setdefault(seed, []).append(value)
        for seed, values in by_cell.items():
            curves.setdefault(seed, {})[float(str(x))] = float(np.mean(values))
    gaps = {seed: dict.fromkeys(curves.get(seed, {}), NAN) for seed in lost["seed"]}
    return dict(sorted((curves | gaps).items()))


def curve_positions(curves: list[Curve]) -> list[float]:
    """Return all x of some curves, in order."""
    return sorted({x for curve in curves for x in curve})


def power_law_misfit(curves: list[Curve]) -> str:
    """Return in words how far the means of curves over the seeds lie from the power law that is fitted to them.

    And from an exponential law, if its residual sum of squares is less than half. Two points lie on both.
    """
    complete = [c for c in curves if np.isfinite([*c.values()]).all() and min(*c, *c.values(), 1.0) > 0]
    x = np.array(curve_positions(complete))
    if len(x) < 3:
        return ""
    y = np.array([np.mean([np.log(c[at]) for c in complete if at in c]) for at in x])
    fits = [(regressor, np.polyfit(regressor, y, 1)) for regressor in (np.log(x), x)]
    power, exponential = [y - np.polyval(fit, regressor) for regressor, fit in fits]
    rates = [fit[0] for _, fit in fits]
    deviations = [f"{100 * np.expm1(np.abs(residuals).max()):.1f} %" for residuals in (power, exponential)]
    words = f"deviates by up to {deviations[0]} from the power law"
    if 2 * (exponential**2).sum() + EPSILON >= (power**2).sum():
        return words
    return f"{words}, and by up to {deviations[1]} from y = a 2^({rates[1] / np.log(2):.3g} x), which fits better"


def slopes(curves: list[Curve], *, power_law: bool) -> Sample:
    """Return the least-squares slope of each curve, [N]: of log y over log x for a power law, else of y over log2 x.

    nan where a curve has fewer than two points, a gap, or a number that has no logarithm.
    """
    values = []
    for curve in curves:
        x, y = np.array(sorted(curve)), np.array([curve[x] for x in sorted(curve)])
        if len(x) < 2 or not np.isfinite(y).all() or (x <= 0).any() or (power_law and (y <= 0).any()):
            values.append(NAN)
            continue
        regressor, response = (np.log(x), np.log(y)) if power_law else (np.log2(x), y)
        values.append(float(np.polyfit(regressor, response, 1)[0]))
    return np.array(values)
