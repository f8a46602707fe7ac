"""A trial is known by its content: a hash of all that can change its result, and of nothing else."""

import ast
import hashlib
import importlib.util
import json
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

version = cache(metadata.version)  # reading it takes longer than the rest of an id
OURS = ("ablate", "search_spaces", "trainables", "analysis")  # of this project
INSTALLED = {"site-packages", "dist-packages"}
PLACES: set[Path] = set()  # where user-defined modules lie beside those that import them (`ablate.methods.reach`)
ALWAYS_RUN = {"trainables.train", "trainables.data"}  # what every trial runs through


def trial_id(config: dict[str, Any]) -> str:
    """Return the id of a resolved configuration; resources and paths are not in it."""
    versions = {name: version(name) for name in packages(measures=bool(config["measure"]))}
    content = {**config, "code": code(config), **versions}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def packages(*, measures: bool) -> tuple[str, ...]:
    """Return the packages that train a trial and, if anything is, measure it; their versions are in its id."""
    return ("torch", "numpy", "scikit-learn") if measures else ("torch", "numpy")


def code(config: dict[str, Any]) -> str:
    """Return a hash of the code that trains and measures a configuration."""
    encoder = config["model"]["encoder"]
    encoders = encoder.values() if isinstance(encoder, dict) else [encoder]
    modules = (path.partition(":")[0] for path in (config["method"], *encoders) if ":" in path)
    return fingerprint(*modules, *(f"trainables.measurements.{name}" for name in config["measure"]))


@cache
def fingerprint(*modules: str) -> str:
    """Return a hash of the code that trains and measures with some modules, without comments and docstrings.

    The code is the training loop, the modules (a method, user-defined encoders, measurements), and all that they import
    of `trainables`; of a user-defined module, also what it imports of its own package and of modules beside that.
    Another method or measurement, or the list of them, is not part of it: a formula changed in one method leaves the
    trials of the others standing.
    """
    files = closure(ALWAYS_RUN | {*modules})
    parts = {name: formulas_of(file) for name, file in sorted(files.items())}
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def closure(modules: set[str]) -> dict[str, Path]:
    """Return the files of modules and of all that they import of `trainables`, their own package and its neighbours.

    A package that is imported runs its `__init__.py`, and so do those above it.

    Raises:
        ModuleNotFoundError: one of the modules does not exist.
    """
    known: dict[str, Path] = {}
    waiting = set(modules)
    while waiting:
        name = waiting.pop()
        file = source(name)
        if file is None:
            raise ModuleNotFoundError(name)
        known[name] = file
        waiting |= imports(file, name, {"trainables", *beside(name)}) - known.keys()
        above = name.rpartition(".")[0]
        if name.partition(".")[0] not in OURS and above and source(above):
            waiting |= {above} - known.keys()
    return known


def beside(module: str) -> set[str]:
    """Return the top-level user-defined modules that a module may import: those where its own lies, and in PLACES.

    Of this project's modules, and of what is installed, that is their own package alone.
    """
    top = module.partition(".")[0]
    file = source(top)
    folder = file and (file.parent.parent if file.name == "__init__.py" else file.parent)
    if top in OURS or folder is None or folder.name in INSTALLED:
        return {top}
    return {top}.union(*map(own_modules, {folder, *PLACES}))


@cache
def own_modules(folder: Path) -> set[str]:
    """Return the modules of a folder that are imported by their names, and not others that are called so."""
    if not folder.is_dir():
        return set()
    names = {path.stem for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()}
    return {name for name in names - {*OURS, "__main__"} if name.isidentifier() and found_in(folder, name)}


def found_in(folder: Path, name: str) -> bool:
    """Say whether a module, found without importing it, lies in a folder."""
    spec = importlib.util.find_spec(name)
    places = [] if spec is None else [spec.origin] if spec.origin else [*(spec.submodule_search_locations or ())]
    return any(Path(place).is_relative_to(folder) for place in places if place)


def imports(path: Path, module: str, packages: set[str]) -> set[str]:
    """Return the modules of some packages that a module imports; `from package import name` may name one."""
    return {name for name in named(path, module) if name.partition(".")[0] in packages and source(name)}


@cache
def named(path: Path, module: str) -> set[str]:
    """Return what a module names in its imports: modules, or what is in them.

    A relative import that leads nowhere, such as one that a script tries, names nothing.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module if path.name == "__init__.py" else module.rpartition(".")[0]
                try:
                    base = importlib.util.resolve_name("." * node.level + base, package)
                except ImportError:
                    continue
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return found


def source(name: str) -> Path | None:
    """Return the file of a module written in Python, found without importing it; None if it is no such module."""
    top, *rest = name.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        return None
    if not rest:
        candidates = [Path(spec.origin)] if spec.origin else []
    else:
        inside = [Path(folder).joinpath(*rest) for folder in spec.submodule_search_locations or ()]
        candidates = [file for path in inside for file in (path.with_suffix(".py"), path / "__init__.py")]
    return next((file for file in candidates if file.suffix == ".py" and file.is_file()), None)


@cache
def formulas_of(file: Path) -> str:
    """Return `formulas` of a file as it is when it is first asked for; methods share most of their files."""
    return formulas(file.read_text(encoding="utf-8"))


def formulas(text: str) -> str:
    """Return source code as its syntax tree, in which comments, layout and docstrings leave no trace."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)
