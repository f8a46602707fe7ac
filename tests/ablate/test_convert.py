"""`ablate convert`: a file that a study trains on, or a sentence and nothing."""

import hashlib
import json
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from ablate import __version__
from ablate.cli import app
from trainables import data
from trainables.data.convert import pickles


@pytest.fixture
def mosi(tmp_path: Path) -> Path:
    """Return a small pickle of MulT's layout."""
    random = np.random.default_rng(0)
    content: dict[str, dict[str, Any]] = {}
    for name, count in (("train", 40), ("valid", 12), ("test", 16)):
        sizes = {"text": 5, "audio": 3, "vision": 4}
        content[name] = {m: random.normal(size=(count, 6, size)) for m, size in sizes.items()}
        content[name]["labels"] = content[name]["text"].mean((1, 2)).reshape(count, 1, 1) * 9
    file = tmp_path / "mosi_data.pkl"
    file.write_bytes(pickle.dumps(content))
    return file


def run_convert(*words: str, code: int = 0) -> str:
    ended = CliRunner().invoke(app, ["convert", *words])
    assert ended.exit_code == code, ended.output
    return ended.stdout if code == 0 else ended.stderr


def test_the_converted_data_are_described_and_can_be_loaded(mosi: Path, tmp_path: Path) -> None:
    file = tmp_path / "made" / "mosi.npz"
    message = run_convert("mult", str(mosi), str(file), "--set", "target=nonnegative")
    assert any(line.split() == ["text", "68", "x", "6", "x", "5", "float32"] for line in message.splitlines())
    assert "40 training, 12 validation and 16 test samples; as published." in message
    assert f"data: {{path: {file}}}" in message.replace("\n", "")
    sheet = json.loads(file.with_suffix(".json").read_text())
    assert sheet["converted"] == {
        "layout": "mult",
        "source": "mosi_data.pkl",
        "source_sha256": hashlib.sha256(mosi.read_bytes()).hexdigest(),
        "target": "nonnegative",
        "version": __version__,
    }
    loaded = data.load({"path": str(file)})
    assert (loaded.task, loaded.outputs, list(loaded.train.inputs)) == (
        "classification",
        2,
        ["text", "audio", "vision"],
    )
    assert sorted(one.name for one in file.parent.iterdir()) == ["mosi.json", "mosi.npz"]


def test_the_same_source_gives_the_same_file(mosi: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        run_convert("mult", str(mosi), str(tmp_path / name / "mosi.npz"))
    assert (tmp_path / "a" / "mosi.npz").read_bytes() == (tmp_path / "b" / "mosi.npz").read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mutl", "mosi_data.pkl", "a.npz"], "has no layout 'mutl'"),
        (["mult", "none.pkl", "a.npz"], "there is no file or folder none.pkl"),
        (["mult", "mosi_data.pkl", "a.csv"], "must end in .npz, got a.csv"),
        (["mult", "mosi_data.pkl", "a.npz", "--set", "target"], "an option must have the form key=value, got target"),
        (["mult", "mosi_data.pkl", "a.npz", "--set", "target=[1"], "the value of target cannot be read: [1"),
        (["mult", "mosi_data.pkl", "a.npz", "--set", "targt=seven"], "Did you mean 'target'?"),
        (["mmsa", "mosi_data.pkl", "a.npz"], "has no `regression_labels` in `train`"),
    ],
)
def test_wrong_input_gets_one_sentence_and_leaves_nothing(
    mosi: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(mosi.parent)
    answer = run_convert(*words, code=2)
    assert message in answer
    assert answer.count("\n") == 1
    assert [one.name for one in mosi.parent.iterdir()] == ["mosi_data.pkl"]


def test_an_existing_file_is_not_overwritten(mosi: Path, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("mine")
    assert "already exists" in run_convert("mult", str(mosi), str(tmp_path / "a.npz"), code=2)
    assert (tmp_path / "a.json").read_text() == "mine"
    assert not (tmp_path / "a.npz").exists()


def test_data_without_validation_samples_are_not_written(mosi: Path, tmp_path: Path) -> None:
    content = pickles.load_pickle(mosi)
    whole = {name: {key: np.array(array) for key, array in part.items()} for name, part in content.items()}
    empty = {key: array[:0] for key, array in whole["valid"].items()}
    mosi.write_bytes(pickle.dumps(whole | {"valid": empty}))
    assert "has no sample in its val split" in run_convert("mult", str(mosi), str(tmp_path / "a.npz"), code=2)
    assert [one.name for one in tmp_path.iterdir()] == ["mosi_data.pkl"]


def test_inputs_with_nan_are_not_written(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for part, count in (("train", 24), ("test", 5)):
        for modality, side in (("image", 28), ("audio", 112)):
            (source / modality).mkdir(parents=True, exist_ok=True)
            array = np.zeros((count, side, side))
            array[0, 0, 0] = np.nan if modality == "audio" else 0.5
            np.save(source / modality / f"{part}_data.npy", array)
        np.save(source / f"{part}_labels.npy", np.arange(count) % 10)
    assert "audio of a: row 0 is partly NaN" in run_convert("av-mnist", str(source), str(tmp_path / "a.npz"), code=2)
    assert [one.name for one in tmp_path.iterdir()] == ["source"]
    for part in ("train", "test"):
        file = source / "audio" / f"{part}_data.npy"
        np.save(file, np.nan_to_num(np.load(file), nan=0.5))
    run_convert("av-mnist", str(source), str(tmp_path / "a.npz"))
    origin = json.loads((tmp_path / "a.json").read_text())["converted"]
    assert origin == {"layout": "av-mnist", "source": "source", "version": __version__}  # no file, so no sha256 of it


def test_leftovers_of_a_killed_process_are_removed(mosi: Path, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    host = socket.gethostname()
    left = [tmp_path / f".{name}.{ended.pid}@{host}.abc" for name in ("a.npz", "b.npz")]
    running = tmp_path / f".a.npz.{os.getpid()}@{host}.abc"
    for folder in (*left, running):
        folder.mkdir()
        (folder / "a.npz").write_bytes(b"half")
    run_convert("mult", str(mosi), str(tmp_path / "a.npz"))
    assert [folder.exists() for folder in (*left, running)] == [False, True, True]
