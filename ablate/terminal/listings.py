"""Output of the commands `methods`, `data`, `convert` and `doctor`."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE
from rich.table import Table

from ablate.doctor import Check
from ablate.methods import method_axes
from ablate.terminal.console import output_console
from analysis.formatting import plural
from search_spaces.axes import yaml_literal
from search_spaces.methods import ACTIVE_EPOCHS
from trainables.data import Sheet

if TYPE_CHECKING:
    from trainables.data.convert import Conversion


def show_methods() -> None:
    """Print the methods and their settings."""
    from trainables.methods import METHODS

    table = Table("method", "setting", "default", "off at", "allowed", "source", box=SIMPLE)
    for method, path in METHODS.items():
        settings = {name: axis for name, axis in method_axes(method, path).items() if name not in ACTIVE_EPOCHS}
        for i, (name, axis) in enumerate(settings.items()):
            off = "" if axis.neutral is None else yaml_literal(axis.neutral)
            allowed = axis.rule.removeprefix("must be ").removeprefix("one of ")
            table.add_row(method if i == 0 else "", name, yaml_literal(axis.default), off, allowed, axis.source)
        if not settings:
            table.add_row(method, "", "", "", "", "")
    console = output_console()
    console.print(table)
    console.print(
        "Every method also has `start` and `end`, its first and last active epoch, counted from 1, and `warmup`."
    )


def show_data(sheets: Iterable[Sheet]) -> None:
    """Print the data sets of the package."""
    from trainables.data.convert import LAYOUTS

    table = Table("data", "task", "outputs", "modalities", "licence", box=SIMPLE)
    for sheet in sheets:
        licence = sheet.description.get("licence", {"this file": ""})["this file"]
        table.add_row(sheet.name, sheet.task, str(sheet.outputs), ", ".join(sheet.modalities), licence)
    console = output_console()
    console.print(table)
    console.print(
        "Your own data: `data: {path: FILE.npz}` with a datasheet FILE.json; `ablate convert` creates both from the"
    )
    console.print(f"layouts of papers: {', '.join(LAYOUTS)}.")


def show_conversion(conversion: "Conversion", file: Path) -> None:
    """Print what a layout was found to hold, and how a study names it."""
    table = Table("array", "shape", "type", box=SIMPLE)
    for name, array in conversion.arrays.items():
        table.add_row(name, " x ".join(map(str, array.shape)), str(array.dtype))
    console = output_console()
    console.print(table)
    counts = [int((conversion.arrays["split"] == code).sum()) for code in range(3)]
    console.print("{} training, {} validation and {} test samples".format(*counts), end="")
    console.print(f"; {conversion.datasheet['splits']}.")
    for note in conversion.notes:
        console.print(f"{note}.", style="yellow")
    console.print(f"stored: {file}; use it as `data: {{path: {file}}}`")


def show_checks(checks: Iterable[Check]) -> int:
    """Print checks as they are made; return the exit code, 1 if one failed."""
    console = output_console()
    failed = 0
    for check in checks:
        failed += not check.passed
        console.print("ok  " if check.passed else "FAIL", style="green" if check.passed else "red", end=" ")
        console.print(f"{check.name}: {check.detail}")
    console.print(f"{plural(failed, 'check')} failed." if failed else "All checks passed.")
    return 1 if failed else 0
