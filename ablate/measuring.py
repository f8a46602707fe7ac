"""The key `measure` of a study file: a list of names, or a mapping of names to intervals, becomes the mapping."""

from typing import Any

from ablate.document import Document, Where
from ablate.errors import UserError, describe_choices, format_value
from trainables.data import Sheet
from trainables.measurements import EXHAUSTIVE, MEASUREMENTS


def intervals(document: Document, given: list[str] | dict[str, Any], about: Sheet) -> dict[str, int]:
    """Return every how many steps or epochs each measurement is taken, by name.

    Raises:
        UserError: there is no such measurement, it does not apply to the data, or its interval is none.
    """
    named = given if isinstance(given, dict) else {name: MEASUREMENTS[name].every for name in listed(document, given)}
    for name, every in named.items():
        where: Where = ("measure", name) if isinstance(given, dict) else ("measure", given.index(name))
        if name not in MEASUREMENTS:
            raise unknown(document, where, name)
        kind = MEASUREMENTS[name]
        least = 1 if kind.counts == "steps" else 0
        if not isinstance(every, int) or isinstance(every, bool) or every < least:
            rule = "an integer from 1" if least else "an integer from 0 (0: after the last epoch alone)"
            raise document.error(
                where, f"is taken every so many {kind.counts}: must be {rule}, got {format_value(every)}"
            )
        check(document, where, name, about)
    return {name: named[name] for name in sorted(named)}


def listed(document: Document, names: list[str]) -> list[str]:
    """Return a list of measurements; raise a UserError if one is unknown or listed twice."""
    for i, name in enumerate(names):
        if name not in MEASUREMENTS:
            raise unknown(document, ("measure", i), name)
        if name in names[:i]:
            raise document.error(("measure", i), f"`{name}` is listed twice")
    return names


def unknown(document: Document, where: Where, name: str) -> UserError:
    """Return the error about a measurement that does not exist."""
    return document.error(where, f"there is no measurement `{name}` {describe_choices(name, MEASUREMENTS)}")


def check(document: Document, where: Where, name: str, about: Sheet) -> None:
    """Raise a UserError if a measurement does not apply to the data."""
    count = len(about.modalities)
    if MEASUREMENTS[name].several and count == 1:
        raise document.error(where, f"`{name}` is about several modalities, and {about.name} has one")
    if name in {"attribution", "shape"} and count > EXHAUSTIVE:
        rule = f"`{name}` asks every coalition of at most {EXHAUSTIVE} modalities, and {about.name} has {count}"
        raise document.error(where, f"{rule}; `shapley` samples them")
    if name == "truth" and about.path is not None:
        rule = f"`truth` compares with planted contributions, and {about.name} has none"
        raise document.error(where, f"{rule}; take the data `synthetic`")
