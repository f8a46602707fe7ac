"""Sections of a study file by pydantic, and pydantic's complaints as one sentence."""

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ablate.document import Document, Where
from ablate.errors import meant


class Section(BaseModel):
    """A mapping whose keys are all known."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


SomeSection = TypeVar("SomeSection", bound=Section)


def validated(document: Document, section: type[SomeSection], value: Any, where: Where) -> SomeSection:
    """Return a section of the file, or raise its first error as one sentence."""
    try:
        return section.model_validate(value)
    except ValidationError as errors:
        first = errors.errors(include_url=False)[0]
        found = first["input"]
        at = tuple(part for part in first["loc"] if not isinstance(part, str) or in_file(value, first["loc"], part))
        match first["type"]:
            case "extra_forbidden":
                known = fields(section, at[:-1])
                raise document.error((*where, *at), f"there is no such key {meant(at[-1], known)}") from None
            case "missing":
                raise document.error((*where, *at[:-1]), f"the key `{at[-1]}` is missing") from None
            case "literal_error":
                names = [name.strip("' ") for name in first["ctx"]["expected"].replace(" or ", ", ").split(",")]
                rule = f"must be one of {', '.join(names)}, got {shown(found)} {meant(found, names)}"
            case "model_type" | "dict_type" | "list_type" | "string_type":
                wanted = {"list_type": "a list", "string_type": "text"}.get(first["type"], "a mapping")
                rule = f"must be {wanted}, got {shown(found)}"
            case "string_pattern_mismatch":
                rule = f"must start with a letter or digit and hold letters, digits, `._-`, got {shown(found)}"
            case _:
                rule = f"{first['msg'].replace('Input should be', 'must be')}, got {shown(found)}"
        raise document.error((*where, *at), rule) from None


def in_file(value: Any, location: tuple[str | int, ...], part: str) -> bool:
    """Say whether a part of pydantic's location is a key, and not the name of a member of a union."""
    return not part[0].isupper() and "[" not in part and part not in {"str", "dict", "int", "float"}


def fields(section: type[Section], where: Where) -> list[str]:
    """Return the keys that a section of the study file has."""
    for part in where:
        inner = section.model_fields[str(part)].annotation
        options = getattr(inner, "__args__", (inner,))
        section = next(o for o in options if isinstance(o, type) and issubclass(o, Section))
    return list(section.model_fields)


def kind(value: Any) -> str:
    """Return what a YAML value is, in a user's words."""
    names = {list: "a list", dict: "a mapping", str: "text", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number")


def shown(value: Any) -> str:
    """Return a value for a message: what it is, and itself if it is short."""
    text = repr(value)
    return kind(value) if isinstance(value, list | dict) or len(text) > 60 else text
