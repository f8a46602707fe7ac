"""The manifest of a run, study.yaml: the study as resolved, with versions and the machine."""

import os
import platform
import shlex
from pathlib import Path
from typing import Any

from ablate import designs
from ablate.files import atomic_write
from ablate.keys import DIRECTIONS
from ablate.plan import num_trials
from ablate.provenance import available_cpus, package_versions, processor
from ablate.remote import is_remote
from ablate.study import Study


def build_manifest(study: Study) -> dict[str, Any]:
    """Return the content of study.yaml."""
    file = study.file.model_dump(mode="json")
    if not any(axis.key == "train.optimizer" for axis in study.vary):
        file["train"]["lr"] = study.file.train.learning_rate
    vary = {a.key: {"values": a.values, "scale": a.scale, "low": a.low, "high": a.high} for a in study.vary}
    resolved = {**file, "vary": vary | designs.component_axes(study), "set": study.set, "measure": study.measure}
    resolved["metric"], resolved["direction"] = study.metric, DIRECTIONS[study.metric]
    resolved["objectives"] = {metric: DIRECTIONS[metric] for metric in study.objectives}
    resolved["search"] = {study.search.name: study.search.options.model_dump()}
    resolved["design"] = designs.axis_description(study)
    return {
        "command": shlex.join(["ablate", "run", study.name_or_path, *store_option(study)]),
        "study": resolved,
        "modalities": list(study.sheet.modalities),
        "task": study.sheet.task,
        "data_sha256": study.sheet.sha256,
        "planned": num_trials(study),
        "versions": package_versions(),
        "machine": {"system": platform.platform(), "processor": processor(), "cpus": available_cpus()},
    }


def store_option(study: Study) -> list[str]:
    """Return the option `--store` of a study whose store is not the one in its file; else nothing."""
    store = study.file.store
    default = store.rstrip("/") if is_remote(store) else str(Path(os.path.expanduser(store)).absolute())  # noqa: PTH111
    if study.address == default:
        return []
    is_below = not study.mirror and study.store.is_relative_to(Path.cwd())
    return ["--store", str(study.store.relative_to(Path.cwd())) if is_below else study.address]


def is_manifest(file: Path) -> bool:
    """Return whether a file is the manifest of a run, and no study file: only a manifest has the key `planned`."""
    return any(line.startswith(b"planned:") for line in file.read_bytes().splitlines())


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    """Write study.yaml."""
    import yaml

    with atomic_write(folder / "study.yaml") as draft:
        draft.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
