"""The one error a user can cause, and the search for what was probably meant."""

import traceback
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

ENGINE = Path(__file__).parent


class UserError(Exception):
    """Wrong input, in one clear sentence: where, the rule, what was found, what was probably meant. Exit code 2."""


def meant(found: object, names: Iterable[str]) -> str:
    """Return the valid names, and a question if one of them is near."""
    known = list(names)
    return f"(it has: {', '.join(known) or 'none'}){near(found, known)}"


def near(found: object, names: Iterable[object]) -> str:
    """Return a question if one of the names, which are text, is near to what was found, else nothing."""
    close = get_close_matches(str(found), [name for name in names if isinstance(name, str)], n=1, cutoff=0.6)
    return f". Did you mean `{close[0]}`?" if close else ""


def kind(value: object) -> str:
    """Return what a YAML value is, in a user's words."""
    names = {list: "a list", dict: "a mapping", str: "text", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number")


def shown(value: object) -> str:
    """Return a value for a message: itself if it is short, else what it is."""
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    return kind(value) if value is None or isinstance(value, list | dict) or len(text) > 60 else text


def spoken(error: Exception) -> str:
    """Return an error in one sentence; one of the system names the file, if there is one."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def traced(error: Exception) -> str:
    """Return an error in one sentence, and below it where it was raised, less the engine and Ray, which called it."""
    frames = traceback.extract_tb(error.__traceback__)
    above = max((i for i, frame in enumerate(frames) if Path(frame.filename).parent == ENGINE), default=-1)
    return "".join([f"{type(error).__name__}: {error}\n", *traceback.format_list(frames[above + 1 :])]).rstrip()
