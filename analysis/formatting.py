"""Format scores, p-values, settings and method names for people to read."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

LOWER_IS_BETTER = re.compile(r"(\w+_)?(mae|loss|error|plain|gap|theory|seconds|bytes)(_.*)?|\w+_ratio")  # metrics
GAIN_IN = "gain in "
DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


def lower_is_better(metric: str) -> bool:
    """Return whether a metric is an error, a loss or a cost, such as `mae`, `missing_mae_*` or `seconds_per_step`."""
    return LOWER_IS_BETTER.fullmatch(metric) is not None


def is_percent(metric: str) -> bool:
    """Return whether a metric is shown in percent; an exponent of one is not."""
    return metric.endswith("accuracy") and not metric.startswith("exponent of")


def format_score(
    metric: str, value: float | None, low: float | None = None, high: float | None = None, *, sign: str = ""
) -> str:
    """Return `96.9 [96.5, 97.2]`: accuracy in percent, other metrics to three digits; `sign="+"` shows a plus."""
    if value is None:
        return DASH
    text = format_number(metric, value, sign)
    return text if low is None or high is None else f"{text} {format_interval(metric, low, high)}"


def format_interval(metric: str, low: float, high: float) -> str:
    """Return `[96.5, 97.2]`."""
    return f"[{format_number(metric, low)}, {format_number(metric, high)}]"


def format_amount(metric: str, value: float, *, change: bool = True) -> str:
    """Return an amount with its unit: `1 point`, `2.5 points`, `90 %` if it is not a change, or `0.05`."""
    if not is_percent(metric):
        return f"{value:.3g}".replace("-", MINUS)
    text = f"{100 * value:.3g}".replace("-", MINUS)
    unit = ("point" if text == "1" else "points") if change else "%"
    return f"{text} {unit}"


def format_effect(
    metric: str, value: float, low: float | None = None, high: float | None = None, *, change: bool = False
) -> str:
    """Return `+1.2 points [0.3, 2.1]`, or `96.9 % [96.5, 97.2]` if it is not a change.

    A change above 0 is an improvement: of a loss it is the gain. The interval is left out if an end is nan.
    """
    unit = (" points" if change else " %") if is_percent(metric) else ""
    if change and lower_is_better(metric):
        unit = f" {GAIN_IN}{metric}"
    unit = unit if math.isfinite(value) else ""
    text = format_score(metric, value, sign="+" if change else "") + unit
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return text
    return f"{text} {format_interval(metric, low, high)}"


def plural(count: int, noun: str) -> str:
    """Return `1 seed`, or `2 seeds`."""
    return f"{count} {noun}" + ("" if count == 1 else "s")


def method_label(method: str, modality: str | None) -> str:
    """Return `agm`, or for a modality trained alone `unimodal (image alone)`."""
    return f"{method} ({modality} alone)" if modality else method


def format_p_value(p: float | None) -> str:
    """Return `0.25`, or `<0.001`."""
    if p is None:
        return DASH
    return "<0.001" if p < 0.001 else f"{p:.2g}"


def format_setting(value: Any) -> str:
    """Return the value of a setting, a float to three digits."""
    if value is None:
        return "none"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def format_settings(row: Mapping[str, Any], axes: Iterable[str]) -> str:
    """Return `alpha=0.316, train.lr=0.1`: the settings of a row, those of its method without the method's name."""
    prefixes = {row["method"], "train", "model"}
    return ", ".join(
        f"{axis.removeprefix(row['method'] + '.')}={format_setting(row[axis])}"
        for axis in axes
        if axis.partition(".")[0] in prefixes
    )


def format_number(metric: str, value: float, sign: str = "") -> str:
    """Return a number in the unit that is shown: in percent with one decimal, or to three digits."""
    text = f"{100 * value:{sign}z.1f}" if is_percent(metric) else f"{value:{sign}.3g}"
    return text.replace("-", MINUS)
