"""Studies for benchmarks, and the configurations of their trials."""

import tempfile
from pathlib import Path
from typing import Any

import yaml

from ablate.search import rounds
from ablate.study import Study, load


def write_study(folder: Path, content: dict[str, Any], store: Path | None = None) -> Study:
    """Write a study file into a folder, and return the study."""
    file = folder / f"{content['name']}.yaml"
    file.write_text(yaml.safe_dump(content))
    return load(str(file), store and str(store))


def trial_configs(data: dict[str, Any], method: str, **keys: Any) -> list[dict[str, Any]]:
    """Return the configurations of a method's trials, one per seed, in a study with the given keys."""
    with tempfile.TemporaryDirectory() as folder:
        study = write_study(Path(folder), {"name": "benchmark", "data": data, "methods": [method], **keys})
        return [trial.config for trial in next(rounds(study))]
