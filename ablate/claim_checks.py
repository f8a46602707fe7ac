"""Checks of a claim's analyses before anything runs: the columns, values and metrics they use, and their effects."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ablate.claim_options import Choice, keyword_parameters
from ablate.document import Document, KeyPath
from ablate.errors import describe_choices, did_you_mean, type_name
from ablate.metrics import TRIAL_METRICS, availability_hint, expected_metrics, names_match
from ablate.plan import resolve_point
from ablate.study import Study
from analysis.ablations import ABLATIONS
from analysis.ablations.relations import MIN_PAIRS, MIN_RANKED
from analysis.ablations.scores import MEASUREMENT_KEYS
from analysis.ablations.variance import MIN_GROUP_SEEDS, MIN_GROUPS
from analysis.formatting import plural
from analysis.rules import TESTS

COLUMN_OPTIONS = ("of", "minus", "within", "default", "factors", "per", "choose")  # options that name columns


def check_count(document: Document, analyses: Iterable[Choice], rule: Choice, cells: Mapping[str, Study]) -> None:
    """Raise a UserError if the analyses cannot find an effect, or are certain to find several for a rule about one."""
    (name,) = rule
    count = sum(min_effects(analysis, cells) for analysis in analyses)
    if not count:
        raise document.error(("claim", "analysis"), "compares nothing: there is no effect to judge")
    if name in TESTS and count > 1:
        reason = f"and the analysis finds {count} or more; use `every` for several"
        raise document.error(("claim", "rule"), f"`{name}` judges one effect, {reason}")


def check_analysis(document: Document, where: KeyPath, analysis: Choice, cells: Mapping[str, Study]) -> None:
    """Raise a UserError unless the runs will have the columns, methods, cells and metrics that an analysis uses."""
    check_columns(document, where, analysis, available_columns(cells.values()))
    check_values(document, where, analysis, cells)
    check_metrics(document, where, analysis, cells)
    ((name, options),) = analysis.items()
    for cell, study in cells.items():
        if name == "response" and not any(axis.key in options["default"] for axis in study.vary):
            rule = f"the study{f' of the cell `{cell}`' * bool(cell)} varies none of these settings"
            raise document.error((*where, name, "default"), rule)
        if name == "ceiling" and study.metric != "accuracy":
            rule = f"combines class predictions and needs accuracy; the metric here is {study.metric}"
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
        raise document.error((*where, name), f"correlates cells and needs at least {required_cells}, got {len(cells)}")
    if name != "heterogeneity":
        return
    num_groups = len(certain_groups(analysis, cells))
    if 0 < num_groups < MIN_GROUPS:
        raise document.error((*where, name), f"compares groups and needs at least {MIN_GROUPS}, got {num_groups}")
    compared = {cell for side in ("of", "minus") for cell in as_list(options[side].get("cell", list(cells)))}
    for cell in cells:
        seeds = independent_seeds(cells[cell])
        if cell in compared and seeds < MIN_GROUP_SEEDS:
            subject = f"the cell `{cell}`" if cell else "the study"
            rule = f"needs at least {MIN_GROUP_SEEDS} seeds per group, and {subject} has {plural(seeds, 'seed')}"
            raise document.error((*where, name), rule)


def independent_seeds(study: Study) -> int:
    """Return the number of independent seeds of a study; of seeds of several kinds, those of the first that varies."""
    return next((count for count in study.blocks if count > 1), study.looks[-1])


def available_columns(studies: Iterable[Study]) -> set[str]:
    """Return the columns that an analysis may use; of the seeds of blocks, only `seed` is one."""
    columns = {"cell", "trial", "status", "seconds", "steps", "params", *MEASUREMENT_KEYS}
    for study in studies:
        columns |= {f"data.{key}" for key in study.data}
        columns |= {column for method in study.methods for column in resolve_point(study, method, {}, None)[1]}
    return {column for column in columns if not column.startswith("seed.")}


def check_columns(document: Document, where: KeyPath, analysis: Choice, available: set[str]) -> None:
    """Raise a UserError unless the columns that an analysis uses are available."""
    ((name, options),) = analysis.items()
    values = {option: options.get(option) or () for option in COLUMN_OPTIONS}
    values["along"] = [options["along"]] if options.get("along") else []
    for option, value in values.items():
        requested = [] if isinstance(value, str) else list(value)  # a text is the name of a method
        if isinstance(value, dict) and "choose" in value:
            if not is_text_list(value["choose"]):
                raise document.error((*where, name, option, "choose"), "must be a list of columns")
            requested = [*(column for column in requested if column != "choose"), *value["choose"]]
        for column in requested:
            if column.startswith("seed."):
                rule = f"`{column}` does not distinguish trials; use `seed`, the seed of the first kind that varies"
                raise document.error((*where, name, option), rule)
            if column not in available:
                raise document.error(
                    (*where, name, option), f"no trial has `{column}`{did_you_mean(column, available)}"
                )


def is_text_list(value: Any) -> bool:
    """Return whether a value is a list of strings."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def check_values(document: Document, where: KeyPath, analysis: Choice, cells: Mapping[str, Study]) -> None:
    """Raise a UserError unless the values of columns are scalars, and methods and cells exist."""
    ((name, options),) = analysis.items()
    methods = dict.fromkeys(method for study in cells.values() for method in study.methods)
    available = {"method": list(methods), "cell": [cell for cell in cells if cell]}
    for location, column, values in requested_values(name, options):
        for value in as_list(values):
            if isinstance(value, list | dict):
                raise document.error(
                    (*where, name, *location), f"must be a value or a list of values, got {type_name(value)}"
                )
            if column in available and value not in available[column]:
                rule = f"there is no {column} `{value}` {describe_choices(value, available[column])}"
                raise document.error((*where, name, *location), rule)
    if name == "ranking" and (baseline := with_defaults(analysis)["baseline"]) not in options["methods"]:
        raise document.error((*where, name, "methods"), f"the baseline `{baseline}` must be among them")


def requested_values(name: str, given_options: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str, Any]]:
    """Yield the location, the column and the value or values of each restriction of an analysis on a column."""
    options = with_defaults({name: given_options})
    for option in ("of", "minus", "within", "factors"):
        side = options.get(option)
        if isinstance(side, dict):
            yield from (((option, column), column, value) for column, value in side.items() if column != "choose")
        elif isinstance(side, str):
            yield (option,), "method", side
    yield from (((option,), "method", options[option]) for option in ("methods", "baseline") if option in options)
    if name == "ceiling":
        yield (), "method", "unimodal"


def check_metrics(document: Document, where: KeyPath, analysis: Choice, cells: Mapping[str, Study]) -> None:
    """Raise a UserError if an analysis uses a metric that no trial will have."""
    ((name, _),) = analysis.items()
    if with_defaults(analysis).get("less_score") and with_defaults(analysis).get("epochs"):
        raise document.error(
            (*where, name, "less_score"), "uses a trial's last score and cannot be combined with `epochs`"
        )
    available = {
        metric for study in cells.values() for method in study.methods for metric in expected_metrics(study, method)
    }
    for option, metric, split in requested_metrics(analysis):
        if not has_metric(available, metric, split, analysis):
            rule = (
                f"no trial has the metric `{metric}` on {split}{availability_hint(metric, available, cells.values())}"
            )
            raise document.error((*where, name, option), rule)


def requested_metrics(analysis: Choice) -> Iterator[tuple[str, str, str]]:
    """Yield the options of an analysis that name a metric, with the metric and its split."""
    options = with_defaults(analysis)
    for option in ("metric", "against", "other"):
        if metric := options.get(option):
            yield option, metric, (option == "other" and options["others_split"]) or options["split"]
    if options.get("less_score"):
        yield "less_score", "score", options["split"]


def has_metric(available: Iterable[tuple[str, str]], metric: str, split: str, analysis: Choice) -> bool:
    """Return whether a metric on a split, as an analysis uses it, is among the available ones."""
    if metric in TRIAL_METRICS and not with_defaults(analysis).get("epochs"):
        return True
    return any(available_split == split and names_match(metric, name) for available_split, name in available)


def min_effects(analysis: Choice, cells: Mapping[str, Study]) -> int:
    """Return the number of effects that an analysis is certain to find once all trials are done."""
    ((name, _),) = analysis.items()
    options = with_defaults(analysis)
    num_factors = len(options.get("factors", ()))
    if name in {"companion", "heterogeneity"}:
        return 1
    if name == "ranking":
        return len([method for method in options["methods"] if method != options["baseline"]])
    if name == "variance_shares":
        return len(cells) * (num_factors + 1)
    if "per" not in options:
        return len(cells)
    terms = (
        num_factors * options["main"] + num_factors * (num_factors - 1) // 2 * options["interactions"]
        if name == "factorial"
        else 1
    )
    return terms * max(1, len(certain_groups(analysis, cells)))


def certain_groups(analysis: Choice, cells: Mapping[str, Study]) -> set[tuple[str, ...]]:
    """Return the groups that an analysis is certain to form; empty if it groups by more than cells and methods."""
    options = with_defaults(analysis)
    values = {**(options["of"] or {}), **options.get("factors", {})}
    per = [column for column in options["per"] if (column, options.get("over")) != ("cell", "cell")]
    is_uncertain = any(
        split == "train" and metric not in {"loss", *TRIAL_METRICS} for _, metric, split in requested_metrics(analysis)
    )
    if is_uncertain or {*per, *values} - {"cell", "method", "choose"}:
        return set()
    rows = [{"cell": cell, "method": method} for cell, study in cells.items() for method in study.methods]
    selected = [row for row in rows if all(row[c] in as_list(values[c]) for c in row if c in values)]
    return {
        tuple(row[column] for column in per)
        for row in selected
        if has_all_metrics(analysis, cells[row["cell"]], row["method"])
    }


def has_all_metrics(analysis: Choice, study: Study, method: str) -> bool:
    """Return whether trials of a method may have all metrics that an analysis uses."""
    available = expected_metrics(study, method)
    return all(has_metric(available, metric, split, analysis) for _, metric, split in requested_metrics(analysis))


def as_list(value: Any) -> list[Any]:
    """Return a value as a list, which it may be already."""
    return value if isinstance(value, list) else [value]


def with_defaults(analysis: Choice) -> dict[str, Any]:
    """Return the options of an analysis, with defaults for those that are not given."""
    ((name, options),) = analysis.items()
    return {parameter.name: parameter.default for parameter in keyword_parameters(ABLATIONS[name]).values()} | dict(
        options
    )
