"""`ablate init` writes a study that passes all checks as it is."""

import json
import subprocess
import sys
from pathlib import Path

from tests.ablate.helpers import ablate, here


def test_what_init_writes_can_run_as_it_is(tmp_path: Path) -> None:
    written = here("init", tmp_path / "new")
    assert written.returncode == 0, written.stderr
    assert {file.name for file in (tmp_path / "new").iterdir()} == {"study.yaml", "data.py", "method.py", "encoder.py"}
    subprocess.run([sys.executable, tmp_path / "new/data.py"], check=True)
    planned = ablate("plan", tmp_path / "new/study.yaml", "--store", tmp_path / "runs", "--json")
    assert planned.returncode == 0, planned.stderr
    assert json.loads(planned.stdout)["trials"] == 3 * (1 + 1 + 5 + 2 + 2)
    healthy = ablate("doctor", tmp_path / "new/study.yaml", "--store", tmp_path / "runs")
    assert healthy.returncode == 0, healthy.stdout
    assert "Half: factor=1 is joint training" in healthy.stdout


def test_modules_of_one_name_do_not_stand_in_for_each_other(tmp_path: Path) -> None:
    for name in ("one", "other"):
        assert here("init", tmp_path / name).returncode == 0
        subprocess.run([sys.executable, tmp_path / name / "data.py"], check=True)
    assert here("plan", tmp_path / "one/study.yaml", "--store", tmp_path / "runs").returncode == 0
    ended = here("plan", tmp_path / "other/study.yaml", "--store", tmp_path / "runs")
    assert ended.returncode == 2
    assert f"`method` is {tmp_path}/one/method.py in this process, not {tmp_path}/other/method.py;" in ended.stderr


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "method.py").write_text("mine")
    refused = here("init", tmp_path)
    assert refused.returncode == 2
    assert "method.py already exists" in refused.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["method.py"]
