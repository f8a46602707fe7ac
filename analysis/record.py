"""The content of verdict.json, and reading one that is old, truncated or made by other programs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError


class DecisionRecord(BaseModel):
    """A decision in verdict.json; fields with defaults are missing in older files."""

    verdict: str
    effect: float | None
    low: float | None
    high: float | None
    p: float | None
    seeds: int
    margin: float | None
    sentence: str
    difference: bool = False
    metric: str = ""  # in whose unit the numbers are
    noun: str = "seed"  # for the replicates that `seeds` counts


class TrialCounts(BaseModel):
    """The number of trials that were planned, and that ended with each status."""

    planned: int
    done: int
    pruned: int = 0
    diverged: int
    failed: int


class FigureRecord(BaseModel):
    """A figure of the verdict."""

    stem: str = Field(pattern=r"^[\w-][\w.-]*$")  # of its files
    title: str
    caption: str


class VerdictRecord(BaseModel):
    """The content of verdict.json; keys that a file lacks are empty."""

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
    effects: dict[str, DecisionRecord] = Field(default_factory=dict)
    beside: dict[str, DecisionRecord] = Field(default_factory=dict)
    remarks: list[str] = Field(default_factory=list)
    bed: str = ""
    cells: list[str] = Field(default_factory=list)
    trials: TrialCounts = TrialCounts(planned=0, done=0, diverged=0, failed=0)
    figures: list[FigureRecord] = Field(default_factory=list)
    date: str = ""


def read_verdict(folder: Path) -> dict[str, Any] | None:
    """Return the last verdict of a claim, with the cells and figures that still exist; None if there is no verdict.

    Keys that the file lacks are empty, or read from the folder; a remark names them.
    """
    file = folder / "verdict.json"
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text("utf-8"))
    except (ValueError, RecursionError):
        content = None
    record, lacking = parse_record(content if isinstance(content, dict) else {})
    record["name"] = record["name"] or folder.name
    present = present_cells(folder)
    cells = [cell for cell in record["cells"] if cell in present]
    gone = {f"the runs of `{cell}`": None for cell in record["cells"] if cell not in present}
    recorded = record["figures"] or [{"stem": "verdict", "title": "Result", "caption": figure_caption(record)}]
    figures = [
        figure
        for figure in recorded
        if all((folder / "figures" / f"{figure['stem']}.{k}").is_file() for k in ("svg", "png"))
    ]
    gone |= {f"the figure `{figure['stem']}`": None for figure in recorded if figure not in figures}
    remarks = [*record["remarks"], *missing_remarks(lacking if isinstance(content, dict) else None, list(gone))]
    if not record["cells"] and ("" not in present or present == [""]):  # else a study of the same name ran here, too
        cells = present
    return record | {"cells": cells, "figures": figures, "remarks": remarks}


def figure_caption(verdict: Mapping[str, Any]) -> str:
    """Return the caption of a verdict's figure."""
    return f"{verdict['question']} {verdict['verdict'].capitalize()}: {verdict['sentence']}"


def decision_label(name: str, decision: Mapping[str, Any]) -> str:
    """Return the label of a decision: its name, without the metric if its sentence names it."""
    metric = decision.get("metric")
    return name.removesuffix(f" ({metric})") if metric and metric in decision["sentence"] else name


def parse_record(content: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a record, and the keys that are missing or invalid."""
    try:
        record = VerdictRecord.model_validate(content)
    except ValidationError as error:
        invalid = {str(detail["loc"][0]) for detail in error.errors()}
        record = VerdictRecord.model_validate({key: value for key, value in content.items() if key not in invalid})
    lacking = [key for key in VerdictRecord.model_fields if key not in record.model_fields_set]
    return record.model_dump(), lacking


def present_cells(folder: Path) -> list[str]:
    """Return the names of the runs in a claim's folder; empty for that of a claim of one study."""
    single = [""] if (folder / "study.yaml").is_file() else []
    return single + sorted(file.parent.name for file in folder.glob("*/study.yaml"))


def missing_remarks(lacking: list[str] | None, gone: list[str]) -> list[str]:
    """Return remarks on keys that the file lacks, None if it is no verdict, and on runs and figures that are gone."""
    advice = "run the claim again to judge it"
    remarks = []
    if lacking is None:
        remarks = [f"verdict.json cannot be read; {advice}."]
    elif old := [key for key in lacking if key != "figures"]:
        remarks = [f"verdict.json is old or damaged and lacks {', '.join(f'`{key}`' for key in old)}; {advice}."]
    return remarks + ([f"Missing: {', '.join(gone)}."] if gone else [])
