"""One entry of `vary`: from a list or a range in the study file to an axis with checked values."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import Field, ValidationError

from ablate.document import Document, Where
from ablate.errors import describe_choices, format_value
from ablate.settings import axis, checked
from ablate.validation import Section, fitting, sentence, validated
from search_spaces.axes import ALWAYS, Condition, acts
from search_spaces.methods import TRAINING

DUMMY = "dummy"  # an axis that changes nothing: what it seems to do is noise
Number = Annotated[float, Field(allow_inf_nan=False)]
Ends = Annotated[list[Number], Field(min_length=2, max_length=2)]


class Entry(Section):
    """What stands under a varied setting: exactly one of `choice`, `log` and `linear`."""

    choice: Annotated[list[Any], Field(min_length=1)] | None = None
    log: Ends | None = None
    linear: Ends | None = None
    num: Annotated[int, Field(ge=2, le=100_000)] | None = None  # points of a grid
    also: list[Number] = Field(default_factory=list)  # further points of a grid, such as 0 beside a log scale


class Varied(NamedTuple):
    """One axis of a study: a list of values, and for a search the range or the choices they come from."""

    key: str  # "agm.alpha", "train.lr"
    scale: str  # log | linear | choice
    values: list[Any]  # empty where only a range is given
    low: float | None = None
    high: float | None = None
    integer: bool = False
    when: Condition = ALWAYS  # "agm.reference" -> the values of it beside which this setting acts

    @property
    def owner(self) -> str:
        """Return the method, `train` or `model` that the setting belongs to."""
        return self.key.partition(".")[0]

    @property
    def name(self) -> str:
        """Return the setting's name within its owner."""
        return self.key.partition(".")[2]

    def acts(self, settings: Mapping[str, Any]) -> bool:
        """Say whether it changes anything beside these settings."""
        return acts(self.when, settings)

    @property
    def ends(self) -> tuple[float, float]:
        """Return the least and the largest value of a range."""
        if self.low is None or self.high is None:
            raise ValueError(f"{self.key} has a list of values, and no range")
        return (math.ceil(self.low), math.floor(self.high)) if self.integer else (self.low, self.high)

    @property
    def reach(self) -> list[Any]:
        """Return the values of a list, or the ends of a range."""
        return self.values or [*self.ends]

    def takes(self, value: Any) -> bool:
        """Say whether a value is listed or, where only a range is given, lies in it."""
        if self.values:
            return value in self.values
        low, high = self.ends
        return isinstance(value, int | float) and low <= value <= high

    def nearest(self, number: float) -> float:
        """Return what is closest to a number in a range."""
        low, high = self.ends
        return min(max(round(number) if self.integer else number, low), high)

    def at(self, share: float) -> Any:
        """Return the value below which a share of the axis lies, from 0 to 1; choices lie side by side."""
        if self.low is None:
            return self.values[min(int(share * len(self.values)), len(self.values) - 1)]
        low, high = self.ends
        first, last = (low - 0.5, high + 0.5) if self.integer else (low, high)
        value = first * (last / first) ** share if self.scale == "log" else first + (last - first) * share
        return self.nearest(value)


class Scope(NamedTuple):
    """What a study lets vary."""

    document: Document
    methods: dict[str, str]  # name -> module:attribute
    sections: dict[str, Section]  # train, model
    lists: bool  # the values of an axis, in place of a range


def varied(scope: Scope, key: str, given: Any) -> Varied:
    """Return one axis of a study.

    Raises:
        UserError: there is no such setting, or it cannot take these values.
    """
    where: Where = ("vary", key)
    integer = whole(scope, where, key)
    if not isinstance(given, dict) and not (isinstance(given, list) and given):
        rule = "must be a list of values, or a range such as {log: [0.1, 10], num: 5}"
        raise scope.document.error(where, f"{rule}, got {'no value' if given == [] else format_value(given)}")
    given = {"choice": given} if isinstance(given, list) else given
    entry = validated(scope.document, Entry, given, where)
    scales = [scale for scale in ("choice", "log", "linear") if getattr(entry, scale) is not None]
    if len(scales) != 1:
        raise scope.document.error(where, "must be a list, or have exactly one of `choice`, `log` and `linear`")
    if scales[0] == "choice":
        return chosen(scope, where, key, entry)
    low, high = limits(scope, (*where, scales[0]), getattr(entry, scales[0]), scales[0])
    if integer and math.ceil(low) > math.floor(high):
        raise scope.document.error((*where, scales[0]), f"must hold an integer, got {[low, high]}")
    if scope.lists and entry.num is None:
        raise scope.document.error(where, "a grid needs `num`, the number of points")
    if entry.also and not scope.lists:
        raise scope.document.error((*where, "also"), "belongs to a grid; a search chooses its own values")
    ranged = Varied(key, scales[0], [], low, high, integer, condition(scope, where, key))
    points = spaced(low, high, scales[0], entry.num or 2)
    ordered = sorted({*entry.also, *map(ranged.nearest, points)})
    values = [one_value(scope, where, key, int(v) if integer and v == int(v) else v) for v in ordered]
    return ranged._replace(values=values) if entry.num else ranged


def condition(scope: Scope, where: Where, key: str) -> Condition:
    """Return beside which other settings one acts, by the names of a study file."""
    owner, _, name = key.partition(".")
    if owner in scope.methods:
        when = axis(scope.document, where, key, scope.methods).when
    else:
        when = TRAINING.get(name, ALWAYS) if owner == "train" else ALWAYS
    return {f"{owner}.{other}": values for other, values in when.items()}


def chosen(scope: Scope, where: Where, key: str, entry: Entry) -> Varied:
    """Return an axis of listed values."""
    if entry.num is not None or entry.also:
        raise scope.document.error(where, "`num` and `also` belong to `log` and `linear`, not to a list of values")
    values = [one_value(scope, where, key, value) for value in entry.choice or []]
    if len(set(map(repr, values))) < len(values):
        raise scope.document.error(where, "lists a value twice")
    return Varied(key, "choice", values, when=condition(scope, where, key))


def limits(scope: Scope, where: Where, ends: list[float], scale: str) -> tuple[float, float]:
    """Return the ends of a range; raise a UserError if they are none."""
    low, high = ends
    if not low < high:
        raise scope.document.error(where, f"must be two numbers [low, high] with low < high, got {ends}")
    if scale == "log" and low <= 0:
        rule = "must start above 0 on a log scale (0 itself goes into `also`)"
        raise scope.document.error(where, f"{rule}, got {ends}")
    return low, high


def spaced(low: float, high: float, scale: str, num: int) -> list[float]:
    """Return ``num`` values from low to high, ends included, evenly spaced; rounded to 6 digits where inside."""
    steps = [i / (num - 1) for i in range(num)]
    inner = [low * (high / low) ** s if scale == "log" else low + (high - low) * s for s in steps]
    return [low, *(float(f"{value:.6g}") for value in inner[1:-1]), high]


def whole(scope: Scope, where: Where, key: str) -> bool:
    """Say whether a setting counts something; raise a UserError if there is no such setting."""
    owner, _, name = key.partition(".")
    if key == DUMMY:
        return False
    if owner not in scope.sections:
        return axis(scope.document, where, key, scope.methods).kind == "integer"
    fields = type(scope.sections[owner]).model_fields
    if name not in fields:
        raise scope.document.error(where, f"{owner} has no setting `{name}` {describe_choices(name, fields)}")
    return fields[name].annotation is int


def one_value(scope: Scope, where: Where, key: str, value: Any) -> Any:
    """Return one value of a varied setting, checked as if it were set."""
    owner, _, name = key.partition(".")
    if key == DUMMY:
        return value
    if owner not in scope.sections:
        return checked(scope.document, where, axis(scope.document, where, key, scope.methods), value)
    section = scope.sections[owner]
    try:
        return getattr(type(section).model_validate({**section.model_dump(), name: value}), name)
    except ValidationError as errors:
        found = fitting({name: value}, errors.errors(include_url=False))
        raise scope.document.error(where, sentence(*found)) from None
