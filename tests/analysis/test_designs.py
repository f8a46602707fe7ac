"""Indices of a run's design: of a plane by hand, and of what is known while others still run."""

from typing import Any

import pytest
from SALib.sample import morris

from analysis import load
from analysis.designs import indices
from tests.analysis.conftest import Write, trial

NAMES = ["agm.alpha", "agm.cap"]
POINTS = morris.sample({"num_vars": 2, "names": NAMES, "bounds": [[0, 1]] * 2}, 4, num_levels=4, seed=0).tolist()
DESIGN: dict[str, Any] = {
    "search": {"morris": {"trajectories": 4, "levels": 4, "seed": 0}}, "vary": {}, "methods": ["joint", "agm"],
    "design": {"agm": {"names": NAMES, "scales": ["linear"] * 2, "bounds": [[0, 1]] * 2, "points": POINTS}},
}  # fmt: skip


def plane(write_run: Write, known: int) -> dict[str, Any]:
    """Indices by method of 0.5 alpha - 0.25 cap, of which the first points are known."""
    rows = [
        trial(f"agm-{i}", "agm", 0, 0.5 + 0.5 * x - 0.25 * y, 0.5, point=i) for i, (x, y) in enumerate(POINTS[:known])
    ]
    return indices(load(write_run([trial("joint", "joint", 0, 0.5, 0.5, point=0), *rows], **DESIGN)))


def test_morris_finds_the_slopes_of_a_plane(write_run: Write) -> None:
    found = plane(write_run, len(POINTS))
    assert list(found) == ["agm"]
    effects = found["agm"].filter(index="mu_star")
    assert dict(effects.select("factor", "value").rows()) == pytest.approx(
        {"agm.alpha": 0.5, "agm.cap": 0.25, "(dummy)": None}
    )
    assert effects["groups"].to_list() == [4, 4, 4]


def test_a_trajectory_that_is_not_known_yet_is_left_out(write_run: Write) -> None:
    effects = plane(write_run, len(POINTS) - 2)["agm"].filter(index="mu_star")
    assert effects["value"].to_list()[:2] == pytest.approx([0.5, 0.25])
    assert effects.select("groups", "dropped").row(0) == (3, 1)


def test_other_searches_have_none(write_run: Write) -> None:
    run = load(write_run([trial("joint", "joint", 0, 0.5, 0.5)], methods=["joint"], vary={}))
    assert indices(run) == {}
