from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from analysis import load, plots
from analysis.axis_layout import axis_layout, robust_limits
from analysis.indices import DUMMY_FACTOR, INDICES
from analysis.plots import plot_curve, save_figure
from analysis.plots.style import (
    LINE_STYLES,
    METHOD_STYLES,
    USER_METHOD_STYLES,
    LineStyle,
    add_legend,
    axis_label,
    interval_caption,
    method_styles,
    new_figure,
    style_context,
    unique_labels,
)
from analysis.rankings import ranking
from analysis.sensitivity import curve, probe_curve

INF = float("inf")


def test_zero_stands_one_step_left_of_a_log_axis() -> None:
    places = axis_layout([0.0, 0.01, 0.1, 1.0], "log")
    assert [places.positions[v] for v in (0.0, 0.01, 0.1, 1.0)] == pytest.approx([-3, -2, -1, 0])
    assert places.detached == [0.0]
    assert places.breaks == [-2.5]
    assert places.ticks[-3] == "0"


def test_infinity_stands_one_step_right() -> None:
    places = axis_layout([1.0, 2.0, INF], "linear")
    assert places.positions == {1.0: 1.0, 2.0: 2.0, INF: 3.0}
    assert places.ticks[3.0] == "∞"


def test_zero_is_a_value_like_any_other_on_a_linear_axis() -> None:
    places = axis_layout([0.0, 1.0], "linear")
    assert places.positions == {0.0: 0.0, 1.0: 1.0}
    assert places.breaks == []


@pytest.mark.parametrize("values", [[], [0.0], [0.5], [0.0, 0.5]])
def test_few_values_have_places(values: list[float]) -> None:
    assert set(axis_layout(values, "log").positions) == set(values)


def test_a_panel_for_the_joint_prediction_and_one_for_each_encoder(folder: Path) -> None:
    run = load(folder)
    table = curve(run, "agm.alpha")
    figure = plot_curve(
        table, probe_curve(run, "agm.alpha"), axis="agm.alpha", metric="accuracy", title="t", scale="log"
    )
    titles = [panel.get_title(loc="left") for panel in figure.axes]
    assert titles == ["joint prediction", "image encoder, probed", "audio encoder, probed"]
    texts = [text.get_text() for text in figure.texts]
    assert "mean and 95 % interval over 1 to 3 seeds, validation split; bottom: trials without a score" in texts
    assert "2" in [text.get_text() for text in figure.axes[0].texts]
    bare = plot_curve(
        table, pl.DataFrame(schema={"modality": pl.String, "method": pl.String}), axis="a", metric="mae", title="t"
    )
    assert len(bare.axes) == 1


def test_a_figure_is_written_the_same_twice(folder: Path, tmp_path: Path) -> None:
    run = load(folder)
    for name in ("a.b", "a.c"):
        figure = plot_curve(
            curve(run, "agm.alpha"), probe_curve(run, "agm.alpha"), axis="x", metric="accuracy", title="t", scale="log"
        )
        save_figure(figure, tmp_path / "figures" / name, curve(run, "agm.alpha"))
    kinds = ("csv", "pdf", "png", "svg")
    names = sorted(file.name for file in (tmp_path / "figures").iterdir())
    assert names == [f"a.{name}.{kind}" for name in "bc" for kind in kinds]
    for kind in kinds:
        one, other = (tmp_path / "figures" / f"{name}.{kind}" for name in ("a.b", "a.c"))
        assert one.read_bytes() == other.read_bytes()


def points(*means: float) -> pl.DataFrame:
    ends = {"low": pl.col("mean") - 0.01, "high": pl.col("mean") + 0.01}
    return pl.DataFrame({"kind": "curve", "mean": means}).with_columns(**ends)


def test_a_point_far_off_does_not_flatten_the_others() -> None:
    """The others reach from 0.89 to 0.92 with their intervals; a margin of 12 % is added at both ends."""
    assert robust_limits(points(0.90, 0.91, 0.90, 0.91, 0.3)) == pytest.approx((0.8864, 0.9236))
    assert robust_limits(points(0.90, 0.91, 0.90, 0.91, 0.95)) is None


def test_few_values_are_their_own_ticks() -> None:
    assert list(axis_layout([16, 32, 64, 128], "log").ticks.values()) == ["16", "32", "64", "128"]
    assert list(axis_layout([0.01, 0.011, 1.0], "log").ticks.values()) == ["0.01", "0.03", "0.1", "0.3", "1"]


def test_a_log_axis_has_ticks_within_a_decade_and_few_over_many() -> None:
    short = axis_layout([0.9, 0.97, 0.99, 0.997, 0.999], "log")
    assert list(short.ticks.values()) == ["0.9", "0.92", "0.94", "0.96", "0.98"]
    assert min(short.ticks) == pytest.approx(np.log10(0.9))
    assert list(axis_layout(10.0 ** np.arange(13), "log").ticks.values()) == ["1", "1000", "1e+06", "1e+09", "1e+12"]


CURVE: dict[str, Any] = {"kind": "curve", "method": "agm", "settings": "", "seeds": 3}


def drawn(values: list[float], panels: int = 1, **columns: Any) -> Figure:
    """Return the response of agm along some values, in the joint prediction and some encoders."""
    given = {"value": values, "mean": 0.5, "low": 0.4, "high": 0.6, "failed": 0} | columns
    table = pl.DataFrame(CURVE | given, schema_overrides={"mean": pl.Float64, "low": pl.Float64, "high": pl.Float64})
    probes = [table.with_columns(modality=pl.lit(str(place))) for place in range(panels - 1)]
    other = pl.concat(probes) if probes else pl.DataFrame(schema={"modality": pl.String, "method": pl.String})
    return plot_curve(table, other, axis="agm.alpha", metric="accuracy", title="t", scale="log")


def test_a_value_at_which_all_was_lost_is_on_the_axis() -> None:
    ends: dict[str, Any] = {key: [0.5, None] for key in ("mean", "low", "high")}
    (panel,) = drawn([1.0, 100.0], failed=[0, 5], **ends).axes
    assert panel.get_xlim()[1] > 2
    (text,) = panel.texts
    assert (text.get_text(), text.xy[0]) == ("5", 2)  # type: ignore[attr-defined]


def test_the_numbers_of_lost_trials_do_not_touch() -> None:
    figure = drawn([1.0, 1.1, 1.2, 10.0], failed=[12, 12, 12, 12])
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 4
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


@pytest.mark.parametrize(("first", "last"), [(0.05, 2.4), (0.0015, 0.09)])
def test_the_ticks_of_three_panels_do_not_touch(first: float, last: float) -> None:
    figure = drawn([0.0, *np.geomspace(first, last, 12).tolist()], panels=3)
    figure.draw_without_rendering()
    for panel in figure.axes:
        boxes = [label.get_window_extent() for label in panel.get_xticklabels()]
        assert len(boxes) > 2
        assert not any(one.overlaps(other) for one, other in pairwise(boxes))


def test_an_interval_without_a_neighbour_is_a_bar() -> None:
    """The first two share a band; the last stands alone, as the one before it has none."""
    low = [0.4, 0.4, None, 0.4]
    (panel,) = drawn([1.0, 2.0, 4.0, 8.0], low=low, high=[0.6, 0.6, None, 0.6]).axes
    (bars,) = (one for one in panel.collections if type(one) is LineCollection)
    (segment,) = bars.get_segments()
    assert np.asarray(segment) == pytest.approx(np.array([[np.log10(8), 40], [np.log10(8), 60]]))


def test_an_axis_does_not_leave_the_bounds_of_its_metric() -> None:
    (panel,) = drawn([1.0, 2.0], low=[0.0, 0.4], high=[1.0, 0.6]).axes
    low, high = panel.get_ylim()
    assert -5 < low < 0  # room for a marker
    assert 100 < high < 105
    table = pl.DataFrame({"method": "agm", "a": [1.0, 2.0], "mean": 0.3, "low": 0.0, "high": 0.9, "seeds": 2})
    (panel,) = plots.plot_slices(table, {"a": "linear"}, metric="accuracy", title="t").axes
    assert panel.get_ylim()[0] > -5


def test_a_legend_is_whole_and_within_its_figure() -> None:
    names = [f"fusion={fusion}, samples={count}" for fusion in ("attention", "concat", "late") for count in (0, 8)]
    with style_context():
        figure = new_figure(4.7, 3.3)
        panel = figure.add_subplot()
        for name in names:
            panel.plot([0, 1], label=name)
        add_legend(figure)
        figure.draw_without_rendering()
    (box,) = figure.legends
    assert [text.get_text() for text in box.texts] == names
    assert 0 <= box.get_window_extent().x0 < box.get_window_extent().x1 <= figure.bbox.width


def words(panel: Axes) -> list[str]:
    return [text.get_text() for text in panel.texts]


def test_no_two_methods_look_alike_and_a_method_looks_the_same_in_every_figure() -> None:
    own = method_styles(["mine:Half", "agm", "mine:Third"])
    assert len(set(own.values())) == len(own)
    assert own["agm"] == method_styles(["cggm", "agm"])["agm"]
    assert len({(look.colour, look.dash) for look in METHOD_STYLES.values()}) == len(METHOD_STYLES)
    assert len({look.marker for look in METHOD_STYLES.values()}) == len(METHOD_STYLES)


@pytest.mark.parametrize("drawn_together", [[*METHOD_STYLES.values(), *USER_METHOD_STYLES], LINE_STYLES])
def test_any_two_differ_in_two_of_colour_mark_and_dash(drawn_together: list[LineStyle]) -> None:
    for one, other in combinations(drawn_together, 2):
        assert sum(a != b for a, b in zip(one, other, strict=True)) >= 2


def test_what_a_method_looks_like_does_not_depend_on_the_order_of_a_table() -> None:
    assert method_styles(["mine:Third", "agm", "mine:Half"]) == method_styles(["mine:Half", "mine:Third"])


def test_a_caption_says_over_how_many_seeds_and_that_one_has_no_interval() -> None:
    assert interval_caption(pl.DataFrame({"seeds": [3, 5, 0]})) == "mean and 95 % interval over 3 to 5 seeds"
    assert interval_caption(pl.DataFrame({"seeds": [1, 1]})) == "1 seed, no interval"
    assert interval_caption(pl.DataFrame({"seeds": [0]})) == "no finished seed, no interval"


def test_an_axis_names_its_unit() -> None:
    assert [axis_label("accuracy"), axis_label("accuracy", change=True)] == ["accuracy, %", "accuracy, points"]
    assert [axis_label("mae", change=True), axis_label("seconds")] == ["difference in mae", "time, s"]
    assert axis_label("gain in mae", change=True) == "gain in mae"


HEAT = pl.DataFrame(
    {
        "x": [1.0, 2.0, 1.0, 2.0], "y": [0.0, 0.0, 0.5, 0.5], "mean": [0.8, 0.9, None, 0.7],
        "low": [0.79, 0.88, None, None], "high": [0.81, 0.92, None, None], "seeds": [3, 3, 0, 1], "failed": [0, 0, 3, 2],
    }
)  # fmt: skip


def test_a_heat_map_frames_the_best_cell_and_tells_of_intervals_and_failures() -> None:
    panel = plots.plot_map(HEAT, x="cggm.rho", y="cggm.lam", metric="accuracy", title="t").axes[0]
    assert words(panel) == ["80.0\n±1.0", "90.0\n±2.0", "no score", "70.0\n1 of 3 seeds"]
    frame = panel.patches[-1]
    assert (frame.get_x(), frame.get_y()) == (1, 0)  # type: ignore[attr-defined]


def test_a_cell_that_lost_a_seed_is_not_ahead_of_one_that_lost_none() -> None:
    lost = HEAT.with_columns(mean=pl.Series([0.8, 0.9, None, 0.95]))
    panel = plots.plot_map(lost, x="cggm.rho", y="cggm.lam", metric="accuracy", title="t").axes[0]
    frame = panel.patches[-1]
    assert (frame.get_x(), frame.get_y()) == (1, 0)  # type: ignore[attr-defined]


def test_a_cell_says_how_far_an_interval_reaches_that_a_bound_cuts_off() -> None:
    """It is 31.2 plus and minus 35; below 0 there is no accuracy."""
    cut = HEAT.head(2).with_columns(mean=0.312, low=0.0, high=0.662)
    panel = plots.plot_map(cut, x="a", y="b", metric="accuracy", title="t").axes[0]
    assert words(panel) == ["31.2\n±35.0"] * 2


def test_the_colours_of_one_value_are_near_it_and_can_be() -> None:
    panel = plots.plot_map(HEAT.head(1), x="a", y="b", metric="mae", title="t", higher_is_better=False).axes[0]
    assert words(panel) == ["0.8\n±0.01"]
    assert panel.collections[0].get_clim() == pytest.approx((0.72, 0.88))
    top = plots.plot_map(HEAT.head(1).with_columns(mean=1.0), x="a", y="b", metric="accuracy", title="t").axes[0]
    assert top.collections[0].get_clim() == pytest.approx((0.9, 1.0))


def test_what_is_not_above_the_floor_is_grey() -> None:
    table = pl.DataFrame(
        {
            "factor": ["agm.alpha", "train.lr", "agm.cap"], "value": [0.9, 0.2, None], "low": [0.7, 0.0, None],
            "high": [1.1, 0.4, None], "floor": 0.3, "above_floor": [True, False, None],
            "configurations": 9, "used": 9, "dropped": 1, "seeds": 3,
        }
    )  # fmt: skip
    figure = plots.plot_importance({"fanova": table}, title="t")
    (panel,) = figure.axes
    assert [to_hex(bar.get_facecolor()) for bar in panel.patches] == ["#0072b2", "#bbbbbb"]
    assert words(panel) == ["  not available"]
    assert "9 configurations, 1 without a result, 3 seeds" in figure.texts[-1].get_text()
    assert "the floor (dashed) of a dummy setting" in figure.texts[-1].get_text()


def test_an_index_below_the_floor_is_open_one_without_a_floor_grey_and_one_that_is_unknown_is_not_drawn() -> None:
    rows = [
        ("agm.alpha", None, "first", 0.6, 0.5, 0.7, 0.1, True),
        ("agm.cap", None, "first", 0.05, -0.1, 0.2, 0.1, False),
        ("agm.alpha", None, "total", None, None, None, None, None),
        (DUMMY_FACTOR, None, "first", 0.0, -0.1, 0.1, None, None),
        ("agm.alpha", "agm.cap", "second", 0.0, -0.1, 0.1, None, None),
    ]
    table = pl.DataFrame([(*row, 8, 0, 3) for row in rows], schema=INDICES, orient="row")
    figure = plots.plot_indices(table, title="t", metric="accuracy")
    assert "over 8 groups of points, 3 seeds;" in figure.texts[-1].get_text()
    (panel,) = figure.axes
    faces = [line.get_markerfacecolor() for line in panel.lines if line.get_marker() == "o" and len(line.get_xdata())]
    assert faces == ["#0072B2", "white", "#bbbbbb"]
    assert [tick.get_text() for tick in panel.get_yticklabels()] == ["agm.alpha", "agm.cap", "agm.alpha x agm.cap"]


def test_groups_of_points_that_are_left_out_are_counted() -> None:
    table = pl.DataFrame([("a", None, "mu_star", 0.1, 0.1, 0.1, 0.1, True, 3, 2, 3)], schema=INDICES, orient="row")
    figure = plots.plot_indices(table, title="t", metric="accuracy")
    assert "over 3 groups of points, 2 more without a result, 3 seeds;" in figure.texts[-1].get_text()


def test_the_effects_of_morris_are_in_the_unit_of_the_metric() -> None:
    table = pl.DataFrame([("a", None, "mu_star", 0.08, 0.07, 0.09, 0.04, True, 8, 0, 3)], schema=INDICES, orient="row")
    (panel,) = plots.plot_indices(table, title="t", metric="accuracy").axes
    (point,) = (line for line in panel.lines if line.get_marker() == "o" and len(line.get_xdata()))
    assert point.get_xdata() == pytest.approx([8])
    assert panel.get_xlabel() == "accuracy, points, over the whole range"


def test_a_forest_writes_each_difference_beside_its_point() -> None:
    rows = pl.DataFrame(
        {"name": ["agm", "cggm"], "mean": [0.01, None], "low": [-0.01, None], "high": [0.03, None], "p": [0.2, None]}
    )
    (panel,) = plots.plot_forest(rows, metric="accuracy", title="t", subtitle="s").axes
    assert words(panel) == ["+1.0 [−1.0, 3.0]   p 0.2", "no pair of finished trials"]  # noqa: RUF001
    assert panel.get_xlabel() == "accuracy, points"


def test_a_forest_of_several_metrics_has_each_in_its_own_unit() -> None:
    rows = pl.DataFrame(
        {"name": ["a", "b"], "mean": [-0.04, 0.02], "low": [-0.05, 0.01], "high": [-0.03, 0.03], "p": [None, None]}
    ).with_columns(metric=pl.Series(["accuracy", "gain in mae"]))
    figure = plots.plot_forest(rows, metric="", title="t", subtitle="s")
    assert [words(panel) for panel in figure.axes] == [["−4.0 [−5.0, −3.0]"], ["+0.02 [0.01, 0.03]"]]  # noqa: RUF001
    assert [panel.get_xlabel() for panel in figure.axes] == ["accuracy, points", "gain in mae"]


def test_a_forest_draws_small_errors_as_wide_as_large_accuracies() -> None:
    """Five rows of accuracy, up to 20 points, and between them one of an error of hundredths, on an axis of its own."""
    values = {f"a{i}": 0.04 * i for i in range(1, 6)} | {"diabetes": 0.02}
    metrics = ["accuracy"] * 5 + ["gain in mae"]
    rows = pl.DataFrame({"name": list(values), "mean": list(values.values()), "metric": metrics}).with_columns(
        low=pl.col("mean") - 0.01, high=pl.col("mean") + 0.01
    )
    rows = rows[[0, 1, 5, 2, 3, 4]]
    figure = plots.plot_forest(rows, metric="", title="t", subtitle="s")
    accuracies, errors = figure.axes
    assert [tick.get_text() for tick in accuracies.get_yticklabels()] == ["a1", "a2", "a3", "a4", "a5"]
    assert [tick.get_text() for tick in errors.get_yticklabels()] == ["diabetes"]
    assert accuracies.get_xlim()[1] > 20
    assert errors.get_xlim()[1] < 0.05


def test_a_forest_of_metrics_in_percent_has_one_axis() -> None:
    rows = pl.DataFrame({"name": ["a", "b"], "mean": [0.1, 0.2], "low": [0.0, 0.1], "high": [0.2, 0.3]})
    rows = rows.with_columns(metric=pl.Series(["accuracy", "probe_accuracy"]))
    (panel,) = plots.plot_forest(rows, metric="accuracy", title="t", subtitle="s").axes
    assert panel.get_xlabel() == "accuracy, points"


@pytest.mark.parametrize(("low", "high"), [(-0.174, -0.0653), (-0.0052, 0.0011), (0.0, 33000.0)])
def test_the_ticks_of_a_forest_do_not_touch(low: float, high: float) -> None:
    row = {"name": "mfeat, cls_layers=0", "mean": (low + high) / 2, "low": low, "high": high, "p": 0.0001}
    rows = pl.DataFrame([row])
    figure = plots.plot_forest(rows, metric="fidelity_f1_median", title="t", subtitle="s")
    figure.draw_without_rendering()
    ends = figure.axes[0].get_xlim()
    ticks = figure.axes[0].xaxis.get_major_ticks()
    boxes = [tick.label1.get_window_extent() for tick in ticks if ends[0] <= tick.get_loc() <= ends[1]]
    assert len(boxes) > 2
    letter = boxes[0].height / 2
    assert all(one.x1 + letter < other.x0 for one, other in pairwise(boxes))


def test_a_forest_has_the_whole_name_of_a_row() -> None:
    name = "joint/ogm x optimizer=sgd/adam: mfeat: method x optimizer"
    rows = pl.DataFrame({"name": [name], "mean": [0.01], "low": [0.0], "high": [0.02]})
    (panel,) = plots.plot_forest(rows, metric="accuracy", title="t", subtitle="s").axes
    assert [tick.get_text().replace("\n", " ") for tick in panel.get_yticklabels()] == [name]


def test_the_ranks_of_methods_that_nemenyi_cannot_separate_are_joined() -> None:
    """Over 20 blocks c is last without exception, and a and b take turns."""
    scores = [(i, m, s) for i in range(20) for m, s in (("a", 2 + i % 2), ("b", 3 - i % 2), ("c", 0))]
    result = ranking(pl.DataFrame(scores, schema=["block", "method", "score"], orient="row"))
    (panel,) = plots.plot_ranks(result, title="t").axes
    assert {"a  1.50 ", "b  1.50 ", " 3.00  c"} <= set(words(panel))
    assert f"critical difference {result.critical:.2f}" in words(panel)
    assert plots.ranks_table(result)["mean_rank"].to_list() == [1.5, 1.5, 3.0]


def test_methods_whose_names_begin_and_end_alike_have_ranks_of_their_own() -> None:
    names = ["joint", "gradient_modulation_A_with_noise", "gradient_modulation_B_with_noise", f"agm{'-' * 40}long-name"]
    scores = [(i, m, place) for i in range(8) for place, m in enumerate(names)]
    result = ranking(pl.DataFrame(scores, schema=["block", "method", "score"], orient="row"))
    (panel,) = plots.plot_ranks(result, title="t").axes
    said = " ".join(words(panel))
    assert [name in said for name in names] == [True, True, True, False]
    assert all(f"{rank:.2f}" in said for rank in (1, 2, 3, 4))


def test_labels_are_short_and_never_the_same() -> None:
    alike = [f"a-long-name-{which}-that-ends-as-others-do" for which in ("one", "other", "third")]
    result = unique_labels([*alike, f"b{'-' * 50}c", "short"], 24)
    assert [*result] == [*alike, f"b{'-' * 50}c", "short"]
    assert len(set(result.values())) == 5
    assert [len(label) for label in result.values()][3:] == [24, 5]
    assert all(24 < len(result[name]) <= len(name) for name in alike)
    assert len(set(unique_labels(["a  b", "a b"]).values())) == 2


def test_methods_of_one_rank_are_joined_on_an_axis_of_all_ranks() -> None:
    scores = [(i, m, (i + place) % 3) for i in range(6) for place, m in enumerate("abc")]
    result = ranking(pl.DataFrame(scores, schema=["block", "method", "score"], orient="row"))
    (panel,) = plots.plot_ranks(result, title="t").axes
    (bar,) = (line for line in panel.lines if line.get_linewidth() == 2.4)
    assert (min(bar.get_xdata()), max(bar.get_xdata())) == pytest.approx((1.94, 2.06))
    assert panel.get_xticks().tolist() == [1, 2, 3]


def test_a_coefficient_that_explodes_does_not_hide_the_others() -> None:
    rows = [(m, e, v, v, v, 1) for m in ("image", "audio") for e, v in ((1, 1.0), (2, 4e5 if m == "image" else 0.5))]
    table = pl.DataFrame(rows, schema=["modality", "epoch", "mean", "low", "high", "seeds"], orient="row")
    (panel,) = plots.plot_coefficients(table.with_columns(method=pl.lit("cggm")), title="t").axes
    assert panel.get_yscale() == "symlog"
    assert "$" not in "".join(tick.get_text() for tick in panel.get_yticklabels())


def test_the_front_is_filled_and_says_which_way_is_better() -> None:
    table = pl.DataFrame({"method": ["agm", "joint"], "accuracy": [0.9, 0.8], "seconds": [2.0, 3.0], "seeds": 3})
    directions = {"accuracy": "max", "seconds": "min"}
    ends = {f"{metric}_{end}": pl.col(metric) for metric in directions for end in ("low", "high")}
    table = table.with_columns(front=pl.Series([True, False]), **ends)
    (panel,) = plots.plot_front(table, ["accuracy", "seconds"], directions=directions, title="t").axes
    assert [line.get_markerfacecolor() for line in panel.lines[1:]] == ["#0072B2", "white"]
    assert panel.get_ylabel() == "time, s (lower is better)"


def test_a_metric_without_interval_leaves_the_others_of_a_front() -> None:
    """As `balance`, where the modalities of a single trial were measured."""
    table = pl.DataFrame({
        "method": "agm", "accuracy": [0.9], "balance": [-0.1], "front": True, "seeds": 2,
        "accuracy_low": 0.8, "accuracy_high": 1.0, "balance_low": None, "balance_high": None,
    })  # fmt: skip
    directions = {"accuracy": "max", "balance": "max"}
    (panel,) = plots.plot_front(table, list(directions), directions=directions, title="t").axes
    (interval,) = panel.collections
    assert interval.get_segments()[0][:, 0] == pytest.approx([80, 100])


@pytest.mark.parametrize("name", ["$\\frac{", "<script>", "a" * 200, "名前", "a\nb"])
def test_a_name_is_drawn_as_it_is(name: str, tmp_path: Path) -> None:
    table = pl.DataFrame({"method": name, "n": [1, 2], "mean": [0.5, np.nan], "low": 0.4, "high": 0.6, "seeds": 3})
    save_figure(plots.plot_best_of(table, metric=name, title=name), tmp_path / "figure", table)
    assert "<script>" not in (tmp_path / "figure.svg").read_text()


@pytest.mark.parametrize("epochs", [120, 900, 2000])
def test_the_epochs_of_three_panels_do_not_run_together(epochs: int) -> None:
    rows = [
        {"method": "joint", "split": s, "modality": None, "metric": m, "epoch": e, "mean": 0.5, "seeds": 3}
        for s, m in (("validation", "accuracy"), ("validation", "loss"), ("train", "loss"))
        for e in (1, epochs)
    ]
    table = pl.DataFrame(rows).with_columns(low=pl.lit(0.4), high=pl.lit(0.6))
    figure = plots.plot_learning(table, metric="accuracy", title="x")
    figure.draw_without_rendering()
    for panel in figure.axes:
        boxes = [label.get_window_extent().padded(2) for label in panel.get_xticklabels()]
        assert len(boxes) > 2
        assert not any(one.overlaps(other) for one, other in pairwise(boxes))
