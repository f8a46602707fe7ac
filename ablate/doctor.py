"""Checks of the installation, a cluster, a study and each method, which take less than a minute."""

import importlib.util
import math
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ablate.errors import UserError
from ablate.files import free_bytes
from ablate.methods import method_axes
from ablate.preflight import available_gpus, check_trials, check_writable, preflight
from ablate.provenance import available_cpus, package_versions
from ablate.study import Study
from ablate.trial_queue import open_queue
from analysis.formatting import plural
from search_spaces.axes import yaml_literal
from search_spaces.methods import ACTIVE_EPOCHS, BASELINES
from trainables.data import DataError, dataset_names, load_sheet
from trainables.methods import METHODS

MIN_PYTHON = (3, 11)
STEPS = 10


class Check(NamedTuple):
    """The result of a check."""

    name: str
    passed: bool
    detail: str


def run_checks(study: Study | None, cpus: int | None, address: str | None = None) -> Iterator[Check]:
    """Yield the checks one by one: of the installation, the data, a cluster, a study, and each method."""
    from trainables import native
    from trainables.compilation import find_compiler

    python = sys.version_info[:3]
    for package, number in package_versions().items():
        yield Check(package, package != "python" or python >= MIN_PYTHON, number)
    dashboard = importlib.util.find_spec("aiohttp") is not None
    yield Check(
        "ray[default]", dashboard, "installed" if dashboard else "missing: pip install 'ray[default,tune,train]'"
    )
    yield Check("C++ compiler", True, find_compiler() or "none with Python's headers: packs are not compiled")
    missing = native.explain_missing()
    yield Check("AVX-512 kernels", True, f"none: {missing}" if missing else "compiled")
    yield Check("CPUs", True, f"{available_cpus()} available")
    for name in dataset_names():
        try:
            sheet = load_sheet(name)
            yield Check(f"data: {name}", True, f"{sheet.task}, {len(sheet.modalities)} modalities, {sheet.sha256[:12]}")
        except DataError as error:
            yield Check(f"data: {name}", False, str(error))
    if address is not None:
        yield from check_cluster(address, study, cpus)
    if study is not None:
        try:
            preflight(study, cpus or (sys.maxsize if address else available_cpus()))
            check_writable(study)
            queue = open_queue(study, available_cpus(), gpus=1 if address else available_gpus(study))
            check_trials(study, queue)
            detail = f"{free_bytes(study.store) / 2**30:.0f} GB free, {study.file.resources.cpu:g} CPU per trial"
            yield Check("study: can run", True, detail)
        except UserError as error:
            yield Check("study", False, str(error))
    for method, path in (study.methods if study else METHODS).items():
        yield from check_method(method, path)


def check_cluster(address: str, study: Study | None, cpus: int | None) -> Iterator[Check]:
    """Check every node of a cluster: its versions, and that it reaches the study's store and data.

    Then check that a trial of the study fits on them; ``cpus`` are those of a cluster that grows.
    """
    from ablate import clusters

    try:
        with clusters.connect(address, study):
            nodes = clusters.survey_nodes(study)
    except UserError as error:
        yield Check(f"cluster {address}", False, str(error))
        return
    yield Check(f"cluster {address}", True, plural(len(nodes), "node"))
    for node in nodes:
        faults = "; ".join(clusters.node_faults(node))
        versions = ", ".join(f"{package} {node.versions[package]}" for package in clusters.MATCHING_PACKAGES)
        store = ", sees the store" if study else ""
        detail = faults or f"{node.cpus:g} CPUs, {node.gpus:g} GPUs{store}, {versions}"
        yield Check(f"node {node.name}", not faults, detail)
    if study is not None:
        notes: list[str] = []
        try:
            clusters.check_capacity(study, nodes, cpus, notes.append)
        except UserError as error:
            yield Check("study: capacity", False, str(error))
        else:
            packs = clusters.worker_capacity(study, nodes) // study.file.resources.workers
            yield Check("study: capacity", True, notes[0] if notes else f"{plural(packs, 'pack')} at a time")


def check_method(method: str, path: str) -> Iterator[Check]:
    """Check that a method's loss is finite after some steps, and that at its neutral setting it is its baseline."""
    from trainables.dry_run import train_synthetic

    settings = {name: axis.default for name, axis in method_axes(method, path).items() if name not in ACTIVE_EPOCHS}
    neutral = {name: axis.neutral for name, axis in method_axes(method, path).items() if axis.neutral is not None}
    try:
        _, loss = train_synthetic(path, settings, STEPS)
    except Exception as error:
        yield Check(f"{method}: {STEPS} steps", False, f"{type(error).__name__}: {error}")
        return
    yield Check(f"{method}: {STEPS} steps", math.isfinite(loss), f"loss {loss:.3g}")
    if neutral:
        yield check_neutral(method, path, settings, neutral)


def check_neutral(method: str, path: str, settings: Mapping[str, Any], neutral: Mapping[str, Any]) -> Check:
    """Check that a method with all parts switched off trains to the same parameters as its baseline."""
    from trainables.dry_run import parameter_distance, train_synthetic

    base = BASELINES.get(method, "joint")
    values = ", ".join(f"{name}={yaml_literal(value)}" for name, value in neutral.items())
    name = f"{method}: {values} is {'joint training' if base == 'joint' else base}"
    try:
        distance = parameter_distance(
            train_synthetic(path, {**settings, **neutral}, STEPS)[0], train_synthetic(METHODS[base], {}, STEPS)[0]
        )
    except Exception as error:
        return Check(name, False, f"{type(error).__name__}: {error}")
    return Check(name, distance <= 1e-9, f"parameters differ by {distance:.1e}")
