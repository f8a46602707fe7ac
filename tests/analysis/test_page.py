"""What the page of verdicts says of a claim."""

from pathlib import Path
from typing import Any

import pytest

from analysis.page import FEW, section

CLAIM: dict[str, Any] = {
    "name": "c", "quick": False, "source": "s", "question": "Is it?", "says": "y", "support": "z", "folder": "runs/c",
    "sentence": "one: 1.", "figures": [], "bed": "", "remarks": [], "beside": {},
}  # fmt: skip


def said(verdict: str, names: list[str]) -> str:
    """Return the section of a claim with such a verdict on effects of these names."""
    effects = {name: {"sentence": f"{place}."} for place, name in enumerate(names, start=1)}
    return section(CLAIM | {"verdict": verdict, "effects": effects}, Path("claims.md"))


def test_of_what_is_reported_all_is_listed() -> None:
    assert said("reported", ["one", "two"]).endswith("All that was measured:\n\n- one: 1.\n- two: 2.\n")
    many = said("reported", [f"at {x}" for x in range(FEW + 1)])
    assert f"<details><summary>All that was measured, {FEW + 1} numbers</summary>" in many


@pytest.mark.parametrize(("verdict", "names"), [("reported", ["one"]), ("supported", ["one", "two"])])
def test_a_verdict_that_says_it_all_lists_nothing(verdict: str, names: list[str]) -> None:
    assert "All that was measured" not in said(verdict, names)
