"""The README is true: a newcomer who has nothing else adds a method and runs it; its study and its commands exist."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml

from ablate.claims import load as load_claim
from analysis.ablations import ABLATIONS
from analysis.rules import RULES
from search_spaces import STUDIES
from tests.ablate.helpers import foreign, here
from trainables.data import load_sheet

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def block(language: str, containing: str) -> str:
    """Return the code block of the README that contains a text."""
    result = [code for code in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if containing in code]
    assert len(result) == 1, containing
    return str(result[0])


def test_the_claim_of_the_docs_can_be_run_and_all_that_judges_is_listed(tmp_path: Path) -> None:
    text = (ROOT / "docs/verdicts.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "my-claim.yaml").write_text(example)
    claim = load_claim(str(tmp_path / "my-claim.yaml"), str(tmp_path / "runs"))
    assert list(claim.cells) == ["mfeat", "noisy"]
    assert all(f"`{name}`" in text for name in [*ABLATIONS, *RULES])
    (tmp_path / "my-claim.yaml").write_text(example.replace("{every: {rule: greater, margin: 0.005}}", "report"))
    assert load_claim(str(tmp_path / "my-claim.yaml")).section.rule == {"report": {}}


@pytest.fixture
def newcomer(tmp_path: Path) -> Path:
    """A folder in which the README was followed: a method of one's own and its study."""
    (tmp_path / "mine.py").write_text(block("python", "class Half"))
    (tmp_path / "half.yaml").write_text(block("yaml", "Half.factor"))
    return tmp_path


def test_the_encoder_of_the_readme_trains(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(block("python", "class Net"))
    study = {"name": "own", "data": "av-digits", "methods": ["joint"], "model": {"encoder": {"image": "nets:Net"}}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(study))
    planned = run(tmp_path, "plan", "own.yaml", "--measure")
    assert planned.returncode == 0, planned.stderr
    assert "About " in planned.stdout


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from ablate.cli import main; main()", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, env=environment, check=False
    )


def brief(folder: Path, epochs: int) -> None:
    """Let the study be as the README has it, with fewer epochs."""
    study = folder / "half.yaml"
    study.write_text(f"{study.read_text()}train: {{epochs: {epochs}}}\n")


def misspell(folder: Path, right: str, wrong: str) -> None:
    """Let the study have another text in a place."""
    study = folder / "half.yaml"
    study.write_text(study.read_text().replace(right, wrong))


def planned(folder: Path, patch: pytest.MonkeyPatch) -> subprocess.CompletedProcess[str]:
    """Plan the study in this process, which forgets the method afterwards."""
    patch.chdir(folder)
    patch.syspath_prepend(folder)
    patch.delitem(sys.modules, "mine", raising=False)
    ended = here("plan", "half.yaml")
    sys.modules.pop("mine", None)
    return ended


def test_a_method_is_one_file(newcomer: Path) -> None:
    brief(newcomer, epochs=3)
    ended = run(newcomer, "run", "half.yaml", "--cpus", "1")
    assert ended.returncode == 0, ended.stderr
    trials = pl.read_parquet(newcomer / "runs/is-half-enough/trials/*.parquet")
    assert trials["status"].to_list() == ["done"] * 12
    joint = trials.filter(method="joint").sort("seed")
    whole = trials.filter(pl.col("Half.factor") == 1).sort("seed")
    half = trials.filter(pl.col("Half.factor") == 0.5).sort("seed")
    assert whole["test.loss"].to_list() == joint["test.loss"].to_list()  # factor 1 is joint training
    assert half["test.loss"].to_list() != joint["test.loss"].to_list()
    scale = pl.read_parquet(newcomer / "runs/is-half-enough/metrics/*.parquet").filter(metric="scale")
    assert set(scale["value"]) == {0.25, 0.5, 1.0}


def test_a_misspelt_setting_of_an_own_method_is_explained_too(newcomer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    misspell(newcomer, "Half.factor", "Half.fcator")
    ended = planned(newcomer, monkeypatch)
    assert ended.returncode == 2
    assert "Half has no setting `fcator` (it has: factor, start, warmup, end). Did you mean `factor`?" in ended.stderr


def test_the_conformance_suite_runs_on_it(newcomer: Path) -> None:
    command = re.search(r"python -m (pytest \S+ --method \S+)", README)
    assert command is not None
    words = [
        sys.executable,
        "-m",
        *command[1].split(),
        "-q",
        "-p",
        "no:cacheprovider",
        "-k",
        "finite or off or relabelling",
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(newcomer)])}
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert ended.returncode == 0, ended.stdout
    assert " passed" in ended.stdout


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("mine:Hafl", "`mine` has no `Hafl`"),
        ("nowhere:Half", "`nowhere` cannot be imported: ModuleNotFoundError: No module named 'nowhere'"),
        ("mine:Params", "must be a NamedTuple of hyperparameters, each with a default, that has `init` and `step`"),
        ("mine:Half, mine:Half", "`Half` is listed twice"),
    ],
)
def test_an_own_method_that_is_none_is_explained(
    newcomer: Path, monkeypatch: pytest.MonkeyPatch, written: str, complaint: str
) -> None:
    misspell(newcomer, "mine:Half", written)
    ended = planned(newcomer, monkeypatch)
    assert ended.returncode == 2
    assert complaint in ended.stderr
    assert "half.yaml:3" in ended.stderr


CLASSIFIED = """
    @property
    def classifier(self):
        return Classifer()

    trainer = None

"""


@pytest.mark.parametrize(
    ("sound", "broken", "complaint"),
    [
        ("return Step(", "return print(", "`step` must return a `Step` of gradients, state and metrics, got NoneType"),
        ("s.logits))", "s.logit))", "AttributeError: 'Signals' object has no attribute 'logit' (mine.py, line "),
        ("    def init", f"{CLASSIFIED}    def init", "NameError: name 'Classifer' is not defined (mine.py, line "),
        ("Step(scale_encoders(grads, scale)", "Step(grads.encoders", "must have the structure of the parameters"),
        ('{"scale": scale}', '{"scale": scale[None]}', "metric `scale` must be a tensor with one number, or one per"),
        ('{"scale": scale}', '{"loss": scale}', "metric `loss` is recorded for every trial; choose another name"),
        ("s.logits))", "s.logits) * __import__('torch').rand(()))", "`step` draws random numbers that do not depend on the seed"),
        ('{"scale": scale}', '{"scale": 0.5}', "metric `scale` must be a tensor with one number, or one per modality, got float"),
    ],
)  # fmt: skip
def test_an_own_method_that_can_make_no_step_is_refused_before_anything_starts(
    newcomer: Path, monkeypatch: pytest.MonkeyPatch, sound: str, broken: str, complaint: str
) -> None:
    (newcomer / "mine.py").write_text((newcomer / "mine.py").read_text().replace(sound, broken))
    ended = planned(newcomer, monkeypatch)
    assert ended.returncode == 2
    assert ended.stderr.startswith("half.yaml:3: methods[1]: cannot train: ")
    assert complaint in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_trial_that_fails_is_a_row_with_its_error_and_is_to_run_again(newcomer: Path) -> None:
    method = newcomer / "mine.py"
    sound = method.read_text()
    method.write_text(
        sound.replace(
            "        grads = pull(",
            "        if self.factor == 0.5:\n            raise OSError('a < b')\n        grads = pull(",
        )
    )
    brief(newcomer, epochs=1)
    ended = run(newcomer, "run", "half.yaml", "--cpus", "1")
    assert ended.returncode == 1
    assert "3 of 12 trials failed" in ended.stderr
    assert re.search(r"^Note: \w{20} \(Half\) failed: OSError: a < b$", ended.stderr, re.MULTILINE)
    assert foreign(ended.stderr) == foreign(ended.stdout) == []
    trials = pl.read_parquet(newcomer / "runs/is-half-enough/trials/*.parquet")
    line = method.read_text().splitlines().index("            raise OSError('a < b')") + 1
    for error in trials.filter(pl.col("Half.factor") == 0.5)["error"]:
        sentence, *frames = error.splitlines()
        assert sentence == "OSError: a < b"
        assert frames[-2:] == [f'  File "{method}", line {line}, in step', "    raise OSError('a < b')"]
        assert not any("/ray/" in frame for frame in frames)
    assert trials["status"].to_list().count("done") == 9
    assert "a &lt; b" in (newcomer / "runs/is-half-enough/report.html").read_text()
    again = json.loads(run(newcomer, "plan", "half.yaml", "--json").stdout)
    assert (again["stored"], again["missing"], again["methods"]) == (9, 3, {"Half": 3})


def test_the_study_shown_is_the_ready_one() -> None:
    assert yaml.safe_load(block("yaml", "first-look")) == yaml.safe_load((STUDIES / "first-look.yaml").read_text())


def test_the_data_shown_exist() -> None:
    """A file of one's own aside."""
    (row,) = [line for line in README.splitlines() if line.startswith("| `data` |")]
    examples = [yaml.safe_load(text) for text in re.findall(r"`(\{name: .*?\})`", row)]
    assert [load_sheet(example).name for example in examples] == ["av-digits", "synthetic"]


def test_the_files_named_exist() -> None:
    for path in re.findall(r"\]\((?!http)([^)#]+)(?:#[^)]*)?\)", README):
        assert (ROOT / path).exists(), path
    folder = Path()
    for line in block("text", "the engine:").splitlines():
        name = line.split()[0]
        folder = folder if line.startswith(" ") else ROOT / name
        assert (folder / name if line.startswith(" ") else folder).exists(), name


@pytest.mark.parametrize("package", ["ablate", "trainables", "analysis"])
def test_the_architecture_names_every_module(package: str) -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    (section,) = re.findall(rf"^### `{package}`.*?(?=^##)", text, re.DOTALL | re.MULTILINE)
    named = {name.strip("/").split("/")[-1] for name in re.findall(r"`([a-z_/]+)`", section)}
    modules = {
        path.stem for path in (ROOT / package).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert modules - {"__init__", "__main__"} <= named
