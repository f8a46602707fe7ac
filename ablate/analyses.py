"""Whether the analyses and the rule of a claim are there, fit each other, and ask for columns that the trials have."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ablate.document import Document, Where
from ablate.errors import meant, near
from ablate.plan import described
from ablate.study import Study
from analysis.ablations import PAIRED
from analysis.ablations.scores import OWN
from analysis.decisions import CASES, RULES

SIDES = ("of", "minus", "within", "default", "factors", "per", "choose")  # options that have columns
Choice = Mapping[str, Mapping[str, Any]]  # a name and its options


def known(document: Document, where: Where, chosen: Choice, choices: Mapping[str, Callable[..., Any]]) -> None:
    """Raise a UserError unless a name is one of the choices and takes the options that it is given."""
    ((name, options),) = chosen.items()
    if name not in choices:
        raise document.error(where, f"there is no `{name}` {meant(name, choices)}")
    takes = parameters(choices[name])
    if isinstance(inner := options.get("rule"), str) and inner in choices:  # a rule of rules: `every`
        takes |= parameters(choices[inner])
    for option in options:
        if option not in takes:
            raise document.error((*where, name, option), f"{name} has no option `{option}` {meant(option, takes)}")
    for option, parameter in takes.items():
        if parameter.default is parameter.empty and option not in options:
            raise document.error((*where, name), f"the option `{option}` is missing")


def check_rule(document: Document, analyses: Iterable[Choice], rule: Choice) -> None:
    """Raise a UserError unless the rule is about what the analyses find: two sides, or one number a seed."""
    ((name, options),) = rule.items()
    inner = str(options.get("rule", "greater")) if name == "every" else name
    if name == "every" and inner not in CASES:
        raise document.error(("claim", "rule", "every", "rule"), f"there is no `{inner}` {meant(inner, CASES)}")
    pairs = "baseline" in inspect.signature(RULES[inner]).parameters
    for (analysis,) in analyses:
        if inner in CASES and pairs != (analysis in PAIRED):
            finds, wants = ("two sides", "one number") if analysis in PAIRED else ("one number", "two sides")
            raise document.error(
                ("claim", "rule"), f"`{inner}` is about {wants} a seed, and `{analysis}` finds {finds}"
            )


def columns(studies: Iterable[Study]) -> set[str]:
    """Return the columns by which an analysis may tell trials apart."""
    found = {"cell", "trial", "status", "seconds", "steps", "params", *OWN}
    for study in studies:
        found |= {f"data.{key}" for key in study.data}
        found |= {column for method in study.methods for column in described(study, method, {}, None)[1]}
    return found


def check_columns(document: Document, where: Where, chosen: Choice, there: set[str]) -> None:
    """Raise a UserError unless an analysis asks for columns that are there."""
    ((name, options),) = chosen.items()
    given = {option: options.get(option) or () for option in SIDES}
    given["along"] = [options["along"]] if "along" in options else []
    for option, value in given.items():
        asked = () if isinstance(value, str) else value  # a text is the name of a method
        for column in (one for key in asked for one in (asked[key] if key == "choose" else [key])):
            if column not in there:
                raise document.error((*where, name, option), f"no trial has `{column}`{near(column, there)}")


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return what a function takes by keyword alone."""
    return {p.name: p for p in inspect.signature(function).parameters.values() if p.kind == p.KEYWORD_ONLY}
