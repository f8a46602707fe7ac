"""Connecting to a running Ray cluster, and checking that its nodes can run a study."""

import contextlib
import io
import math
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ablate.environment import set_start_timeout
from ablate.errors import UserError, error_message
from ablate.files import make_folder
from ablate.methods import module_folders
from ablate.provenance import package_versions
from ablate.remote import MARKER_PREFIX, file_exists, is_remote
from ablate.staging import copy_code, copy_study, staged_data
from ablate.study import Study
from ablate.trial_queue import RaySession, concurrent_packs

NODE_TIMEOUT = 60  # seconds within which every node must answer
JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # Ray sets it in a job, whose files were uploaded with it
MATCHING_PACKAGES = ("python", "ray", "torch", "numpy", "polars")  # whose versions must be the same on all nodes
SHARED_FOLDER_RULE = "it must be in a folder that all nodes share"
REMOTE_STORE_RULE = "the node needs the library and the credentials for it"


class Node(NamedTuple):
    """A node of a cluster as it describes itself."""

    name: str
    cpus: float
    gpus: float
    versions: dict[str, str]
    missing: list[str]  # paths that do not exist on it


@contextlib.contextmanager
def cluster_session(study: Study, address: str, cpus: int | None, note: Callable[[str], None]) -> Iterator[RaySession]:
    """Connect to a cluster and check that its nodes can run a study.

    Args:
        study: the study to run.
        address: of the cluster, HOST:PORT or `auto`.
        cpus: how many CPUs to use; None: all that it has now, and more if nodes join.
        note: called with what the cluster has to wait for.

    Raises:
        UserError: there is no cluster at the address, or a node of it cannot run the study.
    """
    set_start_timeout(grows=cpus is not None)
    with connect(address, study) as scratch:
        nodes = survey_nodes(study)
        check_nodes(nodes)
        check_capacity(study, nodes, cpus, note)
        num_cpus, num_gpus = cpus or int(sum(node.cpus for node in nodes)), sum(node.gpus for node in nodes)
        yield RaySession(num_cpus, num_gpus, scratch, staged_paths(study), max_packs(study, nodes, cpus))


@contextlib.contextmanager
def connect(address: str, study: Study | None) -> Iterator[Path]:
    """Connect to a cluster, upload this code and what a study needs, and yield a temporary folder.

    Raises:
        UserError: there is no cluster at the address, or its versions of Ray or Python differ.
    """
    check_reachable(address)
    import ray

    from ablate.launch import scratch_folder

    scratch = scratch_folder()
    environment: dict[str, Any] = {}
    try:
        if JOB_VARIABLE not in os.environ:
            environment["working_dir"] = str(scratch / "files")
            copy_code(scratch / "files")
            if study:
                copy_study([study], scratch / "files")
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                ray.init(address=address, log_to_driver=False, logging_level="ERROR", runtime_env=environment)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UserError(f"--address {address}: {connection_error(error)}") from None
        yield scratch
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


def connection_error(error: Exception) -> str:
    """Return why Ray did not connect, in one line: the first one of its message, or all if versions do not match."""
    text = str(error)
    return " ".join(text.split()) if text.startswith("Version mismatch") else text.splitlines()[0]


def staged_paths(study: Study) -> dict[str, Any]:
    """Return the folders of user-defined modules and the data as the nodes reach them."""
    from ablate.pack_training import CODE_ROOT

    if JOB_VARIABLE not in os.environ or study.document.file.resolve().parent == CODE_ROOT:
        return {"folders": [], "data": staged_data(study)}
    return {"folders": module_folders(study.document.file), "data": study.data}


def survey_nodes(study: Study | None) -> list[Node]:
    """Return the nodes of the cluster, with those paths of a study's store and data that each does not have."""
    if study is None:
        return query_nodes([])
    data = [staged_paths(study)["data"]["path"]] if "path" in study.data else []
    with study.mirror.marker() if study.mirror else marker_file(study.store) as marker:
        return query_nodes([marker, *data])


def max_packs(study: Study, nodes: Sequence[Node], cpus: int | None) -> int | None:
    """Return how many packs may run at once, given the CPUs of a cluster that grows or, if None, its nodes.

    None: as many as Ray finds room for, also on nodes that join; it cannot limit packs of several workers.
    """
    if cpus is not None:
        return concurrent_packs(study, cpus, math.inf)
    workers = study.file.resources.workers
    return None if workers == 1 else worker_capacity(study, nodes) // workers


def check_capacity(study: Study, nodes: Sequence[Node], cpus: int | None, note: Callable[[str], None]) -> None:
    """Raise a UserError if no node has room for a pack, unless the cluster grows: ``cpus`` are given."""
    resources, capacity = study.file.resources, worker_capacity(study, nodes)
    max_cpus, max_gpus = (max((getattr(node, kind) for node in nodes), default=0) for kind in ("cpus", "gpus"))
    if capacity >= resources.workers:
        return
    key, problem = "workers", f"a trial needs {resources.workers} workers, and the cluster has room for {capacity}"
    if resources.gpu > max_gpus:
        request = f"a worker needs {resources.gpu:g} GPU{'s' * (resources.gpu != 1)}"
        key, problem = "gpu", f"{request}, and no node of the cluster has more than {max_gpus:g}"
    elif resources.cpu > max_cpus:
        request = f"a trial needs {resources.cpu:g} CPU{'s' * (resources.cpu != 1)}"
        key, problem = "cpu", f"{request}, and no node of the cluster has more than {max_cpus:g}"
    if cpus is None:
        raise UserError(f"resources.{key}: {problem}; if the cluster grows, give its final number of CPUs as --cpus")
    note(f"{problem}; waiting for the cluster to grow.")


def worker_capacity(study: Study, nodes: Sequence[Node]) -> int:
    """Return how many workers of a study fit on the nodes."""
    return sum(node_capacity(study, node) for node in nodes)


def node_capacity(study: Study, node: Node) -> int:
    """Return how many workers of a study fit on a node."""
    resources = study.file.resources
    return int(min(node.cpus / resources.cpu, node.gpus / resources.gpu if resources.gpu else math.inf))


def check_reachable(address: str) -> None:
    """Raise a UserError if nothing listens at HOST:PORT; Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    if port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except OSError as error:
            raise UserError(f"--address {address}: no cluster answers: {error_message(error)}") from None


@contextlib.contextmanager
def marker_file(store: Path) -> Iterator[str]:
    """Yield the path of a temporary file in the store, by which nodes can tell that they see the same store."""
    with make_folder(store), tempfile.NamedTemporaryFile(prefix=MARKER_PREFIX, dir=store) as file:
        yield file.name


def query_nodes(paths: Sequence[str]) -> list[Node]:
    """Return all living nodes of the cluster that this process is connected to.

    Raises:
        UserError: a node does not answer.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=0)(describe_process)
    requests = []
    for node in (node for node in ray.nodes() if node["Alive"]):
        on_node = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
        requests.append((node, task.options(scheduling_strategy=on_node).remote(list(paths))))
    nodes = []
    for node, answer in requests:
        name, resources = node["NodeManagerHostname"], node["Resources"]
        try:
            versions, missing = ray.get(answer, timeout=NODE_TIMEOUT)
        except ray.exceptions.GetTimeoutError:
            raise UserError(f"the node {name} of the cluster has not answered for {NODE_TIMEOUT} s") from None
        except ray.exceptions.RayError as error:
            raise UserError(f"the node {name} of the cluster cannot start a process: {last_line(error)}") from None
        nodes.append(Node(name, resources.get("CPU", 0), resources.get("GPU", 0), versions, missing))
    return nodes


def describe_process(paths: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return the package versions of this process, and those of the paths that do not exist for it."""
    from ablate.pack_training import CODE_ROOT

    exist = (file_exists(path) if is_remote(path) else (CODE_ROOT / path).exists() for path in paths)
    return package_versions(), [path for path, exists in zip(paths, exist, strict=True) if not exists]


def last_line(error: Exception) -> str:
    """Return the last line of an error of another process, which follows its traceback."""
    return str(error).strip().splitlines()[-1]


def check_nodes(nodes: Sequence[Node]) -> None:
    """Raise a UserError if a node has another version of a package than this process, or lacks a path."""
    for node in nodes:
        for fault in node_faults(node):
            raise UserError(fault)


def node_faults(node: Node) -> Iterator[str]:
    """Yield a message for each package and path in which a node differs from this process."""
    expected = package_versions()
    for package in MATCHING_PACKAGES:
        if node.versions[package] != expected[package]:
            versions = f"{package} {node.versions[package]}, and this process has {expected[package]}"
            yield f"the node {node.name} of the cluster has {versions}; they must be the same"
    for path in node.missing:
        folder, _, name = path.rpartition("/")
        what = f"store: {folder}" if name.startswith(MARKER_PREFIX) else f"data: {path}"
        rule = REMOTE_STORE_RULE if is_remote(path) else SHARED_FOLDER_RULE
        yield f"{what} is not visible to the node {node.name} of the cluster; {rule}"
