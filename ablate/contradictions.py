"""How a study chooses values must go together with what it varies; a broken rule is one sentence."""

from typing import TYPE_CHECKING, Any

from ablate.designs import components, space, width
from ablate.methods import axes_of
from ablate.searching import NUMBERED
from search_spaces.axes import Condition, spelled

if TYPE_CHECKING:
    from ablate.study import Study


def check_search(study: "Study") -> None:
    """Raise a UserError where `search`, `trials`, `set` and `vary` do not go together."""
    document, name = study.document, study.search.name
    if not study.vary and name not in {"grid", "ablate"}:
        raise document.error(("search",), "a search needs something to `vary`")
    if "trials" in study.file.model_fields_set and name not in NUMBERED:
        rule = f"belongs to the searches {', '.join(NUMBERED)}; the size of `{name}` follows from what varies"
        raise document.error(("trials",), rule)
    if name == "cma":
        check_numbers(study)
    if name == "ablate":
        check_components(study)
    least = sum(width(study, method) for method in study.methods)
    if study.file.budget.trials is not None and study.file.budget.trials < least:
        raise document.error(("budget", "trials"), f"one point of every method takes {least} trials already")
    for one in study.vary:
        if not possible(study, one.when):
            raise document.error(("vary", one.key), f"never acts here: it acts where {spelled(one.when)}")
    for key, value in study.set.items():
        method, _, setting = key.partition(".")
        axis = axes_of(method, study.methods[method])[setting]
        when = {f"{method}.{other}": values for other, values in axis.when.items()}
        if value != axis.default and not possible(study, when):
            raise document.error(("set", key), f"never acts here: it acts where {spelled(when)}")


def possible(study: "Study", when: Condition) -> bool:
    """Say whether any trial fulfils a condition."""
    varied = {} if study.search.name == "one-at-a-time" else {one.key: one.values for one in study.vary}

    def taken(key: str) -> list[Any]:
        owner = key.partition(".")[0]
        return varied.get(key) or [
            space(study, owner if owner in study.methods else next(iter(study.methods))).base[key]
        ]

    return not when or any(value in values for key, values in when.items() for value in taken(key))


def check_numbers(study: "Study") -> None:
    """Raise a UserError if CMA-ES would have fewer than two numbers to adapt, in which case it only draws at random."""
    if len(study.objectives) > 1:
        raise study.document.error(("search",), "cma knows one metric; tpe takes several")
    for method in study.methods:
        axes = space(study, method).axes
        if axes and sum(axis.low is not None for axis in axes) < 2:
            raise study.document.error(
                ("search",), f"cma needs two ranges of numbers, and {method} has fewer; take tpe"
            )


def check_components(study: "Study") -> None:
    """Raise a UserError if there is nothing to leave out, or a part that is left out is varied, too."""
    parts = {key for method in study.methods for key in components(study, method)}
    if not parts:
        raise study.document.error(
            ("search",), "ablate leaves out parts of methods, and none of these has one that is on"
        )
    for one in study.vary:
        if one.key in parts:
            raise study.document.error(("vary", one.key), "is a part that `search: ablate` switches off; vary others")
