"""The catalogue of claims: every file is right, three kinds run to a verdict, and a wrong one gets one sentence."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from ablate.agenda import open_agenda
from ablate.claims import CHANGED, listing, load, names, ready, recipes
from ablate.cli import app
from ablate.errors import UserError
from ablate.plan import size
from ablate.preflight import check_trials
from analysis.verdicts import titled
from search_spaces import CLAIMS, RECIPES
from tests.ablate.helpers import ablate, here

MOST = 600  # trials of a claim
CLAIM: dict[str, Any] = {
    "name": "mine",
    "claim": {
        "source": "us", "question": "q?", "says": "yes", "support": "it is",
        "analysis": {"difference": {"of": {"method": "agm"}, "minus": {"method": "joint"}}},
        "rule": {"greater": {"margin": 0.01}},
    },
    "data": {"name": "synthetic", "modalities": 2, "samples": [96, 48, 48]},
    "model": {"hidden": 8},
    "train": {"epochs": 1},
    "methods": ["joint", "agm"],
    "cells": {"easy": {"data": {"snr": 9}}, "hard": {"data": {"snr": 0}}},
}  # fmt: skip
TINY = {
    "agm-attribution-exact": {"data": {"samples": [64, 32, 32]}, "train": {"epochs": 1}},
    "agm-informative": {"data": {"samples": [64, 32, 32]}, "train": {"epochs": 1}},
    "cggm-components": {"train": {"epochs": 1}},
}


def write(folder: Path, content: dict[str, Any]) -> Path:
    file = folder / f"{content['name']}.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


@pytest.mark.parametrize("name", sorted(ready()))
def test_a_claim_of_the_catalogue_is_right_and_affordable(name: str, tmp_path: Path) -> None:
    for quick in (False, True):
        claim = load(name, str(tmp_path), quick=quick)
        assert claim.name == name + "-quick" * quick
        assert 0 < sum(size(study) for study in claim.cells.values()) <= (100 if quick else MOST)
    for study in claim.cells.values():
        agenda = open_agenda(study)
        check_trials(study, agenda)
    assert not list(tmp_path.iterdir())


def tiny(name: str, folder: Path) -> Path:
    """Write a claim of the catalogue with its first cell alone and little to train."""
    content = yaml.safe_load((CLAIMS / f"{name}.yaml").read_text())
    first, change = next(iter(content["cells"].items()))
    return write(folder, content | {"seeds": 2, "cells": {first: change}, "quick": TINY[name]})


def judged(runs: Path, name: str, output: str) -> dict[str, Any]:
    """Return the verdict of a claim that ran quickly, which is on all its trials and was shown."""
    verdict: dict[str, Any] = json.loads((runs / f"{name}-quick" / "verdict.json").read_text())
    assert verdict["verdict"] in {"supported", "refuted", "inconclusive", "reported"}
    assert verdict["trials"]["done"] == verdict["trials"]["planned"]
    assert f"{name}-quick: {verdict['verdict'].upper()} (quick" in output
    assert verdict["sentence"] in output
    return verdict


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["agm-informative", "cggm-components"])
def test_a_claim_of_each_kind_runs_to_a_verdict(name: str, tmp_path: Path) -> None:
    ended = ablate("run", tiny(name, tmp_path), "--quick", "--store", tmp_path / "runs", "--cpus", 2)
    assert ended.returncode == 0, ended.stderr
    judged(tmp_path / "runs", name, ended.stdout)


@pytest.mark.nightly
@pytest.mark.parametrize("name", recipes())
def test_every_recipe_runs_to_its_end(name: str, tmp_path: Path) -> None:
    content = yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
    quick = {"seeds": 2, "train": {"epochs": 2}, "data": {"shots": 10}}
    file = write(tmp_path, content | {"quick": quick})
    ended = ablate("run", file, "--quick", "--store", tmp_path / "runs", "--cpus", 2)
    assert ended.returncode == 0, ended.stderr
    verdict = json.loads((tmp_path / "runs" / f"{name}-quick" / "verdict.json").read_text())
    assert set(verdict["effects"]) == set(verdict["cells"]) == set(content["cells"])
    trials = verdict["trials"]
    assert trials["done"] + trials["diverged"] == trials["planned"]  # CGGM as on BraTS clips nothing
    for effects in (verdict["effects"], verdict["beside"]):
        assert sum(2 - one["seeds"] for one in effects.values()) <= trials["diverged"]


def test_cells_are_studies_with_their_changes(tmp_path: Path) -> None:
    claim = load(str(write(tmp_path, CLAIM)), "store", quick=True)
    assert [study.file.name for study in claim.cells.values()] == ["mine-quick/easy", "mine-quick/hard"]
    assert [study.data["snr"] for study in claim.cells.values()] == [9, 0]
    assert all(study.data["samples"] == [96, 48, 48] and study.file.seeds == 3 for study in claim.cells.values())
    assert claim.folder == Path("store").absolute() / "mine-quick"


BROKEN = {
    "a part is missing": ({"claim": {"source": "us"}}, "claim: the key `question` is missing"),
    "an unknown analysis": (
        {"claim": CLAIM["claim"] | {"analysis": {"diference": {}}}}, "claim.analysis: there is no `diference`"
    ),
    "an unknown option": (
        {"claim": CLAIM["claim"] | {"rule": {"greater": {"margn": 1}}}},
        "claim.rule.greater.margn: greater has no option `margn` (it has: by, margin, metric). Did you mean `margin`?",
    ),
    "a missing option": (
        {"claim": CLAIM["claim"] | {"rule": {"above": {}}}}, "claim.rule.above: the option `threshold` is missing"
    ),
    "a rule of rules about none": (
        {"claim": CLAIM["claim"] | {"rule": {"every": {"rule": "grater"}}}},
        "claim.rule.every.rule: there is no `grater` (it has: greater, less, non_inferior, equivalent, above, below). "
        "Did you mean `greater`?",
    ),
    "a rule of rules about one that tests nothing": (
        {"claim": CLAIM["claim"] | {"rule": {"every": {"rule": "report"}}}}, "claim.rule.every.rule: there is no `report`"
    ),
    "a rule about one number for two sides": (
        {"claim": CLAIM["claim"] | {"rule": {"above": {"threshold": 0.5}}}},
        "claim.rule: `above` is about one number a seed, and `difference` finds two sides",
    ),
    "a rule about two sides for one number": (
        {"claim": CLAIM["claim"] | {"analysis": {"quantity": {"metric": "share"}}, "rule": {"every": {}}}},
        "claim.rule: `greater` is about two sides a seed, and `quantity` finds one number",
    ),
    "a column that is not there": (
        {"claim": CLAIM["claim"] | {"beside": [{"quantity": {"metric": "share", "of": {"agm.alfa": 1}}}]}},
        "claim.beside.quantity.of: no trial has `agm.alfa`. Did you mean `agm.alpha`?",
    ),
    "two rules": ({"claim": CLAIM["claim"] | {"rule": {"greater": {}, "less": {}}}}, "claim.rule: "),
    "a wrong cell": ({"cells": {"x": {"data": {"snrr": 1}}}}, "data: synthetic has no parameter 'snrr'"),
    "a cell that is none": ({"cells": {"x": 3}}, "cells.x: must be a mapping of changes to the study"),
    "a verdict on less than single precision": (
        {"cells": {"x": {"train": {"dtype": "tf32"}}}}, "train.dtype: a verdict is given on float32 or float64"
    ),
    "a cell outside": ({"cells": {"../x": {}}}, "the name of a cell holds letters, digits and `._-`"),
    "no cell": ({"cells": {}}, "cells: must not be empty"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_wrong_claim_gets_one_sentence(case: str, tmp_path: Path) -> None:
    change, sentence = BROKEN[case]
    file = write(tmp_path, CLAIM | change)
    with pytest.raises(UserError) as refused:
        load(str(file))
    assert str(refused.value).startswith(f"{file}:")
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_wrong_cell_is_found_on_its_own_line(tmp_path: Path) -> None:
    file = write(tmp_path, CLAIM | {"cells": {"x": {"train": {"epochs": 0}}}})
    line = 1 + file.read_text().splitlines().index("      epochs: 0")
    with pytest.raises(UserError, match=f":{line}: train.epochs"):
        load(str(file))


def test_claims_lists_the_catalogue(tmp_path: Path) -> None:
    listed = json.loads(CliRunner().invoke(app, ["claims", "--json", "--store", str(tmp_path)]).stdout)
    assert [claim["name"] for claim in listed] == names()
    assert all(claim["source"] and "verdict" not in claim for claim in listed)


def test_a_verdict_on_other_words_is_said_to_be_one(tmp_path: Path) -> None:
    first, second, *_ = names()
    about = {name: load(name).about.model_dump() for name in (first, second)}
    for name, change in ((first, {}), (second, {"support": "something else"})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "verdict.json").write_text(json.dumps({"verdict": "reported"} | about[name] | change))
    listed = {claim["name"]: claim for claim in listing(str(tmp_path))}
    assert CHANGED not in listed[first]["remarks"]
    assert CHANGED in listed[second]["remarks"]


def test_run_takes_a_study_or_claims(tmp_path: Path) -> None:
    for words in ([], ["first-look", "--claims", "all"], ["first-look", "--quick"]):
        ended = CliRunner().invoke(app, ["run", *words, "--store", str(tmp_path)])
        assert ended.exit_code == 2
        assert len(ended.stderr.splitlines()) == 1


def test_the_page_of_verdicts_says_what_was_not_run(tmp_path: Path) -> None:
    page = tmp_path / "claims.md"
    ended = CliRunner().invoke(app, ["claims", "--write", str(page), "--store", str(tmp_path / "runs")])
    assert (ended.exit_code, ended.stdout) == (0, f"{page}\n")
    text = page.read_text()
    assert f"Of {len(names())} claims: {len(names())} not run." in text
    assert text.count("Not run yet.") == len(names())


def test_every_analysis_of_the_catalogue_has_a_title() -> None:
    for name in names():
        about = load(name).about
        titles = [titled(analysis) for analysis in [*about.analyses, *about.beside]]
        assert all(titles)
        assert not re.search(r"[\[\]{}']", " ".join(titles)), titles


def test_claims_run_together_and_each_is_judged(tmp_path: Path) -> None:
    """Where one cannot be judged, a sentence says so, and the others are."""
    several = CLAIM["claim"] | {"rule": {"every": {"rule": "greater"}}}
    right, wrong = (
        write(tmp_path, CLAIM | {"name": "right", "claim": several}),
        write(tmp_path, CLAIM | {"name": "wrong"}),
    )
    runs, exact = tmp_path / "runs", tiny("agm-attribution-exact", tmp_path)
    ended = ablate("run", "--claims", f"{exact},{right}", "--quick", "--store", runs, "--cpus", 1)
    assert ended.returncode == 0, ended.stderr
    judged(runs, "agm-attribution-exact", ended.stdout)
    assert judged(runs, "right", ended.stdout)["trials"]["done"] == 12
    again = here("run", "--claims", f"{wrong},{right}", "--quick", "--store", runs)
    assert again.returncode == 2
    assert again.stderr.splitlines()[-1].startswith("wrong-quick: cannot be judged: the rule `greater` is about one")
    assert judged(runs, "right", again.stdout)["trials"]["done"] == 12
