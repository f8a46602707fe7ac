"""Designs: every cell once, as many as were counted, nothing that does not act, and each row known for what it is."""

import math
import re
from collections import Counter
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ablate.designs import Space, axis_description, grid_points, num_grid_points, search_space
from ablate.plan import num_trials
from ablate.search import rounds
from ablate.study import Study, load
from ablate.trial import Trial
from ablate.vary import VariedAxis
from tests.ablate.helpers import write

SLOW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
RANGES = {"agm.alpha": {"log": [0.1, 10]}, "agm.samples": {"linear": [0, 3]}, "train.lr": {"log": [0.001, 0.1]}}


def load_study(tmp_path: Path, **changes: Any) -> Study:
    return load(str(write(tmp_path, **changes)), str(tmp_path / "store"))


def plan_trials(study: Study, method: str = "agm") -> list[Trial]:
    (proposed,) = list(rounds(study))
    assert len(proposed) == num_trials(study)
    return [trial for trial in proposed if trial.labels["method"] == method]


def label_values(planned: list[Trial], *keys: str) -> list[tuple[Any, ...]]:
    return [tuple(trial.labels[key] for key in keys) for trial in planned]


@SLOW
@given(
    alphas=st.lists(st.integers(0, 50), min_size=1, max_size=4, unique=True),
    references=st.lists(st.sampled_from(["cumulative", "ema", "window"]), min_size=1, max_size=3, unique=True),
    betas=st.lists(st.sampled_from([0.0, 0.9, 0.99]), min_size=1, max_size=3, unique=True),
    windows=st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True),
    optimizers=st.lists(st.sampled_from(["sgd", "adam"]), min_size=1, max_size=2, unique=True),
    momenta=st.lists(st.sampled_from([0.0, 0.5, 0.9]), min_size=1, max_size=3, unique=True),
    seeds=st.integers(1, 2),
    order=st.randoms(use_true_random=False),
)
def test_a_grid_has_every_cell_once_and_what_does_not_act_multiplies_nothing(
    tmp_path: Path, alphas: list[int], references: list[str], betas: list[float], windows: list[int],
    optimizers: list[str], momenta: list[float], seeds: int, order: Any,
) -> None:  # fmt: skip
    vary: dict[str, Any] = {"agm.alpha": alphas, "agm.reference": references, "train.optimizer": optimizers}
    vary |= {"agm.beta": betas} if "ema" in references else {}
    vary |= {"agm.window": windows} if "window" in references else {}
    vary |= {"train.momentum": momenta} if "sgd" in optimizers else {}
    keys = list(vary)
    order.shuffle(keys)
    planned = plan_trials(load_study(tmp_path, vary={key: vary[key] for key in keys}, seeds=seeds, methods=["agm"]))
    wanted = {
        (a, r, o, b if r == "ema" else None, w if r == "window" else None, m if o == "sgd" else None, s)
        for a, r, o, b, w, m, s in product(alphas, references, optimizers, betas, windows, momenta, range(seeds))
    }
    shown = ("agm.alpha", "agm.reference", "train.optimizer", "agm.beta", "agm.window", "train.momentum", "seed")
    assert Counter(label_values(planned, *shown)) == Counter(wanted)
    assert len({trial.id for trial in planned}) == len(planned)


@SLOW
@given(sizes=st.lists(st.integers(1, 5), max_size=4), data=st.data())
def test_cells_are_counted_without_going_through_them(sizes: list[int], data: st.DataObject) -> None:
    axes: list[VariedAxis] = []
    for i, length in enumerate(sizes):
        when = {}
        if i and data.draw(st.booleans()):
            other = data.draw(st.integers(0, i - 1))
            when = {f"a.{other}": tuple(data.draw(st.sets(st.integers(0, sizes[other]))))}
        axes.append(VariedAxis(f"a.{i}", "choice", list(range(length)), when=when))
    among = Space(axes, {f"a.{i}": -1 for i in range(len(sizes))})
    points = list(grid_points(among))
    assert num_grid_points(among) == len(points) == len({tuple(sorted(point.items())) for point in points})
    if not any(axis.when for axis in axes):
        assert len(points) == math.prod(sizes)


def test_one_at_a_time_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    vary = {"agm.alpha": [0, 1, 2], "agm.cap": [5, 10], "train.optimizer": ["sgd", "adam"]}
    changes = {"search": "one-at-a-time", "set": {"agm.route": "encoder"}, "vary": vary, "seeds": 1}
    result = label_values(
        plan_trials(load_study(tmp_path, **changes)), "agm.alpha", "agm.cap", "train.optimizer", "agm.route"
    )
    base = (1.0, 10.0, "sgd", "encoder")
    assert result == [
        base,
        *((a, *base[1:]) for a in (0.0, 2.0)),
        (1.0, 5.0, *base[2:]),
        (*base[:2], "adam", "encoder"),
    ]


@pytest.mark.parametrize(("optimizer", "usual"), [("sgd", 0.02), ("adam", 0.001)])
def test_the_learning_rate_of_the_optimiser_is_no_further_value(tmp_path: Path, optimizer: str, usual: float) -> None:
    vary, train = {"train.lr": [0.001, 0.02, 0.05]}, {"optimizer": optimizer}
    planned = plan_trials(load_study(tmp_path, search="one-at-a-time", vary=vary, train=train, seeds=1))
    assert [rate for (rate,) in label_values(planned, "train.lr")] == [
        usual,
        *(r for r in vary["train.lr"] if r != usual),
    ]


def test_random_points_of_more_trials_begin_with_those_of_fewer(tmp_path: Path) -> None:
    few, many = (
        plan_trials(load_study(tmp_path, search="random", trials=n, vary=RANGES, seeds=2, methods=["agm", "joint"]))
        for n in (5, 9)
    )
    assert [t.id for t in few] == [t.id for t in many[: len(few)]]
    assert len({t.labels["agm.alpha"] for t in many}) == 9
    assert all(0.1 <= alpha <= 10 for (alpha,) in label_values(many, "agm.alpha"))
    assert {samples for (samples,) in label_values(many, "agm.samples")} <= {0, 1, 2, 3}


def test_methods_draw_the_same_of_what_they_share_and_a_seed_draws_others(tmp_path: Path) -> None:
    def rates(method: str, **search: Any) -> list[tuple[Any, ...]]:
        changes = {"search": {"random": search}, "trials": 6, "vary": RANGES, "methods": ["joint", "agm"]}
        return label_values(plan_trials(load_study(tmp_path, **changes), method), "train.lr", "seed")

    assert rates("agm") == rates("joint")
    assert rates("agm") != rates("agm", seed=1)


@pytest.mark.parametrize("second_order", [False, True])
def test_a_sobol_design_is_salibs_and_its_rows_are_known(tmp_path: Path, second_order: bool) -> None:
    from SALib.sample import sobol

    options = {"samples": 8, "second_order": second_order, "seed": 3}
    study = load_study(tmp_path, search={"sobol": options}, vary=RANGES, seeds=2, methods=["agm"])
    planned = plan_trials(study)
    assert len(planned) == 8 * (8 if second_order else 5) * 2
    unit = sobol.sample(
        {"num_vars": 3, "names": list(RANGES), "bounds": [[0, 1]] * 3}, 8, calc_second_order=second_order, seed=3
    )
    about = axis_description(study)["agm"]
    assert about["names"] == list(RANGES)
    assert about["scales"] == ["log", "linear", "log"]
    assert about["bounds"] == [[0.1, 10.0], [0, 3], [0.001, 0.1]]
    for trial in planned:
        alpha, samples, rate = unit[trial.labels["point"]]
        assert trial.labels["agm.alpha"] == pytest.approx(0.1 * 100**alpha)
        assert trial.labels["train.lr"] == pytest.approx(0.001 * 100**rate)
        assert trial.labels["agm.samples"] == min(int(4 * samples), 3)


def test_a_morris_design_changes_one_axis_at_a_step(tmp_path: Path) -> None:
    options = {"trajectories": 5, "levels": 6}
    study = load_study(tmp_path, search={"morris": options}, vary=RANGES, seeds=1, methods=["agm"])
    points = axis_description(study)["agm"]["points"]
    planned = plan_trials(study)
    assert len(planned) == len(points) == 5 * (3 + 1)
    for start in range(0, 20, 4):
        changed = [
            [name for name, a, b in zip(RANGES, one, other, strict=True) if a != b]
            for one, other in pairwise(points[start : start + 4])
        ]
        assert sorted(map(tuple, changed)) == sorted((name,) for name in RANGES)
    for trial, point in zip(planned, points, strict=True):
        assert trial.labels["agm.alpha"] == pytest.approx(0.1 * 100 ** point[0])


def test_a_dummy_has_rows_of_its_own_and_no_trials(tmp_path: Path) -> None:
    vary = {"agm.alpha": [0, 1], "dummy": {"linear": [0, 1], "num": 3}}
    planned = plan_trials(load_study(tmp_path, vary=vary, seeds=1))
    assert label_values(planned, "agm.alpha", "dummy") == list(product([0.0, 1.0], [0.0, 0.5, 1.0]))
    assert len({trial.id for trial in planned}) == 2
    assert all("dummy" not in str(trial.config) for trial in planned)


def test_a_component_is_left_out_and_left_alone(tmp_path: Path) -> None:
    planned = plan_trials(
        load_study(tmp_path, search="ablate", vary=None, seeds=1, methods=["joint", "ogm-ge"]), "ogm-ge"
    )
    shown = ("ablation", "component", "ogm-ge.alpha", "ogm-ge.noise")
    assert label_values(planned, *shown) == [
        ("full", None, 0.8, 1.0),
        ("without", "alpha", 0.0, 1.0),
        ("without", "noise", 0.8, 0.0),
        ("only", "alpha", 0.8, 0.0),
        ("only", "noise", 0.0, 1.0),
        ("none", None, 0.0, 0.0),
    ]
    assert len({trial.id for trial in planned}) == 4


def test_a_component_that_is_off_already_is_none_and_what_hangs_on_one_goes_with_it(tmp_path: Path) -> None:
    """CGGM's rho acts where `magnitude` is on: two values of it with, one without."""
    changes = {"search": "ablate", "vary": {"cggm.rho": [1, 1.3]}, "set": {"mslr.adapt": False}, "seeds": 1}
    study = load_study(tmp_path, methods=["mslr", "cggm"], **changes)
    assert label_values(plan_trials(study, "mslr"), "mslr.adapt") == [(False,)]
    result = Counter(label_values(plan_trials(study, "cggm"), "ablation", "component", "cggm.rho"))
    assert result == Counter(
        [("full", None, r) for r in (1.0, 1.3)] + [("without", "lam", r) for r in (1.0, 1.3)]
        + [("only", "magnitude", r) for r in (1.0, 1.3)]
        + [("without", "magnitude", None), ("only", "lam", None), ("none", None, None)]
    )  # fmt: skip


def test_a_budget_of_trials_keeps_the_first_points_of_every_method(tmp_path: Path) -> None:
    changes = {"vary": {"train.lr": [0.1, 0.2, 0.3]}, "seeds": 2, "budget": {"trials": 9}}
    (proposed,) = list(rounds(load_study(tmp_path, **changes)))
    assert label_values(proposed, "method", "train.lr", "seed") == [
        *(("joint", lr, seed) for lr in (0.1, 0.2) for seed in (0, 1)),
        ("joint", 0.3, 0),
        *(("agm", lr, seed) for lr in (0.1, 0.2) for seed in (0, 1)),
    ]


@pytest.mark.parametrize("axis", [
    VariedAxis("a.b", "log", [], 0.1, 10.0),
    VariedAxis("a.b", "linear", [], -1.0, 3.0),
    VariedAxis("a.b", "log", [], 1.0, 7.0, integer=True),
    VariedAxis("a.b", "linear", [], 0.5, 4.5, integer=True),
    VariedAxis("a.b", "choice", ["x", "y", "z"]),
])  # fmt: skip
def test_an_axis_is_covered_evenly_and_its_ends_are_kept(axis: VariedAxis) -> None:
    shares = [i / 10_000 for i in range(10_001)]
    result = [axis.value_at(share) for share in shares]
    assert result == (sorted(result) if axis.scale != "choice" else sorted(result, key="xyz".index))
    if axis.low is not None:
        low, high = axis.bounds
        assert (result[0], result[-1]) == (low, high)
    if axis.integer and axis.scale == "linear":
        assert max(Counter(result).values()) - min(Counter(result).values()) <= 2
    if axis.scale == "choice":
        assert max(Counter(result).values()) - min(Counter(result).values()) <= 2


def test_an_axis_comes_behind_what_it_depends_on(tmp_path: Path) -> None:
    vary = {"agm.samples": [0, 4], "agm.score_attr": ["shapley", "loo"], "agm.route": ["phi", "encoder"]}
    study = load_study(tmp_path, vary=vary, methods=["agm"], seeds=1)
    assert [axis.name for axis in search_space(study, "agm").axes] == ["route", "score_attr", "samples"]
    shown = ("agm.route", "agm.score_attr", "agm.samples")
    assert set(label_values(plan_trials(study), *shown)) == {
        ("phi", None, 0), ("phi", None, 4), ("encoder", "shapley", 0), ("encoder", "shapley", 4), ("encoder", "loo", None),
    }  # fmt: skip


DOCS = Path(__file__).parent.parent.parent / "docs/searches.md"


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL))
def test_what_the_guide_says_is_a_study(tmp_path: Path, text: str) -> None:
    study = load_study(tmp_path, **{"vary": None, "methods": ["joint", "agm"], "seeds": 1} | yaml.safe_load(text))
    assert len(next(rounds(study))) <= num_trials(study)


def test_the_grid_of_the_guide_has_as_many_points_as_it_says(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(vary:\n.*?)```", DOCS.read_text(), re.DOTALL)
    assert len(plan_trials(load_study(tmp_path, **yaml.safe_load(text), methods=["agm"], seeds=1))) == 1 + 3 + 3
