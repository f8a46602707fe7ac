"""The methods of a study: published ones by name, user-defined ones as `module:attribute`; user-defined encoders."""

import sys
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ablate.document import Document, KeyPath
from ablate.errors import describe_choices
from ablate.identity import IMPORT_FOLDERS
from search_spaces.axes import Axis
from search_spaces.methods import ACTIVE_EPOCHS
from search_spaces.methods import METHODS as AXES
from trainables.methods import METHODS

AXIS_KINDS = {bool: "flag", float: "number", int: "integer"}  # annotated type of a hyperparameter -> kind of its axis


def resolve_methods(document: Document, methods: list[str]) -> dict[str, str]:
    """Return the methods of a study file, name -> `module:attribute`; user-defined ones are named by their attribute.

    User-defined modules are also searched for in the folder of the study file and in the working directory.

    Raises:
        UserError: there is no such method, or two have the same name.
    """
    resolved: dict[str, str] = {}
    for i, method in enumerate(methods):
        where: KeyPath = ("methods", i)
        is_user_defined = ":" in method
        if not is_user_defined and method not in METHODS:
            raise document.error(where, f"there is no method `{method}` {describe_choices(method, METHODS)}")
        if is_user_defined:
            check_user_method(document, where, method)
        name = method.partition(":")[2] if is_user_defined else method
        if name in resolved:
            raise document.error(where, f"`{name}` is listed twice")
        resolved[name] = method if is_user_defined else METHODS[method]
    return resolved


def module_folders(study: Path) -> list[str]:
    """Return the folders of user-defined modules: that of the study file, and the working directory."""
    return [str(study.resolve().parent), str(Path.cwd())]


def add_import_folders(folders: list[str]) -> None:
    """Append folders to this process's import path."""
    sys.path.extend(folder for folder in folders if folder not in sys.path)
    IMPORT_FOLDERS.update(map(Path, folders))


def check_user_method(document: Document, where: KeyPath, path: str) -> None:
    """Raise a UserError unless `module:attribute` is a method."""
    method = import_attribute(document, where, path)
    parts = ("_field_defaults", "init", "step")
    if not all(hasattr(method, part) for part in parts) or len(method._field_defaults) < len(method._fields):
        rule = "must be a NamedTuple of hyperparameters, each with a default, that has `init` and `step`"
        raise document.error(where, f"{rule}, got `{path}`")
    for name in ACTIVE_EPOCHS:
        if name in method._fields:
            rule = f"{', '.join(ACTIVE_EPOCHS)} are settings of every method, the epochs in which it acts"
            raise document.error(where, f"`{path}` has a setting `{name}` of its own; {rule}")
    for name in getattr(method, "neutral", {}):
        if name not in method._fields:
            raise document.error(
                where, f"`neutral` names `{name}`, which is not a setting {describe_choices(name, method._fields)}"
            )


def user_encoders(encoder: Any) -> list[str]:
    """Return the user-defined encoders, `module:attribute`, of a value of `model.encoder`."""
    return [path for path in (encoder.values() if isinstance(encoder, dict) else [encoder]) if ":" in path]


def check_encoder(document: Document, where: KeyPath, path: str) -> None:
    """Raise a UserError unless `module:attribute` is a subclass of torch.nn.Module."""
    from torch.nn import Module

    encoder = import_attribute(document, where, path)
    if not isinstance(encoder, type) or not issubclass(encoder, Module):
        rule = "must be a subclass of torch.nn.Module that takes the shape of a sample"
        raise document.error(where, f"{rule}, got `{path}`")


def import_attribute(document: Document, where: KeyPath, path: str) -> Any:
    """Import `module:attribute`, also from the study's folders; raise a UserError if that is impossible."""
    add_import_folders(module_folders(document.file))
    module, _, attribute = path.partition(":")
    try:
        value = getattr(import_module(module), attribute, None)
    except (Exception, SystemExit) as error:
        raise document.error(where, f"`{module}` cannot be imported: {type(error).__name__}: {error}") from None
    spec = PathFinder.find_spec(module.partition(".")[0], module_folders(document.file))
    imported = imported_file(module)
    if spec and spec.origin and Path(spec.origin).resolve() != imported:
        rule = f"`{module}` is {imported} in this process, not {spec.origin}; rename one of them"
        raise document.error(where, rule)
    if value is None:
        raise document.error(
            where, f"`{module}` has no `{attribute}` {describe_choices(attribute, module_classes(module))}"
        )
    return value


def imported_file(module: str) -> Path | None:
    """Return the file of a module's top-level package as imported in this process; None if it has no file."""
    file = getattr(sys.modules[module.partition(".")[0]], "__file__", None)
    return None if file is None else Path(file).resolve()


def module_classes(module: str) -> list[str]:
    """Return the names of the classes in a module."""
    return [name for name, value in vars(sys.modules[module]).items() if isinstance(value, type)]


def method_axes(name: str, path: str) -> dict[str, Axis]:
    """Return the settings of a method as axes: declared in `search_spaces`, or inferred from a user-defined class."""
    if name in AXES and path == METHODS[name]:
        return AXES[name] | ACTIVE_EPOCHS
    module, _, attribute = path.partition(":")
    method: Any = getattr(import_module(module), attribute)
    neutral: dict[str, Any] = getattr(method, "neutral", {})
    try:
        types = get_type_hints(method)
    except NameError:  # an annotation that cannot be resolved
        types = {}
    defaults: dict[str, Any] = method._field_defaults
    return {
        k: infer_axis(v, types.get(k))._replace(neutral=neutral.get(k)) for k, v in defaults.items()
    } | ACTIVE_EPOCHS


def infer_axis(default: Any, hint: Any) -> Axis:
    """Return an unbounded axis for a hyperparameter with this default and type; `| None` allows null."""
    types = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    is_optional = default is None or NoneType in types
    kind = next((kind for python_type, kind in AXIS_KINDS.items() if python_type in (*types, type(default))), "choice")
    values = [default]
    if kind == "flag" and is_optional:
        kind, values = "choice", [True, False]
    if all(member is NoneType or get_origin(member) is Literal for member in types):
        kind, values = "choice", [value for member in types for value in get_args(member)]
    if kind == "choice":
        return Axis(default, "choice", choices=(*values, *[None] * (is_optional and None not in values)))
    return Axis(default, kind, nullable=is_optional)
