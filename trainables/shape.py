"""What trials must share to train in one pass, and what may differ: the numbers of a configuration.

A number is left where it is, as part of the shape, if it decides what is computed: one that is infinite, and of the
settings of training and the model one that is zero, because what is multiplied by zero is not computed.
"""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

Path = tuple[str, ...]  # of a number in a configuration, such as ("settings", "alpha")

TRAINING = ("lr", "momentum", "weight_decay", "clip", "clip_before")
SCHEDULE = ("seed", "init", "start", "end", "warmup")


def numbers(trial: Mapping[str, Any]) -> dict[Path, float]:
    """Return the numbers of a configuration that may differ between trials that train together."""
    found = {path: value for path, value in entries(("settings",), trial["settings"]) if isinstance(value, float)}
    found |= {("train", name): trial["train"][name] for name in TRAINING if trial["train"][name]}
    if trial["model"]["dropout"]:
        found["model", "dropout"] = trial["model"]["dropout"]
    return {path: value for path, value in found.items() if math.isfinite(value)}


def entries(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    """Yield what lies in nested mappings, with its path."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from entries((*path, name), inner)
    else:
        yield path, value


def replaced(trial: Mapping[str, Any], values: Mapping[Path, Any]) -> dict[str, Any]:
    """Return a configuration with other values at some paths."""
    copy = dict(trial)
    for (name, *rest), value in values.items():
        copy[name] = replaced(copy[name], {tuple(rest): value}) if rest else value
    return copy


def shape(trial: Mapping[str, Any]) -> str:
    """Return a name of all that trials must share to train in one pass."""
    free: list[Path] = [*numbers(trial), *((name,) for name in SCHEDULE)]
    free += [("train", "epochs")] if trial["train"]["order"] == "shuffled" else []  # which share a stream
    return json.dumps(replaced(trial, dict.fromkeys(free, "any")), sort_keys=True, separators=(",", ":"))
