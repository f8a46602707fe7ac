"""Sections of a study file by pydantic, and pydantic's complaints as one sentence."""

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from ablate.document import Document, Where
from ablate.errors import describe_choices, did_you_mean, format_value


class Section(BaseModel):
    """A mapping whose keys are all known and whose numbers are finite."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


NOUNS = {  # what pydantic wants in place of another kind of thing
    "string_type": "text", "dict_type": "a mapping", "list_type": "a list", "model_type": "a mapping",
    "int_type": "an integer", "float_type": "a number", "bool_type": "true or false",
}  # fmt: skip
SomeSection = TypeVar("SomeSection", bound=Section)


def validated(document: Document, section: type[SomeSection], value: Any, where: Where) -> SomeSection:
    """Return a section of the file, or raise its first error as one sentence."""
    try:
        return section.model_validate(value)
    except ValidationError as complaints:
        errors = complaints.errors(include_url=False)
        errors.sort(key=lambda e: e["type"] == "missing")  # a key that is missing may be one that is spelled wrong
        error, rivals = fitting(value, errors)
        at = (*where, *location(value, error))
        if error["type"] == "extra_forbidden":
            known = fields(section, location(value, error)[:-1])
            raise document.error(at, f"there is no such key {describe_choices(at[-1], known)}") from None
        if error["type"] == "missing":
            raise document.error(at, f"the key `{error['loc'][-1]}` is missing") from None
        raise document.error(at, sentence(error, rivals)) from None


def fitting(value: Any, errors: list[ErrorDetails]) -> tuple[ErrorDetails, list[ErrorDetails]]:
    """Return the complaint about the first wrong part of a value that knows best what was meant, and all in its place.

    Of a value that may be one thing or another, that is one that goes deepest and, of these, one about its own kind.
    """
    about = [e for e in errors if e["loc"][:1] == errors[0]["loc"][:1]]
    deepest = max((location(value, e) for e in about), key=len)
    rivals = [e for e in about if location(value, e) == deepest]
    return max(rivals, key=of_its_kind), rivals


def of_its_kind(error: ErrorDetails) -> bool:
    """Say whether an error is about what a value is, and not that it is another kind of thing."""
    return isinstance(error["input"], str) if error["type"] == "literal_error" else error["type"] not in NOUNS


def sentence(error: ErrorDetails, rivals: list[ErrorDetails]) -> str:
    """Return an error in a user's words: the rule, what was found and, of names, what was probably meant."""
    return f"{rule(error, rivals)}, got {format_value(error['input'])}{hint(error)}"


def location(value: Any, error: ErrorDetails) -> Where:
    """Return where in the file an error is; pydantic also names the members of unions, which are no keys."""
    at: list[str | int] = []
    for part in error["loc"]:
        inside = isinstance(part, int) and isinstance(value, list) and part < len(value)
        if inside or (isinstance(value, dict) and part in value):
            at.append(part)
            value = value[part]
    return tuple(at)


def rule(error: ErrorDetails, rivals: list[ErrorDetails]) -> str:
    """Return the rule that an error is about, in a user's words."""
    wanted = dict.fromkeys(NOUNS[e["type"]] for e in rivals if e["type"] in NOUNS)
    match error["type"]:
        case "literal_error":
            named = options(error)
            own = any(e["type"] in {"string_pattern_mismatch", "string_type"} for e in rivals)
            others = ["your own as module:attribute"] * own + [noun for noun in wanted if noun != NOUNS["string_type"]]
            return ", or ".join([f"must be {'one of ' * (len(named) > 1)}{', '.join(named)}", *others])
        case kind if kind in NOUNS:
            return f"must be {' or '.join(wanted)}"
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


def hint(error: ErrorDetails) -> str:
    """Return a question if one of the allowed names is near."""
    return did_you_mean(error["input"], options(error)) if error["type"] == "literal_error" else ""


def options(error: ErrorDetails) -> list[str]:
    """Return the names that a literal allows."""
    return [name.strip("' ") for name in str(error["ctx"]["expected"]).replace(" or ", ", ").split(",")]


def fields(section: type[Section], where: Where) -> list[str]:
    """Return the keys that a section of the study file has."""
    for part in where:
        inner = section.model_fields[str(part)].annotation
        members = getattr(inner, "__args__", (inner,))
        section = next(m for m in members if isinstance(m, type) and issubclass(m, Section))
    return list(section.model_fields)
