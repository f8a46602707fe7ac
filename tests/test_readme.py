"""The README is true: a newcomer who has nothing else adds a method and runs it; its study and its commands exist."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml

from search_spaces import STUDIES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def block(language: str, containing: str) -> str:
    """Return the code block of the README that contains a text."""
    found = [code for code in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if containing in code]
    assert len(found) == 1, containing
    return str(found[0])


@pytest.fixture
def newcomer(tmp_path: Path) -> Path:
    """A copy of the project in which the README was followed: one file, one line."""
    for package in ("ablate", "analysis", "search_spaces", "trainables"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    methods = tmp_path / "trainables/methods"
    (methods / "half.py").write_text(block("python", "class Half"))
    listing = (methods / "__init__.py").read_text()
    (methods / "__init__.py").write_text(listing.replace("METHODS = {\n", "METHODS = {\n" + block("python", '"half":')))
    (tmp_path / "half.yaml").write_text(block("yaml", "half.factor"))
    return tmp_path


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from ablate.cli import main; main()", *words]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, env=environment, check=False
    )


def test_a_method_is_one_file_and_one_line(newcomer: Path) -> None:
    ended = run(newcomer, "run", "half.yaml")
    assert ended.returncode == 0, ended.stderr
    trials = pl.read_parquet(newcomer / "runs/is-half-enough/trials/*.parquet")
    assert trials["status"].to_list() == ["done"] * 12
    joint = trials.filter(method="joint").sort("seed")
    whole = trials.filter(pl.col("half.factor") == 1).sort("seed")
    half = trials.filter(pl.col("half.factor") == 0.5).sort("seed")
    assert whole["test.loss"].to_list() == joint["test.loss"].to_list()  # factor 1 is joint training
    assert half["test.loss"].to_list() != joint["test.loss"].to_list()
    scale = pl.read_parquet(newcomer / "runs/is-half-enough/metrics/*.parquet").filter(metric="scale")
    assert set(scale["value"]) == {0.25, 0.5, 1.0}


def test_a_misspelt_setting_of_an_own_method_is_explained_too(newcomer: Path) -> None:
    study = newcomer / "half.yaml"
    study.write_text(study.read_text().replace("half.factor", "half.fcator"))
    ended = run(newcomer, "plan", "half.yaml")
    assert ended.returncode == 2
    assert "half has no setting `fcator` (it has: factor, start, end). Did you mean `factor`?" in ended.stderr


def test_a_trial_that_fails_is_a_row_with_its_error_and_is_tried_again(newcomer: Path) -> None:
    method = newcomer / "trainables/methods/half.py"
    sound = method.read_text()
    method.write_text(
        sound.replace(
            "        grads = pull(",
            "        if self.factor == 0.5:\n            raise OSError('a < b')\n        grads = pull(",
        )
    )
    ended = run(newcomer, "run", "half.yaml")
    assert ended.returncode == 1
    assert "3 of 12 trials failed" in ended.stderr
    trials = pl.read_parquet(newcomer / "runs/is-half-enough/trials/*.parquet")
    assert trials.filter(pl.col("half.factor") == 0.5)["error"].to_list() == ["OSError: a < b"] * 3
    assert trials["status"].to_list().count("done") == 9
    assert "a &lt; b" in (newcomer / "runs/is-half-enough/report.html").read_text()
    assert "3 trials to run" in run(newcomer, "run", "half.yaml").stderr


def test_the_study_shown_is_the_ready_one() -> None:
    assert yaml.safe_load(block("yaml", "first-look")) == yaml.safe_load((STUDIES / "first-look.yaml").read_text())


def test_the_files_named_exist() -> None:
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / path).exists(), path
    listing = block("text", "the engine:")
    folder = ""
    for line in listing.splitlines():
        if line and not line.startswith(" "):
            folder = line.split("/")[0]
        for name in re.findall(r"\b[a-z_]+\.py\b", line):
            assert list((ROOT / folder).rglob(name)), name
