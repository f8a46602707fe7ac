"""Points become trials, pure and in a fixed order: those of `ablate.designs` and of `ablate.search`."""

import hashlib
import json
import math
from typing import Any, NamedTuple

from ablate.designs import Point, Row, count, space, width
from ablate.identity import trial_id
from ablate.keys import BLOCKS, LEARNING_RATES, MOST_SEEDS
from ablate.methods import axes_of
from ablate.study import Study
from ablate.vary import DUMMY
from search_spaces.axes import acts
from search_spaces.methods import SPAN, TRAINING
from trainables.data import Sheet
from trainables.measurements import MEASUREMENTS


class Trial(NamedTuple):
    """One training run, as it was asked for: two points may ask for the same.

    All trials of a point share what is common to its seeds, so that a study of very many takes little memory.
    """

    id: str
    common: dict[str, Any]  # the configuration, but for the seed
    columns: dict[str, Any]  # what tells it from others, but for the seed: method, modality, settings that act, ...
    seed: int
    blocks: tuple[int, ...] = ()  # `seeds` of each of BLOCKS, if the study tells them apart

    @property
    def config(self) -> dict[str, Any]:
        """Return all that can change the result."""
        return seeded(self.common, self.seed, self.blocks)

    @property
    def labels(self) -> dict[str, Any]:
        """Return the columns of its row in a table, with the seed where they have its place."""
        return self.columns | {"seed": self.seed} | blockwise(self.seed, self.blocks)


class Result(NamedTuple):
    """What the engine keeps of a finished trial."""

    status: str  # done | pruned | diverged | failed
    score: float | None  # the study's metric on validation; None unless done


def trials(study: Study, method: str, row: Row) -> list[Trial]:
    """Return the trials of one point: one a seed, and for `unimodal` one a modality and seed."""
    alone = list(study.sheet.modalities) if method == "unimodal" else [None]
    found: list[Trial] = []
    for modality in alone:
        config, labels = described(study, method, row.point, modality)
        columns = labels | row.labels
        for seed in range(study.looks[-1]):
            identity = trial_id(seeded(config, seed, study.blocks))
            found.append(Trial(identity, config, columns, seed, study.blocks))
    return found


def blockwise(seed: int, blocks: tuple[int, ...]) -> dict[str, int]:
    """Return what a seed is made of: one of each kind, by column; of a kind with a single one, 0.

    They are nested: no two of the first have an `init` in common, and no two of these an `order`. More of one kind
    leave those that there were as they are.
    """
    inner, number, found = math.prod(blocks), 0, {}
    for name, many in zip(BLOCKS, blocks, strict=False):
        inner //= many
        number = MOST_SEEDS * number + seed // inner % many if many > 1 else number
        found[f"seed.{name}"] = number if many > 1 else 0
    return found


def seeded(common: dict[str, Any], seed: int, blocks: tuple[int, ...]) -> dict[str, Any]:
    """Return a configuration with its seed, which decides all that is drawn; or with one for each of some blocks.

    What one seed would decide as well has the configuration that it has there.
    """
    if not blocks:
        return common | {"seed": seed}
    deal, init, order = blockwise(seed, blocks).values()
    config = common | {"seed": order}
    if init != order:
        config["init"] = init
    if deal:
        config["data"] = common["data"] | {"deal": deal}
    return config


def source(data: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """Return the data of a trial, as `trainables.data` takes it, from those of its study."""
    deal = config["data"].get("deal")
    return data if deal is None else data | {"deal": deal}


def described(study: Study, method: str, point: Point, modality: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
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


def content(data: dict[str, Any], sheet: Sheet) -> dict[str, Any]:
    """Return what tells one data set from another: its arrays, how the study reads them, and its datasheet."""
    chosen = {key: value for key, value in data.items() if key not in {"name", "path"}}
    described = {key: value for key, value in sheet.description.items() if key != "measured"}
    text = json.dumps(described, sort_keys=True, default=str)
    return {**chosen, "sha256": sheet.sha256, "sheet": hashlib.sha256(text.encode()).hexdigest()[:16]}


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
