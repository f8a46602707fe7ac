"""A verdict is read as far as it can be: an old one, one that was cut off, and a file that is none."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from analysis.record import read_verdict
from analysis.report import write_report
from analysis.tables import load
from analysis.verdicts import write_verdict
from tests.analysis.test_ablations import CLAIM, SEEDS, paired


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a claim with two cells."""
    folder = tmp_path_factory.mktemp("store") / "claim"
    for cell in ("one", "two"):
        paired(folder / cell, 0.05)
    analysis = {"difference": {"of": {"method": "agm"}, "minus": {"method": "joint"}}}
    write_verdict(CLAIM, [analysis], [], {"every": {}}, {cell: folder / cell for cell in ("one", "two")}, folder)
    return folder


@pytest.fixture
def claim(judged: Path, tmp_path: Path) -> Path:
    """Return a copy of it, to be damaged."""
    return Path(shutil.copytree(judged, tmp_path / "claim"))


def change(folder: Path, **values: Any) -> dict[str, Any]:
    """Change keys of the verdict, None takes one away; return what is read then."""
    given = json.loads((folder / "verdict.json").read_text()) | values
    gone = {key for key, value in values.items() if value is None}
    (folder / "verdict.json").write_text(json.dumps({key: v for key, v in given.items() if key not in gone}))
    result = read_verdict(folder)
    assert result is not None
    return result


def test_a_whole_verdict_is_read_as_it_is(claim: Path) -> None:
    assert read_verdict(claim) == json.loads((claim / "verdict.json").read_text())
    assert read_verdict(claim / "one") is None


def test_an_old_verdict_without_its_cells_has_those_that_are_there(claim: Path) -> None:
    result = change(claim, cells=None, figures=None)
    assert (result["cells"], [one["stem"] for one in result["figures"]]) == (["one", "two"], ["verdict"])
    assert result["remarks"] == ["verdict.json is old or damaged and lacks `cells`; run the claim again to judge it."]
    assert "lacks `cells`" in write_report(claim, pdf=False).read_text()


@pytest.mark.parametrize("key", sorted(CLAIM.keys() | {"verdict", "effects", "beside", "trials", "bed", "date"}))
@pytest.mark.parametrize("value", [None, [3], {"a": {"verdict": []}}])
def test_any_key_may_be_missing_or_wrong(claim: Path, key: str, value: Any) -> None:
    result = change(claim, **{key: value})
    assert f"lacks `{key}`" in result["remarks"][0]
    assert result["cells"] == ["one", "two"]


@pytest.mark.parametrize("content", ["", "{", '{"name": "x", "verd', "[1, 2]", "null", "[" * 100_000, "\udcff"])
def test_what_is_no_verdict_still_has_a_page(claim: Path, content: str) -> None:
    (claim / "verdict.json").write_bytes(content.encode(errors="surrogateescape"))
    result = read_verdict(claim)
    assert result is not None
    assert (result["name"], result["verdict"], result["cells"]) == ("claim", "unknown", ["one", "two"])
    assert result["remarks"] == ["verdict.json cannot be read; run the claim again to judge it."]


def test_a_verdict_that_is_all_that_is_left_has_a_page(claim: Path) -> None:
    for name in ("one", "two", "figures"):
        shutil.rmtree(claim / name)
    gone = "Missing: the runs of `one`, the runs of `two`, the figure `verdict`."
    assert change(claim)["remarks"][-1] == gone
    page = write_report(claim, pdf=False).read_text()
    assert "the figure `verdict`" in page
    assert "ablate run x" in page


@pytest.mark.parametrize("lost", [{"cells": ["three"]}, {"cells": None}])
def test_a_study_of_the_same_name_is_no_part_of_the_claim(claim: Path, tmp_path: Path, lost: dict[str, Any]) -> None:
    """It ran before the claim did, and its tables stay where they are: also if the cells are gone, or not listed."""
    study = paired(tmp_path / "study", -0.2, name="the-study").folder
    shutil.copytree(study, claim, dirs_exist_ok=True)
    assert read_verdict(claim) == json.loads((claim / "verdict.json").read_text())
    assert change(claim, **lost)["cells"] == []
    assert "the-study" not in write_report(claim, pdf=False).read_text()
    assert len(load(claim).trials.collect()) == 2 * SEEDS


def test_cells_lie_in_the_folder(claim: Path) -> None:
    assert change(claim, cells=["../one", "/etc", "two"])["cells"] == ["two"]
    assert "the figure" not in " ".join(
        change(claim, figures=[{"stem": "../x", "title": "", "caption": ""}])["remarks"]
    )
