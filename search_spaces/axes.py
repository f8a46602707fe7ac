"""The search axis of a setting: kind, default, limits, their source, and the condition under which it is active."""

from collections.abc import Mapping
from typing import Any, NamedTuple

Condition = Mapping[str, tuple[Any, ...]]  # setting -> values, of which one setting must have one of its values
ALWAYS: Condition = {}


class Axis(NamedTuple):
    """One setting. ``neutral`` is the value that turns off its part of the method (None: there is none).

    ``when`` maps other settings to values: this one is active if any of them has one of its values, and has no effect
    otherwise.
    """

    default: Any
    kind: str  # number | integer | choice | flag
    low: float = float("-inf")  # limits of what is allowed, both inclusive
    high: float = float("inf")
    choices: tuple[Any, ...] = ()
    neutral: Any = None
    source: str = ""
    by_modality: bool = False  # a mapping modality -> number is allowed, too
    when: Condition = ALWAYS
    nullable: bool = False  # null is allowed, too

    @property
    def rule(self) -> str:
        """Return the rule for values in words."""
        if self.kind == "choice":
            return f"must be one of {', '.join(map(yaml_literal, self.choices))}"
        if self.kind == "flag":
            return "must be true or false"
        noun = "an integer" if self.kind == "integer" else "a number"
        if self.nullable:
            return f"must be {noun} or null"
        more = ", or a mapping of modalities to such numbers" if self.by_modality else ""
        return f"must be {noun} in [{self.low:g}, {self.high:g}]{more}"

    def check(self, value: Any) -> Any:
        """Return the value with the type that the method takes; for a mapping, call it with each number.

        Raises:
            ValueError: the value breaks the rule, which is the message.
        """
        if self.nullable and value is None:
            return None
        if self.kind == "flag":
            valid = isinstance(value, bool)
        elif self.kind == "choice":
            valid = any(type(value) is type(choice) and value == choice for choice in self.choices)  # 1 is not true
        else:
            integral = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            numeric = isinstance(value, int | float) and not isinstance(value, bool)
            valid = numeric and (integral or self.kind == "number") and self.low <= value <= self.high
        if not valid:
            raise ValueError(self.rule)
        return {"integer": int, "number": float}.get(self.kind, lambda same: same)(value)


def is_active(when: Condition, settings: Mapping[str, Any]) -> bool:
    """Return whether a setting with this condition has an effect, given the other settings."""
    return not when or any(settings[name] in values for name, values in when.items())


def describe_condition(when: Condition) -> str:
    """Return a condition in words."""
    return ", or ".join(f"{name} is {' or '.join(map(yaml_literal, values))}" for name, values in when.items())


def yaml_literal(value: Any) -> str:
    """Return a value as written in a study file."""
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
    by_modality: bool = False,
    when: Condition = ALWAYS,
) -> Axis:
    """Return the axis of a number within limits, which may differ between the trials of a pack."""
    return Axis(float(default), "number", low, high, neutral=neutral, source=source, by_modality=by_modality, when=when)


def integer(default: int, low: int, high: float, *, source: str = "", when: Condition = ALWAYS) -> Axis:
    """Return the axis of an integer within limits."""
    return Axis(default, "integer", low, high, source=source, when=when)


def choice(default: str, *others: str, source: str = "", when: Condition = ALWAYS) -> Axis:
    """Return the axis of a choice between names, the default first."""
    return Axis(default, "choice", choices=(default, *others), source=source, when=when)


def flag(*, default: bool, neutral: bool | None = None, source: str = "") -> Axis:
    """Return the axis of a boolean."""
    return Axis(default, "flag", neutral=neutral, source=source)
