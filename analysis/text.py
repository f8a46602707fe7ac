"""Numbers and settings as a reader sees them."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

LOWER = re.compile(r"(\w+_)?(mae|loss|error|plain|gap|theory|seconds|bytes)(_.*)?|\w+_ratio")  # names of metrics
GAINED = "gain in "
DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


def less_is_better(metric: str) -> bool:
    """Tell whether a metric is an error, a loss or a cost; `missing_mae_*` and `seconds_per_step` are, as `mae` is."""
    return LOWER.fullmatch(metric) is not None


def is_percent(metric: str) -> bool:
    """Tell whether a metric is shown in percent."""
    return metric.endswith("accuracy")


def score(
    metric: str, value: float | None, low: float | None = None, high: float | None = None, *, sign: str = ""
) -> str:
    """Return `96.9 [96.5, 97.2]`: accuracy in percent, others to three digits; `sign="+"` shows a plus."""
    if value is None:
        return DASH
    text = _number(metric, value, sign)
    return text if low is None or high is None else f"{text} {span(metric, low, high)}"


def span(metric: str, low: float, high: float) -> str:
    """Return `[96.5, 97.2]`."""
    return f"[{_number(metric, low)}, {_number(metric, high)}]"


def amount(metric: str, value: float, *, change: bool = True) -> str:
    """Return a size with its unit: `1 point`, `2.5 points`, `90 %` where it is no change, or `0.05`."""
    if not is_percent(metric):
        return f"{value:.3g}".replace("-", MINUS)
    text = f"{100 * value:.3g}".replace("-", MINUS)
    unit = ("point" if text == "1" else "points") if change else "%"
    return f"{text} {unit}"


def effect(
    metric: str, value: float, low: float | None = None, high: float | None = None, *, change: bool = False
) -> str:
    """Return `+1.2 points [0.3, 2.1]`, or `96.9 % [96.5, 97.2]` where it is no change; nan for an end shows none.

    A change is for the better where it is above 0: of a loss it is what was gained.
    """
    unit = (" points" if change else " %") if is_percent(metric) else ""
    if change and less_is_better(metric):
        unit = f" {GAINED}{metric}"
    unit = unit if math.isfinite(value) else ""
    ends = low is not None and high is not None and math.isfinite(low) and math.isfinite(high)
    text = score(metric, value, sign="+" if change else "") + unit
    return f"{text} {span(metric, low, high)}" if ends and low is not None and high is not None else text


def plural(count: int, noun: str) -> str:
    """Return `1 seed`, or `2 seeds`."""
    return f"{count} {noun}" + ("" if count == 1 else "s")


def named(method: str, modality: str | None) -> str:
    """Return `agm`, or of a modality that was trained alone, `unimodal (image alone)`."""
    return f"{method} ({modality} alone)" if modality else method


def pvalue(p: float | None) -> str:
    """Return `0.25`, or `<0.001`."""
    if p is None:
        return DASH
    return "<0.001" if p < 0.001 else f"{p:.2g}"


def setting(value: Any) -> str:
    """Return one setting, a number to three digits."""
    if value is None:
        return "none"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def settings(row: Mapping[str, Any], axes: Iterable[str]) -> str:
    """Return `alpha=0.316, train.lr=0.1`: the row's settings, its own method's without the method's name."""
    own = {row["method"], "train", "model"}
    return ", ".join(
        f"{axis.removeprefix(row['method'] + '.')}={setting(row[axis])}"
        for axis in axes
        if axis.partition(".")[0] in own
    )


def _number(metric: str, value: float, sign: str = "") -> str:
    text = f"{100 * value:{sign}z.1f}" if is_percent(metric) else f"{value:{sign}.3g}"
    return text.replace("-", MINUS)
