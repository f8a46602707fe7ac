"""Who may import whom, held by the source code itself."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("ablate", "search_spaces", "trainables", "analysis")
ALLOWED = {"ablate": {"search_spaces", "trainables", "analysis"}}
HEAVY = {
    "ray": {f"ablate/{name}.py" for name in ("launch", "dispatcher", "worker", "distributed", "clusters", "submit")},
    "optuna": {"ablate/search.py", "analysis/importance.py"},
    "typer": {"ablate/cli.py"},
}


def modules(file: Path) -> set[str]:
    """Return the modules that a file imports anywhere."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def imported(file: Path) -> set[str]:
    """Return the top-level packages that a file imports anywhere."""
    return {name.partition(".")[0] for name in modules(file)}


@pytest.mark.parametrize("package", PACKAGES)
def test_only_the_engine_imports_the_other_packages(package: str) -> None:
    others = set(PACKAGES) - {package} - ALLOWED.get(package, set())
    for file in (ROOT / package).rglob("*.py"):
        assert not imported(file) & others, file


@pytest.mark.parametrize("library", HEAVY)
def test_a_heavy_library_is_known_to_few_files(library: str) -> None:
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            if library in imported(file):
                assert str(file.relative_to(ROOT)) in HEAVY[library], file


def test_what_ray_keeps_to_itself_is_not_imported() -> None:
    """It may be gone in its next version, and none is the last that is allowed."""
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            assert not {name for name in modules(file) if name.startswith("ray.") and "._" in name}, file


def test_tables_need_neither_torch_nor_ray() -> None:
    for file in (ROOT / "analysis").rglob("*.py"):
        assert not imported(file) & {"torch", "ray"}, file


def test_the_clock_may_jump() -> None:
    """Durations are of the monotonic clock; the time of day is shown to people, and nothing depends on it."""
    shown = {"ablate/lock.py", "analysis/readings.py", "analysis/verdicts.py"}
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            names = {n.attr for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Attribute)}
            assert not names & {"time", "now", "utcnow", "today"} or str(file.relative_to(ROOT)) in shown, file


def imported_by(words: list[str], modules: set[str]) -> tuple[str, str]:
    """Return what a command prints, and which of the modules it imports, as a sorted list."""
    code = f"import sys; sys.argv = {['ablate', *words]}\nfrom ablate.cli import main\n"
    code += f"try: main()\nexcept SystemExit: pass\nprint(sorted({modules} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    text, _, imported = shown.stdout.rstrip().rpartition("\n")
    return text, imported


def test_help_imports_neither_torch_nor_ray_nor_polars() -> None:
    text, imported = imported_by(["--help"], {"torch", "ray", "polars", "numpy", "matplotlib", "optuna"})
    assert "Usage" in text
    assert imported == "[]"


def test_a_plan_imports_nothing_that_draws_or_judges(tmp_path: Path) -> None:
    text, imported = imported_by(["plan", "first-look", "--store", str(tmp_path)], {"ray", "matplotlib", "scipy.stats"})
    assert "first-look on av-digits: 60 trials" in text
    assert imported == "[]"


def test_training_imports_no_compiler() -> None:
    """That of torch takes as long to import as torch: only what compiles does."""
    code = "import sys, trainables.train; print({'torch._dynamo', 'torch._inductor'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert shown.stdout.strip() == "set()"
