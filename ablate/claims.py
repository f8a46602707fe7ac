"""Claims: studies with a decision rule. The cells of a claim run as studies, and one verdict is given on all of them.

The file of a claim is a study file with a section `claim`. `cells` maps names to changes of the study; each makes a
study of its own, `CLAIM/CELL` in the store. `quick` has changes for a quick run.
"""

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from polars.exceptions import PolarsError
from pydantic import BeforeValidator, Field

from ablate.claim_checks import check_analysis, check_count, check_replicates
from ablate.claim_options import check_options, check_rule
from ablate.document import Document, KeyPath
from ablate.errors import UserError
from ablate.keys import REDUCED_PRECISION
from ablate.lock import DRIVER_FILE, LOCK_FILE
from ablate.remote import Mirror
from ablate.run import RunCallback, RunOutcome, run_studies
from ablate.store import TABLES
from ablate.study import Study, find_study_file, resolve
from ablate.validation import Section, validate_section
from analysis.ablations import ABLATIONS
from analysis.record import read_verdict
from analysis.rules import RULES
from analysis.verdicts import write_verdict
from search_spaces import CLAIMS, RECIPES

CLAIM_KEYS = ("claim", "cells", "quick")  # keys of a claim that a study does not have
RESERVED_CELLS = {  # entries of a claim's folder, also of a claim without cells, which no cell may be named after
    "verdict.json", "report.html", "report.md", "figures", "tables", "readings.csv", "study.yaml", "search.log",
    LOCK_FILE, DRIVER_FILE, *TABLES,
}  # fmt: skip
QUICK_CHANGES = {"seeds": 3}
CHANGED_REMARK = "The text of this claim has changed since it was judged: run it again."
ChoiceField = Annotated[  # a name and its options; a name alone has none
    dict[str, dict[str, Any]],
    Field(min_length=1, max_length=1),
    BeforeValidator(lambda value: {value: {}} if isinstance(value, str) else value),
]


class ClaimSection(Section):
    """The section `claim`: what the source says, how it is measured, and what counts as support."""

    source: str
    question: str
    says: str
    support: str
    analysis: ChoiceField | Annotated[list[ChoiceField], Field(min_length=1)]  # tables -> numbers, one per seed
    beside: list[ChoiceField] = Field(default_factory=list)  # further analyses, reported without a verdict
    rule: ChoiceField  # numbers -> verdict

    @property
    def analyses(self) -> list[dict[str, dict[str, Any]]]:
        """Return the analyses that the verdict is about."""
        return self.analysis if isinstance(self.analysis, list) else [self.analysis]


class Claim(NamedTuple):
    """A claim that has been checked."""

    name: str
    section: ClaimSection
    cells: dict[str, Study]
    quick: bool

    @property
    def folder(self) -> Path:
        """Return the folder of the verdict."""
        return next(iter(self.cells.values())).store / self.name

    @property
    def mirror(self) -> Mirror | None:
        """Return the mirror of the store, if that is remote."""
        return next(iter(self.cells.values())).mirror


def claim_names() -> list[str]:
    """Return the names of the claims in the catalogue."""
    return sorted(file.stem for file in CLAIMS.glob("*.yaml"))


def recipe_names() -> list[str]:
    """Return the names of the recipes, which run the published settings of a method against each other."""
    return sorted(file.stem for file in RECIPES.glob("*.yaml"))


def requested_claims(request: str) -> list[str]:
    """Return the claims of the option `--claims`, without repeats: comma-separated names or files, `all`, `recipes`.

    Raises:
        UserError: the option names none.
    """
    groups = {"all": claim_names, "recipes": recipe_names}
    parts = [part.strip() for part in request.split(",") if part.strip()]
    if not parts:
        raise UserError(f"--claims: must be all, recipes or comma-separated names, got {request!r}")
    return list(dict.fromkeys(name for part in parts for name in (groups[part]() if part in groups else [part])))


def list_claims(store: str) -> list[dict[str, Any]]:
    """Return every claim of the catalogue with its text and its last verdict, preferring that of a full run.

    `folder` is that of the verdict; without a verdict it is None, and the keys of the verdict are missing.
    """
    claims = []
    for name in claim_names():
        section = Document(CLAIMS / f"{name}.yaml").value["claim"]
        folders = [Path(store) / name, Path(store) / f"{name}-quick"]
        verdicts = [(folder, verdict) for folder in folders if (verdict := read_verdict(folder))]
        folder, verdict = verdicts[0] if verdicts else (None, {})
        wording = {key: section[key] for key in ("source", "question", "says", "support")}
        if any(verdict.get(key, text) != text for key, text in wording.items()):
            verdict = {**verdict, "remarks": [*verdict["remarks"], CHANGED_REMARK]}
        claims.append({"quick": False, **verdict, "name": name, **wording, "folder": folder})
    return claims


def load(name: str, store: str | None = None, *, quick: bool = False) -> Claim:
    """Read and check a claim, including all of its cells.

    Raises:
        UserError: the claim is invalid; one sentence with file, line, key, rule, value and the nearest valid name.
    """
    document = Document(find_study_file(name))
    content = document.value
    if not isinstance(content, dict) or "claim" not in content:
        raise UserError(f"{name}: is a study, but a claim is required here; `ablate run {name}` runs it")
    section = validate_section(document, ClaimSection, content["claim"], ("claim",))
    for analysis in section.analyses:
        check_options(document, ("claim", "analysis"), analysis, ABLATIONS)
    for analysis in section.beside:
        check_options(document, ("claim", "beside"), analysis, ABLATIONS)
    check_options(document, ("claim", "rule"), section.rule, RULES)
    check_rule(document, section.analyses, section.rule)
    cells = content.get("cells", {"": {}})
    for key in ("cells", "quick"):
        if not isinstance(content.get(key, {}), dict):
            raise document.error((key,), "must be a mapping")
    check_changes(document, cells)
    studies = {cell: load_cell(document, name, store, cell, quick=quick) for cell in cells}
    if "quick" in content and not quick:  # the section `quick` is checked in any case
        for cell in cells:
            load_cell(document, name, store, cell, quick=True)
    if not studies:
        raise document.error(("cells",), "must not be empty")
    for key, analyses in (("analysis", section.analyses), ("beside", section.beside)):
        for analysis in analyses:
            check_analysis(document, ("claim", key), analysis, studies)
            if not quick:  # a run in a hurry may have too few to tell anything
                tested = key == "analysis" and not {"exact", "report"}.intersection(section.rule)
                check_replicates(document, ("claim", key), analysis, studies, tested=tested)
    check_count(document, section.analyses, section.rule, studies)
    return Claim(f"{document.value['name']}{'-quick' * quick}", section, studies, quick)


def check_changes(document: Document, cells: Mapping[str, Any]) -> None:
    """Raise a UserError if a cell or the section `quick` changes the name or the store."""
    layers: dict[KeyPath, Any] = {("cells", cell): change for cell, change in cells.items()}
    for where, change in {**layers, ("quick",): document.value.get("quick", {})}.items():
        for key in {"name", "store"}.intersection(change if isinstance(change, dict) else ()):
            raise document.error((*where, key), "belongs to the whole claim and cannot change here")


def load_cell(document: Document, name: str, store: str | None, cell: str, *, quick: bool) -> Study:
    """Return the study of a cell, whose folder is inside the claim's."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*|", cell):
        raise document.error(("cells", cell), "the name of a cell must contain only letters, digits and `._-`")
    if cell.lower() in RESERVED_CELLS:
        raise document.error(("cells", cell), f"`{cell}` is reserved in the claim's folder; choose another name")
    study = resolve(cell_document(document, cell, quick=quick), name, store)
    if len(study.looks) > 1:
        raise study.document.error(("seeds",), "must be a number, because the verdict states it")
    if "budget" in study.file.model_fields_set:
        raise study.document.error(("budget",), "stops a study early, but a verdict needs all its trials")
    if REDUCED_PRECISION.intersection(study.possible_values("train.dtype")):
        raise study.document.error(("train", "dtype"), "a verdict requires float32 or float64")
    title = f"{study.file.name}{'-quick' * quick}{f'/{cell}' if cell else ''}"
    return study._replace(file=study.file.model_copy(update={"name": title}))


def cell_document(document: Document, cell: str, *, quick: bool) -> Document:
    """Return the study file of a cell: the claim's with the cell's changes; lines in errors are those of the file."""
    study = copy.copy(document)
    study.value = {key: value for key, value in document.value.items() if key not in CLAIM_KEYS}
    study.lines = dict(document.lines)
    if quick:
        study.value = overlay(study.value, QUICK_CHANGES)
    paths: list[KeyPath] = [("cells", cell)] if cell else []
    paths += [("quick",)] if quick and "quick" in document.value else []
    for path in paths:
        change = reduce(lambda value, key: value[key], path, document.value)
        if not isinstance(change, dict):
            raise document.error(path, "must be a mapping of changes to the study")
        study.value = overlay(study.value, change)
        study.lines |= {
            key_path[len(path) :]: line for key_path, line in document.lines.items() if key_path[: len(path)] == path
        }
    return study


def overlay(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping with changes applied recursively; null removes a key."""
    merged = dict(base)
    for key, value in change.items():
        is_nested = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = overlay(merged[key], value) if is_nested else value
    return {key: value for key, value in merged.items() if value is not None or change.get(key, 0) is not None}


def run_claims(
    claims: Sequence[Claim],
    cpus: int | None,
    make_callback: Callable[[Study], RunCallback],
    on_verdict: Callable[[Claim, dict[str, Any]], None],
    address: str | None = None,
) -> list[RunOutcome]:
    """Run the cells of all claims together, and judge each claim when its last cell has ended.

    Args:
        claims: what to run.
        cpus: number of CPUs to use; None: all.
        make_callback: returns the callback of a cell's run.
        on_verdict: is called with each verdict.
        address: of a Ray cluster; None starts a local Ray.

    Returns:
        The outcomes of the cells; interrupted claims have no verdict.

    Raises:
        UserError: two claims have the same name, a cell cannot run here, or a claim cannot be judged; the others are
            judged nevertheless.
    """
    check_names(claims)
    claim_of = {study.folder: claim for claim in claims for study in claim.cells.values()}
    cells_left = {claim.name: len(claim.cells) for claim in claims}
    errors: list[UserError] = []

    def judge_if_complete(study: Study, outcome: RunOutcome) -> None:
        claim = claim_of[study.folder]
        cells_left[claim.name] -= not outcome.interrupted
        if not cells_left[claim.name]:
            try:
                on_verdict(claim, judge_claim(claim))
            except UserError as error:
                errors.append(error)

    studies = [study for claim in claims for study in claim.cells.values()]
    outcomes = run_studies(studies, cpus, make_callback, judge_if_complete, address)
    if errors:
        raise UserError("; ".join(map(str, errors)))
    return outcomes


def check_names(claims: Sequence[Claim]) -> None:
    """Raise a UserError if two claims have the same name: their results would share a folder."""
    files: dict[str, str] = {}
    for claim in claims:
        path = next(iter(claim.cells.values())).name_or_path
        if claim.name in files:
            raise UserError(f"--claims: {files[claim.name]} and {path} are both named {claim.name}; rename one")
        files[claim.name] = path


def judge_claim(claim: Claim) -> dict[str, Any]:
    """Write and return the verdict on a claim, given its runs; raise a UserError if it cannot be judged."""
    section = claim.section
    wording = {key: getattr(section, key) for key in ("source", "question", "says", "support")}
    facts = {"name": claim.name, "quick": claim.quick, **wording}
    folders = {cell: study.folder for cell, study in claim.cells.items()}
    try:
        return write_verdict(facts, section.analyses, section.beside, section.rule, folders, claim.folder)
    except (ValueError, PolarsError) as error:
        first, *_ = str(error).splitlines()  # polars adds further lines
        raise UserError(f"{claim.name}: cannot be judged: {first}") from None
