"""Points of designs and searches become trials, in a fixed order and without side effects."""

from typing import Any

from ablate.designs import DesignPoint, Point, num_points, search_space, trials_per_point
from ablate.identity import trial_id
from ablate.keys import LEARNING_RATES
from ablate.methods import method_axes
from ablate.study import Study
from ablate.trial import Trial, block_seeds, data_identity, with_seed
from ablate.vary import DUMMY_AXIS
from search_spaces.axes import is_active
from search_spaces.methods import ACTIVE_EPOCHS, TRAINING_CONDITIONS
from trainables.measurements import MEASUREMENTS


def point_trials(study: Study, method: str, row: DesignPoint) -> list[Trial]:
    """Return the trials of one point: one per seed, for `unimodal` one per modality and seed."""
    modalities = list(study.sheet.modalities) if method == "unimodal" else [None]
    planned: list[Trial] = []
    for modality in modalities:
        config, labels = resolve_point(study, method, row.point, modality)
        point_labels = labels | row.labels
        for seed in range(study.looks[-1]):
            identity = trial_id(with_seed(config, seed, study.blocks))
            planned.append(Trial(identity, config, point_labels, seed, study.blocks))
    return planned


def resolve_point(
    study: Study, method: str, point: Point, modality: str | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the configuration and the labels that all seeds of a point share.

    Every setting is resolved; inactive ones are at their default in the configuration, and null in the labels.
    """
    settings, inactive = resolve_settings(study, method, point)
    span = {name: settings.pop(name) for name in ACTIVE_EPOCHS}
    sections = {}
    for owner, section in (("model", study.file.model), ("train", study.file.train)):
        changes = {axis.name: point[axis.key] for axis in study.vary if axis.owner == owner and axis.key in point}
        sections[owner] = section.model_dump() | changes
    if sections["train"]["lr"] is None:
        sections["train"]["lr"] = LEARNING_RATES[sections["train"]["optimizer"]]
    for name, when in TRAINING_CONDITIONS.items():
        if not is_active(when, sections["train"]):
            sections["train"][name] = type(study.file.train).model_fields[name].default
            inactive.add(f"train.{name}")
    config = {
        "data": data_identity(study.data, study.sheet),
        "method": study.methods[method],
        "settings": settings,
        **span,
        "modality": modality,
        **sections,
        "measure": {n: k for n, k in study.measure.items() if modality is None or not MEASUREMENTS[n].multimodal},
    }
    if study.pruning:
        config["prune"] = study.pruning
    labels = {"method": method, "modality": modality, "seed": None, **dict.fromkeys(block_seeds(0, study.blocks))}
    labels["data"] = study.sheet.name
    labels |= {f"{method}.{name}": value for name, value in {**settings, **span}.items()}
    labels |= {f"{owner}.{name}": value for owner, values in sections.items() for name, value in values.items()}
    labels |= dict.fromkeys(inactive) | {key: value for key, value in point.items() if key == DUMMY_AXIS}
    return config, labels


def resolve_settings(study: Study, method: str, point: Point) -> tuple[dict[str, Any], set[str]]:
    """Return every setting of a method at a point, and the keys of the inactive ones."""
    values = study.set | point
    settings: dict[str, Any] = {}
    inactive: set[str] = set()
    for name, axis in method_axes(method, study.methods[method]).items():  # each after those that it depends on
        if is_active(axis.when, settings):
            settings[name] = values.get(f"{method}.{name}", axis.default)
        else:
            settings[name] = axis.default
            inactive.add(f"{method}.{name}")
    return settings, inactive


def num_search_points(study: Study) -> int:
    """Return the number of points of a search for each method with axes, within the budget of trials."""
    limit = study.file.budget.trials
    if limit is None:
        return study.file.trials
    searched = [method for method in study.methods if search_space(study, method).axes]
    reserved = sum(trials_per_point(study, method) for method in study.methods if method not in searched)
    return min(study.file.trials, (limit - reserved) // sum(trials_per_point(study, method) for method in searched))


def num_trials(study: Study) -> int:
    """Return the total number of trials that a study requests; points that coincide count each time."""
    if study.search.batch is not None:
        searched = {method: bool(search_space(study, method).axes) for method in study.methods}
        return sum(
            trials_per_point(study, method) * (num_search_points(study) if has_axes else 1)
            for method, has_axes in searched.items()
        )
    total = sum(num_points(study, method) * trials_per_point(study, method) for method in study.methods)
    return min(total, study.file.budget.trials or total)
