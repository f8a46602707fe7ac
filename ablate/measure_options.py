"""The key `measure` of a study file: a list of names, or a mapping of names to intervals."""

from typing import Any

from ablate.document import Document, KeyPath
from ablate.errors import UserError, describe_choices, format_value
from trainables.data import Sheet
from trainables.measurements import MAX_EXHAUSTIVE, MEASUREMENTS


def parse_measure(document: Document, measure: list[str] | dict[str, Any], sheet: Sheet) -> dict[str, int]:
    """Return the interval of each measurement in steps or epochs, sorted by name.

    Raises:
        UserError: there is no such measurement, it does not apply to the data, or its interval is invalid.
    """
    requested = measure if isinstance(measure, dict) else default_intervals(document, measure)
    for name, every in requested.items():
        where: KeyPath = ("measure", name) if isinstance(measure, dict) else ("measure", measure.index(name))
        if name not in MEASUREMENTS:
            raise unknown_measurement(document, where, name)
        measurement = MEASUREMENTS[name]
        minimum = 1 if measurement.counts == "steps" else 0
        if not isinstance(every, int) or isinstance(every, bool) or every < minimum:
            rule = "an integer from 1" if minimum else "an integer from 0 (0: only after the last epoch)"
            raise document.error(
                where, f"the interval in {measurement.counts} must be {rule}, got {format_value(every)}"
            )
        check_applies(document, where, name, sheet)
    return {name: requested[name] for name in sorted(requested)}


def default_intervals(document: Document, names: list[str]) -> dict[str, int]:
    """Return the default interval of each listed measurement; raise a UserError if one is unknown or listed twice."""
    for i, name in enumerate(names):
        if name not in MEASUREMENTS:
            raise unknown_measurement(document, ("measure", i), name)
        if name in names[:i]:
            raise document.error(("measure", i), f"`{name}` is listed twice")
    return {name: MEASUREMENTS[name].every for name in names}


def unknown_measurement(document: Document, where: KeyPath, name: str) -> UserError:
    """Return the error for an unknown measurement."""
    return document.error(where, f"there is no measurement `{name}` {describe_choices(name, MEASUREMENTS)}")


def check_applies(document: Document, where: KeyPath, name: str, sheet: Sheet) -> None:
    """Raise a UserError if a measurement does not apply to the data."""
    num_modalities = len(sheet.modalities)
    if MEASUREMENTS[name].multimodal and num_modalities == 1:
        raise document.error(where, f"`{name}` needs several modalities, and {sheet.name} has one")
    if name in {"attribution", "shape"} and num_modalities > MAX_EXHAUSTIVE:
        rule = f"`{name}` evaluates all coalitions of at most {MAX_EXHAUSTIVE} modalities"
        raise document.error(where, f"{rule}, and {sheet.name} has {num_modalities}; `shapley` samples them")
    if name == "truth" and sheet.path is not None:
        rule = f"`truth` compares with planted contributions, and {sheet.name} has none"
        raise document.error(where, f"{rule}; use the data `synthetic`")
