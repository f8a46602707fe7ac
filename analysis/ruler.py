"""Where values stand in a figure: the places and ticks of the axis, and the window on the metric."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import polars as pl
from matplotlib.ticker import MaxNLocator

MANTISSAS = ((1, 2, 5), (1, 3), (1,))  # of the ticks of a log axis, densest first
MAX_TICKS = 6
FAR = 5  # spreads from the middle half, beyond which a point would flatten all others


class Ruler(NamedTuple):
    """A scale on which 0 (where it is logarithmic) and infinity stand one step outside, behind a break."""

    at: dict[float, float]  # value -> position
    outside: list[float]  # values that stand behind a break
    breaks: list[float]  # positions of the breaks
    ticks: dict[float, str]  # position -> label


def ruler(values: Iterable[float], scale: str) -> Ruler:
    """Return the places of an axis' values; scale is "log" or "linear"."""
    ordered = sorted(set(values))
    inside = [v for v in ordered if math.isfinite(v) and (scale != "log" or v > 0)]
    at = {v: math.log10(v) if scale == "log" else v for v in inside}
    low, high = min(at.values(), default=0.0), max(at.values(), default=0.0)
    step = max((high - low) / max(len(at) - 1, 1), (high - low) / 10) or 1.0
    below = {v: low - step for v in ordered if v not in at and v <= 0}
    above = {v: high + step for v in ordered if v not in at and v > 0}
    breaks = [low - step / 2 for _ in below] + [high + step / 2 for _ in above]
    ticks = _value_ticks(at) or (_log_ticks(low, high) if scale == "log" else _linear_ticks(low, high))
    ticks |= {x: f"{v:g}".replace("inf", "∞") for v, x in (below | above).items()}
    return Ruler(at | below | above, [*below, *above], breaks if inside else [], ticks)


def window(table: pl.DataFrame) -> tuple[float, float] | None:
    """Return the range of the metric that shows baselines and curve but for points far off; None where none is.

    Far off is more than FAR spreads from the middle half of the curve's means; the spread is that half's width
    or the usual interval's, whichever is wider.
    """
    means = table.filter(pl.col("kind") == "curve")["mean"].drop_nulls()
    if means.is_empty():
        return None
    low, high = np.quantile(means, [0.25, 0.75])
    usual = (table["high"] - table["low"]).drop_nulls()
    spread = max(high - low, np.median(usual) if len(usual) else 0.0)
    near = pl.col("mean").is_between(low - FAR * spread, high + FAR * spread) | (pl.col("kind") == "baseline")
    kept = table.drop_nulls("mean").filter(near)
    if spread == 0 or len(kept) == len(table.drop_nulls("mean")):
        return None
    ends = kept.select(pl.min_horizontal("low", "mean").min(), pl.max_horizontal("high", "mean").max()).row(0)
    margin = 0.12 * (ends[1] - ends[0])
    return ends[0] - margin, ends[1] + margin


def _value_ticks(at: dict[float, float]) -> dict[float, str]:
    """Return a tick for each value, if they are few and not crowded."""
    gaps = np.diff(list(at.values()))
    if 0 < len(gaps) < MAX_TICKS and gaps.min() > gaps.sum() / 12:
        return {x: f"{float(f'{v:.3g}'):g}" for v, x in at.items()}
    return {}


def _log_ticks(low: float, high: float) -> dict[float, str]:
    """Return ticks of positions low to high in log10 units."""
    decades = range(math.floor(low), math.ceil(high) + 1)
    for mantissas in MANTISSAS:
        values = [m * 10.0**decade for decade in decades for m in mantissas]
        ticks = {math.log10(v): f"{v:g}" for v in values if low - 1e-9 <= math.log10(v) <= high + 1e-9}
        if len(ticks) <= MAX_TICKS:
            break
    if len(ticks) < 2:  # less than a decade, in which no such value lies
        return {math.log10(value): text for value, text in _linear_ticks(10**low, 10**high).items()}
    return dict(list(ticks.items())[:: -(-len(ticks) // MAX_TICKS)])


def _linear_ticks(low: float, high: float) -> dict[float, str]:
    positions = MaxNLocator(MAX_TICKS - 1).tick_values(low, high) if high > low else np.array([low])
    return {float(x): f"{x:g}" for x in positions if low - 1e-9 <= x <= high + 1e-9}
