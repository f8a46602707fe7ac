"""cluster.yaml passes Ray's own validator; what it holds of versions is what was tested."""

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent


def test_ray_accepts_the_cluster() -> None:
    util = pytest.importorskip("ray.autoscaler._private.util", reason="a private module of Ray, which may move")
    util.validate_config(util.prepare_config(yaml.safe_load((ROOT / "cluster.yaml").read_text())))


def test_the_nodes_install_the_versions_of_the_constraints() -> None:
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    commands = " ".join(yaml.safe_load((ROOT / "cluster.yaml").read_text())["setup_commands"])
    assert f"ray[default,tune,train]=={pinned['ray']}" in commands
    assert f"torch=={pinned['torch']}" in commands
