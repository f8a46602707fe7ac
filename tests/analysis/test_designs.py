"""Indices of a run's design: of a plane by hand, and of what is known while others still run."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from SALib.sample import morris, sobol

from ablate.terminal.results import indices_table
from ablate.vary import VariedAxis
from analysis import load
from analysis.designs import axis_position, indices
from tests.analysis.conftest import Write, trial

NAMES = ["agm.alpha", "agm.cap"]
POINTS = morris.sample({"num_vars": 2, "names": NAMES, "bounds": [[0, 1]] * 2}, 4, num_levels=4, seed=0).tolist()
DESIGN: dict[str, Any] = {
    "search": {"morris": {"trajectories": 4, "levels": 4, "seed": 0}}, "methods": ["joint", "agm"],
    "vary": {name: {"values": [], "scale": "linear", "low": 0.0, "high": 1.0} for name in NAMES},
    "design": {"agm": {"names": NAMES, "scales": ["linear"] * 2, "bounds": [[0.0, 1.0]] * 2, "points": POINTS}},
}  # fmt: skip


def plane(write_run: Write, known: int) -> dict[str, Any]:
    """Indices by method of 0.5 alpha - 0.25 cap, of which the first points are known."""
    rows = [
        trial(f"agm-{i}", "agm", 0, 0.5 + 0.5 * x - 0.25 * y, 0.5, point=i) for i, (x, y) in enumerate(POINTS[:known])
    ]
    return indices(load(write_run([trial("joint", "joint", 0, 0.5, 0.5, point=0), *rows], **DESIGN)))


def test_morris_finds_the_slopes_of_a_plane(write_run: Write) -> None:
    result = plane(write_run, len(POINTS))
    assert list(result) == ["agm"]
    effects = result["agm"].filter(index="mu_star")
    assert dict(effects.select("factor", "value").rows()) == pytest.approx(
        {"agm.alpha": 0.5, "agm.cap": 0.25, "(dummy)": None}
    )
    assert effects["groups"].to_list() == [4, 4, 4]


def test_a_trajectory_that_is_not_known_yet_is_left_out(write_run: Write) -> None:
    effects = plane(write_run, len(POINTS) - 2)["agm"].filter(index="mu_star")
    assert effects["value"].to_list()[:2] == pytest.approx([0.5, 0.25])
    assert effects.select("groups", "dropped").row(0) == (3, 1)


def test_the_table_of_the_terminal_says_what_is_left_out(write_run: Write, tmp_path: Path) -> None:
    lost = indices_table("agm", plane(write_run, len(POINTS) - 2)["agm"]).caption
    assert lost == "left out because results are missing: 1 of 4 groups of points"
    (tmp_path / "run").rename(tmp_path / "other")
    assert indices_table("agm", plane(write_run, len(POINTS))["agm"]).caption is None


def test_other_searches_have_none(write_run: Write) -> None:
    run = load(write_run([trial("joint", "joint", 0, 0.5, 0.5)], methods=["joint"], vary={}))
    assert indices(run) == {}


def test_a_design_of_which_nothing_is_known_has_none(write_run: Write) -> None:
    assert indices(load(write_run([], **DESIGN))) == {}


@pytest.mark.parametrize("kind", ["morris", "sobol"])
def test_each_modality_alone_has_indices_of_its_own(write_run: Write, kind: str) -> None:
    """Alpha and cap change places from one modality to the other."""
    options: dict[str, Any] = {"samples": 4, "second_order": False} if kind == "sobol" else DESIGN["search"]["morris"]
    problem = {"num_vars": 2, "names": NAMES, "bounds": [[0, 1]] * 2}
    points = POINTS if kind == "morris" else sobol.sample(problem, 4, calc_second_order=False, seed=0).tolist()
    rows = [
        trial(f"{m}-{i}", "unimodal", 0, 0.5 * pair[0] - 0.25 * pair[1], 0.5, point=i, modality=m)
        for i, pair in enumerate(points)
        for m, pair in (("image", pair), ("audio", pair[::-1]))
    ]
    about = DESIGN | {"search": {kind: options}, "design": {"unimodal": DESIGN["design"]["agm"] | {"points": points}}}
    result = indices(load(write_run(rows, **about)))
    assert list(result) == ["unimodal (audio alone)", "unimodal (image alone)"]
    index = "total" if kind == "sobol" else "mu_star"
    for method, least in (("unimodal (audio alone)", NAMES[0]), ("unimodal (image alone)", NAMES[1])):
        table = result[method].filter(pl.col("factor").is_in(NAMES), index=index)
        assert table.sort("value")["factor"][0] == least


AXES = [
    VariedAxis("agm.rho", "linear", [], 1.0, 2.0),
    VariedAxis("train.lr", "log", [], 0.001, 0.1),
    VariedAxis("train.optimizer", "choice", ["sgd", "adam"]),
    VariedAxis("agm.reference", "choice", ["cumulative", "ema", "window"]),
    VariedAxis("train.batch_size", "linear", [], 31.0, 32.0, integer=True),
    VariedAxis("model.hidden", "log", [], 1.0, 2.0, integer=True),
    VariedAxis("agm.window", "log", [], 1.0, 13.0, integer=True),
]


def at(axis: VariedAxis, value: Any) -> float:
    """Return how far along its axis a value is."""
    if axis.scale == "choice":
        return axis.values.index(value) / (len(axis.values) - 1)
    low, high, value = (np.log(x) if axis.scale == "log" else x for x in (*axis.bounds, value))
    return float((value - low) / (high - low))


@pytest.mark.parametrize("axis", AXES, ids=lambda axis: axis.key)
def test_a_place_is_that_of_the_value_which_the_study_has_there(axis: VariedAxis) -> None:
    ends = [axis.value_at(0.0), axis.value_at(1.0)]
    for share in (*np.linspace(0, 1, 4).tolist(), *np.linspace(0, 1, 97).tolist()):
        assert axis_position(share, axis.scale, ends, len(axis.values)) == pytest.approx(at(axis, axis.value_at(share)))


@pytest.mark.parametrize(
    "axis", [VariedAxis("agm.window", "linear", [], 3.0, 3.0, integer=True), VariedAxis("agm.route", "choice", ["phi"])]
)
def test_an_axis_of_one_value_has_one_place(axis: VariedAxis) -> None:
    assert axis_position(0.9, axis.scale, [axis.value_at(0.0), axis.value_at(1.0)], len(axis.values)) == 0.0


def test_effects_over_the_whole_range_are_the_same_on_axes_of_all_kinds(write_run: Write) -> None:
    """Each changes the metric by 1 from end to end; at some steps of `hidden`, from 1 to 2, its value stays."""
    names = [axis.key for axis in AXES]
    problem = {"num_vars": len(names), "names": names, "bounds": [[0, 1]] * len(names)}
    points = morris.sample(problem, 20, num_levels=4, seed=0).tolist()
    rows = [
        trial(str(i), "agm", 0, sum(at(a, a.value_at(x)) for a, x in zip(AXES, point, strict=True)), 0.5, point=i)
        for i, point in enumerate(points)
    ]
    about = {
        "names": names,
        "scales": [axis.scale for axis in AXES],
        "bounds": [[axis.value_at(0.0), axis.value_at(1.0)] for axis in AXES],
        "points": points,
    }
    vary = {a.key: {"values": a.values, "scale": a.scale, "low": a.low, "high": a.high} for a in AXES}
    search = {"morris": {"trajectories": 20, "levels": 4, "seed": 0}}
    run = load(write_run(rows, search=search, methods=["agm"], vary=vary, design={"agm": about}))
    table = indices(run)["agm"].filter(pl.col("factor").is_in(names))
    assert table.filter(index="mu_star")["value"].to_list() == pytest.approx([1.0] * len(names))
    assert table.filter(index="sigma")["value"].to_list() == pytest.approx([0.0] * len(names), abs=1e-9)
