"""A setting of a method as data: its kind, default, limits, where they come from, and where it acts."""

from collections.abc import Mapping
from typing import Any, NamedTuple

Condition = Mapping[str, tuple[Any, ...]]  # setting -> values
ALWAYS: Condition = {}


class Axis(NamedTuple):
    """One setting. ``neutral`` is the value at which its part of the method is off (None: there is none).

    ``when`` names other settings, and values of each: this one acts where any of them has one of its values, and
    changes nothing elsewhere.
    """

    default: Any
    kind: str  # number | integer | choice | flag
    low: float = float("-inf")  # limits of what is allowed, both inclusive
    high: float = float("inf")
    choices: tuple[Any, ...] = ()
    neutral: Any = None
    source: str = ""
    split: bool = False  # a mapping modality -> number will do, too
    when: Condition = ALWAYS
    empty: bool = False  # null will do, too

    @property
    def rule(self) -> str:
        """Return in words what a value must be."""
        if self.kind == "choice":
            return f"must be one of {', '.join(map(plain, self.choices))}"
        if self.kind == "flag":
            return "must be true or false"
        noun = "an integer" if self.kind == "integer" else "a number"
        if self.empty:
            return f"must be {noun} or null"
        more = ", or a mapping of modalities to such numbers" if self.split else ""
        return f"must be {noun} in [{self.low:g}, {self.high:g}]{more}"

    def check(self, value: Any) -> Any:
        """Return the value as the method takes it; of a mapping, one number at a time.

        Raises:
            ValueError: the value breaks the rule; the message is the rule.
        """
        if self.empty and value is None:
            return None
        if self.kind == "flag":
            valid = isinstance(value, bool)
        elif self.kind == "choice":
            valid = any(type(value) is type(one) and value == one for one in self.choices)  # 1 is not true
        else:
            whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            numeric = isinstance(value, int | float) and not isinstance(value, bool)
            valid = numeric and (whole or self.kind == "number") and self.low <= value <= self.high
        if not valid:
            raise ValueError(self.rule)
        return {"integer": int, "number": float}.get(self.kind, lambda kept: kept)(value)


def acts(when: Condition, settings: Mapping[str, Any]) -> bool:
    """Say whether a setting with this condition changes anything beside these settings."""
    return not when or any(settings[name] in values for name, values in when.items())


def spelled(when: Condition) -> str:
    """Return a condition in words."""
    return ", or ".join(f"{name} is {' or '.join(map(plain, values))}" for name, values in when.items())


def plain(value: Any) -> str:
    """Return a value as a study file would have it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def number(
    default: float,
    low: float,
    high: float,
    *,
    neutral: float | None = None,
    source: str = "",
    split: bool = False,
    when: Condition = ALWAYS,
) -> Axis:
    """Return a setting that is any number within limits; it may differ between trials that train together."""
    return Axis(float(default), "number", low, high, neutral=neutral, source=source, split=split, when=when)


def integer(default: int, low: int, high: float, *, source: str = "", when: Condition = ALWAYS) -> Axis:
    """Return a setting that counts something."""
    return Axis(default, "integer", low, high, source=source, when=when)


def choice(default: str, *others: str, source: str = "", when: Condition = ALWAYS) -> Axis:
    """Return a setting that names one of several ways to compute."""
    return Axis(default, "choice", choices=(default, *others), source=source, when=when)


def flag(*, default: bool, neutral: bool | None = None, source: str = "") -> Axis:
    """Return a setting that is on or off."""
    return Axis(default, "flag", neutral=neutral, source=source)
