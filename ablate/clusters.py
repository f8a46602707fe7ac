"""A Ray cluster that runs already: joined for a run, looked at before it, and left after it."""

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
from ablate.methods import folders
from ablate.provenance import package_versions
from ablate.remote import MARKER_PREFIX, file_exists, is_remote
from ablate.staging import copy_code, copy_study, staged_data
from ablate.study import Study
from ablate.trial_queue import RaySession, concurrent_packs

NODE_TIMEOUT = 60  # within which every node must answer
JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # Ray sets it in a job, which has its files already
MATCHING_PACKAGES = ("python", "ray", "torch", "numpy", "polars")  # versions that nodes must share
SHARED_FOLDER_RULE = "it must lie on a folder that all nodes share"
REMOTE_STORE_RULE = "it must have the library and the credentials for it"


class Node(NamedTuple):
    """What a node of a cluster says of itself."""

    name: str
    cpus: float
    gpus: float
    versions: dict[str, str]
    missing: list[str]  # paths that it does not see


@contextlib.contextmanager
def cluster_session(study: Study, address: str, cpus: int | None, note: Callable[[str], None]) -> Iterator[RaySession]:
    """Join a cluster.

    Args:
        study: what is to run there.
        address: of the cluster, HOST:PORT or `auto`.
        cpus: how many to use; None: all that it has now, and more if nodes join.
        note: is told what the cluster has to wait for.

    Raises:
        UserError: there is no cluster at the address, or a node of it cannot run the study.
    """
    set_start_timeout(grows=cpus is not None)
    with connect(address, study) as scratch:
        found = survey_nodes(study)
        check_nodes(found)
        check_capacity(study, found, cpus, note)
        count, cards = cpus or int(sum(node.cpus for node in found)), sum(node.gpus for node in found)
        yield RaySession(count, cards, scratch, staged_paths(study), max_packs(study, found, cpus))


@contextlib.contextmanager
def connect(address: str, study: Study | None) -> Iterator[Path]:
    """Connect to a cluster, and give it this code and what a study needs; yield a temporary folder.

    Raises:
        UserError: there is no cluster at the address, or it is of other versions.
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
    """Return in one line why Ray did not connect: its first one, or all where versions of Ray and Python differ."""
    text = str(error)
    return " ".join(text.split()) if text.startswith("Version mismatch") else text.splitlines()[0]


def staged_paths(study: Study) -> dict[str, Any]:
    """Return user-defined modules and data as the nodes reach them."""
    from ablate.pack_training import CODE_ROOT

    if JOB_VARIABLE not in os.environ or study.document.file.resolve().parent == CODE_ROOT:
        return {"folders": [], "data": staged_data(study)}
    return {"folders": folders(study.document.file), "data": study.data}


def survey_nodes(study: Study | None) -> list[Node]:
    """Return what the nodes of the cluster say of themselves, and what they do not see of a study's store and data."""
    if study is None:
        return query_nodes([])
    data = [staged_paths(study)["data"]["path"]] if "path" in study.data else []
    with study.mirror.marker() if study.mirror else marker_file(study.store) as seen:
        return query_nodes([seen, *data])


def max_packs(study: Study, found: Sequence[Node], cpus: int | None) -> int | None:
    """Return how many packs may run at once: those for which the nodes have room, or, of a cluster that grows, CPUs.

    None: as many as there is room for, also on nodes that join; of packs of several workers Ray does not know that.
    """
    if cpus is not None:
        return concurrent_packs(study, cpus, math.inf)
    workers = study.file.resources.workers
    return None if workers == 1 else worker_capacity(study, found) // workers


def check_capacity(study: Study, found: Sequence[Node], cpus: int | None, note: Callable[[str], None]) -> None:
    """Raise a UserError where no node has room for a pack, unless the cluster is known to grow."""
    cards, most_cards = study.file.resources.gpu, max((node.gpus for node in found), default=0)
    if cards > most_cards:
        raise UserError(
            f"resources.gpu: a worker asks for {cards:g}, and no node of the cluster has more than {most_cards:g}"
        )
    asked, largest = study.file.resources.cpu, max((node.cpus for node in found), default=0)
    workers, room = study.file.resources.workers, worker_capacity(study, found)
    if room >= workers:
        return
    key, has = "workers", f"a trial asks for {workers} workers, and the cluster has room for {room}"
    if asked > largest:
        each = f"a trial asks for {asked:g} CPU{'s' * (asked != 1)}"
        key, has = "cpu", f"{each}, and no node of the cluster has more than {largest:g}"
    if cpus is None:
        raise UserError(f"resources.{key}: {has}; for one that grows, --cpus says how many it will have")
    note(f"{has}; waiting for it to grow.")


def worker_capacity(study: Study, found: Sequence[Node]) -> int:
    """Return how many workers of a study the nodes have room for."""
    return sum(node_capacity(study, node) for node in found)


def node_capacity(study: Study, node: Node) -> int:
    """Return how many workers of a study a node has room for."""
    asked = study.file.resources
    return int(min(node.cpus / asked.cpu, node.gpus / asked.gpu if asked.gpu else math.inf))


def check_reachable(address: str) -> None:
    """Raise a UserError if nothing listens at HOST:PORT, for which Ray would wait minutes."""
    host, _, port = address.rpartition(":")
    if port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except OSError as error:
            raise UserError(f"--address {address}: there is no cluster: {error_message(error)}") from None


@contextlib.contextmanager
def marker_file(store: Path) -> Iterator[str]:
    """Yield a file in the store, by which a node can tell that it sees the same store; leave the store as it was."""
    with make_folder(store), tempfile.NamedTemporaryFile(prefix=MARKER_PREFIX, dir=store) as file:
        yield file.name


def query_nodes(paths: Sequence[str]) -> list[Node]:
    """Return what every living node of the cluster that was joined says of itself.

    Raises:
        UserError: one does not answer.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ask = ray.remote(num_cpus=0, max_retries=0)(describe_process)
    found = []
    for node in (node for node in ray.nodes() if node["Alive"]):
        there = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
        found.append((node, ask.options(scheduling_strategy=there).remote(list(paths))))
    said = []
    for node, answer in found:
        name, has = node["NodeManagerHostname"], node["Resources"]
        try:
            versions, missing = ray.get(answer, timeout=NODE_TIMEOUT)
        except ray.exceptions.GetTimeoutError:
            raise UserError(f"the node {name} of the cluster has not answered for {NODE_TIMEOUT} s") from None
        except ray.exceptions.RayError as error:
            raise UserError(f"the node {name} of the cluster cannot start work: {last_line(error)}") from None
        said.append(Node(name, has.get("CPU", 0), has.get("GPU", 0), versions, missing))
    return said


def describe_process(paths: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return the versions of this process, and which of the paths it does not see."""
    from ablate.pack_training import CODE_ROOT

    seen = (file_exists(path) if is_remote(path) else (CODE_ROOT / path).exists() for path in paths)
    return package_versions(), [path for path, there in zip(paths, seen, strict=True) if not there]


def last_line(error: Exception) -> str:
    """Return the last line of an error that came from another process: what went wrong there."""
    return str(error).strip().splitlines()[-1]


def check_nodes(found: Sequence[Node]) -> None:
    """Raise a UserError where a node cannot do what this process, which drives it, will ask of it."""
    for node in found:
        for fault in node_faults(node):
            raise UserError(fault)


def node_faults(node: Node) -> Iterator[str]:
    """Yield what a node has or sees that this process has or sees otherwise."""
    ours = package_versions()
    for package in MATCHING_PACKAGES:
        if node.versions[package] != ours[package]:
            has = f"{package} {node.versions[package]}, and this process has {ours[package]}"
            yield f"the node {node.name} of the cluster has {has}; they must be the same"
    for path in node.missing:
        folder, _, name = path.rpartition("/")
        what = f"store: {folder}" if name.startswith(MARKER_PREFIX) else f"data: {path}"
        rule = REMOTE_STORE_RULE if is_remote(path) else SHARED_FOLDER_RULE
        yield f"{what} is not what the node {node.name} of the cluster sees there; {rule}"
