"""Configurations of trials for benchmarks: those of a study, which says only what differs from the defaults."""

import tempfile
from pathlib import Path
from typing import Any

import yaml

from ablate.search import rounds
from ablate.study import load


def configurations(data: dict[str, Any], method: str, **keys: Any) -> list[dict[str, Any]]:
    """Return the configurations of a method's trials, one a seed, in a study with these keys."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "benchmark.yaml"
        file.write_text(yaml.safe_dump({"name": "benchmark", "data": data, "methods": [method], **keys}))
        return [trial.config for trial in next(rounds(load(str(file))))]
