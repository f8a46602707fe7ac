"""The catalogue of claims: every file is right, three kinds run to a verdict, and a wrong one gets one sentence."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from ablate.claims import CHANGED_REMARK, claim_names, list_claims, load, recipe_names
from ablate.cli import app
from ablate.errors import UserError
from ablate.manifest import build_manifest, write_manifest
from ablate.plan import num_trials
from ablate.preflight import check_trials, overwrite_warnings
from ablate.study import is_claim
from ablate.study import load as load_study
from ablate.trial_queue import open_queue
from analysis.verdicts import analysis_title
from search_spaces import CLAIMS, RECIPES
from tests.ablate.helpers import ablate, here, train

MAX_TRIALS = 600  # trials of a claim
CLAIM: dict[str, Any] = {
    "name": "mine",
    "claim": {
        "source": "us", "question": "q?", "says": "yes", "support": "it is",
        "analysis": {"difference": {"of": {"method": "agm"}, "minus": {"method": "joint"}}},
        "rule": {"every": {"rule": "greater", "margin": 0.01}},
    },
    "data": {"name": "synthetic", "modalities": 2, "samples": [96, 48, 48]},
    "model": {"hidden": 8},
    "train": {"epochs": 1},
    "methods": ["joint", "agm"],
    "cells": {"easy": {"data": {"snr": 9}}, "hard": {"data": {"snr": 0}}},
}  # fmt: skip
TINY = {
    "agm-attribution": {"data": {"samples": [64, 32, 32]}, "train": {"epochs": 1}},
    "agm-attribution-exact": {"data": {"samples": [64, 32, 32]}, "train": {"epochs": 1}},
    "cggm-components": {"train": {"epochs": 1}},
}


def write_claim(folder: Path, content: dict[str, Any]) -> Path:
    file = folder / f"{content['name']}.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


@pytest.mark.parametrize("name", [*claim_names(), *recipe_names()])
def test_a_claim_of_the_catalogue_is_right_and_affordable(name: str, tmp_path: Path) -> None:
    for quick in (False, True):
        claim = load(name, str(tmp_path), quick=quick)
        assert claim.name == name + "-quick" * quick
        assert 0 < sum(num_trials(study) for study in claim.cells.values()) <= (100 if quick else MAX_TRIALS)
    for study in claim.cells.values():
        queue = open_queue(study)
        check_trials(study, queue)
    assert not list(tmp_path.iterdir())


def write_tiny_claim(name: str, folder: Path) -> Path:
    """Write a claim of the catalogue with its first cell alone and little to train."""
    content = yaml.safe_load((CLAIMS / f"{name}.yaml").read_text())
    first, change = next(iter(content["cells"].items()))
    return write_claim(folder, content | {"seeds": 2, "cells": {first: change}, "quick": TINY[name]})


def check_verdict(runs: Path, name: str, output: str) -> dict[str, Any]:
    """Return the verdict of a claim that ran quickly, which is on all its trials and was shown."""
    verdict: dict[str, Any] = json.loads((runs / f"{name}-quick" / "verdict.json").read_text())
    assert verdict["verdict"] in {"supported", "refuted", "inconclusive", "reported"}
    assert verdict["trials"]["done"] == verdict["trials"]["planned"]
    assert f"{name}-quick: {verdict['verdict'].upper()} (quick" in output
    assert verdict["sentence"] in output
    return verdict


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["agm-attribution", "cggm-components"])
def test_a_claim_of_each_kind_runs_to_a_verdict(name: str, tmp_path: Path) -> None:
    ended = ablate("run", write_tiny_claim(name, tmp_path), "--quick", "--store", tmp_path / "runs", "--cpus", 2)
    assert ended.returncode == 0, ended.stderr
    check_verdict(tmp_path / "runs", name, ended.stdout)


@pytest.mark.nightly
@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_runs_to_its_end(name: str, tmp_path: Path) -> None:
    content = yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
    quick = {"seeds": 2, "train": {"epochs": 2}, "data": {"shots": 10}}
    file = write_claim(tmp_path, content | {"quick": content["quick"] | quick})
    ended = ablate("run", file, "--quick", "--store", tmp_path / "runs", "--cpus", 2)
    assert ended.returncode == 0, ended.stderr
    verdict = json.loads((tmp_path / "runs" / f"{name}-quick" / "verdict.json").read_text())
    assert set(verdict["effects"]) == set(verdict["cells"]) == set(content["cells"])
    trials = verdict["trials"]
    assert trials["done"] + trials["diverged"] == trials["planned"]  # CGGM as on BraTS clips nothing
    for effects in (verdict["effects"], verdict["beside"]):
        assert sum(2 - one["seeds"] for one in effects.values()) <= trials["diverged"]


@pytest.mark.parametrize(
    ("cell", "first", "last", "epochs"),  # counted from 0, as where they were published
    [("crema-d", 0, 50, 100), ("vggsound", 0, 50, 100), ("issues", 0, 80, 100), ("benchmark", 10, 80, 30)],
)
def test_recipes_of_ogm_act_in_the_share_of_the_epochs_that_was_published(
    cell: str, first: int, last: int, epochs: int
) -> None:
    study = load("recipes-ogm").cells[cell]
    ours = study.file.train.epochs
    assert study.set.get("ogm-ge.start", 1) == 1 + round(first * ours / epochs)
    assert min(study.set.get("ogm-ge.end", ours), ours) == min(round((last + 1) * ours / epochs), ours)


def test_cells_are_studies_with_their_changes(tmp_path: Path) -> None:
    claim = load(str(write_claim(tmp_path, CLAIM)), "store", quick=True)
    assert [study.file.name for study in claim.cells.values()] == ["mine-quick/easy", "mine-quick/hard"]
    assert [study.data["snr"] for study in claim.cells.values()] == [9, 0]
    assert all(study.data["samples"] == [96, 48, 48] and study.file.seeds == 3 for study in claim.cells.values())
    assert claim.folder == Path("store").absolute() / "mine-quick"


def test_a_study_by_the_name_of_a_claim_is_told_of_its_verdict(tmp_path: Path) -> None:
    """Its own study may judge it anew."""
    alone = {key: value for key, value in CLAIM.items() if key != "cells"}
    (study,) = load(str(write_claim(tmp_path, alone)), str(tmp_path / "runs")).cells.values()
    study.folder.mkdir(parents=True)
    (study.folder / "verdict.json").write_text("{}")
    assert overwrite_warnings(study) == []
    plain = {key: value for key, value in alone.items() if key not in {"claim", "quick"}}
    said = overwrite_warnings(load_study(str(write_claim(tmp_path, plain)), str(tmp_path / "runs")))
    verdict = "whose verdict will be deleted; use another `name` to keep both."
    assert said == [f"{study.folder} contains a claim of the same name, {verdict}"]


def test_a_claim_by_the_name_of_a_study_is_told_of_its_report(tmp_path: Path) -> None:
    """It is told once: of the cells, the first one to start."""
    easy, hard = load(str(write_claim(tmp_path, CLAIM)), str(tmp_path / "runs")).cells.values()
    folder = easy.folder.parent
    assert overwrite_warnings(easy) == []
    write_manifest(folder, build_manifest(easy))
    said = f"{folder} contains a study of the same name, whose report and figures will be replaced; use another `name` to keep both."
    assert overwrite_warnings(easy) == [said]
    write_manifest(easy.folder, build_manifest(easy))
    assert [overwrite_warnings(study) for study in (easy, hard)] == [[], []]


def test_a_plan_shows_what_each_cell_of_a_claim_would_train(tmp_path: Path) -> None:
    file = write_claim(tmp_path, CLAIM)
    shown = here("plan", file, "--store", tmp_path / "runs", "--quick").stdout
    assert re.findall(r"^(\S+) on synthetic: (\d+) trials, 0 in the store", shown, re.MULTILINE) == [
        (f"mine-quick/{cell}", "6") for cell in ("easy", "hard")
    ]
    result = json.loads(here("plan", file, "--store", tmp_path / "runs", "--json").stdout)
    assert list(result) == ["mine/easy", "mine/hard"]
    alone = write_claim(tmp_path, {key: value for key, value in CLAIM.items() if key != "cells"})
    result = json.loads(here("plan", alone, "--store", tmp_path / "runs", "--json").stdout)
    assert {cell: plan["trials"] for cell, plan in result.items()} == {"mine": 10}
    assert not (tmp_path / "runs").exists()


ONE_DIFFERENCE = {"difference": {"of": {"method": "agm"}, "minus": {"method": "joint"}, "per": []}}


def with_analysis(name: str, rule: str = "report", **options: Any) -> dict[str, Any]:
    """Return the change of a claim that gives it another analysis."""
    return {"claim": CLAIM["claim"] | {"analysis": {name: options}, "rule": rule}}


def with_options(**options: Any) -> dict[str, Any]:
    """Return the change of a claim that gives its analysis other options."""
    return with_analysis("difference", **CLAIM["claim"]["analysis"]["difference"] | options)


def with_rule(name: str, **options: Any) -> dict[str, Any]:
    """Return the change of a claim that gives it another rule."""
    return {"claim": CLAIM["claim"] | {"rule": {name: options}}}


AGM, JOINT = {"method": "agm"}, {"method": "joint"}
BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "a part is missing": ({"claim": {"source": "us"}}, "claim: the key `question` is missing"),
    "an unknown analysis": (
        {"claim": CLAIM["claim"] | {"analysis": {"diference": {}}}}, "claim.analysis: there is no `diference`"
    ),
    "an unknown option": (
        {"claim": CLAIM["claim"] | {"rule": {"greater": {"margn": 1}}}},
        "claim.rule.greater.margn: greater has no option `margn` (it has: by, margin). Did you mean `margin`?",
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
        "claim.rule: `above` needs one value per seed, and `difference` has two values",
    ),
    "a rule about two sides for one number": (
        {"claim": CLAIM["claim"] | {"analysis": {"quantity": {"metric": "share"}}, "rule": {"every": {}}}},
        "claim.rule: `greater` needs two values per seed, and `quantity` has one value",
    ),
    "a column that is not there": (
        {"claim": CLAIM["claim"] | {"beside": [{"quantity": {"metric": "share", "of": {"agm.alfa": 1}}}]}},
        "claim.beside.quantity.of: no trial has `agm.alfa`. Did you mean `agm.alpha`?",
    ),
    "two rules": ({"claim": CLAIM["claim"] | {"rule": {"greater": {}, "less": {}}}}, "claim.rule: "),
    "a wrong cell": ({"cells": {"x": {"data": {"snrr": 1}}}}, "data: synthetic has no parameter 'snrr'"),
    "a cell that is none": ({"cells": {"x": 3}}, "cells.x: must be a mapping of changes to the study"),
    "a verdict on less than single precision": (
        {"cells": {"x": {"train": {"dtype": "tf32"}}}}, "train.dtype: a verdict requires float32 or float64"
    ),
    "a cell outside": ({"cells": {"../x": {}}}, "the name of a cell must contain only letters, digits and `._-`"),
    "no cell": ({"cells": {}}, "cells: must not be empty"),
    "a side that is a name": (
        with_options(of="agm"), "claim.analysis.difference.of: must be a mapping, got 'agm'"
    ),
    "factors without levels": (
        with_analysis("factorial", factors=["method"]), "claim.analysis.factorial.factors: must be a mapping, got a list"
    ),
    "a factor of one level": (
        with_analysis("factorial", factors={"method": ["agm"]}),
        "claim.analysis.factorial.factors: must be columns with two levels each",
    ),
    "a ranking without its baseline": (
        with_analysis("ranking", methods=["agm"]),
        "claim.analysis.ranking.methods: the baseline `joint` must be among them",
    ),
    "a ranking of the baseline": (with_analysis("ranking", methods=["joint"]), "claim.analysis: compares nothing"),
    "a metric that is a list": (
        with_options(metric=["shapley"]), "claim.analysis.difference.metric: must be text, got a list"
    ),
    "a split that is none": (
        with_options(split="tset"), "claim.analysis.difference.split: must be one of train, validation, test, got 'tset'. "
        "Did you mean `test`?",
    ),
    "epochs that are no range": (
        with_options(epochs=[3]), "claim.analysis.difference.epochs: must be the first and the last epoch, as [11, 20]"
    ),
    "epochs of what has none": (
        with_options(metric="seconds", epochs=[1, 1]),
        "no trial has the metric `seconds` on test per epoch; it is measured once per trial",
    ),
    "columns that are text": (with_options(per="cell"), "claim.analysis.difference.per: must be a list, got 'cell'"),
    "a choice that is text": (
        with_options(of={"method": "agm", "choose": "train.lr"}),
        "claim.analysis.difference.of.choose: must be a list of columns",
    ),
    "a method that is a number": (
        with_options(of={"method": 5}),
        "claim.analysis.difference.of.method: there is no method `5` (it has: joint, agm)",
    ),
    "a method among several that the study lacks": (
        with_options(minus={"method": ["joint", "agn"]}),
        "claim.analysis.difference.minus.method: there is no method `agn` (it has: joint, agm). Did you mean `agm`?",
    ),
    "a method in words": (
        with_analysis("ceiling", of="cggm"), "claim.analysis.ceiling.of: there is no method `cggm`"
    ),
    "a budget": ({"budget": {"hours": 1}}, "budget: stops a study early, but a verdict needs all its trials"),
    "a budget of a cell": ({"cells": {"x": {"budget": {"trials": 10}}}}, "budget: stops a study early"),
    "a wrong key in the quick form": ({"quick": {"seds": 1}}, "seds: there is no such key"),
    "a number that is too small in the quick form": ({"quick": {"seeds": 0}}, "seeds: must be greater than or equal to 1"),
    "a cell of another name": (
        {"cells": {"easy": {"name": "z"}}}, "cells.easy.name: belongs to the whole claim and cannot change here"
    ),
    "a cell in another store": ({"cells": {"easy": {"store": "z"}}}, "cells.easy.store: belongs to the whole claim"),
    "another store of the quick form": ({"quick": {"store": "z"}}, "quick.store: belongs to the whole claim"),
    "ceiling of an error": (
        {**with_analysis("ceiling", of="agm"), "methods": ["joint", "agm", "unimodal"], "metric": "loss"},
        "claim.analysis.ceiling: combines class predictions and needs accuracy; the metric here is loss",
    ),
    "no single modalities": (with_analysis("ceiling", of="agm"), "claim.analysis.ceiling: there is no method `unimodal`"),
    "a cell that is not there": (
        with_options(of={"method": "agm", "cell": "hrad"}),
        "claim.analysis.difference.of.cell: there is no cell `hrad` (it has: easy, hard). Did you mean `hard`?",
    ),
    "a value that is a mapping": (
        with_options(of={"agm.alpha": {"m0": 1}}),
        "claim.analysis.difference.of.agm.alpha: must be a value or a list of values, got a mapping",
    ),
    "a response to what does not vary": (
        with_analysis("response", of={"method": "agm"}, default={"agm.alpha": 1.0}, margin=0.01),
        "claim.analysis.response.default: the study of the cell `easy` varies none of these settings",
    ),
    "a metric that is misspelled": (
        with_options(metric="shaply"),
        "claim.analysis.difference.metric: no trial has the metric `shaply` on test. Did you mean `shapley`?",
    ),
    "a metric that is not measured": (
        with_options(metric="shapley", split="validation"),
        "no trial has the metric `shapley` on validation; `measure: [shapley]` records it",
    ),
    "a metric that is measured elsewhere": (
        with_options(metric="shapley") | {"measure": ["shapley"]},
        "no trial has the metric `shapley` on test; it exists on validation",
    ),
    "a metric of another task": (with_options(metric="mae"), "no trial has the metric `mae` on test"),
    "a metric of another method": (with_options(metric="eps", split="train"), "no trial has the metric `eps` on train"),
    "a score in training": (
        with_options(split="train"), "no trial has the metric `score` on train; it exists on validation and test"
    ),
    "another metric that is not measured": (
        with_options(against="share"), "claim.analysis.difference.against: no trial has the metric `share` on test"
    ),
    "what a metric lies above a score that there is not": (
        with_options(metric="loss", split="train", less_score=True),
        "claim.analysis.difference.less_score: no trial has the metric `score` on train",
    ),
    "a last score of several epochs": (
        with_options(metric="loss", split="validation", less_score=True, epochs=[1, 2]),
        "claim.analysis.difference.less_score: uses a trial's last score and cannot be combined with `epochs`",
    ),
    "a correlation over two cells": (
        with_analysis("companion", metric="loss", of=AGM, minus=JOINT, within={**JOINT}),
        "claim.analysis.companion: correlates cells and needs at least 3, got 2",
    ),
    "heterogeneity of few seeds": (
        with_analysis("heterogeneity", of=AGM, minus=JOINT) | {"seeds": 3},
        "claim.analysis.heterogeneity: needs at least 4 seeds per group, and the cell `easy` has 3 seeds",
    ),
    "heterogeneity of few independent seeds": (
        with_analysis("heterogeneity", of=AGM, minus=JOINT) | {"seeds": {"init": 2, "order": 3}},
        "needs at least 4 seeds per group, and the cell `easy` has 2 seeds",
    ),
    "heterogeneity beside of one group": (
        {"claim": CLAIM["claim"] | {"beside": [{"heterogeneity": {"of": AGM | {"cell": "easy"}, "minus": JOINT}}]}},
        "claim.beside.heterogeneity: compares groups and needs at least 2, got 1",
    ),
    "a metric beside": (
        {"claim": CLAIM["claim"] | {"beside": [{"quantity": {"metric": "sharee"}}]}},
        "claim.beside.quantity.metric: no trial has the metric `sharee` on test. Did you mean `share`?",
    ),
    "a rule about one of two cells": (
        with_rule("greater"), "claim.rule: `greater` judges one effect, and the analysis finds 2 or more"
    ),
    "a rule about one of two analyses": (
        {"claim": CLAIM["claim"] | {"analysis": [ONE_DIFFERENCE, copy.deepcopy(ONE_DIFFERENCE)], "rule": "less"}},
        "claim.rule: `less` judges one effect, and the analysis finds 2 or more",
    ),
    "a margin that is text": (
        with_rule("greater", margin="1 %"), "claim.rule.greater.margin: must be a number, got '1 %'"
    ),
    "a margin below 0": (
        with_rule("every", rule="greater", margin=-0.3), "claim.rule.every.margin: must be greater than 0, got -0.3"
    ),
    "a margin of 0": (with_rule("non_inferior", margin=0), "claim.rule.non_inferior.margin: must be greater than 0, got 0"),
    "a margin without end": (
        with_rule("equivalent", margin=float("inf")), "claim.rule.equivalent.margin: must be a finite number, got inf"
    ),
    "a tolerance below 0": (
        with_rule("exact", tolerance=-1), "claim.rule.exact.tolerance: must be greater than or equal to 0, got -1"
    ),
    "a metric of a rule": (
        with_rule("every", metric="loss"), "claim.rule.every.metric: every has no option `metric`"
    ),
    "a direction of a rule": (
        with_rule("non_inferior", margin=0.01, higher_is_better=False),
        "claim.rule.non_inferior.higher_is_better: non_inferior has no option `higher_is_better` (it has: margin)",
    ),
    "groups by what is no column": (
        with_options(per=["choose"]), "claim.analysis.difference.per: no trial has `choose`"
    ),
} | {
    f"a cell that is named as the claim's {own}": ({"cells": {own: {}}}, f"`{own}` is reserved in the claim's folder")
    for own in ("verdict.json", "report.html", "report.md", "figures", "tables", "lock", "driver.json", "Figures")
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_wrong_claim_gets_one_sentence(case: str, tmp_path: Path) -> None:
    change, sentence = BROKEN[case]
    file = write_claim(tmp_path, CLAIM | change)
    with pytest.raises(UserError) as refused:
        load(str(file))
    assert str(refused.value).startswith(f"{file}:")
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_interval_of_a_correlation_takes_one_cell_more_and_a_quick_run_may_have_fewer(tmp_path: Path) -> None:
    companion = {"metric": "loss", "of": AGM, "minus": JOINT, "within": {**JOINT}}
    three = {"cells": {name: {"data": {"snr": snr}} for name, snr in (("a", 9), ("b", 3), ("c", 0))}}
    reported = write_claim(tmp_path, CLAIM | with_analysis("companion", **companion) | three)
    assert len(load(str(reported)).cells) == 3
    claim = CLAIM["claim"] | {"analysis": {"companion": companion}, "rule": {"above": {"threshold": 0}}}
    tested = write_claim(tmp_path, CLAIM | three | {"claim": claim})
    with pytest.raises(UserError, match=r"claim\.analysis\.companion: correlates cells and needs at least 4, got 3"):
        load(str(tested))
    load(str(tested), quick=True)
    compared = write_claim(tmp_path, CLAIM | with_analysis("heterogeneity", of=AGM, minus=JOINT) | {"seeds": 4})
    load(str(compared))
    load(str(compared), quick=True)


def test_a_wrong_claim_creates_nothing(tmp_path: Path) -> None:
    file, runs = write_claim(tmp_path, CLAIM | with_options(metric="shaply")), tmp_path / "runs"
    ended = CliRunner().invoke(app, ["run", str(file), "--store", str(runs)])
    assert (ended.exit_code, len(ended.stderr.splitlines())) == (2, 1)
    assert not runs.exists()


def test_a_rule_about_one_effect_has_one(tmp_path: Path) -> None:
    """What may be one is not refused, and what is below 0 in a rule may be."""
    right = [
        {"analysis": ONE_DIFFERENCE, "rule": {"greater": {"by": -0.1}}},
        {"analysis": {"difference": ONE_DIFFERENCE["difference"] | {"of": {"method": "agm", "cell": "hard"}, "per": ["cell"]}},
         "rule": "greater"},
        {"analysis": {"quantity": {"metric": "seconds", "of": {"method": "agm"}, "over": "cell"}},
         "rule": {"below": {"threshold": 9}}},
        {"analysis": {"quantity": {"metric": "reference", "split": "train"}}, "rule": {"above": {"threshold": 0}}},
    ]  # fmt: skip
    for change in right:
        load(str(write_claim(tmp_path, CLAIM | {"claim": CLAIM["claim"] | change})))


def test_a_wrong_cell_is_found_on_its_own_line(tmp_path: Path) -> None:
    file = write_claim(tmp_path, CLAIM | {"cells": {"x": {"train": {"epochs": 0}}}})
    line = 1 + file.read_text().splitlines().index("      epochs: 0")
    with pytest.raises(UserError, match=f":{line}: train.epochs"):
        load(str(file))


def test_claims_lists_the_catalogue(tmp_path: Path) -> None:
    listed = json.loads(CliRunner().invoke(app, ["claims", "--json", "--store", str(tmp_path)]).stdout)
    assert [claim["name"] for claim in listed] == claim_names()
    assert all(claim["source"] and "verdict" not in claim for claim in listed)


def test_a_verdict_on_other_words_is_said_to_be_one(tmp_path: Path) -> None:
    first, second, *_ = claim_names()
    about = {name: load(name).section.model_dump() for name in (first, second)}
    for name, change in ((first, {}), (second, {"support": "something else"})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "verdict.json").write_text(json.dumps({"verdict": "reported"} | about[name] | change))
    listed = {claim["name"]: claim for claim in list_claims(str(tmp_path))}
    assert CHANGED_REMARK not in listed[first]["remarks"]
    assert CHANGED_REMARK in listed[second]["remarks"]


def test_run_takes_a_study_or_claims(tmp_path: Path) -> None:
    for words in ([], ["first-look", "--claims", "all"], ["first-look", "--quick"]):
        ended = CliRunner().invoke(app, ["run", *words, "--store", str(tmp_path)])
        assert ended.exit_code == 2
        assert len(ended.stderr.splitlines()) == 1


def test_a_study_among_claims_is_said_to_be_one(tmp_path: Path) -> None:
    ended = here("run", "--claims", "first-look", "--store", tmp_path)
    said = "first-look: is a study, but a claim is required here; `ablate run first-look` runs it\n"
    assert (ended.returncode, ended.stderr) == (2, said)


def test_a_file_is_asked_before_the_claim_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_claim(tmp_path, CLAIM).rename("agm-alpha")
    assert is_claim("agm-alpha")
    assert load("agm-alpha", str(tmp_path)).name == "mine"


def test_two_claims_of_one_name_are_refused(tmp_path: Path) -> None:
    file, runs = write_claim(tmp_path, CLAIM | {"name": "agm-alpha"}), tmp_path / "runs"
    ended = here("run", "--claims", f"agm-alpha,{file}", "--store", runs)
    said = f"--claims: agm-alpha and {file} are both named agm-alpha; rename one\n"
    assert (ended.returncode, ended.stderr) == (2, said)
    assert not runs.exists()


def test_a_study_that_was_a_claim_shows_its_own_results(tmp_path: Path) -> None:
    study = {key: value for key, value in CLAIM.items() if key not in {"claim", "cells"}} | {"seeds": 2}
    runs = tmp_path / "runs"
    train(write_claim(tmp_path, study), runs)
    claim = here("run", write_claim(tmp_path, study | {"claim": CLAIM["claim"]}), "--store", runs)
    assert "mine: INCONCLUSIVE" in claim.stdout
    assert (runs / "mine/verdict.json").is_file()
    shown = here("run", write_claim(tmp_path, study), "--store", runs)
    assert (shown.returncode, "INCONCLUSIVE" in shown.stdout) == (0, False)
    assert not [*(runs / "mine").rglob("verdict*")]


def test_the_page_of_verdicts_says_what_was_not_run(tmp_path: Path) -> None:
    page = tmp_path / "claims.md"
    ended = CliRunner().invoke(app, ["claims", "--write", str(page), "--store", str(tmp_path / "runs")])
    assert (ended.exit_code, ended.stdout) == (0, f"{page}\n")
    text = page.read_text()
    assert f"Of {len(claim_names())} claims: {len(claim_names())} not run." in text
    assert f"Generated by `ablate claims --store {tmp_path / 'runs'} --write {page}`" in text
    assert text.count("Not run yet.") == len(claim_names())


def test_every_analysis_of_the_catalogue_has_a_title() -> None:
    for name in claim_names():
        about = load(name).section
        titles = [analysis_title(analysis) for analysis in [*about.analyses, *about.beside]]
        assert all(titles)
        assert not re.search(r"[\[\]{}']", " ".join(titles)), titles


def test_claims_run_together_and_each_is_judged(tmp_path: Path) -> None:
    """Where one cannot be judged, a sentence says so, and the others are."""
    nowhere = with_options(of={"method": "agm", "agm.alpha": 7})
    right, wrong = (
        write_claim(tmp_path, CLAIM | {"name": "right"}),
        write_claim(tmp_path, CLAIM | {"name": "wrong"} | nowhere),
    )
    runs, exact = tmp_path / "runs", write_tiny_claim("agm-attribution-exact", tmp_path)
    ended = ablate("run", "--claims", f"{exact},{right}", "--quick", "--store", runs, "--cpus", 1)
    assert ended.returncode == 0, ended.stderr
    check_verdict(runs, "agm-attribution-exact", ended.stdout)
    assert check_verdict(runs, "right", ended.stdout)["trials"]["done"] == 12
    again = here("run", "--claims", f"{wrong},{right}", "--quick", "--store", runs)
    assert again.returncode == 2
    assert again.stderr.splitlines()[-1].startswith("wrong-quick: cannot be judged: no trial matches alpha=7, agm")
    assert check_verdict(runs, "right", again.stdout)["trials"]["done"] == 12
    for command in (["status", runs / "right-quick"], ["compare", runs / "right-quick", runs / "right-quick" / "easy"]):
        ended = here(*command)
        cells = ", ".join(str(runs / "right-quick" / cell) for cell in ("easy", "hard"))
        sentence = f"{runs / 'right-quick'} is the folder of a claim, not of a run; its runs are {cells}"
        assert (ended.returncode, ended.stderr) == (2, f"{sentence}\n")
    assert "no study.yaml" in here("status", runs).stderr  # a store is no claim
