"""Settings of methods by the names of a study file, such as `agm.alpha`: lookup and validation of values."""

import math
from typing import Any

from ablate.document import Document, KeyPath
from ablate.errors import describe_choices, did_you_mean, format_value
from ablate.methods import method_axes
from search_spaces.axes import Axis
from trainables.methods import METHODS


def find_axis(document: Document, where: KeyPath, key: str, methods: dict[str, str]) -> Axis:
    """Return the axis of a key such as `agm.alpha`.

    Raises:
        UserError: the method is not in the study, or has no such setting.
    """
    owner, _, name = key.partition(".")
    if owner not in methods:
        if owner in METHODS:
            raise document.error(where, f"`{owner}` is not among the methods of this study ({', '.join(methods)})")
        if owner in {"train", "model"}:
            raise document.error(where, f"belongs under the key `{owner}`, or under `vary`")
        raise document.error(where, f"is not a setting: `{owner}` is not a method {describe_choices(owner, METHODS)}")
    if not name:
        raise document.error(where, f"a setting is written as method.name, such as `{owner}.start`")
    axes = method_axes(owner, methods[owner])
    if name not in axes:
        raise document.error(where, f"{owner} has no setting `{name}` {describe_choices(name, axes)}")
    return axes[name]


def check_value(document: Document, where: KeyPath, axis: Axis, value: Any) -> Any:
    """Return a value of a setting, converted to the type its method takes; raise a UserError if it is invalid."""
    if axis.by_modality and isinstance(value, dict) and value:
        number_axis = axis._replace(by_modality=False)
        return {
            modality: check_value(document, (*where, modality), number_axis, modality_value)
            for modality, modality_value in value.items()
        }
    if axis.kind == "number" and axis.high == math.inf and not axis.nullable and value in ("inf", "none", None):
        value = math.inf
    try:
        return axis.check(value)
    except ValueError as rule:
        raise document.error(where, f"{rule}, got {format_value(value)}{did_you_mean(value, axis.choices)}") from None
