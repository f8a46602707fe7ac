"""Why trials of an earlier run are to run again: what has changed of the data, code and versions in their ids."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from ablate import store
from ablate.identity import code_hash, package_version, versioned_packages
from ablate.study import Study
from ablate.trial import Trial

STUDY_WIDE = ("measure", "prune")  # parts of a configuration that all trials of a study share; no columns of its tables
PACKAGES = versioned_packages(measures=True)
DATA_HASHES = {"sha256": "data", "sheet": "datasheet"}  # hashes of a data set in a configuration


def changes_since_last_run(study: Study, missing: Iterable[Trial]) -> dict[str, tuple[Any, Any]]:
    """Return what has changed since the last run of a study: name -> value then, value now.

    It compares the first missing trial of each method with the same trial of that run; trials that are new have no
    counterpart, and no changes.
    """
    changed: dict[str, tuple[Any, Any]] = {}
    first: dict[str, Trial] = {}
    for trial in missing:
        first.setdefault(trial.point_labels["method"], trial)
    for trial in first.values():
        for config, origin in previous_trials(study, trial):
            if requested_settings(config) == requested_settings(trial.config):
                before = identity_parts(config, origin)
                now = identity_parts(trial.config, current_versions(trial.config, config["measure"]))
                common = [name for name in now if name in before]
                changed |= {name: (before[name], now[name]) for name in common if before[name] != now[name]}
    return changed


def current_versions(config: dict[str, Any], measurements: dict[str, Any]) -> dict[str, str]:
    """Return the current package versions and code hash for a configuration with the measurements of the last run.

    The code hash is missing if one of those measurements no longer exists.
    """
    versions = {
        name: package_version(name) for name in versioned_packages(measures=bool(measurements and config["measure"]))
    }
    with suppress(ModuleNotFoundError):
        versions["code"] = code_hash(config | {"measure": measurements})
    return versions


def previous_trials(study: Study, trial: Trial) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield configuration and origin of the stored trials of the last run that have the labels of a trial."""
    from analysis import load

    try:
        rows = load(study.folder).trials.filter(method=trial.point_labels["method"], seed=trial.seed).collect()
    except FileNotFoundError:
        return
    labels = {
        name: value
        for name, value in trial.labels.items()
        if name in rows.columns and not isinstance(value, list | dict)
    }
    matches = [
        row["trial"] for row in rows.iter_rows(named=True) if all(row[name] == value for name, value in labels.items())
    ]
    for name, folder in store.locate(study.store, matches).items() if matches else ():
        with suppress(store.DamagedError):
            for row in store.read_table(folder, "trials").filter(trial=name).iter_rows(named=True):
                config, origin = parse_mapping(row["config"]), parse_mapping(row.get("origin"))
                if {"data", "measure"} <= config.keys() and origin:  # earlier releases stored none
                    yield config, origin


def parse_mapping(text: str | None) -> dict[str, Any]:
    """Return the mapping in a JSON column of the store; empty if it holds none."""
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def identity_parts(config: dict[str, Any], origin: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a trial's identity that are not its settings."""
    content = {name: config["data"].get(key) for key, name in DATA_HASHES.items()}
    return (
        content
        | {name: config.get(name) for name in STUDY_WIDE}
        | {name: origin[name] for name in ("code", *PACKAGES) if name in origin}
    )


def requested_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a trial, without the parts of `identity_parts`."""
    data = {key: value for key, value in config["data"].items() if key not in DATA_HASHES}
    settings = {key: value for key, value in config.items() if key not in STUDY_WIDE}
    plain: dict[str, Any] = json.loads(json.dumps(settings | {"data": data}))
    return plain
