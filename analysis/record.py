"""What verdict.json holds, and what can be read of one that is old, cut off or not ours."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError


class Numbers(BaseModel):
    """A decision, as JSON has it."""

    verdict: str
    effect: float | None
    low: float | None
    high: float | None
    p: float | None
    seeds: int
    margin: float | None
    sentence: str
    difference: bool = False  # of a verdict that is older than this, it is not known
    metric: str = ""  # the same; that the numbers are in the unit of
    noun: str = "seed"  # the same; what there are so many of


class Trials(BaseModel):
    """How many trials were asked for, and how many ended how."""

    planned: int
    done: int
    pruned: int = 0
    diverged: int
    failed: int


class Shown(BaseModel):
    """A figure beside the verdict."""

    stem: str = Field(pattern=r"^[\w-][\w.-]*$")  # of its files
    title: str
    caption: str


class Record(BaseModel):
    """All that a verdict says; what a file lacks is empty."""

    name: str = ""
    quick: bool = False
    source: str = ""
    question: str = ""
    says: str = ""
    support: str = ""
    verdict: str = "unknown"
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    seeds: int = 0
    margin: float | None = None
    sentence: str = ""
    metric: str = ""
    effects: dict[str, Numbers] = Field(default_factory=dict)
    beside: dict[str, Numbers] = Field(default_factory=dict)
    remarks: list[str] = Field(default_factory=list)
    bed: str = ""
    cells: list[str] = Field(default_factory=list)
    trials: Trials = Trials(planned=0, done=0, diverged=0, failed=0)
    figures: list[Shown] = Field(default_factory=list)
    date: str = ""


def read(folder: Path) -> dict[str, Any] | None:
    """Return the last verdict of a claim, None if there is none: its cells and figures are those that are there.

    What the file lacks is empty, or what the folder tells; a remark says what that is.
    """
    file = folder / "verdict.json"
    if not file.is_file():
        return None
    try:
        given = json.loads(file.read_text("utf-8"))
    except (ValueError, RecursionError):
        given = None
    record, lacking = _understood(given if isinstance(given, dict) else {})
    record["name"] = record["name"] or folder.name
    there = _cells(folder)
    cells = [cell for cell in record["cells"] if cell in there]
    gone = {f"the runs of `{cell}`": None for cell in record["cells"] if cell not in there}
    shown = record["figures"] or [{"stem": "verdict", "title": "What was found", "caption": words(record)}]
    figures = [
        one for one in shown if all((folder / "figures" / f"{one['stem']}.{k}").is_file() for k in ("svg", "png"))
    ]
    gone |= {f"the figure `{one['stem']}`": None for one in shown if one not in figures}
    remarks = [*record["remarks"], *_remarks(lacking if isinstance(given, dict) else None, list(gone))]
    return record | {"cells": cells or there, "figures": figures, "remarks": remarks}


def words(verdict: Mapping[str, Any]) -> str:
    """Return what a verdict's figure shows."""
    return f"{verdict['question']} {verdict['verdict'].capitalize()}: {verdict['sentence']}"


def called(name: str, decision: Mapping[str, Any]) -> str:
    """Return what a decision is called, without the metric if its sentence names it."""
    metric = decision.get("metric")
    return name.removesuffix(f" ({metric})") if metric and metric in decision["sentence"] else name


def _understood(given: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a record, and the keys that were missing or not what they should be."""
    try:
        found = Record.model_validate(given)
    except ValidationError as error:
        wrong = {str(one["loc"][0]) for one in error.errors()}
        found = Record.model_validate({key: value for key, value in given.items() if key not in wrong})
    lacking = [key for key in Record.model_fields if key not in found.model_fields_set]
    return found.model_dump(), lacking


def _cells(folder: Path) -> list[str]:
    """Return the runs of a claim that are there; that of a claim of one study has no name."""
    alone = [""] if (folder / "study.yaml").is_file() else []
    return alone + sorted(file.parent.name for file in folder.glob("*/study.yaml"))


def _remarks(lacking: list[str] | None, gone: list[str]) -> list[str]:
    """Return what is missing, in words; `lacking` is None of a file that is no verdict at all."""
    again = "running the claim again judges it anew"
    found = []
    if lacking is None:
        found = [f"verdict.json is not a verdict that can be read; {again}."]
    elif old := [key for key in lacking if key != "figures"]:
        found = [f"verdict.json is old or damaged, and lacks {', '.join(f'`{key}`' for key in old)}; {again}."]
    return found + ([f"No longer there: {', '.join(gone)}."] if gone else [])
