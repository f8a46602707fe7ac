"""`UserError`, and helpers that word error messages: values, types, valid names, the nearest name."""

import traceback
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

ENGINE = Path(__file__).parent


class UserError(Exception):
    """Invalid input, in one sentence: location, rule, value found, nearest valid name. Ends a command with code 2."""


def describe_choices(value: object, choices: Iterable[str]) -> str:
    """Return the list of valid names for a message, followed by `did_you_mean`."""
    listed = list(choices)
    return f"(it has: {', '.join(listed) or 'none'}){did_you_mean(value, listed)}"


def did_you_mean(value: object, choices: Iterable[object]) -> str:
    """Return a question that suggests the text among the choices that is closest to a value; "" if none is close."""
    matches = get_close_matches(str(value), [name for name in choices if isinstance(name, str)], n=1, cutoff=0.6)
    return f". Did you mean `{matches[0]}`?" if matches else ""


def type_name(value: object) -> str:
    """Return the type of a YAML value in a user's words."""
    names = {list: "a list", dict: "a mapping", str: "text", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number")


def format_value(value: object) -> str:
    """Return a value as a message shows it: a short scalar or an empty list or mapping as it is, else its type."""
    if value in ([], {}):
        return str(value)
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    return type_name(value) if value is None or isinstance(value, list | dict) or len(text) > 60 else text


def error_message(error: Exception) -> str:
    """Return an error as one sentence; an OSError also names its file, if it has one."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def error_traceback(error: Exception) -> str:
    """Return an error in one sentence and its traceback below, without the frames of the engine and Ray on top.

    Bytes of file names that are no text, which no table can hold, are escaped.
    """
    frames = traceback.extract_tb(error.__traceback__)
    last_own = max((i for i, frame in enumerate(frames) if Path(frame.filename).parent == ENGINE), default=-1)
    lines = [f"{type(error).__name__}: {error}\n", *traceback.format_list(frames[last_own + 1 :])]
    return "".join(lines).rstrip().encode(errors="backslashreplace").decode()
