"""A setting of a method as data: its kind, default, limits and where they come from."""

from typing import Any, NamedTuple


class Axis(NamedTuple):
    """One setting. ``neutral`` is the value at which its part of the method is off (None: there is none)."""

    default: Any
    kind: str  # number | integer | choice | flag
    low: float = float("-inf")  # limits of what is allowed, both inclusive
    high: float = float("inf")
    choices: tuple[str, ...] = ()
    neutral: Any = None
    source: str = ""
    split: bool = False  # a mapping modality -> number will do, too

    @property
    def rule(self) -> str:
        """Return in words what a value must be."""
        if self.kind == "choice":
            return f"must be one of {', '.join(map(str, self.choices))}"
        if self.kind == "flag":
            return "must be true or false"
        noun = "an integer" if self.kind == "integer" else "a number"
        more = ", or a mapping of modalities to such numbers" if self.split else ""
        return f"must be {noun} in [{self.low:g}, {self.high:g}]{more}"

    def check(self, value: Any) -> Any:
        """Return the value as the method takes it; of a mapping, one number at a time.

        Raises:
            ValueError: the value breaks the rule; the message is the rule.
        """
        if self.kind == "flag":
            valid = isinstance(value, bool)
        elif self.kind == "choice":
            valid = isinstance(value, str) and value in self.choices
        else:
            whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            numeric = isinstance(value, int | float) and not isinstance(value, bool)
            valid = numeric and (whole or self.kind == "number") and self.low <= value <= self.high
        if not valid:
            raise ValueError(self.rule)
        return {"integer": int, "number": float}.get(self.kind, lambda kept: kept)(value)


def number(
    default: float, low: float, high: float, *, neutral: float | None = None, source: str = "", split: bool = False
) -> Axis:
    """Return a setting that is any number within limits; it may differ between trials that train together."""
    return Axis(float(default), "number", low, high, neutral=neutral, source=source, split=split)


def integer(default: int, low: int, high: float, *, source: str = "") -> Axis:
    """Return a setting that counts something."""
    return Axis(default, "integer", low, high, source=source)


def choice(default: str, *others: str, source: str = "") -> Axis:
    """Return a setting that names one of several ways to compute."""
    return Axis(default, "choice", choices=(default, *others), source=source)


def flag(*, default: bool, neutral: bool | None = None, source: str = "") -> Axis:
    """Return a setting that is on or off."""
    return Axis(default, "flag", neutral=neutral, source=source)
