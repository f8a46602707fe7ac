"""Entries of the key `vary`: a list or a range in the study file becomes an axis with validated values."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import Field, ValidationError

from ablate.document import Document, KeyPath
from ablate.errors import describe_choices, format_value
from ablate.settings import check_value, find_axis
from ablate.validation import Section, error_sentence, most_specific_error, validate_section
from search_spaces.axes import ALWAYS, Condition, is_active
from search_spaces.methods import TRAINING_CONDITIONS

DUMMY_AXIS = "dummy"  # an inert axis: its apparent effect is the noise floor
Number = Annotated[float, Field(allow_inf_nan=False)]
Range = Annotated[list[Number], Field(min_length=2, max_length=2)]


class AxisEntry(Section):
    """The value of an entry of `vary`, with exactly one of `choice`, `log` and `linear`."""

    choice: Annotated[list[Any], Field(min_length=1)] | None = None
    log: Range | None = None
    linear: Range | None = None
    num: Annotated[int, Field(ge=2, le=100_000)] | None = None  # points of a grid
    also: list[Number] = Field(default_factory=list)  # additional grid points, such as 0 on a log scale


class VariedAxis(NamedTuple):
    """One axis of a study: listed values, or a range that a search chooses from, or both for a grid over a range."""

    key: str  # "agm.alpha", "train.lr"
    scale: str  # log | linear | choice
    values: list[Any]  # empty where only a range is given
    low: float | None = None
    high: float | None = None
    integer: bool = False
    when: Condition = ALWAYS  # "agm.reference" -> its values with which this setting is active

    @property
    def owner(self) -> str:
        """Return the method, `train` or `model` that the setting belongs to."""
        return self.key.partition(".")[0]

    @property
    def name(self) -> str:
        """Return the setting's name within its owner."""
        return self.key.partition(".")[2]

    def is_active(self, settings: Mapping[str, Any]) -> bool:
        """Return whether the axis changes anything, given the other settings."""
        return is_active(self.when, settings)

    @property
    def bounds(self) -> tuple[float, float]:
        """Return the smallest and the largest value of a range."""
        if self.low is None or self.high is None:
            raise ValueError(f"{self.key} has a list of values, not a range")
        return (math.ceil(self.low), math.floor(self.high)) if self.integer else (self.low, self.high)

    @property
    def values_or_bounds(self) -> list[Any]:
        """Return the listed values or, of a mere range, its bounds."""
        return self.values or [*self.bounds]

    def contains(self, value: Any) -> bool:
        """Return whether a value is listed or, of a mere range, lies in it."""
        if self.values:
            return value in self.values
        low, high = self.bounds
        return isinstance(value, int | float) and low <= value <= high

    def nearest_value(self, number: float) -> float:
        """Return the value of a range that is closest to a number."""
        low, high = self.bounds
        return min(max(round(number) if self.integer else number, low), high)

    def value_at(self, fraction: float) -> Any:
        """Return the value at a fraction of the axis, from 0 to 1; listed values get equal parts."""
        if self.low is None:
            return self.values[min(int(fraction * len(self.values)), len(self.values) - 1)]
        low, high = self.bounds
        first, last = (low - 0.5, high + 0.5) if self.integer else (low, high)
        value = first * (last / first) ** fraction if self.scale == "log" else first + (last - first) * fraction
        return self.nearest_value(value)


class Scope(NamedTuple):
    """The parts of a study that its axes refer to."""

    document: Document
    methods: dict[str, str]  # name -> module:attribute
    sections: dict[str, Section]  # train, model
    uses_listed_values: bool  # the design needs values; else a range will do


def parse_axis(scope: Scope, key: str, spec: Any) -> VariedAxis:
    """Return the axis of an entry of `vary`.

    Raises:
        UserError: there is no such setting, or the values are invalid.
    """
    where: KeyPath = ("vary", key)
    is_integer = is_integer_setting(scope, where, key)
    if not isinstance(spec, dict) and not (isinstance(spec, list) and spec):
        rule = "must be a list of values, or a range such as {log: [0.1, 10], num: 5}"
        raise scope.document.error(where, f"{rule}, got {'no value' if spec == [] else format_value(spec)}")
    spec = {"choice": spec} if isinstance(spec, list) else spec
    entry = validate_section(scope.document, AxisEntry, spec, where)
    scales = [scale for scale in ("choice", "log", "linear") if getattr(entry, scale) is not None]
    if len(scales) != 1:
        raise scope.document.error(where, "must be a list, or have exactly one of `choice`, `log` and `linear`")
    if scales[0] == "choice":
        return listed_axis(scope, where, key, entry)
    low, high = check_range(scope, (*where, scales[0]), getattr(entry, scales[0]), scales[0])
    if is_integer and math.ceil(low) > math.floor(high):
        raise scope.document.error((*where, scales[0]), f"must contain an integer, got {[low, high]}")
    if scope.uses_listed_values and entry.num is None:
        raise scope.document.error(where, "a grid needs `num`, the number of points")
    if entry.also and not scope.uses_listed_values:
        raise scope.document.error((*where, "also"), "applies only to a grid; a search chooses its own values")
    axis = VariedAxis(key, scales[0], [], low, high, is_integer, activation_condition(scope, where, key))
    points = grid_values(low, high, scales[0], entry.num or 2)
    ordered = sorted({*entry.also, *map(axis.nearest_value, points)})
    values = [check_varied_value(scope, where, key, int(v) if is_integer and v == int(v) else v) for v in ordered]
    return axis._replace(values=values) if entry.num else axis


def activation_condition(scope: Scope, where: KeyPath, key: str) -> Condition:
    """Return the condition under which a setting is active, by the names of a study file."""
    owner, _, name = key.partition(".")
    if owner in scope.methods:
        when = find_axis(scope.document, where, key, scope.methods).when
    else:
        when = TRAINING_CONDITIONS.get(name, ALWAYS) if owner == "train" else ALWAYS
    return {f"{owner}.{other}": values for other, values in when.items()}


def listed_axis(scope: Scope, where: KeyPath, key: str, entry: AxisEntry) -> VariedAxis:
    """Return an axis of listed values."""
    if entry.num is not None or entry.also:
        raise scope.document.error(where, "`num` and `also` belong to `log` and `linear`, not to a list of values")
    values = [check_varied_value(scope, where, key, value) for value in entry.choice or []]
    if len(set(map(repr, values))) < len(values):
        raise scope.document.error(where, "lists a value twice")
    return VariedAxis(key, "choice", values, when=activation_condition(scope, where, key))


def check_range(scope: Scope, where: KeyPath, bounds: list[float], scale: str) -> tuple[float, float]:
    """Return the bounds of a range; raise a UserError if they are invalid."""
    low, high = bounds
    if not low < high:
        raise scope.document.error(where, f"must be two numbers [low, high] with low < high, got {bounds}")
    if scale == "log" and low <= 0:
        rule = "must start above 0 on a log scale (put 0 into `also`)"
        raise scope.document.error(where, f"{rule}, got {bounds}")
    return low, high


def grid_values(low: float, high: float, scale: str, num: int) -> list[float]:
    """Return ``num`` evenly spaced values from low to high, both included; the inner ones are rounded to 6 digits."""
    steps = [i / (num - 1) for i in range(num)]
    inner = [low * (high / low) ** s if scale == "log" else low + (high - low) * s for s in steps]
    return [low, *(float(f"{value:.6g}") for value in inner[1:-1]), high]


def is_integer_setting(scope: Scope, where: KeyPath, key: str) -> bool:
    """Return whether a setting is an integer; raise a UserError if there is no such setting."""
    owner, _, name = key.partition(".")
    if key == DUMMY_AXIS:
        return False
    if owner not in scope.sections:
        return find_axis(scope.document, where, key, scope.methods).kind == "integer"
    fields = type(scope.sections[owner]).model_fields
    if name not in fields:
        raise scope.document.error(where, f"{owner} has no setting `{name}` {describe_choices(name, fields)}")
    return fields[name].annotation is int


def check_varied_value(scope: Scope, where: KeyPath, key: str, value: Any) -> Any:
    """Return a value of a varied setting, validated as if it were set."""
    owner, _, name = key.partition(".")
    if key == DUMMY_AXIS:
        return value
    if owner not in scope.sections:
        return check_value(scope.document, where, find_axis(scope.document, where, key, scope.methods), value)
    section = scope.sections[owner]
    try:
        return getattr(type(section).model_validate({**section.model_dump(), name: value}), name)
    except ValidationError as validation_error:
        errors = validation_error.errors(include_url=False)
        raise scope.document.error(where, error_sentence(*most_specific_error({name: value}, errors))) from None
