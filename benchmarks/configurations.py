"""Studies for benchmarks, which say only what differs from the defaults, and configurations of their trials."""

import tempfile
from pathlib import Path
from typing import Any

import yaml

from ablate.search import rounds
from ablate.study import Study, load


def written(folder: Path, content: dict[str, Any], store: Path | None = None) -> Study:
    """Write the file of a study into a folder, and return the study."""
    file = folder / f"{content['name']}.yaml"
    file.write_text(yaml.safe_dump(content))
    return load(str(file), store and str(store))


def configurations(data: dict[str, Any], method: str, **keys: Any) -> list[dict[str, Any]]:
    """Return the configurations of a method's trials, one a seed, in a study with these keys."""
    with tempfile.TemporaryDirectory() as folder:
        study = written(Path(folder), {"name": "benchmark", "data": data, "methods": [method], **keys})
        return [trial.config for trial in next(rounds(study))]
