"""Whether the analyses of a claim find something, and ask for what the runs will have: columns, metrics, effects."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ablate.document import Document, KeyPath
from ablate.errors import describe_choices, did_you_mean, type_name
from ablate.metrics import FINAL, alike, elsewhere, metrics
from ablate.options import Choice, parameters
from ablate.plan import resolve_point
from ablate.study import Study
from analysis.ablations import ABLATIONS
from analysis.ablations.relations import MIN_PAIRS, MIN_RANKED
from analysis.ablations.scores import MEASUREMENT_KEYS
from analysis.ablations.variance import MIN_GROUP_SEEDS, MIN_GROUPS
from analysis.formatting import plural
from analysis.rules import TESTS

SIDES = ("of", "minus", "within", "default", "factors", "per", "choose")  # options that have columns


def check_count(document: Document, analyses: Iterable[Choice], rule: Choice, cells: Mapping[str, Study]) -> None:
    """Raise a UserError if the analyses are sure to find nothing, or several effects where the rule is about one."""
    (name,) = rule
    count = sum(least(analysis, cells) for analysis in analyses)
    if not count:
        raise document.error(("claim", "analysis"), "compares nothing: there is no effect to judge")
    if name in TESTS and count > 1:
        rest = f"and the analysis finds {count} or more; `every` is about several"
        raise document.error(("claim", "rule"), f"`{name}` is about one effect, {rest}")


def check_analysis(document: Document, where: KeyPath, chosen: Choice, cells: Mapping[str, Study]) -> None:
    """Raise a UserError unless an analysis asks for columns, methods, cells and metrics that the runs will have."""
    check_columns(document, where, chosen, columns(cells.values()))
    check_values(document, where, chosen, cells)
    check_metrics(document, where, chosen, cells)
    ((name, options),) = chosen.items()
    for cell, study in cells.items():
        if name == "response" and not any(one.key in options["default"] for one in study.vary):
            rule = f"the study{f' of the cell `{cell}`' * bool(cell)} varies none of these settings"
            raise document.error((*where, name, "default"), rule)
        if name == "ceiling" and study.metric != "accuracy":
            rule = f"adds up what classifiers predict, and is about accuracy; the metric here is {study.metric}"
            raise document.error((*where, name), rule)


def check_replicates(
    document: Document, where: KeyPath, analysis: Choice, cells: Mapping[str, Study], *, tested: bool
) -> None:
    """Raise a UserError if the runs will have too few cells, groups or seeds for an analysis that compares these.

    A rule that tests the result needs its interval, which takes more cells than the number by itself.
    """
    ((name, options),) = analysis.items()
    required_cells = MIN_PAIRS if tested else MIN_RANKED
    if name == "companion" and len(cells) < required_cells:
        raise document.error((*where, name), f"needs {required_cells} cells, which it correlates, got {len(cells)}")
    if name != "heterogeneity":
        return
    group_count = len(grouped(analysis, cells))
    if 0 < group_count < MIN_GROUPS:
        raise document.error((*where, name), f"needs {MIN_GROUPS} groups, which it compares, got {group_count}")
    compared = {cell for side in ("of", "minus") for cell in listed(options[side].get("cell", list(cells)))}
    for cell in cells:
        seeds = independent_seeds(cells[cell])
        if cell in compared and seeds < MIN_GROUP_SEEDS:
            subject = f"the cell `{cell}`" if cell else "the study"
            rule = f"needs {MIN_GROUP_SEEDS} seeds a group, and {subject} has {plural(seeds, 'seed')}"
            raise document.error((*where, name), rule)


def independent_seeds(study: Study) -> int:
    """Return the number of independent seeds of a study; of seeds of several kinds, those of the first that varies."""
    return next((count for count in study.blocks if count > 1), study.seed_counts[-1])


def columns(studies: Iterable[Study]) -> set[str]:
    """Return the columns by which an analysis may tell trials apart; of seeds of several kinds it is `seed` alone."""
    found = {"cell", "trial", "status", "seconds", "steps", "params", *MEASUREMENT_KEYS}
    for study in studies:
        found |= {f"data.{key}" for key in study.data}
        found |= {column for method in study.methods for column in resolve_point(study, method, {}, None)[1]}
    return {column for column in found if not column.startswith("seed.")}


def check_columns(document: Document, where: KeyPath, chosen: Choice, there: set[str]) -> None:
    """Raise a UserError unless an analysis asks for columns that are there."""
    ((name, options),) = chosen.items()
    given = {option: options.get(option) or () for option in SIDES}
    given["along"] = [options["along"]] if options.get("along") else []
    for option, value in given.items():
        asked = [] if isinstance(value, str) else list(value)  # a text is the name of a method
        if isinstance(value, dict) and "choose" in value:
            if not texts(value["choose"]):
                raise document.error((*where, name, option, "choose"), "must be a list of columns")
            asked = [*(column for column in asked if column != "choose"), *value["choose"]]
        for column in asked:
            if column.startswith("seed."):
                rule = f"`{column}` tells no trials apart: `seed` does, which is that of the first kind that varies"
                raise document.error((*where, name, option), rule)
            if column not in there:
                raise document.error((*where, name, option), f"no trial has `{column}`{did_you_mean(column, there)}")


def texts(value: Any) -> bool:
    """Tell whether a value is a list of texts."""
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def check_values(document: Document, where: KeyPath, chosen: Choice, cells: Mapping[str, Study]) -> None:
    """Raise a UserError unless sides have values for their columns, and name methods and cells that there are."""
    ((name, options),) = chosen.items()
    methods = dict.fromkeys(method for study in cells.values() for method in study.methods)
    there = {"method": list(methods), "cell": [cell for cell in cells if cell]}
    for at, column, value in sided(name, options):
        for one in listed(value):
            if isinstance(one, list | dict):
                raise document.error((*where, name, *at), f"must be a value or a list of values, got {type_name(one)}")
            if column in there and one not in there[column]:
                rule = f"there is no {column} `{one}` {describe_choices(one, there[column])}"
                raise document.error((*where, name, *at), rule)
    if name == "ranking" and (baseline := defaults(chosen)["baseline"]) not in options["methods"]:
        raise document.error((*where, name, "methods"), f"the baseline `{baseline}` must be among them")


def sided(name: str, options: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str, Any]]:
    """Yield where an analysis asks for values of a column, the column and the value or the values."""
    given = defaults({name: options})
    for option in ("of", "minus", "within", "factors"):
        side = given.get(option)
        if isinstance(side, dict):
            yield from (((option, column), column, value) for column, value in side.items() if column != "choose")
        elif isinstance(side, str):
            yield (option,), "method", side
    yield from (((option,), "method", given[option]) for option in ("methods", "baseline") if option in given)
    if name == "ceiling":
        yield (), "method", "unimodal"


def check_metrics(document: Document, where: KeyPath, chosen: Choice, cells: Mapping[str, Study]) -> None:
    """Raise a UserError if an analysis asks for a metric that no trial is going to have."""
    ((name, _),) = chosen.items()
    if defaults(chosen).get("less_score") and defaults(chosen).get("epochs"):
        raise document.error(
            (*where, name, "less_score"), "a trial's own score is its last; `epochs` does not go with it"
        )
    there = {one for study in cells.values() for method in study.methods for one in metrics(study, method)}
    for option, metric, split in asked(chosen):
        if not has(there, metric, split, chosen):
            rule = f"no trial has the metric `{metric}` on {split}{elsewhere(metric, there, cells.values())}"
            raise document.error((*where, name, option), rule)


def asked(chosen: Choice) -> Iterator[tuple[str, str, str]]:
    """Yield the options of an analysis that are metrics, with the metric and the split that it is read on."""
    given = defaults(chosen)
    for option in ("metric", "against", "other"):
        if metric := given.get(option):
            yield option, metric, (option == "other" and given["others_split"]) or given["split"]
    if given.get("less_score"):
        yield "less_score", "score", given["split"]


def has(there: Iterable[tuple[str, str]], metric: str, split: str, chosen: Choice) -> bool:
    """Tell whether trials that may have such metrics may have what an analysis asks for."""
    if metric in FINAL and not defaults(chosen).get("epochs"):
        return True
    return any(one == split and alike(metric, name) for one, name in there)


def least(chosen: Choice, cells: Mapping[str, Study]) -> int:
    """Return how many effects an analysis is sure to find, if its trials end."""
    ((name, _),) = chosen.items()
    given = defaults(chosen)
    factors = len(given.get("factors", ()))
    if name in {"companion", "heterogeneity"}:
        return 1
    if name == "ranking":
        return len([method for method in given["methods"] if method != given["baseline"]])
    if name == "variance_shares":
        return len(cells) * (factors + 1)
    if "per" not in given:
        return len(cells)
    terms = factors * given["main"] + factors * (factors - 1) // 2 * given["interactions"] if name == "factorial" else 1
    return terms * max(1, len(grouped(chosen, cells)))


def grouped(chosen: Choice, cells: Mapping[str, Study]) -> set[tuple[str, ...]]:
    """Return the groups that an analysis is sure to tell apart; none where it goes by more than cells and methods."""
    given = defaults(chosen)
    side = {**(given["of"] or {}), **given.get("factors", {})}
    per = [column for column in given["per"] if (column, given.get("over")) != ("cell", "cell")]
    unsure = any(split == "train" and metric not in {"loss", *FINAL} for _, metric, split in asked(chosen))
    if unsure or {*per, *side} - {"cell", "method", "choose"}:
        return set()
    rows = [{"cell": cell, "method": method} for cell, study in cells.items() for method in study.methods]
    meant = [row for row in rows if all(row[c] in listed(side[c]) for c in row if c in side)]
    return {
        tuple(row[column] for column in per) for row in meant if measured(chosen, cells[row["cell"]], row["method"])
    }


def measured(chosen: Choice, study: Study, method: str) -> bool:
    """Tell whether trials of a method may have all metrics that an analysis asks for."""
    there = metrics(study, method)
    return all(has(there, metric, split, chosen) for _, metric, split in asked(chosen))


def listed(value: Any) -> list[Any]:
    """Return a value, or several, as a list."""
    return value if isinstance(value, list) else [value]


def defaults(chosen: Choice) -> dict[str, Any]:
    """Return the options of an analysis, those that are not given at their defaults."""
    ((name, options),) = chosen.items()
    return {one.name: one.default for one in parameters(ABLATIONS[name]).values()} | dict(options)
