"""Real nodes of a Ray cluster on this machine, each as much on its own as mount namespaces make it."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

UNSHARE = ["unshare", "--map-root-user", "--mount"]
APART = shutil.which("unshare") is not None and subprocess.run([*UNSHARE, "true"], check=False).returncode == 0
HIDE = 'for folder in $1; do mount -t tmpfs none "$folder" || exit 1; done; shift; exec "$@"'
TRAINERS = ("ray::Worker", "ray::ResourceTrainable")  # as Tune names those that say themselves what they reserve
QUICK = {"RAY_health_check_period_ms": "500", "RAY_health_check_failure_threshold": "3", "RAY_USAGE_STATS_ENABLED": "0"}


def free_port() -> int:
    """Return a port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def eventually(what: Callable[[], bool], seconds: float) -> bool:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not what() and time.monotonic() < deadline:
        time.sleep(0.1)
    return what()


class Cluster(NamedTuple):
    """A head node, and what is needed to join it."""

    address: str
    dashboard: str
    folder: Path  # of Ray's own files
    process: int
    environment: dict[str, str]


@contextmanager
def running(command: Sequence[str], environment: dict[str, str], log: Path) -> Iterator[int]:
    """Run `ray start --block`; yield its process."""
    with (
        log.open("w") as file,
        subprocess.Popen(
            command, stdout=file, stderr=file, env=os.environ | environment, start_new_session=True
        ) as process,
    ):
        try:
            assert eventually(lambda: "Ray runtime started" in log.read_text(), 120), log.read_text()
            yield process.pid
        finally:
            process.terminate()


@contextmanager
def head(log: Path, cpus: int = 1) -> Iterator[Cluster]:
    """Run a head node; its files lie in a folder with a short name, as sockets need it."""
    port, dashboard, client = free_port(), free_port(), free_port()
    environment = {
        **QUICK,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    with tempfile.TemporaryDirectory(prefix="a", ignore_cleanup_errors=True) as folder:
        options = [f"--num-cpus={cpus}", "--head", f"--port={port}", f"--dashboard-port={dashboard}"]
        options += [f"--ray-client-server-port={client}", "--dashboard-agent-listen-port=0", f"--temp-dir={folder}"]
        with running(["ray", "start", "--block", *options], environment, log) as process:
            address = f"{socket.gethostbyname(socket.gethostname())}:{port}"
            yield Cluster(address, f"http://127.0.0.1:{dashboard}", Path(folder), process, environment)


@contextmanager
def node(cluster: Cluster, log: Path, *hidden: Path) -> Iterator[int]:
    """Run another node with one CPU, which sees nothing of these folders and of the head's; yield its process."""
    apart = [*UNSHARE, "sh", "-c", HIDE, "sh", " ".join(map(str, [cluster.folder, *hidden]))]
    options = [f"--address={cluster.address}", "--num-cpus=1", "--dashboard-agent-listen-port=0"]
    with running([*apart, "ray", "start", "--block", *options], cluster.environment, log) as process:
        yield process


def below(ancestor: int) -> dict[int, str]:
    """Return the processes below a process, and how they are called."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            names[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue  # it has ended meanwhile
    found, level = {}, {ancestor}
    while level:
        level = {process for process, parent in parents.items() if parent in level}
        found |= {process: names[process] for process in level}
    return found


def trainers(ancestor: int) -> list[int]:
    """Return the processes that train, below a process of a node."""
    return [process for process, name in below(ancestor).items() if name.startswith(TRAINERS)]
