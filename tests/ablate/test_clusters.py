"""Studies on a real cluster of this machine: a head node, a job on it, and a node that joins while it runs."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ablate import __version__, clusters
from ablate.clusters import (
    Node,
    check_capacity,
    check_nodes,
    check_reachable,
    connection_error,
    marker_file,
    max_packs,
    node_capacity,
)
from ablate.doctor import check_cluster
from ablate.environment import START_TIMEOUT_VARIABLE
from ablate.errors import UserError
from ablate.provenance import package_versions
from ablate.search import rounds
from ablate.staging import stage
from ablate.study import load
from ablate.submit import submit
from tests.ablate.helpers import ablate, foreign, here, start, table, write
from tests.ablate.nodes import APART, Cluster, eventually, free_port, head, node, trainers

alone = pytest.mark.skipif(not APART, reason="gives a node a file system of its own, which needs user namespaces")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a study on data and with a method of one's own, both beside it."""
    assert here("init", tmp_path / "home").returncode == 0
    subprocess.run([sys.executable, tmp_path / "home/data.py"], check=True)
    return tmp_path / "home"


@alone
@pytest.mark.nightly
def test_a_study_runs_as_a_job_and_a_node_that_joins_takes_work(cluster: Cluster, home: Path, tmp_path: Path) -> None:
    """The node sees the store, and of the study's folder only what travelled with the job."""
    study = yaml.safe_load((home / "study.yaml").read_text())
    shorter = {"methods": ["joint", "method:Half"], "set": {}, "vary": {"Half.factor": [0.25, 0.5]}, "seeds": 12}
    file = home / "study.yaml"
    file.write_text(yaml.safe_dump(study | shorter | {"measure": [], "resources": {"pack": 1}}))
    store = tmp_path / "store"
    job = start("submit", file, "--address", cluster.dashboard, "--store", store, **cluster.environment)
    assert eventually(lambda: any(store.glob("trials/*/index.json")), 180)
    with node(cluster, tmp_path / "log", home) as joined:
        assert eventually(lambda: bool(trainers(joined)), 120)
        output, errors = job.communicate(timeout=300)
    assert job.returncode == 0, output + errors
    assert errors.startswith("Submitted as raysubmit_")
    assert errors.count("\n") == 1
    assert output.startswith("my-study: 36 trials to run on mine.\n")
    assert foreign(output) == []
    assert table(store, "my-study", "trials")["status"].to_list() == ["done"] * 36


@pytest.mark.nightly
def test_a_run_joins_a_cluster_from_a_shell(cluster: Cluster, home: Path, tmp_path: Path) -> None:
    words = ["--address", cluster.address, "--store", tmp_path / "s"]
    ended = ablate("run", home / "study.yaml", *words, **cluster.environment)
    assert ended.returncode == 0, ended.stderr
    assert foreign(ended.stderr) == []
    assert set(table(tmp_path / "s", "my-study", "trials")["status"]) == {"done"}


def test_where_no_cluster_is_a_run_ends_at_once(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(UserError, match=f"--address {address}: no cluster answers"):
        check_reachable(address)
    refused = here("submit", write(tmp_path), "--store", tmp_path / "s", "--address", f"http://{address}")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"--address http://{address}: " in refused.stderr
    assert not (tmp_path / "s").exists()


def test_a_store_that_a_job_would_lose_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must be the absolute path of a folder that all nodes share"):
        submit([load(str(write(tmp_path)))], "runs", "http://127.0.0.1:1")


def test_nodes_that_cannot_run_the_study_are_named(tmp_path: Path) -> None:
    node = Node("far", 1, 0, package_versions(), [])
    check_nodes([node])
    with pytest.raises(UserError, match=r"node far of the cluster has torch 1\.0, and this process has"):
        check_nodes([node, node._replace(versions=package_versions() | {"torch": "1.0"})])
    with marker_file(tmp_path / "deep/store") as seen:
        assert clusters.describe_process([seen, "/nowhere/mine.npz"])[1] == ["/nowhere/mine.npz"]
        with pytest.raises(
            UserError, match=f"store: {tmp_path}/deep/store is not visible to the node far .* folder that all"
        ):
            check_nodes([node._replace(missing=[seen])])
    with pytest.raises(UserError, match=r"data: /nowhere/mine\.npz is not visible to the node far of the cluster"):
        check_nodes([node._replace(missing=["/nowhere/mine.npz"])])
    assert list(tmp_path.iterdir()) == []


def test_a_pack_that_no_node_has_room_for_is_refused_unless_the_cluster_grows(tmp_path: Path) -> None:
    """Two nodes of two CPUs have four, and never three at once."""
    study, said = load(str(write(tmp_path, resources={"cpu": 3}))), list[str]()
    small = [Node(name, 2, 0, package_versions(), []) for name in "ab"]
    with pytest.raises(
        UserError, match="a trial needs 3 CPUs, and no node of the cluster has more than 2; if the cluster grows"
    ):
        check_capacity(study, small, None, said.append)
    with pytest.raises(UserError, match="no node of the cluster has more than 0"):
        check_capacity(study, [], None, said.append)
    check_capacity(study, small, 64, said.append)
    assert said == [
        "a trial needs 3 CPUs, and no node of the cluster has more than 2; waiting for the cluster to grow."
    ]
    check_capacity(study, [*small, Node("c", 4, 0, package_versions(), [])], None, pytest.fail)
    cards = load(str(write(tmp_path, resources={"gpu": 2})))
    nodes = [Node("a", 2, 1, package_versions(), [])]
    sentence = "a worker needs 2 GPUs, and no node of the cluster has more than 1"
    with pytest.raises(UserError, match=rf"resources\.gpu: {sentence}; if the cluster grows"):
        check_capacity(cards, nodes, None, pytest.fail)
    check_capacity(cards, nodes, 64, said.append)
    assert said[1:] == [f"{sentence}; waiting for the cluster to grow."]


def test_workers_need_room_on_the_nodes_and_not_in_their_sum(tmp_path: Path) -> None:
    """Two nodes of three CPUs have six, and room for two workers of two."""
    study = load(str(write(tmp_path, resources={"cpu": 2, "workers": 3})))
    nodes = [Node(name, 3, 0, package_versions(), []) for name in "ab"]
    with pytest.raises(
        UserError, match=r"resources\.workers: a trial needs 3 workers, and the cluster has room for 2;"
    ):
        check_capacity(study, nodes, None, pytest.fail)
    check_capacity(study, [*nodes, Node("c", 2, 0, package_versions(), [])], None, pytest.fail)
    cards = load(str(write(tmp_path, resources={"cpu": 0.5, "gpu": 1, "workers": 2})))
    assert [node_capacity(cards, Node("a", 8, gpus, package_versions(), [])) for gpus in (0, 1, 4)] == [0, 1, 4]


def test_so_many_packs_run_at_once_as_the_nodes_have_room_for(tmp_path: Path) -> None:
    """Four nodes of three CPUs have twelve, and room for four workers of two; one that grows may have others."""
    study = load(str(write(tmp_path, resources={"cpu": 2, "workers": 2})))
    nodes = [Node(name, 3, 1, package_versions(), []) for name in "abcd"]
    assert (max_packs(study, nodes, None), max_packs(study, nodes, 12), max_packs(study, [], 2)) == (2, 3, 1)
    cards = load(str(write(tmp_path, resources={"cpu": 0.5, "gpu": 1, "workers": 2})))
    assert (max_packs(cards, nodes, None), max_packs(cards, nodes[:3], None)) == (2, 1)
    usual = load(str(write(tmp_path, resources={"cpu": 2})))
    assert (max_packs(usual, nodes, None), max_packs(usual, nodes, 5)) == (None, 2)


@alone
@pytest.mark.nightly
def test_packs_of_several_workers_wait_for_a_cluster_that_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere a minute is enough for workers to start; a node takes longer to join."""
    monkeypatch.delenv(START_TIMEOUT_VARIABLE)  # which is set in this process
    study = write(tmp_path, methods=["joint"], vary=None, seeds=1, resources={"workers": 2})
    with head(tmp_path / "head") as cluster:
        words = ["--address", cluster.address, "--store", tmp_path / "s", "--cpus", 2]
        with start("run", study, *words, **cluster.environment) as run:
            assert eventually(lambda: any(tmp_path.glob("s/trials/.crew*")), 120)
            assert not eventually(lambda: run.poll() is not None, 90)
            with node(cluster, tmp_path / "log"):
                _, errors = run.communicate(timeout=300)
    assert run.returncode == 0, errors
    assert "a trial needs 2 workers, and the cluster has room for 1; waiting for the cluster to grow." in errors
    assert table(tmp_path / "s", "small", "trials")["status"].to_list() == ["done"]


def test_what_ray_says_of_other_versions_is_not_cut_short() -> None:
    said = (
        "Version mismatch: The cluster was started with:\n    Ray: 2.51.0\n    Python: 3.12.1\nThis process on node x"
    )
    assert connection_error(RuntimeError(said)).startswith(
        "Version mismatch: The cluster was started with: Ray: 2.51.0 Python"
    )
    assert connection_error(ConnectionError("no such place\nTraceback")) == "no such place"


def test_the_doctor_says_where_no_cluster_is(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    (only,) = check_cluster(address, load(str(write(tmp_path)), str(tmp_path / "s")), None)
    assert (only.name, only.passed) == (f"cluster {address}", False)
    assert "no cluster answers" in only.detail
    assert [file.name for file in tmp_path.iterdir()] == ["small.yaml"]


@alone
@pytest.mark.nightly
def test_the_doctor_asks_every_node_of_a_cluster(cluster: Cluster, tmp_path: Path) -> None:
    """One node sees the store, the other does not, and each has one CPU; nothing is left behind."""
    study = write(tmp_path, methods=["joint"], vary=None, resources={"workers": 3})
    (tmp_path / "shared").mkdir()
    with node(cluster, tmp_path / "log", tmp_path / "shared"):
        words = ["--address", cluster.address, "--store", tmp_path / "shared/runs"]
        ended = ablate("doctor", study, *words, **cluster.environment)
    lines = ended.stdout.splitlines()
    assert f"ok   cluster {cluster.address}: 2 nodes" in lines
    sees, blind = sorted((line for line in lines if " node " in line), reverse=True)
    assert sees.startswith("ok   node ")
    assert "1 CPUs, 0 GPUs, sees the store, python 3." in sees
    assert blind.startswith("FAIL node ")
    assert f"store: {tmp_path}/shared/runs is not visible to the node " in blind
    (room,) = (line for line in lines if "study: capacity" in line)
    assert room.startswith(
        "FAIL study: capacity: resources.workers: a trial needs 3 workers, and the cluster has room for 2"
    )
    assert lines[-1] == "2 checks failed."
    assert ended.returncode == 1
    assert list((tmp_path / "shared").iterdir()) == []
    fine = ablate("doctor", write(tmp_path, methods=["joint"], vary=None), *words, **cluster.environment)
    assert "ok   study: capacity: 1 pack at a time" in fine.stdout
    assert fine.stdout.endswith("All checks passed.\n")


def test_a_job_brings_code_own_modules_and_data_and_runs_from_there_alone(home: Path, tmp_path: Path) -> None:
    (home / "method.py").write_text("import helper\n" + (home / "method.py").read_text())
    (home / "helper.py").write_text("")
    study = load(str(home / "study.yaml"))
    ids = [trial.id for trial in next(rounds(study))]
    assert stage([study], tmp_path / "there") == "study.yaml"
    brought = {file.name for file in (tmp_path / "there").iterdir()}
    own = {"study.yaml", "method.py", "helper.py", "encoder.py", "mine.npz", "mine.json"}
    wanted = {"ablate", "search_spaces", "trainables", "analysis"} | own
    assert brought == wanted
    home.rename(tmp_path / "gone")
    command = [sys.executable, "-m", "ablate", "plan", "study.yaml", "--json"]
    ended = subprocess.run(command, cwd=tmp_path / "there", capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert '"trials": 33' in ended.stdout
    words = "from ablate.search import rounds; from ablate.study import load"
    words += "; print(*[trial.id for trial in next(rounds(load('study.yaml')))])"
    there = subprocess.run(
        [sys.executable, "-c", words], cwd=tmp_path / "there", capture_output=True, text=True, check=True
    )
    assert there.stdout.split() == ids


def test_the_version_is_known_where_the_package_is_not_installed() -> None:
    assert package_versions()["ablate"] == __version__
