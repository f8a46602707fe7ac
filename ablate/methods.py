"""The methods of a study: the published ones by name, and user-defined ones as `module:attribute`."""

import sys
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ablate.document import Document, Where
from ablate.errors import describe_choices
from ablate.identity import IMPORT_FOLDERS
from search_spaces.axes import Axis
from search_spaces.methods import METHODS as AXES
from search_spaces.methods import SPAN
from trainables.methods import METHODS

KINDS = {bool: "flag", float: "number", int: "integer"}  # of axes, by what a hyperparameter is annotated as


def named(document: Document, methods: list[str]) -> dict[str, str]:
    """Return the methods of a study file, name -> `module:attribute`; a user-defined one has the name of its attribute.

    Its module is looked for beside the study file and in the working directory, too.

    Raises:
        UserError: there is no such method, or two of one name.
    """
    found: dict[str, str] = {}
    for i, method in enumerate(methods):
        where: Where = ("methods", i)
        own = ":" in method
        if not own and method not in METHODS:
            raise document.error(where, f"there is no method `{method}` {describe_choices(method, METHODS)}")
        if own:
            check_own(document, where, method)
        name = method.partition(":")[2] if own else method
        if name in found:
            raise document.error(where, f"`{name}` is listed twice")
        found[name] = method if own else METHODS[method]
    return found


def folders(study: Path) -> list[str]:
    """Return where user-defined modules may lie: beside the study file, and where the command was given."""
    return [str(study.resolve().parent), str(Path.cwd())]


def reach(places: list[str]) -> None:
    """Let this process import from these folders, after all that is installed."""
    sys.path.extend(place for place in places if place not in sys.path)
    IMPORT_FOLDERS.update(map(Path, places))


def check_own(document: Document, where: Where, path: str) -> None:
    """Raise a UserError unless `module:attribute` is a method."""
    found = imported(document, where, path)
    parts = ("_field_defaults", "init", "step")
    if not all(hasattr(found, part) for part in parts) or len(found._field_defaults) < len(found._fields):
        rule = "must be a NamedTuple of hyperparameters, each with a default, that has `init` and `step`"
        raise document.error(where, f"{rule}, got `{path}`")
    for name in SPAN:
        if name in found._fields:
            rule = f"{', '.join(SPAN)} are settings of every method, the epochs in which it acts"
            raise document.error(where, f"`{path}` has a setting `{name}` of its own; {rule}")
    for name in getattr(found, "neutral", {}):
        if name not in found._fields:
            raise document.error(
                where, f"`neutral` names `{name}`, which is no setting {describe_choices(name, found._fields)}"
            )


def own_encoders(encoder: Any) -> list[str]:
    """Return the user-defined encoders, `module:attribute`, among one name for all modalities or one for each."""
    return [path for path in (encoder.values() if isinstance(encoder, dict) else [encoder]) if ":" in path]


def check_encoder(document: Document, where: Where, path: str) -> None:
    """Raise a UserError unless `module:attribute` is a class of torch modules."""
    from torch.nn import Module

    found = imported(document, where, path)
    if not isinstance(found, type) or not issubclass(found, Module):
        rule = "must be a class of torch.nn.Module, which is called with the shape of a sample"
        raise document.error(where, f"{rule}, got `{path}`")


def imported(document: Document, where: Where, path: str) -> Any:
    """Return what is at `module:attribute`, beside the study or where it is run; raise a UserError if nothing is."""
    reach(folders(document.file))
    module, _, attribute = path.partition(":")
    try:
        found = getattr(import_module(module), attribute, None)
    except (Exception, SystemExit) as error:
        raise document.error(where, f"`{module}` cannot be imported: {type(error).__name__}: {error}") from None
    beside, used = PathFinder.find_spec(module.partition(".")[0], folders(document.file)), origin(module)
    if beside and beside.origin and Path(beside.origin).resolve() != used:
        rule = f"`{module}` is {used} in this process, and not {beside.origin}; one of them needs another name"
        raise document.error(where, rule)
    if found is None:
        raise document.error(where, f"`{module}` has no `{attribute}` {describe_choices(attribute, public(module))}")
    return found


def origin(module: str) -> Path | None:
    """Return the file that this process has imported by the first part of a module's name; None: none."""
    file = getattr(sys.modules[module.partition(".")[0]], "__file__", None)
    return None if file is None else Path(file).resolve()


def public(module: str) -> list[str]:
    """Return the classes that a module names."""
    return [name for name, value in vars(sys.modules[module]).items() if isinstance(value, type)]


def axes_of(name: str, path: str) -> dict[str, Axis]:
    """Return the settings of a method: as declared in `search_spaces`, else read off its class."""
    if name in AXES and path == METHODS[name]:
        return AXES[name] | SPAN
    module, _, attribute = path.partition(":")
    method: Any = getattr(import_module(module), attribute)
    neutral: dict[str, Any] = getattr(method, "neutral", {})
    try:
        types = get_type_hints(method)
    except NameError:  # an annotation that means nothing here
        types = {}
    defaults: dict[str, Any] = method._field_defaults
    return {k: guess(v, types.get(k))._replace(neutral=neutral.get(k)) for k, v in defaults.items()} | SPAN


def guess(default: Any, hint: Any) -> Axis:
    """Return an axis without limits for a hyperparameter with this default and type; `| None` lets it be null."""
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    empty = default is None or NoneType in parts
    kind = next((kind for one, kind in KINDS.items() if one in (*parts, type(default))), "choice")
    values = [default]
    if kind == "flag" and empty:
        kind, values = "choice", [True, False]
    if all(part is NoneType or get_origin(part) is Literal for part in parts):
        kind, values = "choice", [value for part in parts for value in get_args(part)]
    if kind == "choice":
        return Axis(default, "choice", choices=(*values, *[None] * (empty and None not in values)))
    return Axis(default, kind, empty=empty)
