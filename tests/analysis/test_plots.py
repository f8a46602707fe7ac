from pathlib import Path

import polars as pl
import pytest

from analysis import load
from analysis.plots import plot_curve, save
from analysis.ruler import ruler, window
from analysis.sensitivity import curve, probe_curve

INF = float("inf")


def test_zero_stands_one_step_left_of_a_log_axis() -> None:
    places = ruler([0.0, 0.01, 0.1, 1.0], "log")
    assert [places.at[v] for v in (0.0, 0.01, 0.1, 1.0)] == pytest.approx([-3, -2, -1, 0])
    assert places.outside == [0.0]
    assert places.breaks == [-2.5]
    assert places.ticks[-3] == "0"


def test_infinity_stands_one_step_right() -> None:
    places = ruler([1.0, 2.0, INF], "linear")
    assert places.at == {1.0: 1.0, 2.0: 2.0, INF: 3.0}
    assert places.ticks[3.0] == "∞"


def test_zero_is_a_value_like_any_other_on_a_linear_axis() -> None:
    places = ruler([0.0, 1.0], "linear")
    assert places.at == {0.0: 0.0, 1.0: 1.0}
    assert places.breaks == []


@pytest.mark.parametrize("values", [[], [0.0], [0.5], [0.0, 0.5]])
def test_few_values_have_places(values: list[float]) -> None:
    assert set(ruler(values, "log").at) == set(values)


def test_a_panel_for_the_joint_prediction_and_one_for_each_encoder(folder: Path) -> None:
    run = load(folder)
    table = curve(run, "agm.alpha")
    figure = plot_curve(
        table, probe_curve(run, "agm.alpha"), axis="agm.alpha", metric="accuracy", title="t", scale="log"
    )
    titles = [panel.get_title(loc="left") for panel in figure.axes]
    assert titles == ["joint prediction", "image encoder, probed", "audio encoder, probed"]
    texts = [text.get_text() for text in figure.texts]
    assert "mean and 95 % interval over 1–3 seeds, validation split" in texts  # noqa: RUF001
    assert "2 failed" in [text.get_text() for text in figure.axes[0].texts]
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
        save(figure, tmp_path / "figures" / name)
    assert sorted(file.name for file in (tmp_path / "figures").iterdir()) == [
        "a.b.png",
        "a.b.svg",
        "a.c.png",
        "a.c.svg",
    ]
    for kind in ("png", "svg"):
        one, other = (tmp_path / "figures" / f"{name}.{kind}" for name in ("a.b", "a.c"))
        assert one.read_bytes() == other.read_bytes()


def points(*means: float) -> pl.DataFrame:
    ends = {"low": pl.col("mean") - 0.01, "high": pl.col("mean") + 0.01}
    return pl.DataFrame({"kind": "curve", "mean": means}).with_columns(**ends)


def test_a_point_far_off_does_not_flatten_the_others() -> None:
    """The others reach from 0.89 to 0.92 with their intervals; a margin of 12 % is added at both ends."""
    assert window(points(0.90, 0.91, 0.90, 0.91, 0.3)) == pytest.approx((0.8864, 0.9236))
    assert window(points(0.90, 0.91, 0.90, 0.91, 0.95)) is None


def test_few_values_are_their_own_ticks() -> None:
    assert list(ruler([16, 32, 64, 128], "log").ticks.values()) == ["16", "32", "64", "128"]
    assert list(ruler([0.01, 0.011, 1.0], "log").ticks.values()) == ["0.01", "0.03", "0.1", "0.3", "1"]
