"""What may be set and varied: the settings of methods, of the model and of training, by the names a study uses."""

import math
from typing import Any

from ablate.document import Document, Where
from ablate.errors import describe_choices, did_you_mean, format_value
from ablate.methods import axes_of
from search_spaces.axes import Axis
from trainables.methods import METHODS


def axis(document: Document, where: Where, key: str, methods: dict[str, str]) -> Axis:
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
        raise document.error(where, f"is no setting: `{owner}` is no method {describe_choices(owner, METHODS)}")
    if not name:
        raise document.error(where, f"a setting is spelled method.name, such as `{owner}.start`")
    axes = axes_of(owner, methods[owner])
    if name not in axes:
        raise document.error(where, f"{owner} has no setting `{name}` {describe_choices(name, axes)}")
    return axes[name]


def checked(document: Document, where: Where, one: Axis, value: Any) -> Any:
    """Return a value of a setting as its method takes it; raise a UserError if it breaks the rule."""
    if one.split and isinstance(value, dict) and value:
        number = one._replace(split=False)
        return {modality: checked(document, (*where, modality), number, each) for modality, each in value.items()}
    if one.kind == "number" and one.high == math.inf and not one.empty and value in ("inf", "none", None):
        value = math.inf
    try:
        return one.check(value)
    except ValueError as rule:
        raise document.error(where, f"{rule}, got {format_value(value)}{did_you_mean(value, one.choices)}") from None
