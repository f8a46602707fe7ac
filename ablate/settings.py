"""What may be set and varied: the settings of methods, of the model and of training, by the names a study uses."""

import math
from typing import Any

from ablate.document import Document, Where
from ablate.errors import meant, near, shown
from search_spaces.axes import Axis
from search_spaces.methods import METHODS as AXES
from search_spaces.methods import SPAN
from trainables.methods import METHODS


def axes_of(method: str) -> dict[str, Axis]:
    """Return the settings of a method: as declared in `search_spaces`, else read off its class."""
    if method in AXES:
        return AXES[method] | SPAN
    from trainables.setup import load_method

    defaults: dict[str, Any] = load_method(METHODS[method])._field_defaults
    return {name: guess(value) for name, value in defaults.items()} | SPAN


def guess(default: Any) -> Axis:
    """Return an axis without limits for a hyperparameter with this default."""
    if isinstance(default, bool):
        return Axis(default, "flag")
    kind = {int: "integer", float: "number"}.get(type(default), "choice")
    return Axis(default, kind, choices=(default,) if kind == "choice" else ())


def axis(document: Document, where: Where, key: str, methods: list[str]) -> Axis:
    """Return the axis that a key such as `agm.alpha` names.

    Raises:
        UserError: the method is not in the study, or has no such setting.
    """
    owner, _, name = key.partition(".")
    if owner not in methods:
        if owner in METHODS:
            raise document.error(where, f"`{owner}` is not among the methods of this study ({', '.join(methods)})")
        if owner in {"train", "model"}:
            raise document.error(where, f"belongs under the key `{owner}`, or under `vary`")
        raise document.error(where, f"is no setting: `{owner}` is no method {meant(owner, METHODS)}")
    if not name:
        raise document.error(where, f"a setting is spelled method.name, such as `{owner}.start`")
    axes = axes_of(owner)
    if name not in axes:
        raise document.error(where, f"{owner} has no setting `{name}` {meant(name, axes)}")
    return axes[name]


def checked(document: Document, where: Where, one: Axis, value: Any) -> Any:
    """Return a value of a setting as its method takes it; raise a UserError if it breaks the rule."""
    if one.split and isinstance(value, dict) and value:
        number = one._replace(split=False)
        return {modality: checked(document, (*where, modality), number, each) for modality, each in value.items()}
    if one.kind == "number" and one.high == math.inf and value in ("inf", "none", None):
        value = math.inf
    try:
        return one.check(value)
    except ValueError as rule:
        raise document.error(where, f"{rule}, got {shown(value)}{near(value, one.choices)}") from None
