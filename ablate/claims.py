"""A claim is a study with a decision rule: its cells run as studies, and their tables are judged together.

The file of a claim is a study file with a section `claim`. Where one study does not do, `cells` has changes of it by
name, and each makes a study of its own, `CLAIM/CELL` of the store. `quick` has changes for a run in a hurry.
"""

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from polars.exceptions import PolarsError
from pydantic import BeforeValidator, Field

from ablate.analyses import check_analysis, check_count, check_replicates
from ablate.document import Document, KeyPath
from ablate.errors import UserError
from ablate.keys import REDUCED_PRECISION
from ablate.lock import DRIVER_FILE, LOCK_FILE
from ablate.options import check_rule, known
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

OWN = ("claim", "cells", "quick")  # keys of a claim beside those of a study
KEPT = {  # what a claim's folder has of its own, or of a run that it was before it had cells
    "verdict.json", "report.html", "report.md", "figures", "tables", "readings.csv", "study.yaml", "search.log",
    LOCK_FILE, DRIVER_FILE, *TABLES,
}  # fmt: skip
HURRY = {"seeds": 3}
CHANGED = "The words of this claim were changed since it was judged: run it again."
Choice = Annotated[  # a name and its options; a name alone has none
    dict[str, dict[str, Any]],
    Field(min_length=1, max_length=1),
    BeforeValidator(lambda value: {value: {}} if isinstance(value, str) else value),
]


class About(Section):
    """The section `claim`: what was said, how it is measured, and what would count as support."""

    source: str
    question: str
    says: str
    support: str
    analysis: Choice | Annotated[list[Choice], Field(min_length=1)]  # from tables to numbers, one per seed
    beside: list[Choice] = Field(default_factory=list)  # more of them, shown and not judged
    rule: Choice  # from numbers to a verdict

    @property
    def analyses(self) -> list[dict[str, dict[str, Any]]]:
        """Return the analyses that are judged."""
        return self.analysis if isinstance(self.analysis, list) else [self.analysis]


class Claim(NamedTuple):
    """A claim that is known to be runnable."""

    name: str
    about: About
    cells: dict[str, Study]
    quick: bool

    @property
    def folder(self) -> Path:
        """Return where the verdict lies."""
        return next(iter(self.cells.values())).store / self.name

    @property
    def mirror(self) -> Mirror | None:
        """Return the mirror of a remote store that the verdict lies in."""
        return next(iter(self.cells.values())).mirror


def names() -> list[str]:
    """Return the names of the catalogue."""
    return sorted(file.stem for file in CLAIMS.glob("*.yaml"))


def recipes() -> list[str]:
    """Return the names of the recipes, which run the published settings of a method against each other."""
    return sorted(file.stem for file in RECIPES.glob("*.yaml"))


def asked(given: str) -> list[str]:
    """Return the claims that a person asks for, each once: names or files with commas between them, `all`, `recipes`.

    Raises:
        UserError: there is none.
    """
    groups = {"all": names, "recipes": recipes}
    parts = [part.strip() for part in given.split(",") if part.strip()]
    if not parts:
        raise UserError(f"--claims: must be all, recipes or names with commas between them, got {given!r}")
    return list(dict.fromkeys(name for part in parts for name in (groups[part]() if part in groups else [part])))


def listing(store: str) -> list[dict[str, Any]]:
    """Return every claim of the catalogue with what it says and its last verdict, that of a full run if there is one.

    `folder` is where the verdict lies; `verdict` and what belongs to it are missing where there is none.
    """
    listed = []
    for name in names():
        about = Document(CLAIMS / f"{name}.yaml").value["claim"]
        folders = [Path(store) / name, Path(store) / f"{name}-quick"]
        found = [(folder, verdict) for folder in folders if (verdict := read_verdict(folder))]
        folder, verdict = found[0] if found else (None, {})
        words = {key: about[key] for key in ("source", "question", "says", "support")}
        if any(verdict.get(key, word) != word for key, word in words.items()):
            verdict = {**verdict, "remarks": [*verdict["remarks"], CHANGED]}
        listed.append({"quick": False, **verdict, "name": name, **words, "folder": folder})
    return listed


def is_claim(name: str) -> bool:
    """Tell whether a name or a file is a claim's, and not that of a study; a UserError where it is neither's."""
    value = Document(find_study_file(name)).value
    return isinstance(value, dict) and "claim" in value


def load(name: str, store: str | None = None, *, quick: bool = False) -> Claim:
    """Read and check a claim, all of its cells included.

    Raises:
        UserError: anything in it is wrong; one sentence with file, line, key, rule, finding and the nearest name.
    """
    document = Document(find_study_file(name))
    given = document.value
    if not isinstance(given, dict) or "claim" not in given:
        raise UserError(f"{name}: is a study, and here a claim is asked for; `ablate run {name}` runs it")
    about = validate_section(document, About, given["claim"], ("claim",))
    for analysis in about.analyses:
        known(document, ("claim", "analysis"), analysis, ABLATIONS)
    for analysis in about.beside:
        known(document, ("claim", "beside"), analysis, ABLATIONS)
    known(document, ("claim", "rule"), about.rule, RULES)
    check_rule(document, about.analyses, about.rule)
    cells = given.get("cells", {"": {}})
    for key in ("cells", "quick"):
        if not isinstance(given.get(key, {}), dict):
            raise document.error((key,), "must be a mapping")
    check_changes(document, cells)
    studies = {cell: one_cell(document, name, store, cell, quick=quick) for cell in cells}
    if "quick" in given and not quick:  # what it changes is wrong or right whether it is asked for or not
        for cell in cells:
            one_cell(document, name, store, cell, quick=True)
    if not studies:
        raise document.error(("cells",), "must not be empty")
    for key, analyses in (("analysis", about.analyses), ("beside", about.beside)):
        for analysis in analyses:
            check_analysis(document, ("claim", key), analysis, studies)
            if not quick:  # a run in a hurry may have too few to tell anything
                tested = key == "analysis" and not {"exact", "report"}.intersection(about.rule)
                check_replicates(document, ("claim", key), analysis, studies, tested=tested)
    check_count(document, about.analyses, about.rule, studies)
    return Claim(f"{document.value['name']}{'-quick' * quick}", about, studies, quick)


def check_changes(document: Document, cells: Mapping[str, Any]) -> None:
    """Raise a UserError where a cell, or the quick form, changes where results lie."""
    layers: dict[KeyPath, Any] = {("cells", cell): change for cell, change in cells.items()}
    for where, change in {**layers, ("quick",): document.value.get("quick", {})}.items():
        for key in {"name", "store"}.intersection(change if isinstance(change, dict) else ()):
            raise document.error((*where, key), "is of the whole claim; what is changed here is the study")


def one_cell(document: Document, name: str, store: str | None, cell: str, *, quick: bool) -> Study:
    """Return the study of a cell; its folder lies in the claim's."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*|", cell):
        raise document.error(("cells", cell), "the name of a cell holds letters, digits and `._-`")
    if cell.lower() in KEPT:
        raise document.error(("cells", cell), f"`{cell}` is in the claim's own folder; take another name")
    study = resolve(changed(document, cell, quick=quick), name, store)
    if len(study.seed_counts) > 1:
        raise study.document.error(("seeds",), "must be a number: a verdict names it")
    if "budget" in study.file.model_fields_set:
        raise study.document.error(("budget",), "ends a study early, and a verdict is of all that was asked for")
    if REDUCED_PRECISION.intersection(study.possible_values("train.dtype")):
        raise study.document.error(("train", "dtype"), "a verdict is given on float32 or float64")
    title = f"{study.file.name}{'-quick' * quick}{f'/{cell}' if cell else ''}"
    return study._replace(file=study.file.model_copy(update={"name": title}))


def changed(document: Document, cell: str, *, quick: bool) -> Document:
    """Return the study file of a cell: the claim's with its changes laid over it; errors are in their lines."""
    study = copy.copy(document)
    study.value = {key: value for key, value in document.value.items() if key not in OWN}
    study.lines = dict(document.lines)
    if quick:
        study.value = overlay(study.value, HURRY)
    layers: list[KeyPath] = [("cells", cell)] if cell else []
    layers += [("quick",)] if quick and "quick" in document.value else []
    for layer in layers:
        change = reduce(lambda value, key: value[key], layer, document.value)
        if not isinstance(change, dict):
            raise document.error(layer, "must be a mapping of changes to the study")
        study.value = overlay(study.value, change)
        study.lines |= {at[len(layer) :]: line for at, line in document.lines.items() if at[: len(layer)] == layer}
    return study


def overlay(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping with another laid over it: a mapping goes into a mapping, null takes a key away."""
    merged = dict(base)
    for key, value in change.items():
        inside = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = overlay(merged[key], value) if inside else value
    return {key: value for key, value in merged.items() if value is not None or change.get(key, 0) is not None}


def prove(
    claims: Sequence[Claim],
    cpus: int | None,
    watch: Callable[[Study], RunCallback],
    tell: Callable[[Claim, dict[str, Any]], None],
    address: str | None = None,
) -> list[RunOutcome]:
    """Run the cells of claims together, and judge each claim when its last cell has ended.

    Args:
        claims: what to run.
        cpus: how many to use; None: all that there are.
        watch: returns who is told of what happens to a cell.
        tell: is told of each verdict.
        address: of a Ray cluster; None starts a Ray of this machine alone.

    Returns:
        How the cells ended; those of a run that was interrupted have no verdict.

    Raises:
        UserError: two claims have one name, or a cell cannot run here, or an analysis asks for what the runs do not
            have; the others are judged.
    """
    check_names(claims)
    claim_of = {study.folder: claim for claim in claims for study in claim.cells.values()}
    waiting = {claim.name: len(claim.cells) for claim in claims}
    wrong: list[UserError] = []

    def ended(study: Study, outcome: RunOutcome) -> None:
        claim = claim_of[study.folder]
        waiting[claim.name] -= not outcome.interrupted
        if not waiting[claim.name]:
            try:
                tell(claim, judged(claim))
            except UserError as error:
                wrong.append(error)

    studies = [study for claim in claims for study in claim.cells.values()]
    outcomes = run_studies(studies, cpus, watch, ended, address)
    if wrong:
        raise UserError("; ".join(map(str, wrong)))
    return outcomes


def check_names(claims: Sequence[Claim]) -> None:
    """Raise a UserError where two claims have one name: their results would lie in one folder."""
    files: dict[str, str] = {}
    for claim in claims:
        given = next(iter(claim.cells.values())).name_or_path
        if claim.name in files:
            raise UserError(f"--claims: {files[claim.name]} and {given} are both named {claim.name}; rename one")
        files[claim.name] = given


def judged(claim: Claim) -> dict[str, Any]:
    """Return the verdict on what the store has of a claim, and write it; UserError where it cannot be judged."""
    about = claim.about
    words = {key: getattr(about, key) for key in ("source", "question", "says", "support")}
    facts = {"name": claim.name, "quick": claim.quick, **words}
    folders = {cell: study.folder for cell, study in claim.cells.items()}
    try:
        return write_verdict(facts, about.analyses, about.beside, about.rule, folders, claim.folder)
    except (ValueError, PolarsError) as error:
        first, *_ = str(error).splitlines()  # polars says more
        raise UserError(f"{claim.name}: cannot be judged: {first}") from None
