"""Why trials that ran before are to run again: what has changed since, of all that decides what they are."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from ablate import store
from ablate.identity import code_hash, package_version, versioned_packages
from ablate.study import Study
from ablate.trial import Trial

BESIDE = ("measure", "prune")  # of a configuration: asked of all trials of a study, and no column of its tables
PACKAGES = versioned_packages(measures=True)
CONTENT = {"sha256": "data", "sheet": "datasheet"}  # of a data set, whatever is asked of it


def outdated(study: Study, missing: Iterable[Trial]) -> dict[str, tuple[Any, Any]]:
    """Return what has changed since the last run of a study, by its name: as it was, as it is now.

    It is asked of the first missing trial of each method that ran then; what is asked for the first time has changed
    in nothing.
    """
    changed: dict[str, tuple[Any, Any]] = {}
    first: dict[str, Trial] = {}
    for trial in missing:
        first.setdefault(trial.point_labels["method"], trial)
    for trial in first.values():
        for config, origin in earlier(study, trial):
            if asked(config) == asked(trial.config):
                before, now = decisive(config, origin), decisive(trial.config, present(trial.config, config["measure"]))
                both = [name for name in now if name in before]
                changed |= {name: (before[name], now[name]) for name in both if before[name] != now[name]}
    return changed


def present(config: dict[str, Any], measured: dict[str, Any]) -> dict[str, str]:
    """Return versions and code now of what a configuration trains with, and of what was measured then.

    Code of a measurement that is gone has no hash.
    """
    found = {name: package_version(name) for name in versioned_packages(measures=bool(measured and config["measure"]))}
    with suppress(ModuleNotFoundError):
        found["code"] = code_hash(config | {"measure": measured})
    return found


def earlier(study: Study, trial: Trial) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield configuration and origin of what the last run has in the rows of a trial, as far as they are stored."""
    from analysis import load

    try:
        rows = load(study.folder).trials.filter(method=trial.point_labels["method"], seed=trial.seed).collect()
    except FileNotFoundError:
        return
    told = {
        name: value
        for name, value in trial.labels.items()
        if name in rows.columns and not isinstance(value, list | dict)
    }
    same = [
        row["trial"] for row in rows.iter_rows(named=True) if all(row[name] == value for name, value in told.items())
    ]
    for name, folder in store.locate(study.store, same).items() if same else ():
        with suppress(store.DamagedError):
            for found in store.read_table(folder, "trials").filter(trial=name).iter_rows(named=True):
                config, origin = held(found["config"]), held(found.get("origin"))
                if {"data", "measure"} <= config.keys() and origin:  # earlier releases kept none
                    yield config, origin


def held(text: str | None) -> dict[str, Any]:
    """Return the mapping that a column of the store holds, an empty one where it holds none."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def decisive(config: dict[str, Any], origin: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides an id and is no setting of the trial."""
    content = {name: config["data"].get(key) for key, name in CONTENT.items()}
    return (
        content
        | {name: config.get(name) for name in BESIDE}
        | {name: origin[name] for name in ("code", *PACKAGES) if name in origin}
    )


def asked(config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a trial."""
    data = {key: value for key, value in config["data"].items() if key not in CONTENT}
    rest = {key: value for key, value in config.items() if key not in BESIDE}
    settings: dict[str, Any] = json.loads(json.dumps(rest | {"data": data}))
    return settings
