"""Which figures a run has, what they say, and that a run which lacks something has the others."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from matplotlib.lines import Line2D
from SALib.sample import morris, sobol

from analysis import load
from analysis.gallery import Drawing, run_figures
from analysis.summary import summary
from analysis.tables import Run
from analysis.training import coefficient_curves, learning_curves
from tests.analysis.conftest import Write, probe, trial, write_folder

ALPHA, LR = "agm.alpha", "train.lr"


def drawings(run: Run) -> dict[str, Drawing]:
    return {drawing.stem: drawing for drawing in run_figures(run)}


def test_a_sweep_has_its_curve_and_what_it_is_compared_with(folder: Path) -> None:
    result = drawings(load(folder))
    assert list(result) == ["differences", "curve-agm.alpha", "encoders", "ranks", "best-of-n"]
    assert result["differences"].caption == (
        "Difference to joint training on the test split in points, paired by seed: "
        "joint-uni +1.3 [−2.5, 5.1]; agm (alpha=0.5) +2.0 [−0.5, 4.5]."  # noqa: RUF001
    )
    assert "agm 1.33" in result["ranks"].caption
    assert set(result["curve-agm.alpha"].data["modality"].drop_nulls()) == {"image", "audio"}


def test_seeds_that_change_nothing_have_no_ranks(tmp_path: Path) -> None:
    scores = {"joint": 0.5, "agm": 0.6, "ogm": 0.7}

    def run(folder: Path, noise: float) -> Run:
        ended = [{"validation.loss": 1.0, "test.loss": 1.0 + noise * seed} for seed in range(4)]
        rows = [trial(f"{m}{s}", m, s, x, x) | ended[s] for m, x in scores.items() for s in range(4)]
        return load(write_folder(folder, rows, vary={}))

    assert "ranks" not in drawings(run(tmp_path / "alike", 0.0))
    assert "ranks" in drawings(run(tmp_path / "apart", 0.1))


@pytest.mark.parametrize(
    ("metric", "direction", "shift", "said"),
    [
        ("accuracy", "max", -0.1, "Largest deficit: image with joint, \N{MINUS SIGN}10.0 ["),
        ("accuracy", "max", 0.1, "No encoder is worse on average."),
        ("mae", "min", 0.1, "Largest deficit: image with joint, +0.1 ["),
        ("mae", "min", -0.1, "No encoder is worse on average."),
    ],
)
def test_an_encoder_is_behind_only_where_it_is_worse_than_alone(
    write_run: Write, metric: str, direction: str, shift: float, said: str
) -> None:
    rows, metrics = [], []
    for seed in range(2):
        for method, modality, score in (("joint", None, 0.5 + shift), ("unimodal", "image", 0.5)):
            name = f"{method}-{seed}"
            scores = {f"{split}.{metric}": score for split in ("validation", "test")}
            rows.append(trial(name, method, seed, score, score, modality=modality) | scores)
            metrics += [row | {"metric": f"probe_{metric}"} for row in probe(name, "image", score, score)]
    run = load(write_run(rows, metrics, metric=metric, direction=direction, vary={}))
    assert said in drawings(run)["encoders"].caption


@pytest.mark.parametrize(
    ("search", "stem", "caption"),
    [
        ("grid", "choice-cggm.direction", "Difference to cggm.direction=grad on the validation split in points"),
        ("ablate", "choice-cggm", "Difference to the complete cggm on the validation split in points"),
    ],
)
def test_names_and_components_are_compared_with_the_first_and_the_complete(
    write_run: Write, search: str, stem: str, caption: str
) -> None:
    scores = {"grad": (0.8, 0.9), "off": (0.7, 0.8)}
    rows = [
        trial(f"{name}{seed}", "cggm", seed, pair[seed], 0.5, **{"cggm.direction": name})
        for name, pair in scores.items()
        for seed in range(2)
    ]
    vary = {"cggm.direction": {"values": ["grad", "off"], "scale": "choice"}}
    drawing = drawings(load(write_run(rows, vary=vary, search=search, methods=["cggm"])))[stem]
    assert drawing.caption.startswith(f"{caption}, paired by seed. cggm: direction=off \N{MINUS SIGN}10.0 [")
    assert drawing.data["name"].to_list() == ["direction=off" if search == "ablate" else "cggm direction=off"]


def epochs(name: str, metric: str, modality: str | None, split: str, *values: float) -> list[dict[str, Any]]:
    keys = {"trial": name, "split": split, "modality": modality, "metric": metric}
    return [keys | {"epoch": e, "step": e, "value": v} for e, v in enumerate(values, start=1)]


def test_the_curves_of_training_are_those_of_chosen_configurations(write_run: Write) -> None:
    """Alpha 0.5 is chosen; the value that is not finite is in no mean."""
    rows = [trial(f"{a}-{s}", "agm", s, v, v, **{ALPHA: a}) for a, v in ((0.5, 0.9), (2.0, 0.8)) for s in range(2)]
    metrics = []
    for row in rows:
        metrics += epochs(row["trial"], "scale", "image", "train", 1.0, 2.0 + row["seed"])
        metrics += epochs(row["trial"], "loss", None, "train", 3.0, float("inf") if row["seed"] else row[ALPHA])
    run = load(write_run(rows, metrics))
    scale = coefficient_curves(run)
    assert scale.select("method", "modality", "epoch", "mean", "seeds").rows() == [
        ("agm", "image", 1, 1.0, 2),
        ("agm", "image", 2, 2.5, 2),
    ]
    assert learning_curves(run).select("metric", "epoch", "mean", "seeds").rows() == [
        ("loss", 1, 3.0, 2),
        ("loss", 2, 0.5, 1),
    ]
    assert {"learning", "coefficients"} <= set(drawings(run))


def test_a_caption_has_the_scores_of_trials_that_end_in_different_epochs(write_run: Write) -> None:
    """As MSES ends them: the last epoch is that of one seed alone."""
    rows = [trial(str(s), "mses", s, 0.5 + 0.2 * s, 0.9) for s in range(2)]
    metrics = [row for s in range(2) for row in epochs(str(s), "accuracy", None, "validation", 0.1, 0.5 + 0.2 * s)]
    metrics += [{**row, "epoch": row["epoch"] + 2} for row in metrics if row["trial"] == "1"]
    caption = drawings(load(write_run(rows, metrics, methods=["mses"])))["learning"].caption
    assert "after the last epoch, on validation: mses 60.0 [0.0, 100.0]. Some epochs of mses are means over" in caption


def test_the_curves_of_trials_that_diverged_are_in_no_mean(write_run: Write) -> None:
    rows = [trial(str(s), "joint", s, None if s else 0.9, None if s else 0.9) for s in range(3)]
    metrics = [row for s in range(3) for row in epochs(str(s), "loss", None, "train", 1.0, 1e34 if s else 0.5)]
    run = load(write_run(rows, metrics))
    assert learning_curves(run).select("epoch", "mean", "seeds").rows() == [(1, 1.0, 1), (2, 0.5, 1)]


def searched(write_run: Write, points: np.ndarray, search: dict[str, Any], missing: int) -> Run:
    """Return a run in which only alpha matters, at the points [P, 2] of a design in the unit square."""
    names = [ALPHA, LR]
    rng = np.random.default_rng(0)
    rows = [
        trial(f"{p}-{s}", "agm", s, x + 0.01 * rng.random(), 0.5, point=p, **{ALPHA: x, LR: y})
        for p, (x, y) in enumerate(points[: len(points) - missing].tolist())
        for s in range(3)
    ]
    about: dict[str, Any] = {"names": names, "scales": ["linear"] * 2, "bounds": [[0.0, 1.0]] * 2}
    about["points"] = points.tolist()
    vary = {name: {"values": [], "scale": "linear"} for name in names}
    return load(write_run(rows, search=search, design={"agm": about}, vary=vary, methods=["agm"]))


PROBLEM = {"num_vars": 2, "names": [ALPHA, LR], "bounds": [[0, 1]] * 2}


@pytest.mark.parametrize("missing", [0, 3])
def test_a_sobol_design_has_its_indices_with_a_floor_also_while_it_runs(write_run: Write, missing: int) -> None:
    points = sobol.sample(PROBLEM, 16, calc_second_order=False, seed=1)
    result = drawings(searched(write_run, points, {"sobol": {"samples": 16, "second_order": False}}, missing))
    table = result["sobol-agm"].data
    assert dict(table.filter(index="total", factor=ALPHA).select("above_floor", "dropped").rows()) == {
        True: 1 if missing else 0
    }
    assert "train.lr" in result["sobol-agm"].caption
    assert {"search", "importance-agm"} <= set(result)
    assert "not above the floor" in result["sobol-agm"].caption
    assert ("Left out for missing results: 1 of 16 groups of points." in result["sobol-agm"].caption) == bool(missing)
    assert not [stem for stem in result if stem.startswith("map")]


def test_a_morris_design_has_its_effects(write_run: Write) -> None:
    points = morris.sample(PROBLEM, 8, num_levels=4, seed=1)
    result = drawings(searched(write_run, points, {"morris": {"trajectories": 8, "levels": 4}}, 0))
    row = result["morris-agm"].data.row(
        by_predicate=(pl.col("index") == "mu_star") & (pl.col("factor") == ALPHA), named=True
    )
    assert row["value"] == pytest.approx(1, abs=0.05)
    assert row["above_floor"]
    assert "agm.alpha 100 points" in result["morris-agm"].caption
    assert "Left out" not in result["morris-agm"].caption
    assert not [stem for stem in result if stem.startswith("map")]  # its levels are no grid


def test_a_morris_design_of_one_seed_has_no_floor_and_says_which_trajectories_are_left_out(write_run: Write) -> None:
    """Of 8 trajectories of 3 points the third and the last have a point that diverged."""
    points = morris.sample(PROBLEM, 8, num_levels=4, seed=1)
    run = searched(write_run, points, {"morris": {"trajectories": 8, "levels": 4}}, 0)
    lost = pl.when(pl.col("point").is_in([7, 23])).then(pl.lit("diverged")).otherwise("status")
    run = run._replace(trials=run.trials.filter(pl.col("seed") == 0).with_columns(status=lost))
    caption = drawings(run)["morris-agm"].caption
    assert "not above" not in caption
    assert caption.endswith(
        " Without a floor, none is shown to matter. Left out for missing results: 2 of 8 trajectories."
    )


def test_a_morris_design_has_its_effects_on_each_modality_alone(write_run: Write) -> None:
    points = morris.sample(PROBLEM | {"names": [LR, "train.momentum"]}, 4, num_levels=4, seed=1).tolist()
    names = [LR, "train.momentum"]
    rows = [
        trial(f"{m}-{p}", "unimodal", 0, x * y, 0.5, modality=m, point=p, **{names[0]: x, names[1]: y})
        for p, (x, y) in enumerate(points)
        for m in ("image", "audio")
    ]
    about = {"names": names, "scales": ["linear"] * 2, "bounds": [[0.0, 1.0]] * 2, "points": points}
    vary = {name: {"values": [], "scale": "linear"} for name in names}
    search = {"morris": {"trajectories": 4, "levels": 4}}
    run = load(write_run(rows, search=search, design={"unimodal": about}, vary=vary, methods=["unimodal"]))
    result = {stem: drawing.title for stem, drawing in drawings(run).items() if stem.startswith("morris")}
    assert result == {
        "morris-unimodal_audio_alone_": "Morris: settings of unimodal (audio alone)",
        "morris-unimodal_image_alone_": "Morris: settings of unimodal (image alone)",
    }


def test_the_best_of_a_search_is_a_configuration_and_the_one_that_is_chosen(write_run: Write) -> None:
    """Where the window is idle, only the reference tells the best from the worst."""
    names = ("agm.reference", "agm.window")
    at = {("cumulative", None): 0.9, ("ema", None): 0.5, ("window", 30.0): 0.7, ("window", 100.0): 0.6}
    rows = [
        trial(f"{point}-{s}", "agm", s, value, value, **dict(zip(names, point, strict=True)))
        for point, value in at.items()
        for s in range(2)
    ]
    vary = {
        names[0]: {"values": ["cumulative", "ema", "window"], "scale": "choice"},
        names[1]: {"values": [], "scale": "log"},
    }
    run = load(write_run(rows, search={"tpe": {"batch": 4}}, vary=vary, methods=["agm"]))
    result = drawings(run)["search"]
    (chosen,) = summary(run)["settings"]
    assert chosen == "reference=cumulative, window=none"
    assert result.caption == (
        f"All 4 configurations with a result, along each axis, on validation. Best: agm at {chosen}, 90.0 [90.0, 90.0]."
    )
    assert {tuple(point): value for *point, value in result.data.select(*names, "mean").rows()} == pytest.approx(at)


def test_the_best_of_a_search_may_have_nothing_that_varies(write_run: Write) -> None:
    rows = [trial("joint", "joint", 0, 0.9, 0.9)]
    rows += [trial(str(a), "agm", 0, a, a, **{ALPHA: a}) for a in (0.1, 0.2)]
    vary = {ALPHA: {"values": [], "scale": "linear"}}
    run = load(write_run(rows, search={"random": {}}, vary=vary, methods=["joint", "agm"]))
    assert drawings(run)["search"].caption.endswith("Best: joint, 90.0.")


def test_a_design_of_which_no_group_is_whole_has_no_indices(write_run: Write) -> None:
    points = morris.sample(PROBLEM, 1, num_levels=4, seed=1)
    assert "morris-agm" not in drawings(searched(write_run, points, {"morris": {"trajectories": 1, "levels": 4}}, 2))


def test_two_metrics_have_a_front(write_run: Write) -> None:
    rows = [
        trial(f"{m}-{s}", m, s, v, v, seconds=t)
        for m, v, t in (("joint", 0.7, 1.0), ("agm", 0.8, 2.0), ("ogm", 0.6, 3.0))
        for s in (0, 1)
    ]
    result = drawings(load(write_run(rows, objectives={"accuracy": "max", "seconds": "min"}, vary={})))
    assert result["front"].caption == "3 configurations by accuracy and seconds; front: agm; joint."
    assert result["front"].title == "Pareto front of accuracy and seconds"


def test_a_front_has_configurations_that_differ_in_what_does_nothing_once(write_run: Write) -> None:
    """Joint training is faster, agm better."""
    rows = [
        trial(m, m, 0, v, v, seconds=t, dummy=d) for m, v, t in (("joint", 0.7, 1.0), ("agm", 0.8, 2.0)) for d in (0, 1)
    ]
    vary = {"dummy": {"values": [0, 1], "scale": "linear"}}
    result = drawings(load(write_run(rows, objectives={"accuracy": "max", "seconds": "min"}, vary=vary)))
    assert result["front"].caption == "2 configurations by accuracy and seconds; front: agm; joint."


def test_all_metrics_that_are_weighed_are_named(write_run: Write) -> None:
    """Joint training is on the front for its balance alone."""
    rows = [trial(m, m, 0, v, v, seconds=t) for m, v, t in (("joint", 0.7, 2.0), ("agm", 0.8, 1.0))]
    gaps = {"joint": 0.1, "agm": 0.2}
    probes = [
        row for m, gap in gaps.items() for row in [*probe(m, "image", 0.5, 0.5), *probe(m, "audio", 0.5 - gap, 0.5)]
    ]
    objectives = {"accuracy": "max", "balance": "max", "seconds": "min"}
    front = drawings(load(write_run(rows, probes, objectives=objectives, vary={})))["front"]
    assert front.caption == "2 configurations by accuracy and balance and seconds; front: agm; joint."
    assert front.title == "Pareto front of accuracy and balance and seconds"
    assert front.figure.get_suptitle().strip() == "alphas: Pareto front of accuracy and balance and seconds"


def grid(write_run: Write, **lost: Any) -> Run:
    rows = [
        trial(f"{a}-{lr}-{s}", "agm", s, a * lr, 0.5, **{ALPHA: a, LR: lr})
        for a in (0.1, 0.5, 1.0)
        for lr in (0.1, 0.2, 0.3)
        for s in range(2)
    ]
    vary = {name: {"values": [0.1, 0.5], "scale": "linear"} for name in (ALPHA, LR)}
    return load(write_run(rows, vary=vary, methods=["agm"]))


def test_a_grid_of_two_axes_has_a_heat_map_and_the_importance_of_both(write_run: Write) -> None:
    result = drawings(grid(write_run))
    assert list(result) == [
        "curve-agm.alpha",
        "curve-train.lr",
        "map-agm-agm.alpha-train.lr",
        "surface-agm-agm.alpha-train.lr",
        "importance-agm",
        "best-of-n",
    ]
    heat, surface = (result[f"{kind}-agm-agm.alpha-train.lr"] for kind in ("map", "surface"))
    assert "9 of 9 cells with a result" in heat.caption
    safe = "Safe region, within 1 point of the best: 1 of 9 configurations by the mean, 1 by the whole 95 % interval."
    assert safe in heat.caption
    assert heat.data.filter("within").select("x", "y").rows() == [(1.0, 0.3)]
    assert (
        "over 2 seeds, fitted to 9 configurations. It explains 100% of the variance of their means, and"
        in surface.caption
    )
    assert "It is best near agm.alpha=1, train.lr=0.3: 30.0 [30.0, 30.0]." in surface.caption
    best = surface.data.filter(kind="optimum").select("x", "y", "mean").rows()
    assert best == [pytest.approx((1.0, 0.3, 0.3))] * 2
    assert surface.data.filter(kind="configuration")["within"].sum() == 1
    assert set(result["importance-agm"].data["by"]) == {"fanova"}  # of so few configurations PED-ANOVA cannot tell


@pytest.mark.parametrize("scored", [2, 7, 8])
def test_importance_needs_eight_configurations_with_a_result(write_run: Write, scored: int) -> None:
    points = [(a, lr) for a in (0.1, 0.5, 1.0) for lr in (0.1, 0.2, 0.3)]
    rows = [trial(f"{a}-{lr}", "agm", 0, a * lr, 0.5, **{ALPHA: a, LR: lr}) for a, lr in points]
    for row in rows[scored:]:
        row |= {"status": "pruned", "validation.accuracy": None, "test.accuracy": None}
    vary = {name: {"values": [0.1, 0.5], "scale": "linear"} for name in (ALPHA, LR)}
    result = drawings(load(write_run(rows, vary=vary, methods=["agm"])))
    assert ("importance-agm" in result) == (scored >= 8)


def test_the_best_of_n_says_how_many_were_ended_for_lagging(write_run: Write) -> None:
    """Where one was scored of three, only all three are sure to hold it."""
    rows = [trial(str(a), "agm", 0, a, a, **{ALPHA: a}) for a in (0.9, 0.5, 0.1)]
    for row in rows[1:]:
        row |= {"status": "pruned", "validation.accuracy": None, "test.accuracy": None}
    rows += [trial(f"ogm-{a}", "ogm", 0, a, a, **{ALPHA: a}) for a in (0.8, 0.7)]
    result = drawings(load(write_run(rows, methods=["agm", "ogm"])))["best-of-n"]
    assert result.caption == (
        "Expected validation score of the best of n configurations; at the full budget: agm 90.0 (n=3); ogm 80.0 (n=2). "
        "Pruned, and counted as worse than every configuration with a score: agm 2 of 3. "
        "Their lines begin at the smallest n of which one must have a score."
    )
    assert result.data.filter(method="agm")["mean"].to_list() == [None, None, 0.9]


def test_a_method_of_ones_own_looks_the_same_in_all_figures(write_run: Write) -> None:
    """Alpha is first in the study, Beta first in the ranks; the curve is that of Beta alone."""
    means = {("Alpha", None): 0.6, ("Beta", 0.1): 0.7, ("Beta", 0.2): 0.8, ("joint", None): 0.5}
    rows = [
        trial(f"{m}-{factor}-{s}", m, s, v + 0.01 * s, v, **{"Beta.factor": factor})
        for (m, factor), v in means.items()
        for s in range(4)
    ]
    metrics = [row for one in rows for row in epochs(one["trial"], "loss", None, "train", 1.0, 0.5)]
    study = {
        "methods": ["joint", "mine:Alpha", "mine:Beta"],
        "vary": {"Beta.factor": {"values": [], "scale": "linear"}},
    }
    result = drawings(load(write_run(rows, metrics, **study)))
    drawn: dict[str, set[Any]] = {"Alpha": set(), "Beta": set(), "joint": set()}
    for stem in ("curve-Beta.factor", "best-of-n", "learning"):
        for panel in result[stem].figure.axes:
            for line, label in zip(*panel.get_legend_handles_labels(), strict=True):
                assert isinstance(line, Line2D)
                drawn[label].add((line.get_color(), line.get_marker(), line.get_linestyle()))
    assert {len(seen) for seen in drawn.values()} == {1}
    ranked = {line.get_color() for line in result["ranks"].figure.axes[0].lines}
    assert {colour for seen in drawn.values() for colour, *_ in seen} <= ranked


def test_what_lost_a_seed_is_not_best(write_run: Write) -> None:
    """Alpha 0.5 scores highest, but for one seed of two; of the others 0 is ahead."""
    scores = {0.0: (0.8, 0.8), 0.1: (0.7, 0.7), 0.5: (0.9, None)}
    rows = [
        trial(f"{a}-{lr}-{s}", "agm", s, v, v, **{ALPHA: a, LR: lr})
        for a, both in scores.items()
        for lr in (0.1, 0.2)
        for s, v in enumerate(both)
    ]
    vary = {name: {"values": [0.1, 0.5], "scale": "linear"} for name in (ALPHA, LR)}
    result = drawings(load(write_run(rows, vary=vary, methods=["agm"])))
    assert result["curve-agm.alpha"].caption == (
        "agm with train.lr=0.1: best on validation at agm.alpha=0 (80.0 [80.0, 80.0]), worst at 0.1 (70.0 [70.0, 70.0])"
        ". Not ranked, as they have fewer seeds: 0.5."
    )
    assert "best on validation at agm.alpha=0, train.lr=0.1: 80.0" in result["map-agm-agm.alpha-train.lr"].caption
    assert result["curve-train.lr"].caption == "agm with alpha=0: 80.0 on validation at each of 2 values of train.lr."


def test_a_map_and_a_surface_say_where_the_other_axes_are_held(write_run: Write) -> None:
    names = (ALPHA, LR, "agm.cap")
    rows = [
        trial(f"{a}-{lr}-{cap}-{s}", "agm", s, a * lr + cap, 0.5, **dict(zip(names, (a, lr, cap), strict=True)))
        for a in (0.1, 0.5, 1.0) for lr in (0.1, 0.2, 0.3) for cap in (0.1, 0.2, 0.3) for s in range(2)
    ]  # fmt: skip
    vary = {name: {"values": [0.1, 0.5], "scale": "linear"} for name in names}
    result = drawings(load(write_run(rows, vary=vary, methods=["agm"])))
    assert result["map-agm-agm.alpha-train.lr"].caption.startswith(
        "agm with cap=0.3 over agm.alpha and train.lr, 9 of 9"
    )
    assert "surface of agm at cap=0.3 on validation" in result["surface-agm-agm.alpha-train.lr"].caption


def test_a_surface_that_predicts_nothing_is_not_drawn(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [
        trial(f"{p}-{s}", "agm", s, 0.5 + 0.1 * rng.random(), 0.5, **{ALPHA: rng.random(), LR: rng.random()})
        for p in range(40) for s in (0,)
    ]  # fmt: skip
    vary = {name: {"values": [0.1, 0.5], "scale": "linear"} for name in (ALPHA, LR)}
    few, many = (
        load(write_folder(tmp_path / str(len(part)), part, vary=vary, methods=["agm"], search="random"))
        for part in (rows[:6], rows)
    )
    for run in (few, many):
        assert not [stem for stem in drawings(run) if stem.startswith("surface")]


NOTHING: list[dict[str, Any]] = []
FLAT = [trial(f"{m}-{s}", m, s, 0.5, 0.5) for m in ("joint", "agm", "ogm") for s in range(3)]


@pytest.mark.parametrize(
    ("rows", "stems"),
    [
        (NOTHING, []),
        ([trial("a", "joint", 0, 0.5, 0.5)], []),
        ([trial("a", "joint", 0, None, None), trial("b", "agm", 0, None, None)], []),
        ([trial("a", "joint", 0, 0.5, 0.5), trial("b", "agm", 0, 0.6, 0.6)], ["differences"]),
        ([trial(m, m, 0, float("nan"), float("nan")) for m in ("joint", "agm")], []),
        (FLAT, ["differences"]),
    ],
)
def test_a_run_that_lacks_something_has_the_other_figures(write_run: Write, rows: list[Any], stems: list[str]) -> None:
    assert list(drawings(load(write_run(rows)))) == stems
