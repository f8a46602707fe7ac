"""Why trials that ran before are to run again: what has changed since, of all that decides what they are."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from ablate import store
from ablate.identity import code, version
from ablate.plan import Trial
from ablate.study import Study

BESIDE = ("measure", "prune")  # of a configuration: asked of all trials of a study, and no column of its tables
PACKAGES = ("torch", "numpy")
CONTENT = {"sha256": "data", "sheet": "datasheet"}  # of a data set, whatever is asked of it


def outdated(study: Study, missing: Iterable[Trial]) -> dict[str, tuple[Any, Any]]:
    """Return what has changed since the last run of a study, by its name: as it was, as it is now.

    It is asked of the first missing trial of each method that ran then; what is asked for the first time has changed
    in nothing.
    """
    changed: dict[str, tuple[Any, Any]] = {}
    first: dict[str, Trial] = {}
    for trial in missing:
        first.setdefault(trial.columns["method"], trial)
    for trial in first.values():
        for config, origin in earlier(study, trial):
            if asked(config) == asked(trial.config):
                present = {name: version(name) for name in PACKAGES}
                present["code"] = code(trial.config | {"measure": config["measure"]})  # of what was measured then
                before, now = decisive(config, origin), decisive(trial.config, present)
                changed |= {name: (before[name], now[name]) for name in now if before[name] != now[name]}
    return changed


def earlier(study: Study, trial: Trial) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield configuration and origin of what the last run has in the rows of a trial, as far as they are stored."""
    from analysis import load

    try:
        rows = load(study.folder).trials.filter(method=trial.columns["method"], seed=trial.seed).collect()
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
    for name, folder in store.locate(study.store, same).items():
        try:
            (found,) = store.read_table(folder, "trials").filter(trial=name).iter_rows(named=True)
        except store.DamagedError:
            continue
        if "origin" in found:  # earlier releases kept none
            yield json.loads(found["config"]), json.loads(found["origin"])


def decisive(config: dict[str, Any], origin: dict[str, Any]) -> dict[str, Any]:
    """Return what decides an id and is no setting of the trial."""
    content = {name: config["data"].get(key) for key, name in CONTENT.items()}
    return content | {name: config.get(name) for name in BESIDE} | {name: origin[name] for name in ("code", *PACKAGES)}


def asked(config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a trial."""
    data = {key: value for key, value in config["data"].items() if key not in CONTENT}
    rest = {key: value for key, value in config.items() if key not in BESIDE}
    settings: dict[str, Any] = json.loads(json.dumps(rest | {"data": data}))
    return settings
