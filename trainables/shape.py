"""The shape of a trial, which all trials of a pack share, and the numbers of a configuration in which they may differ.

A number that decides what is computed belongs to the shape: an infinite one, and among the settings of training and
model also a zero, because what would be multiplied by zero is not computed.
"""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

Path = tuple[str, ...]  # of a value in a configuration, such as ("settings", "alpha")

TRAINING_NUMBERS = ("lr", "momentum", "weight_decay", "clip", "clip_before")
SCHEDULE = ("seed", "init", "start", "end", "warmup")


def numeric_settings(trial: Mapping[str, Any]) -> dict[Path, float]:
    """Return the numbers of a configuration that may differ between the trials of a pack."""
    values = {path: value for path, value in flatten(("settings",), trial["settings"]) if isinstance(value, float)}
    values |= {("train", name): trial["train"][name] for name in TRAINING_NUMBERS if trial["train"][name]}
    if trial["model"]["dropout"]:
        values["model", "dropout"] = trial["model"]["dropout"]
    return {path: value for path, value in values.items() if math.isfinite(value)}


def flatten(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    """Yield the leaves of nested mappings, with their paths."""
    if isinstance(value, Mapping):
        for name, entry in value.items():
            yield from flatten((*path, name), entry)
    else:
        yield path, value


def replace_values(trial: Mapping[str, Any], values: Mapping[Path, Any]) -> dict[str, Any]:
    """Return a copy of a configuration with other values at the given paths."""
    copy = dict(trial)
    for (name, *inner), value in values.items():
        copy[name] = replace_values(copy[name], {tuple(inner): value}) if inner else value
    return copy


def pack_shape(trial: Mapping[str, Any]) -> str:
    """Return a key that is equal for trials that can train in one pack."""
    free: list[Path] = [*numeric_settings(trial), *((name,) for name in SCHEDULE)]
    free += [("train", "epochs")] if trial["train"]["order"] == "shuffled" else []  # the epochs of a stream share it
    return json.dumps(replace_values(trial, dict.fromkeys(free, "any")), sort_keys=True, separators=(",", ":"))
