"""What the tests of the engine share: small studies, the command line as a process, and equal tables."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from typer.testing import CliRunner

from ablate.cli import app
from ablate.pack_training import resolve_job, train_pack
from ablate.run import build_job
from ablate.study import load
from ablate.trial import Trial
from ablate.trial_queue import open_queue

ROOT = Path(__file__).parent.parent.parent
SMALL: dict[str, Any] = {
    "name": "small",
    "data": {"name": "synthetic", "modalities": 2, "samples": [192, 64, 64]},
    "model": {"hidden": 8},
    "train": {"epochs": 2},
    "methods": ["joint", "agm"],
    "vary": {"agm.alpha": [0, 1]},
    "seeds": 2,
}


def write(folder: Path, **changes: Any) -> Path:
    """Write the small study, with changes, and return its file; a change to None removes a key."""
    content = {key: value for key, value in (SMALL | changes).items() if value is not None}
    file = folder / f"{content['name']}.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def start(*words: object, **environment: str) -> subprocess.Popen[str]:
    """Start the command line."""
    command = [sys.executable, "-c", "from ablate.cli import main; main()", *map(str, words)]
    variables = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        **environment,
    }
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables)


def ablate(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    with start(*words, **environment) as process:
        try:
            output, errors = process.communicate(timeout=300)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def here(*words: object) -> subprocess.CompletedProcess[str]:
    """Run the command line in this process, which is quick where it starts no Ray."""
    ended = CliRunner().invoke(app, [*map(str, words)], catch_exceptions=False)
    return subprocess.CompletedProcess(words, ended.exit_code, ended.stdout, ended.stderr)


def train(file: Path, store: Path) -> list[Trial]:
    """Train what is missing of a study in this process, as its workers do; return what it trained."""
    study, trained = load(str(file), str(store)), list[Trial]()
    queue = open_queue(study)
    while pack := queue.next_pack():
        train_pack(resolve_job(build_job(study)), pack, None)
        trained += pack
    return trained


def table(store: Path, study: str, name: str) -> pl.DataFrame:
    """Return a study's table without what may differ between equal runs."""
    frame = pl.read_parquet(store / study / name / "*.parquet")
    return frame.drop([c for c in ("seconds",) if c in frame.columns])


OURS = (
    r"\S+: \d+ trials? to run on \S+?(, \d+ of \d+ already in the store)?\.",
    r"\S+: all \d+ trials are in the store; nothing to run\.",
    r"\d+ done, \d+ left(, about [\d.]+ (s|min|h); [\d.]+ trials/s.*|; .*)?",
    r"\d+ of \d+ trials (failed|diverged); .*",
    r"(figures|report): \S+",
    r"Note: .*",
    r".* on test[,;] .*",  # the sentence that sums a report up
)


def foreign(text: str) -> list[str]:
    """Return the lines of a run's output, but for its tables, that are not what `ablate` says while it runs."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(" ")]
    return [line for line in lines if not any(re.fullmatch(form, line) for form in OURS)]
