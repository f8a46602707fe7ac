"""cluster.yaml passes Ray's own validator; what it holds of versions is what was tested."""

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent


def test_ray_accepts_the_cluster() -> None:
    util = pytest.importorskip("ray.autoscaler._private.util", reason="a private module of Ray, which may move")
    util.validate_config(util.prepare_config(yaml.safe_load((ROOT / "cluster.yaml").read_text())))


def test_the_nodes_get_the_project_with_the_versions_of_the_constraints() -> None:
    cluster = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    ((there, here),) = cluster["file_mounts"].items()
    assert (ROOT / here / "pyproject.toml").is_file()
    assert f"pip install -c {there}/constraints.txt {there}" in cluster["setup_commands"]


def test_kuberay_runs_the_version_of_the_constraints() -> None:
    manifest = yaml.safe_load((ROOT / "docs/kuberay.yaml").read_text())
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    assert manifest["kind"] == "RayCluster"
    assert manifest["spec"]["rayVersion"] == pinned["ray"]
    (worker,) = manifest["spec"]["workerGroupSpecs"]
    for pod in (manifest["spec"]["headGroupSpec"], worker):
        (container,) = pod["template"]["spec"]["containers"]
        assert container["volumeMounts"][0]["name"] == pod["template"]["spec"]["volumes"][0]["name"]
