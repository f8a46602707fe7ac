"""What the page of verdicts says of a claim."""

from pathlib import Path
from typing import Any

import pytest

from analysis.claims_page import MAX_UNFOLDED, claim_section

CLAIM: dict[str, Any] = {
    "name": "c", "quick": False, "source": "s", "question": "Is it?", "says": "y", "support": "z", "folder": "runs/c",
    "sentence": "one: 1.", "figures": [], "bed": "", "remarks": [], "beside": {},
}  # fmt: skip


def said(verdict: str, names: list[str]) -> str:
    """Return the section of a claim with such a verdict on effects of these names."""
    effects = {name: {"sentence": f"{place}."} for place, name in enumerate(names, start=1)}
    return claim_section(CLAIM | {"verdict": verdict, "effects": effects}, Path("claims.md"))


@pytest.mark.parametrize("verdict", ["reported", "supported", "refuted", "inconclusive"])
def test_all_that_was_measured_is_listed(verdict: str) -> None:
    assert said(verdict, ["one", "two"]).endswith("All results:\n\n- one: 1.\n- two: 2.\n")
    many = said(verdict, [f"at {x}" for x in range(MAX_UNFOLDED + 1)])
    assert f"<details><summary>All results, {MAX_UNFOLDED + 1} numbers</summary>" in many


def test_a_verdict_that_says_it_all_lists_nothing() -> None:
    assert "All results" not in said("reported", ["one"])


def test_what_a_sentence_is_about_is_said_once() -> None:
    beside = {
        "one (f1)": {"sentence": "0.5 f1, 5 seeds.", "metric": "f1"},
        "one (accuracy)": {"sentence": "50.0 %, 5 seeds.", "metric": "accuracy"},
    }
    text = claim_section(CLAIM | {"verdict": "reported", "effects": {}, "beside": beside}, Path("claims.md"))
    assert text.endswith("Additional results:\n\n- one: 0.5 f1, 5 seeds.\n- one (accuracy): 50.0 %, 5 seeds.\n")
