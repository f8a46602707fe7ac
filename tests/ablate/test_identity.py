"""A trial's id changes with all that can change its result, and with nothing else."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ablate import identity, methods
from ablate.designs import DesignPoint
from ablate.identity import import_closure, normalised_source
from ablate.plan import point_trials
from ablate.study import load
from tests.ablate.helpers import ROOT, write

AGM, JOINT = "trainables.methods.agm", "trainables.methods.joint"


@pytest.fixture
def code_copy(tmp_path: Path) -> Path:
    """A copy of the training code, to change."""
    shutil.copytree(ROOT / "trainables", tmp_path / "trainables", ignore=shutil.ignore_patterns("__pycache__", "*.npz"))
    shutil.copytree(ROOT / "ablate", tmp_path / "ablate", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def fingerprints(folder: Path) -> dict[str, str]:
    """Return the fingerprints of two methods, from the code in a folder."""
    code = "import json; from ablate.identity import fingerprint as f; "
    code += f"print(json.dumps({{m: f(m) for m in ({AGM!r}, {JOINT!r})}}))"
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); {code}"]
    result: dict[str, str] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return result


def replace_in_file(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_comments_docstrings_and_layout_are_not_part_of_it(code_copy: Path) -> None:
    before = fingerprints(code_copy)
    for name in ("train.py", "methods/agm.py", "optim.py", "data/standardise.py"):
        file = code_copy / "trainables" / name
        file.write_text(
            "# A remark.\n" + file.read_text().replace('"""', '"""Indeed: ', 1).replace("\n\n\n", "\n\n\n\n")
        )
    replace_in_file(code_copy / "trainables/products.cpp", "// ", "// Indeed: ")
    assert fingerprints(code_copy) == before


def test_a_formula_of_a_method_is_part_of_its_own_trials_alone(code_copy: Path) -> None:
    before = fingerprints(code_copy)
    replace_in_file(
        code_copy / "trainables/methods/agm.py", "modalities / (modalities - 1)", "(modalities + 1) / (modalities - 1)"
    )
    after = fingerprints(code_copy)
    assert after[AGM] != before[AGM]
    assert after[JOINT] == before[JOINT]


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("optim.py", "v, self.momentum)", "v, 2 * self.momentum)"),
        ("layers.py", "1 / math.sqrt(size)", "2 / math.sqrt(size)"),
        ("data/standardise.py", "std", "std_"),
        ("products.cpp", "_mm512_fmadd_ps", "_mm512_fmsub_ps"),
    ],
)
def test_a_formula_of_training_is_part_of_all_trials(code_copy: Path, file: str, old: str, new: str) -> None:
    before = fingerprints(code_copy)
    replace_in_file(code_copy / "trainables" / file, old, new)
    after = fingerprints(code_copy)
    assert after[AGM] != before[AGM]
    assert after[JOINT] != before[JOINT]


def test_a_new_line_in_the_list_of_methods_changes_no_trial(code_copy: Path) -> None:
    before = fingerprints(code_copy)
    replace_in_file(
        code_copy / "trainables/methods/__init__.py",
        "METHODS = {",
        'METHODS = {\n    "mine": "trainables.methods.mine:Mine",',
    )
    assert fingerprints(code_copy) == before


def test_the_code_of_a_trial_is_what_it_imports() -> None:
    modules = set(import_closure({"trainables.train", "trainables.data", "trainables.methods.ogm_ge"}))
    assert {"trainables.optim", "trainables.model", "trainables.methods.ogm", "trainables.data.synthetic"} <= modules
    assert not modules & {AGM, "trainables.methods", "trainables.data.rebuild", "trainables.dry_run"}


def test_the_code_of_a_measurement_is_part_of_the_trials_that_take_it() -> None:
    plain, seen = (
        import_closure({"trainables.train"}),
        import_closure({"trainables.train", "trainables.measurements.shape"}),
    )
    assert {"trainables.measurements.shape", "trainables.diagnostics.coalitions", AGM} <= seen.keys() - plain.keys()


def test_an_own_package_brings_what_it_uses_of_trainables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package/mine.py").write_text(
        "from own_package import tools\nfrom trainables.methods.agm import AGM\n"
    )
    (tmp_path / "own_package/tools.py").write_text("import numpy\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert {"own_package.mine", "own_package.tools", AGM, "trainables.signals"} <= set(
        import_closure({"own_package.mine"})
    )


def test_a_module_beside_a_method_of_ones_own_is_part_of_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it imports from there can change its numbers; so can what runs as its package is imported."""
    (tmp_path / "own_method.py").write_text(
        "import own_helper, own_far, json, numpy\nfrom search_spaces.axes import number\n"
    )
    (tmp_path / "numpy").mkdir()  # which is imported from elsewhere
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "own_far.py").write_text("")
    (tmp_path / "own_helper.py").write_text("import own_tools.deep\nFACTOR = 1.0\n")
    (tmp_path / "own_tools").mkdir()
    for file in ("__init__.py", "deep.py"):
        (tmp_path / "own_tools" / file).write_text("")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(identity, "IMPORT_FOLDERS", places := set[Path]())
    monkeypatch.setattr(methods, "IMPORT_FOLDERS", places)
    methods.add_import_folders([str(tmp_path), str(tmp_path / "away")])
    known = import_closure({"own_method"}).keys()
    assert known == {"own_method", "own_far", "own_helper", "own_tools", "own_tools.deep"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("own_method", "try:\n    from . import own_helper\nexcept ImportError:\n    import own_helper\n"),
        ("own_method", "import own_helper\nfrom .. import nothing\nfrom .far import more\n"),
        ("__main__", "import own_helper, own_method\n"),
    ],
    ids=["tried", "nowhere", "main"],
)
def test_an_ordinary_file_beside_a_study_is_no_hindrance(
    name: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script that is also run by itself, and one that makes the folder a program."""
    for file, holds in (("own_method", "import own_helper\n"), ("own_helper", ""), (name, text)):
        (tmp_path / f"{file}.py").write_text(holds)
    monkeypatch.syspath_prepend(tmp_path)
    assert import_closure({"own_method"}).keys() == {"own_method", "own_helper"}


def test_docstrings_leave_no_trace() -> None:
    assert normalised_source('def f():\n    """Say."""\n    return 1  # one\n') == normalised_source(
        "def f():\n    return 1\n"
    )
    assert normalised_source("def f():\n    return 1\n") != normalised_source("def f():\n    return 2\n")
    assert normalised_source('x = """text"""\n') != normalised_source('x = """other"""\n')


def test_an_id_depends_on_data_settings_and_seed_but_not_on_the_name_or_the_store(tmp_path: Path) -> None:
    def first(**changes: object) -> str:
        study = load(str(write(tmp_path, **changes)), str(tmp_path / "store"))
        return point_trials(study, "agm", DesignPoint({"agm.alpha": 1.0}, {}))[0].id

    same = first()
    assert first(name="other") == same
    assert first(resources={"cpu": 2}) == same
    assert first(methods=["agm", "joint-uni"]) == same
    assert first(vary={"agm.alpha": [3]}) == same
    assert first(data={"name": "synthetic", "modalities": 2, "samples": [192, 64, 65]}) != same
    assert first(set={"agm.cap": 7}) != same
    assert first(train={"epochs": 3}) != same


def test_data_with_another_sha256_makes_other_trials(tmp_path: Path) -> None:
    import numpy as np

    def first() -> str:
        study = load(str(write(tmp_path, data={"path": "mine.npz"})))
        return point_trials(study, "joint", DesignPoint({}, {}))[0].id

    draw = np.random.default_rng(0)
    arrays = {"a": draw.normal(size=(30, 4)), "b": draw.normal(size=(30, 3)), "label": np.arange(30) % 3}
    arrays["split"] = np.repeat([0, 1, 2], 10)
    sheet = {"name": "mine", "task": "classification", "classes": 3, "modalities": ["a", "b"], "target": "label"}
    (tmp_path / "mine.json").write_text(json.dumps(sheet))
    np.savez(tmp_path / "mine.npz", **arrays)
    before = first()
    np.savez(tmp_path / "mine.npz", **arrays)
    assert first() == before
    arrays["a"][0, 0] += 1
    np.savez(tmp_path / "mine.npz", **arrays)
    assert first() != before
