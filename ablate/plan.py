"""A study becomes trials, pure and in a fixed order: the designs; searches are in `ablate.search`."""

import hashlib
import json
import math
from itertools import product
from typing import Any, NamedTuple

from ablate.identity import trial_id
from ablate.methods import axes_of
from ablate.study import LEARNING_RATES, Study
from ablate.vary import Varied
from search_spaces.methods import SPAN
from trainables.measurements import MEASUREMENTS

Point = dict[str, Any]  # varied setting -> value


class Trial(NamedTuple):
    """One training run."""

    id: str
    config: dict[str, Any]  # all that can change the result
    labels: dict[str, Any]  # the columns that tell it from others: method, modality, seed and every setting


class Result(NamedTuple):
    """What the engine keeps of a finished trial."""

    status: str  # done | diverged | failed
    score: float | None  # the study's metric on validation; None unless done


def axes_for(study: Study, method: str) -> list[Varied]:
    """Return the axes of a study that apply to a method: its own, and those of training and the model."""
    return [one for one in study.vary if one.owner in {method, "train", "model"}]


def grid(study: Study, method: str) -> list[Point]:
    """Return the points of a method's grid."""
    axes = axes_for(study, method)
    return [dict(zip((a.key for a in axes), values, strict=True)) for values in product(*(a.values for a in axes))]


def trials(study: Study, method: str, point: Point) -> list[Trial]:
    """Return the trials of one point: one a seed, and for `unimodal` one a modality and seed."""
    alone = list(study.sheet.modalities) if method == "unimodal" else [None]
    return [trial(study, method, point, modality, seed) for modality in alone for seed in range(study.file.seeds)]


def trial(study: Study, method: str, point: Point, modality: str | None, seed: int) -> Trial:
    """Return one trial, fully resolved."""
    chosen = study.set | point
    settings = {
        name: chosen.get(f"{method}.{name}", one.default)
        for name, one in axes_of(method, study.methods[method]).items()
    }
    span = {name: settings.pop(name) for name in SPAN}
    sections = {}
    for owner, section in (("model", study.file.model), ("train", study.file.train)):
        over = {one.name: point[one.key] for one in study.vary if one.owner == owner and one.key in point}
        sections[owner] = section.model_dump() | over
    if sections["train"]["lr"] is None:
        sections["train"]["lr"] = LEARNING_RATES[sections["train"]["optimizer"]]
    config = {
        "data": content(study),
        "method": study.methods[method],
        "settings": settings,
        **span,
        "modality": modality,
        **sections,
        "measure": {n: k for n, k in study.measure.items() if modality is None or not MEASUREMENTS[n].several},
        "seed": seed,
    }
    if study.pruning:
        config["prune"] = study.pruning
    labels = {"method": method, "modality": modality, "seed": seed, "data": study.sheet.name}
    labels |= {f"{method}.{name}": value for name, value in {**settings, **span}.items()}
    labels |= {f"{owner}.{name}": value for owner, values in sections.items() for name, value in values.items()}
    return Trial(trial_id(config), config, labels)


def content(study: Study) -> dict[str, Any]:
    """Return what tells one data set from another: its arrays, how the study reads them, and its datasheet."""
    chosen = {key: value for key, value in study.data.items() if key not in {"name", "path"}}
    described = {key: value for key, value in study.sheet.description.items() if key != "measured"}
    text = json.dumps(described, sort_keys=True, default=str)
    return {**chosen, "sha256": study.sheet.sha256, "sheet": hashlib.sha256(text.encode()).hexdigest()[:16]}


def size(study: Study) -> int:
    """Return how many trials a study has in the end."""
    total = 0
    for method in study.methods:
        points = math.prod(len(axis.values) for axis in axes_for(study, method))
        if study.rounds and axes_for(study, method):
            points = study.file.trials
        alone = len(study.sheet.modalities) if method == "unimodal" else 1
        total += points * alone * study.file.seeds
    return total
