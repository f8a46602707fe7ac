"""The manifest of a study, study.yaml: as resolved, with versions and the machine."""

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
    """Return what study.yaml holds: the study as resolved, with versions and machine."""
    file = study.file.model_dump(mode="json")
    if not any(one.key == "train.optimizer" for one in study.vary):
        file["train"]["lr"] = study.file.train.rate
    vary = {one.key: {"values": one.values, "scale": one.scale, "low": one.low, "high": one.high} for one in study.vary}
    resolved = {**file, "vary": vary | designs.component_axes(study), "set": study.set, "measure": study.measure}
    resolved["metric"], resolved["direction"] = study.metric, DIRECTIONS[study.metric]
    resolved["objectives"] = {metric: DIRECTIONS[metric] for metric in study.objectives}
    resolved["search"] = {study.search.name: study.search.options.model_dump()}
    resolved["design"] = designs.axis_description(study)
    return {
        "command": shlex.join(["ablate", "run", study.given, *store_option(study)]),
        "study": resolved,
        "modalities": list(study.sheet.modalities),
        "task": study.sheet.task,
        "data_sha256": study.sheet.sha256,
        "planned": num_trials(study),
        "versions": package_versions(),
        "machine": {"system": platform.platform(), "processor": processor(), "cpus": available_cpus()},
    }


def store_option(study: Study) -> list[str]:
    """Return the option by which a study's results lie elsewhere than its file says; nothing if they do not."""
    said = study.file.store
    place = said.rstrip("/") if is_remote(said) else str(Path(os.path.expanduser(said)).absolute())  # noqa: PTH111
    if study.address == place:
        return []
    near = not study.mirror and study.store.is_relative_to(Path.cwd())
    return ["--store", str(study.store.relative_to(Path.cwd())) if near else study.address]


def is_manifest(file: Path) -> bool:
    """Tell the manifest of a run from a study that is to be run: none of these has the key `planned`."""
    return any(line.startswith(b"planned:") for line in file.read_bytes().splitlines())


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    """Write study.yaml."""
    import yaml

    with atomic_write(folder / "study.yaml") as draft:
        draft.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
