"""Sections of a study file as pydantic models, and validation errors in one sentence."""

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from ablate.document import Document, KeyPath
from ablate.errors import describe_choices, did_you_mean, format_value


class Section(BaseModel):
    """A mapping of a study file: strict types, no unknown keys, finite numbers."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


TYPE_NOUNS = {  # pydantic's error type -> the expected type in a user's words
    "string_type": "text", "dict_type": "a mapping", "list_type": "a list", "model_type": "a mapping",
    "int_type": "an integer", "float_type": "a number", "bool_type": "true or false",
}  # fmt: skip
SomeSection = TypeVar("SomeSection", bound=Section)


def validate_section(document: Document, section: type[SomeSection], value: Any, where: KeyPath) -> SomeSection:
    """Return a value as a section; raise its first error as a UserError of one sentence."""
    try:
        return section.model_validate(value)
    except ValidationError as validation_error:
        errors = validation_error.errors(include_url=False)
        errors.sort(key=lambda e: e["type"] == "missing")  # a missing key may be a misspelled one
        error, alternatives = most_specific_error(value, errors)
        location = (*where, *error_location(value, error))
        if error["type"] == "extra_forbidden":
            keys = section_keys(section, error_location(value, error)[:-1])
            raise document.error(location, f"there is no such key {describe_choices(location[-1], keys)}") from None
        if error["type"] == "missing":
            raise document.error(location, f"the key `{error['loc'][-1]}` is missing") from None
        raise document.error(location, error_sentence(error, alternatives)) from None


def most_specific_error(value: Any, errors: list[ErrorDetails]) -> tuple[ErrorDetails, list[ErrorDetails]]:
    """Return the most specific error about the first invalid part of a value, and all errors at that location.

    A value of a union has errors for each member: the deepest is taken and, of these, one for the type it has.
    """
    candidates = [e for e in errors if e["loc"][:1] == errors[0]["loc"][:1]]
    deepest = max((error_location(value, e) for e in candidates), key=len)
    alternatives = [e for e in candidates if error_location(value, e) == deepest]
    return max(alternatives, key=is_same_type), alternatives


def is_same_type(error: ErrorDetails) -> bool:
    """Return whether an error is about the content of a value rather than its type."""
    return isinstance(error["input"], str) if error["type"] == "literal_error" else error["type"] not in TYPE_NOUNS


def error_sentence(error: ErrorDetails, alternatives: list[ErrorDetails]) -> str:
    """Return an error in a user's words: the rule, the value found and, for names, a suggestion."""
    return f"{error_rule(error, alternatives)}, got {format_input(error)}{literal_suggestion(error)}"


def format_input(error: ErrorDetails) -> str:
    """Return the value that an error is about; of a list of the right type, its entries."""
    value = error["input"]
    if error["type"] == "value_error" and isinstance(value, list) and len(str(value)) <= 60:
        return str(value)
    return format_value(value)


def error_location(value: Any, error: ErrorDetails) -> KeyPath:
    """Return the key path of an error; pydantic's path also names members of unions, which are dropped."""
    path: list[str | int] = []
    for part in error["loc"]:
        is_index = isinstance(part, int) and isinstance(value, list) and part < len(value)
        if is_index or (isinstance(value, dict) and part in value):
            path.append(part)
            value = value[part]
    return tuple(path)


def error_rule(error: ErrorDetails, alternatives: list[ErrorDetails]) -> str:
    """Return the rule that a value breaks, in a user's words."""
    expected = dict.fromkeys(TYPE_NOUNS[e["type"]] for e in alternatives if e["type"] in TYPE_NOUNS)
    match error["type"]:
        case "literal_error":
            choices = literal_choices(error)
            takes_user_defined = any(e["type"] in {"string_pattern_mismatch", "string_type"} for e in alternatives)
            further = ["your own as module:attribute"] * takes_user_defined + [
                noun for noun in expected if noun != TYPE_NOUNS["string_type"]
            ]
            return ", or ".join([f"must be {'one of ' * (len(choices) > 1)}{', '.join(choices)}", *further])
        case kind if kind in TYPE_NOUNS:
            return f"must be {' or '.join(expected)}"
        case "string_pattern_mismatch":
            return "must start with a letter from A to Z or a digit, and contain only these and `._-`"
        case "too_short":
            return f"must have at least {error['ctx']['min_length']} entries" if error["input"] else "must not be empty"
        case "too_long":
            return f"must have at most {error['ctx']['max_length']} entries"
        case "string_too_long":
            return f"must have at most {error['ctx']['max_length']} characters"
        case "value_error":
            return str(error["ctx"]["error"])
    return error["msg"].replace("Input should be", "must be").replace("valid ", "").replace("a integer", "an integer")


def literal_suggestion(error: ErrorDetails) -> str:
    """Return a suggestion if one of the allowed names is close to the value."""
    return did_you_mean(error["input"], literal_choices(error)) if error["type"] == "literal_error" else ""


def literal_choices(error: ErrorDetails) -> list[str]:
    """Return the names that a literal type allows."""
    return [name.strip("' ") for name in str(error["ctx"]["expected"]).replace(" or ", ", ").split(",")]


def section_keys(section: type[Section], where: KeyPath) -> list[str]:
    """Return the keys of the section at a path within a section."""
    for part in where:
        inner = section.model_fields[str(part)].annotation
        members = getattr(inner, "__args__", (inner,))
        section = next(m for m in members if isinstance(m, type) and issubclass(m, Section))
    return list(section.model_fields)
