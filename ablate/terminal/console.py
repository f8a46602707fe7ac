"""The output console, and formatting of paths, JSON and durations."""

import json
import math
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

WIDTH = 112  # columns of the widest table


def output_console() -> Console:
    """Return a console for standard output, wide enough for the tables; only the terminal breaks longer lines."""
    return Console(file=sys.stdout, soft_wrap=True, highlight=False, markup=False, width=max(Console().width, WIDTH))


def relative_path(path: Path) -> Path:
    """Return a path, relative to the working directory if it is below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def print_json(value: Any) -> None:
    """Print a value as JSON, with non-finite numbers as strings."""
    sys.stdout.write(json.dumps(json_safe(value), default=str, allow_nan=False) + "\n")


def json_safe(value: Any) -> Any:
    """Return a value with non-finite numbers, also nested ones, as strings."""
    if isinstance(value, dict):
        return {key: json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def format_duration(seconds: float) -> str:
    """Return a duration with its unit: seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
