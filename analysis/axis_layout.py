"""Layout of figure axes: positions and ticks of the varied values, and limits of the metric that ignore outliers."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import polars as pl
from matplotlib.ticker import MaxNLocator

MANTISSAS = ((1, 2, 5), (1, 3), (1,))  # of the ticks of a log axis, densest first
MAX_TICKS = 6
OUTLIER_SPREADS = 5  # from the middle half, beyond which a point would flatten the rest of the curve


class AxisLayout(NamedTuple):
    """Positions and ticks of an axis; 0 on a log scale, and infinity, lie one step outside, beyond a break."""

    positions: dict[float, float]  # value -> position
    detached: list[float]  # values beyond a break
    breaks: list[float]  # positions of the breaks
    ticks: dict[float, str]  # position -> label


def axis_layout(values: Iterable[float], scale: str) -> AxisLayout:
    """Return the layout of an axis with these values; scale is "log" or "linear"."""
    ordered = sorted(set(values))
    inside = [v for v in ordered if math.isfinite(v) and (scale != "log" or v > 0)]
    positions = {v: math.log10(v) if scale == "log" else v for v in inside}
    low, high = min(positions.values(), default=0.0), max(positions.values(), default=0.0)
    step = max((high - low) / max(len(positions) - 1, 1), (high - low) / 10) or 1.0
    below = {v: low - step for v in ordered if v not in positions and v <= 0}
    above = {v: high + step for v in ordered if v not in positions and v > 0}
    breaks = [low - step / 2 for _ in below] + [high + step / 2 for _ in above]
    ticks = value_ticks(positions) or (log_ticks(low, high) if scale == "log" else linear_ticks(low, high))
    ticks |= {x: f"{v:g}".replace("inf", "∞") for v, x in (below | above).items()}
    return AxisLayout(positions | below | above, [*below, *above], breaks if inside else [], ticks)


def robust_limits(table: pl.DataFrame) -> tuple[float, float] | None:
    """Return limits of the metric that show baselines and curve without its outliers; None if there are no outliers.

    An outlier lies more than OUTLIER_SPREADS spreads from the middle half of the curve's means; a spread is the width
    of that half or of the median interval, whichever is wider.
    """
    means = table.filter(pl.col("kind") == "curve")["mean"].drop_nulls()
    if means.is_empty():
        return None
    low, high = np.quantile(means, [0.25, 0.75])
    widths = (table["high"] - table["low"]).drop_nulls()
    spread = max(high - low, np.median(widths) if len(widths) else 0.0)
    reach = OUTLIER_SPREADS * spread
    near = pl.col("mean").is_between(low - reach, high + reach) | (pl.col("kind") == "baseline")
    shown = table.drop_nulls("mean").filter(near)
    if spread == 0 or len(shown) == len(table.drop_nulls("mean")):
        return None
    ends = shown.select(pl.min_horizontal("low", "mean").min(), pl.max_horizontal("high", "mean").max()).row(0)
    margin = 0.12 * (ends[1] - ends[0])
    return ends[0] - margin, ends[1] + margin


def value_ticks(positions: dict[float, float]) -> dict[float, str]:
    """Return a tick for each value, or none if there are many or they are crowded."""
    gaps = np.diff(list(positions.values()))
    if 0 < len(gaps) < MAX_TICKS and gaps.min() > gaps.sum() / 12:
        return {x: f"{float(f'{v:.3g}'):g}" for v, x in positions.items()}
    return {}


def log_ticks(low: float, high: float) -> dict[float, str]:
    """Return ticks between two positions, in units of log10."""
    decades = range(math.floor(low), math.ceil(high) + 1)
    for mantissas in MANTISSAS:
        values = [m * 10.0**decade for decade in decades for m in mantissas]
        ticks = {math.log10(v): f"{v:g}" for v in values if low - 1e-9 <= math.log10(v) <= high + 1e-9}
        if len(ticks) <= MAX_TICKS:
            break
    if len(ticks) < 2:  # less than a decade, in which no such value lies
        return {math.log10(value): text for value, text in linear_ticks(10**low, 10**high).items()}
    return dict(list(ticks.items())[:: -(-len(ticks) // MAX_TICKS)])


def linear_ticks(low: float, high: float) -> dict[float, str]:
    """Return round numbers as ticks between two positions."""
    positions = MaxNLocator(MAX_TICKS - 1).tick_values(low, high) if high > low else np.array([low])
    return {float(x): f"{x:g}" for x in positions if low - 1e-9 <= x <= high + 1e-9}
