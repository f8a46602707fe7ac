"""Does every part work here? Answers within a minute, before anything long is started."""

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
from search_spaces.axes import plain
from search_spaces.methods import BASES, SPAN
from trainables.data import DataError, dataset_names, sheet
from trainables.methods import METHODS

MIN_PYTHON = (3, 11)
STEPS = 10


class Check(NamedTuple):
    """One thing that was looked at."""

    what: str
    ok: bool
    found: str


def run_checks(study: Study | None, cpus: int | None, address: str | None = None) -> Iterator[Check]:
    """Yield the checks one by one: the installation, the data, a cluster, the study's demands, each method at work."""
    from trainables.compilation import find_compiler

    python = sys.version_info[:3]
    for package, number in package_versions().items():
        yield Check(package, package != "python" or python >= MIN_PYTHON, number)
    dashboard = importlib.util.find_spec("aiohttp") is not None
    yield Check(
        "ray[default]", dashboard, "installed" if dashboard else "missing: pip install 'ray[default,tune,train]'"
    )
    yield Check("C++ compiler", True, find_compiler() or "none with Python's headers: packs are not compiled")
    yield Check("CPUs", True, f"{available_cpus()} available")
    for name in dataset_names():
        try:
            about = sheet(name)
            yield Check(f"data: {name}", True, f"{about.task}, {len(about.modalities)} modalities, {about.sha256[:12]}")
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
            can = f"{free_bytes(study.store) / 2**30:.0f} GB free, {study.file.resources.cpu:g} CPU a trial"
            yield Check("study: can run", True, can)
        except UserError as error:
            yield Check("study", False, str(error))
    for method, path in (study.methods if study else METHODS).items():
        yield from check_method(method, path)


def check_cluster(address: str, study: Study | None, cpus: int | None) -> Iterator[Check]:
    """Ask every node of a cluster: its versions, what it has, whether it sees the study's store and data.

    Then tell whether a trial of the study has room on them; ``cpus`` are those of a cluster that grows.
    """
    from ablate import clusters

    try:
        with clusters.connect(address, study):
            found = clusters.survey_nodes(study)
    except UserError as error:
        yield Check(f"cluster {address}", False, str(error))
        return
    yield Check(f"cluster {address}", True, plural(len(found), "node"))
    for node in found:
        faults = "; ".join(clusters.node_faults(node))
        same = ", ".join(f"{package} {node.versions[package]}" for package in clusters.MATCHING_PACKAGES)
        sees = ", sees the store" if study else ""
        yield Check(f"node {node.name}", not faults, faults or f"{node.cpus:g} CPUs, {node.gpus:g} GPUs{sees}, {same}")
    if study is not None:
        waits: list[str] = []
        try:
            clusters.check_capacity(study, found, cpus, waits.append)
        except UserError as error:
            yield Check("study: room", False, str(error))
        else:
            room = sum(clusters.node_capacity(study, node) for node in found) // study.file.resources.workers
            yield Check("study: room", True, waits[0] if waits else f"for {plural(room, 'pack')} at once")


def check_method(method: str, path: str) -> Iterator[Check]:
    """Train a method for some steps: its loss is finite, and with every part switched off it is its base."""
    from trainables.dry_run import train_synthetic

    settings = {name: axis.default for name, axis in method_axes(method, path).items() if name not in SPAN}
    off = {name: axis.neutral for name, axis in method_axes(method, path).items() if axis.neutral is not None}
    try:
        _, loss = train_synthetic(path, settings, STEPS)
    except Exception as error:
        yield Check(f"{method}: {STEPS} steps", False, f"{type(error).__name__}: {error}")
        return
    yield Check(f"{method}: {STEPS} steps", math.isfinite(loss), f"loss {loss:.3g}")
    if off:
        yield check_neutral(method, path, settings, off)


def check_neutral(method: str, path: str, settings: Mapping[str, Any], off: Mapping[str, Any]) -> Check:
    """Train a method with the settings by which its parts are off, and tell how far it is from its base."""
    from trainables.dry_run import parameter_distance, train_synthetic

    base = BASES.get(method, "joint")
    values = ", ".join(f"{name}={plain(value)}" for name, value in off.items())
    what = f"{method}: {values} is {'joint training' if base == 'joint' else base}"
    try:
        apart = parameter_distance(
            train_synthetic(path, {**settings, **off}, STEPS)[0], train_synthetic(METHODS[base], {}, STEPS)[0]
        )
    except Exception as error:
        return Check(what, False, f"{type(error).__name__}: {error}")
    return Check(what, apart <= 1e-9, f"parameters differ by {apart:.1e}")
