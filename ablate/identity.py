"""Trial ids: a hash of everything that can change a trial's result, and of nothing else."""

import ast
import hashlib
import importlib.util
import json
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

package_version = cache(metadata.version)  # reading it takes longer than the rest of an id
PROJECT_PACKAGES = ("ablate", "search_spaces", "trainables", "analysis")
SITE_FOLDERS = {"site-packages", "dist-packages"}
IMPORT_FOLDERS: set[Path] = set()  # further folders of user-defined modules, from `ablate.methods.add_import_folders`
ALWAYS_RUN = {"trainables.train", "trainables.data"}  # modules that every trial runs


def trial_id(config: dict[str, Any]) -> str:
    """Return the id of a resolved configuration; resources and paths do not enter it."""
    versions = {name: package_version(name) for name in versioned_packages(measures=bool(config["measure"]))}
    content = {**config, "code": code_hash(config), **versions}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def versioned_packages(*, measures: bool) -> tuple[str, ...]:
    """Return the packages whose versions enter a trial's id: those that train and, if it is measured, measure it."""
    return ("torch", "numpy", "scikit-learn") if measures else ("torch", "numpy")


def code_hash(config: dict[str, Any]) -> str:
    """Return a hash of the code that trains and measures a configuration."""
    encoder = config["model"]["encoder"]
    encoders = encoder.values() if isinstance(encoder, dict) else [encoder]
    modules = (path.partition(":")[0] for path in (config["method"], *encoders) if ":" in path)
    return fingerprint(*modules, *(f"trainables.measurements.{name}" for name in config["measure"]))


@cache
def fingerprint(*modules: str) -> str:
    """Return a hash of the code that trains and measures with the given modules, without comments and docstrings.

    It covers the training loop, the modules (a method, user-defined encoders, measurements) and all that they import
    from `trainables`, with their C++ kernels; for a user-defined module, also imports from its own package and from
    modules in its folder. Other methods and measurements, and the registries of them, are not covered: a change of one
    method keeps the trials of all others valid.
    """
    files = import_closure(ALWAYS_RUN | {*modules})
    parts = {name: normalised_file(file) for name, file in sorted(files.items())}
    kernels = [file.with_suffix(".cpp") for name, file in files.items() if name.startswith("trainables.")]
    parts |= {kernel.name: normalised_kernel(kernel) for kernel in sorted(kernels) if kernel.is_file()}
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def import_closure(modules: set[str]) -> dict[str, Path]:
    """Return the files of modules and of their imports, from `trainables`, their own package and modules in its folder.

    The `__init__.py` of each user-defined package above a module runs too, and is included.

    Raises:
        ModuleNotFoundError: one of the modules does not exist.
    """
    files: dict[str, Path] = {}
    pending = set(modules)
    while pending:
        name = pending.pop()
        file = source_file(name)
        if file is None:
            raise ModuleNotFoundError(name)
        files[name] = file
        pending |= imported_modules(file, name, {"trainables", *importable_user_modules(name)}) - files.keys()
        parent = name.rpartition(".")[0]
        if name.partition(".")[0] not in PROJECT_PACKAGES and parent and source_file(parent):
            pending |= {parent} - files.keys()
    return files


def importable_user_modules(module: str) -> set[str]:
    """Return the top-level user-defined modules that a module may import: those in its folder and in IMPORT_FOLDERS.

    For modules of this project and installed packages, this is their own package alone.
    """
    package = module.partition(".")[0]
    file = source_file(package)
    folder = file and (file.parent.parent if file.name == "__init__.py" else file.parent)
    if package in PROJECT_PACKAGES or folder is None or folder.name in SITE_FOLDERS:
        return {package}
    return {package}.union(*map(modules_in, {folder, *IMPORT_FOLDERS}))


@cache
def modules_in(folder: Path) -> set[str]:
    """Return the modules of a folder, except those whose name imports a module from elsewhere."""
    if not folder.is_dir():
        return set()
    names = {path.stem for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()}
    return {
        name for name in names - {*PROJECT_PACKAGES, "__main__"} if name.isidentifier() and is_module_in(folder, name)
    }


def is_module_in(folder: Path, name: str) -> bool:
    """Return whether a module lies in a folder; the module is not imported."""
    spec = importlib.util.find_spec(name)
    locations = [] if spec is None else [spec.origin] if spec.origin else [*(spec.submodule_search_locations or ())]
    return any(Path(location).is_relative_to(folder) for location in locations if location)


def imported_modules(path: Path, module: str, packages: set[str]) -> set[str]:
    """Return the modules of the given packages that a module imports, submodules named in `from` imports included."""
    return {name for name in imported_names(path, module) if name.partition(".")[0] in packages and source_file(name)}


@cache
def imported_names(path: Path, module: str) -> set[str]:
    """Return the dotted names in the imports of a module: modules, or attributes of modules.

    Relative imports that cannot be resolved, such as those of a script, are skipped.
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module if path.name == "__init__.py" else module.rpartition(".")[0]
                try:
                    base = importlib.util.resolve_name("." * node.level + base, package)
                except ImportError:
                    continue
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return names


def source_file(name: str) -> Path | None:
    """Return the file of a Python module, without importing it; None if there is no such file."""
    package, *submodules = name.split(".")
    spec = importlib.util.find_spec(package)
    if spec is None:
        return None
    if not submodules:
        candidates = [Path(spec.origin)] if spec.origin else []
    else:
        paths = [Path(folder).joinpath(*submodules) for folder in spec.submodule_search_locations or ()]
        candidates = [file for path in paths for file in (path.with_suffix(".py"), path / "__init__.py")]
    return next((file for file in candidates if file.suffix == ".py" and file.is_file()), None)


@cache
def normalised_file(file: Path) -> str:
    """Return the normalized source of a file; cached, since methods share most of their files."""
    return normalised_source(file.read_text(encoding="utf-8"))


@cache
def normalised_kernel(file: Path) -> str:
    """Return the lines of C++ source code without comments."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return "\n".join(code for line in lines if (code := line.partition("//")[0].rstrip()))


def normalised_source(text: str) -> str:
    """Return a dump of the syntax tree of source code, without comments, layout and docstrings."""
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
