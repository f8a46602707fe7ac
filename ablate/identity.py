"""A trial is known by its content: a hash of all that can change its result, and of nothing else."""

import ast
import hashlib
import importlib.util
import json
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

TRAINING = {"trainables.train", "trainables.data"}  # what every trial runs through


def trial_id(config: dict[str, Any]) -> str:
    """Return the id of a resolved configuration; resources and paths are not in it."""
    code = fingerprint(config["method"].partition(":")[0])
    packages = ["torch", "numpy", *(["scikit-learn"] if config["measure"] else [])]
    content = {**config, "code": code, **{name: version(name) for name in packages}}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:20]


@cache
def fingerprint(method: str) -> str:
    """Return a hash of the code that trains with a method's module, without its comments and docstrings.

    The code is the training loop, the method, and all that they import of `trainables` and of the method's own
    package. Another method, or the list of methods, is not part of it: a formula changed in one method leaves the
    trials of the others standing.
    """
    parts = {name: formulas(source(name).read_text(encoding="utf-8")) for name in sorted(closure(TRAINING | {method}))}
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def closure(modules: set[str]) -> set[str]:
    """Return the modules and all that they import, directly or not, of their own top-level package and `trainables`."""
    known: set[str] = set()
    waiting = set(modules)
    while waiting:
        name = waiting.pop()
        known.add(name)
        tree = ast.parse(source(name).read_text(encoding="utf-8"))
        followed = {name.partition(".")[0], "trainables"}
        waiting |= {found for found in imports(tree, name) if found.partition(".")[0] in followed} - known
    return known


def imports(tree: ast.Module, module: str) -> set[str]:
    """Return the modules that a module imports anywhere; `from package import name` counts if it is a module."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if is_module(alias.name)}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module if source(module).name == "__init__.py" else module.rpartition(".")[0]
                base = importlib.util.resolve_name("." * node.level + base, package)
            names = {f"{base}.{alias.name}" for alias in node.names}
            found |= {name for name in names if is_module(name)} | ({base} if is_module(base) else set())
    return found


def is_module(name: str) -> bool:
    """Say whether a dotted name is a module written in Python."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None and spec.origin.endswith(".py")


def source(name: str) -> Path:
    """Return the file of a module."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(name)
    return Path(spec.origin)


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
