"""The options of a claim's analyses and its rule: which there are, of what types, and whether the two fit."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, Field, create_model

from ablate.document import Document, KeyPath
from ablate.errors import describe_choices
from ablate.validation import Section, validate_section
from analysis.ablations import PAIRED
from analysis.rules import RULES, TESTS

Choice = Mapping[str, Mapping[str, Any]]  # a name and its options


def rising(epochs: list[int] | None) -> list[int] | None:
    """Raise a ValueError unless two epochs are the first and the last of some."""
    if epochs is not None and not (len(epochs) == 2 and 1 <= epochs[0] <= epochs[1]):
        raise ValueError("must be the first and the last epoch, as [11, 20]")
    return epochs


def switched(factors: Any) -> Any:
    """Raise a ValueError unless factors, where they have levels, have two each."""
    if isinstance(factors, dict) and any(len(levels) != 2 for levels in factors.values()):
        raise ValueError("must be columns with two levels each, as {agm.stale: [false, true]}")
    return factors


Split = Literal["train", "validation", "test"]
WORDS: dict[str, Any] = {  # what an option that is text may say
    "split": Split, "others_split": Split | None, "scale": Literal["linear", "log"], "over": Literal["seed", "cell"]
}  # fmt: skip
LIMITS: dict[str, Any] = {
    "margin": Field(gt=0), "tolerance": Field(ge=0), "epochs": AfterValidator(rising),
    "factors": AfterValidator(switched),
}  # fmt: skip


def known(document: Document, where: KeyPath, chosen: Choice, choices: Mapping[str, Callable[..., Any]]) -> None:
    """Raise a UserError unless a name is one of the choices and takes the options that it is given."""
    ((name, options),) = chosen.items()
    if name not in choices:
        raise document.error(where, f"there is no `{name}` {describe_choices(name, choices)}")
    takes = parameters(choices[name])
    if name == "every" and (inner := str(options.get("rule", "greater"))) in TESTS:  # a rule of rules
        takes |= parameters(TESTS[inner])
    if choices is RULES:
        for own in ("metric", "higher_is_better", "noun"):  # those of the analysis: a difference is a gain already
            takes.pop(own, None)
    for option in options:
        if option not in takes:
            raise document.error(
                (*where, name, option), f"{name} has no option `{option}` {describe_choices(option, takes)}"
            )
    for option, parameter in takes.items():
        if parameter.default is parameter.empty and option not in options:
            raise document.error((*where, name), f"the option `{option}` is missing")
    types = {option: typed(option, takes[option].annotation) for option in options}
    validate_section(document, section(types), dict(options), (*where, name))


def section(types: Mapping[str, Any]) -> type[Section]:
    """Return a section whose keys have these types."""
    fields: dict[str, Any] = {name: (one, ...) for name, one in types.items()}
    return create_model("Options", __base__=Section, **fields)


def typed(option: str, annotation: Any) -> Any:
    """Return what the value of an option must be: what the function says, within the limits of its kind."""
    given = WORDS.get(option) or plain(annotation)
    return Annotated[given, LIMITS[option]] if option in LIMITS else given


def plain(annotation: Any) -> Any:
    """Return a type as a file has it: lists and mappings where a function takes sequences and mappings."""
    origin, inner = get_origin(annotation), tuple(plain(one) for one in get_args(annotation))
    if origin in {Union, UnionType}:
        return reduce(or_, inner)
    return list[inner] if origin is Sequence else dict[inner] if origin is Mapping else annotation  # type: ignore[valid-type,misc]


def check_rule(document: Document, analyses: Iterable[Choice], rule: Choice) -> None:
    """Raise a UserError unless the rule is about what the analyses find: two sides, or one number a seed."""
    ((name, options),) = rule.items()
    inner = str(options.get("rule", "greater")) if name == "every" else name
    if name == "every" and inner not in TESTS:
        raise document.error(
            ("claim", "rule", "every", "rule"), f"there is no `{inner}` {describe_choices(inner, TESTS)}"
        )
    pairs = "baseline" in inspect.signature(RULES[inner]).parameters
    for (analysis,) in analyses:
        if inner in TESTS and pairs != (analysis in PAIRED):
            finds, wants = ("two sides", "one number") if analysis in PAIRED else ("one number", "two sides")
            raise document.error(
                ("claim", "rule"), f"`{inner}` is about {wants} a seed, and `{analysis}` finds {finds}"
            )


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return what a function takes by keyword alone."""
    return {p.name: p for p in inspect.signature(function).parameters.values() if p.kind == p.KEYWORD_ONLY}
