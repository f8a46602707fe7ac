"""The options of a claim's analyses and rule: their names and types, and whether rule and analyses fit together."""

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

Choice = Mapping[str, Mapping[str, Any]]  # an analysis or a rule: a name and its options


def check_epochs(epochs: list[int] | None) -> list[int] | None:
    """Return the epochs; raise a ValueError unless they are a first and a last one."""
    if epochs is not None and not (len(epochs) == 2 and 1 <= epochs[0] <= epochs[1]):
        raise ValueError("must be the first and the last epoch, as [11, 20]")
    return epochs


def check_factors(factors: Any) -> Any:
    """Return the factors; raise a ValueError unless those with levels have two each."""
    if isinstance(factors, dict) and any(len(levels) != 2 for levels in factors.values()):
        raise ValueError("must be columns with two levels each, as {agm.stale: [false, true]}")
    return factors


Split = Literal["train", "validation", "test"]
TEXT_TYPES: dict[str, Any] = {  # types of options that are text
    "split": Split, "others_split": Split | None, "scale": Literal["linear", "log"], "over": Literal["seed", "cell"]
}  # fmt: skip
ANALYSIS_OPTIONS = ("metric", "higher_is_better", "noun")  # of rules: set by the analysis, whose results are gains
CONSTRAINTS: dict[str, Any] = {
    "margin": Field(gt=0), "tolerance": Field(ge=0), "epochs": AfterValidator(check_epochs),
    "factors": AfterValidator(check_factors),
}  # fmt: skip


def check_options(
    document: Document, where: KeyPath, choice: Choice, choices: Mapping[str, Callable[..., Any]]
) -> None:
    """Raise a UserError unless a name is one of the choices and its options are valid."""
    ((name, options),) = choice.items()
    if name not in choices:
        raise document.error(where, f"there is no `{name}` {describe_choices(name, choices)}")
    accepted = keyword_parameters(choices[name])
    if name == "every" and (inner_rule := str(options.get("rule", "greater"))) in TESTS:  # a rule of rules
        accepted |= keyword_parameters(TESTS[inner_rule])
    if choices is RULES:
        for option in ANALYSIS_OPTIONS:
            accepted.pop(option, None)
    for option in options:
        if option not in accepted:
            raise document.error(
                (*where, name, option), f"{name} has no option `{option}` {describe_choices(option, accepted)}"
            )
    for option, parameter in accepted.items():
        if parameter.default is parameter.empty and option not in options:
            raise document.error((*where, name), f"the option `{option}` is missing")
    types = {option: option_type(option, accepted[option].annotation) for option in options}
    validate_section(document, make_section(types), dict(options), (*where, name))


def make_section(types: Mapping[str, Any]) -> type[Section]:
    """Return a section class with keys of these types."""
    fields: dict[str, Any] = {name: (annotation, ...) for name, annotation in types.items()}
    return create_model("Options", __base__=Section, **fields)


def option_type(option: str, annotation: Any) -> Any:
    """Return the type of an option: the function's annotation as a file has it, with the constraints on its name."""
    base_type = TEXT_TYPES.get(option) or yaml_type(annotation)
    return Annotated[base_type, CONSTRAINTS[option]] if option in CONSTRAINTS else base_type


def yaml_type(annotation: Any) -> Any:
    """Return an annotation with the types of YAML: list for Sequence, dict for Mapping."""
    origin, arguments = get_origin(annotation), tuple(yaml_type(argument) for argument in get_args(annotation))
    if origin in {Union, UnionType}:
        return reduce(or_, arguments)
    return list[arguments] if origin is Sequence else dict[arguments] if origin is Mapping else annotation  # type: ignore[valid-type,misc]


def check_rule(document: Document, analyses: Iterable[Choice], rule: Choice) -> None:
    """Raise a UserError unless the rule takes what the analyses return: two sides, or one number per seed."""
    ((name, options),) = rule.items()
    inner_rule = str(options.get("rule", "greater")) if name == "every" else name
    if name == "every" and inner_rule not in TESTS:
        raise document.error(
            ("claim", "rule", "every", "rule"), f"there is no `{inner_rule}` {describe_choices(inner_rule, TESTS)}"
        )
    takes_baseline = "baseline" in inspect.signature(RULES[inner_rule]).parameters
    for (analysis,) in analyses:
        if inner_rule in TESTS and takes_baseline != (analysis in PAIRED):
            finds, wants = ("two values", "one value") if analysis in PAIRED else ("one value", "two values")
            raise document.error(
                ("claim", "rule"), f"`{inner_rule}` needs {wants} per seed, and `{analysis}` has {finds}"
            )


def keyword_parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the keyword-only parameters of a function."""
    return {p.name: p for p in inspect.signature(function).parameters.values() if p.kind == p.KEYWORD_ONLY}
