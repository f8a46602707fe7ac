"""Sections of a study file by pydantic, and pydantic's complaints as one sentence."""

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from ablate.document import Document, Where
from ablate.errors import meant, near, shown


class Section(BaseModel):
    """A mapping whose keys are all known and whose numbers are finite."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


SomeSection = TypeVar("SomeSection", bound=Section)


def validated(document: Document, section: type[SomeSection], value: Any, where: Where) -> SomeSection:
    """Return a section of the file, or raise its first error as one sentence."""
    try:
        return section.model_validate(value)
    except ValidationError as complaints:
        errors = complaints.errors(include_url=False)
        errors.sort(key=lambda e: e["type"] == "missing")  # a key that is missing may be one that is spelled wrong
        first = next(e for e in errors if e["loc"][:1] == errors[0]["loc"][:1])
        # Of a value that may be one thing or another, the complaint that goes deepest knows what was meant.
        rivals = [e for e in errors if e["loc"][:1] == first["loc"][:1]]
        error = max(rivals, key=lambda e: len(location(value, e)))
        at = (*where, *location(value, error))
        if error["type"] == "extra_forbidden":
            known = fields(section, location(value, error)[:-1])
            raise document.error(at, f"there is no such key {meant(at[-1], known)}") from None
        if error["type"] == "missing":
            raise document.error(at, f"the key `{error['loc'][-1]}` is missing") from None
        raise document.error(at, f"{rule(error, rivals)}, got {shown(error['input'])}{hint(error)}") from None


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
    match error["type"]:
        case "literal_error":
            own = any(e["type"] == "string_pattern_mismatch" for e in rivals)
            return f"must be one of {', '.join(options(error))}{', or your own as module:attribute' * own}"
        case "string_type" | "dict_type" | "list_type" | "model_type" | "int_type" | "float_type" | "bool_type":
            nouns = {"string": "text", "dict": "a mapping", "list": "a list", "model": "a mapping", "int": "an integer",
                     "float": "a number", "bool": "true or false"}  # fmt: skip
            wanted = [
                nouns[e["type"].removesuffix("_type")] for e in rivals if e["type"].removesuffix("_type") in nouns
            ]
            return f"must be {' or '.join(dict.fromkeys(wanted))}"
        case "string_pattern_mismatch":
            return "must start with a letter from A to z or a digit, and hold such and `._-`"
        case "too_short":
            return f"must have at least {error['ctx']['min_length']} entries" if error["input"] else "must not be empty"
        case "too_long" | "string_too_long":
            return f"must have at most {error['ctx']['max_length']} entries or characters"
        case "value_error":
            return str(error["ctx"]["error"])
    return error["msg"].replace("Input should be", "must be").replace("valid ", "").replace("a integer", "an integer")


def hint(error: ErrorDetails) -> str:
    """Return a question if one of the allowed names is near."""
    return near(error["input"], options(error)) if error["type"] == "literal_error" else ""


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
