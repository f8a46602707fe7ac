"""Points become trials, pure and in a fixed order: those of `ablate.designs` and of `ablate.search`."""

from typing import Any

from ablate.designs import Point, Row, count, space, width
from ablate.identity import trial_id
from ablate.keys import LEARNING_RATES
from ablate.methods import axes_of
from ablate.study import Study
from ablate.trial import Trial, blockwise, content, seeded
from ablate.vary import DUMMY
from search_spaces.axes import acts
from search_spaces.methods import SPAN, TRAINING
from trainables.measurements import MEASUREMENTS


def trials(study: Study, method: str, row: Row) -> list[Trial]:
    """Return the trials of one point: one a seed, and for `unimodal` one a modality and seed."""
    alone = list(study.sheet.modalities) if method == "unimodal" else [None]
    found: list[Trial] = []
    for modality in alone:
        config, labels = common(study, method, row.point, modality)
        columns = labels | row.labels
        for seed in range(study.looks[-1]):
            identity = trial_id(seeded(config, seed, study.blocks))
            found.append(Trial(identity, config, columns, seed, study.blocks))
    return found


def common(study: Study, method: str, point: Point, modality: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return configuration and labels of a point's trials, but for the seed.

    All is resolved; what does not act is at its default, and an empty cell of the table.
    """
    settings, idle = resolved(study, method, point)
    span = {name: settings.pop(name) for name in SPAN}
    sections = {}
    for owner, section in (("model", study.file.model), ("train", study.file.train)):
        over = {one.name: point[one.key] for one in study.vary if one.owner == owner and one.key in point}
        sections[owner] = section.model_dump() | over
    if sections["train"]["lr"] is None:
        sections["train"]["lr"] = LEARNING_RATES[sections["train"]["optimizer"]]
    for name, when in TRAINING.items():
        if not acts(when, sections["train"]):
            sections["train"][name] = type(study.file.train).model_fields[name].default
            idle.add(f"train.{name}")
    config = {
        "data": content(study.data, study.sheet),
        "method": study.methods[method],
        "settings": settings,
        **span,
        "modality": modality,
        **sections,
        "measure": {n: k for n, k in study.measure.items() if modality is None or not MEASUREMENTS[n].several},
    }
    if study.pruning:
        config["prune"] = study.pruning
    labels = {"method": method, "modality": modality, "seed": None, **dict.fromkeys(blockwise(0, study.blocks))}
    labels["data"] = study.sheet.name
    labels |= {f"{method}.{name}": value for name, value in {**settings, **span}.items()}
    labels |= {f"{owner}.{name}": value for owner, values in sections.items() for name, value in values.items()}
    labels |= dict.fromkeys(idle) | {key: value for key, value in point.items() if key == DUMMY}
    return config, labels


def resolved(study: Study, method: str, point: Point) -> tuple[dict[str, Any], set[str]]:
    """Return every setting of a method, and the keys of those that do not act beside the others."""
    chosen = study.set | point
    settings: dict[str, Any] = {}
    idle: set[str] = set()
    for name, one in axes_of(method, study.methods[method]).items():  # what decides stands before what depends
        if acts(one.when, settings):
            settings[name] = chosen.get(f"{method}.{name}", one.default)
        else:
            settings[name] = one.default
            idle.add(f"{method}.{name}")
    return settings, idle


def points(study: Study) -> int:
    """Return how many points a search has for each method with axes, as many as the budget of trials allows."""
    limit = study.file.budget.trials
    if limit is None:
        return study.file.trials
    searched = [method for method in study.methods if space(study, method).axes]
    fixed = sum(width(study, method) for method in study.methods if method not in searched)
    return min(study.file.trials, (limit - fixed) // sum(width(study, method) for method in searched))


def size(study: Study) -> int:
    """Return how many trials a study asks for in the end; two points may ask for the same."""
    if study.search.batch is not None:
        searched = {method: bool(space(study, method).axes) for method in study.methods}
        return sum(width(study, method) * (points(study) if some else 1) for method, some in searched.items())
    total = sum(count(study, method) * width(study, method) for method in study.methods)
    return min(total, study.file.budget.trials or total)
