"""The console, and how paths, JSON and times are written on it."""

import json
import math
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

WIDTH = 112  # columns of the widest table


def screen() -> Console:
    """Return standard output, wide enough for our tables; longer lines are broken by the terminal alone."""
    return Console(file=sys.stdout, soft_wrap=True, highlight=False, markup=False, width=max(Console().width, WIDTH))


def shorter(path: Path) -> Path:
    """Return a path relative to the working directory if it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def print_json(value: Any) -> None:
    """Print a value as JSON, which has no word for infinity: that is text."""
    sys.stdout.write(json.dumps(finite(value), default=str, allow_nan=False) + "\n")


def finite(value: Any) -> Any:
    """Return a value in which numbers that are not finite are text."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def spell(seconds: float) -> str:
    """Return a duration in words."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
