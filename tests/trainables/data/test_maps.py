"""Maps that are cut into tiles: what a sample is, and files that break a rule."""

from typing import Any

import numpy as np
import pytest

from tests.trainables.data.conftest import Write
from trainables import data

Arrays = dict[str, np.ndarray]
SHEET: dict[str, Any] = {"task": "segmentation", "modalities": ["light", "height"], "classes": 3}


@pytest.fixture
def maps() -> Arrays:
    """Return maps of 4 x 6 pixels in six tiles of 2 x 2: two of each split."""
    random = np.random.default_rng(0)
    tile = np.kron(np.arange(6).reshape(2, 3), np.ones((2, 2), int))
    return {
        "light": random.integers(0, 256, (3, 4, 6), np.uint8),
        "height": random.normal(500, 100, (1, 4, 6)).astype(np.float32),
        "label": random.integers(0, 3, (4, 6)),
        "tile": tile.astype(np.uint8),
        "tile_split": np.array([0, 1, 2, 0, 1, 2]),
    }


def load_error(path: Any, **options: Any) -> str:
    with pytest.raises(data.DataError) as error:
        data.load({"path": str(path), **options})
    return str(error.value)


def test_a_sample_is_a_tile_and_its_positions_are_pixels_in_the_order_of_rows(write: Write, maps: Arrays) -> None:
    loaded = data.load({"path": str(write(maps, **SHEET)), "standardise": False})
    assert (loaded.task, loaded.outputs) == ("segmentation", 3)
    for code, split in enumerate((loaded.train, loaded.validation, loaded.test)):
        for sample, left in enumerate((slice(0, 2), slice(2, 4))):
            index = left, slice(2 * code, 2 * code + 2)
            np.testing.assert_array_equal(split.target[sample], maps["label"][index].ravel())
            np.testing.assert_array_equal(split.inputs["height"][sample, :, 0], maps["height"][0][index].ravel())
            light = maps["light"][:, *index].reshape(3, -1).T / np.float32(255)
            np.testing.assert_array_equal(split.inputs["light"][sample], light)


def test_tiles_of_a_group_are_linked(write: Write, maps: Arrays) -> None:
    """The fourth tile is not used, and the groups say it of all six."""
    maps["tile_split"][3] = -1
    loaded = data.load({"path": str(write(maps | {"field": np.arange(6) // 4}, groups="field", **SHEET))})
    links = [split.links for split in (loaded.train, loaded.validation, loaded.test)]
    assert [groups.tolist() for (groups,) in links] == [[0], [0, 1], [0, 1]]
    assert data.load({"path": str(write(maps, **SHEET))}).validation.links == ()


def test_channels_are_standardised_by_the_training_tiles(write: Write, maps: Arrays) -> None:
    """Bytes, too, whose pixels share a unit elsewhere; positions without a label count as the others."""
    maps["label"][0, 0] = 255
    loaded = data.load({"path": str(write(maps, ignore_index=255, **SHEET))})
    for samples in loaded.train.inputs.values():
        np.testing.assert_allclose(samples.mean((0, 1)), 0, atol=1e-5)
        np.testing.assert_allclose(samples.std((0, 1)), 1, rtol=1e-4)
    assert abs(loaded.test.inputs["light"].mean((0, 1))).max() > 1e-3
    assert loaded.train.target[0].tolist()[0] == -1


def test_tiles_may_have_any_outline_and_unused_ones_any_size(write: Write, maps: Arrays) -> None:
    maps["tile"][:] = [[5, 0, 0, 1, 1, 7], [0, 0, 1, 1, 5, 5], [2, 2, 3, 3, 6, 5], [2, 2, 3, 3, 6, 6]]
    maps["tile_split"] = np.array([0, 1, 2, 0, 0, 1, -1, 9])
    maps["tile"][maps["tile"] == 3] = [4, 4, 4, 4]
    maps["tile_split"][3] = -1
    maps["height"][:, maps["tile"] == 6] = np.nan
    loaded = data.load({"path": str(write(maps, **SHEET)), "standardise": False})
    assert [len(s.target) for s in (loaded.train, loaded.validation, loaded.test)] == [2, 2, 1]
    np.testing.assert_array_equal(loaded.train.target[0], maps["label"][[0, 0, 1, 1], [1, 2, 0, 1]])
    np.testing.assert_array_equal(loaded.validation.target[1], maps["label"][[0, 1, 1, 2], [0, 4, 5, 5]])


def test_another_map_may_be_the_target(write: Write, maps: Arrays) -> None:
    path = str(write(maps | {"crop": maps["label"] % 2}, **SHEET))
    assert data.load_sheet({"path": path}).outputs == 3
    assert data.load_sheet({"path": path, "target": "crop"}).outputs == 2


def test_the_ignore_index_holds_for_other_targets_too(write: Write, maps: Arrays) -> None:
    crop = np.where(np.eye(4, 6), 9, maps["label"] % 2)
    loaded = data.load({"path": str(write(maps | {"crop": crop}, ignore_index=9, **SHEET)), "target": "crop"})
    assert loaded.outputs == 2
    assert (loaded.train.target == -1).sum() == (crop[:, :2] == 9).sum() == 2


def test_a_deal_swaps_tiles_of_training_and_validation(write: Write, maps: Arrays) -> None:
    spec = {"path": str(write(maps, **SHEET)), "standardise": False}
    filed, made = data.load(spec), [data.load(spec | {"deal": deal}) for deal in range(1, 6)]
    known = {t.tobytes() for split in (filed.train, filed.validation) for t in split.target}
    for one in made:
        assert {t.tobytes() for split in (one.train, one.validation) for t in split.target} == known
        np.testing.assert_array_equal(one.test.target, filed.test.target)
    assert len({one.train.inputs["height"].tobytes() for one in made}) == 5


def test_a_tile_of_nan_lacks_the_modality(write: Write, maps: Arrays) -> None:
    maps["height"][:, maps["tile"] == 3] = np.nan
    loaded = data.load({"path": str(write(maps, **SHEET))})
    assert loaded.train.present["height"].tolist() == [True, False]
    assert not loaded.train.inputs["height"][1].any()


def with_value(maps: Arrays, name: str, index: Any, value: float) -> Arrays:
    array = maps[name].astype(float if np.isnan(value) else maps[name].dtype)
    array[index] = value
    return maps | {name: array}


@pytest.mark.parametrize(
    ("name", "array", "sentence"),
    [
        ("label", np.zeros((4, 5), int), "`label` of toy must have the shape [4, 6] of `tile`, got (4, 5)."),
        ("label", np.zeros((4, 6)), "labels of toy (segmentation) must be integers [N, L], got float64 (2, 4)."),
        ("light", np.zeros((4, 6)), "light of toy must have the shape [channels, 4, 6], with the size of `tile`"),
        ("light", np.zeros((3, 6, 4)), "light of toy must have the shape [channels, 4, 6], with the size of `tile`"),
        ("light", np.full((3, 4, 6), "a"), "light of toy must be numbers"),
        ("tile", np.zeros((4, 6)), "`tile` of toy must be integers [height, width], got float64 (4, 6)."),
        ("tile", np.zeros(24, int), "`tile` of toy must be integers [height, width], got int64 (24,)."),
        ("tile_split", np.zeros((2, 3), int), "`tile_split` of toy must have one entry per tile, got (2, 3)."),
        ("tile_split", np.full(6, "train"), "`tile_split` of toy must be 0 (training), 1 (validation) or 2 (test)"),
        ("tile_split", np.zeros(6, int), "toy has no sample in its val split"),
        ("tile_split", np.full(6, -1), "toy has no sample in its train split"),
        ("tile_split", np.array([0, 1, 2]), "must lie in [0, 2], as `tile_split` has 3 entries, got 0 to 5."),
        ("tile_split", np.array([0, 1, 2, 0, 1, 2, 2]), "but tile 6 has 0 and tile 0 has 4."),
    ],
)
def test_maps_that_break_a_rule_are_refused(
    write: Write, maps: Arrays, name: str, array: np.ndarray, sentence: str
) -> None:
    assert sentence in load_error(write(maps | {name: array}, **SHEET))


@pytest.mark.parametrize(
    ("name", "index", "value", "sentence"),
    [
        (
            "tile",
            (0, 0),
            1,
            "tiles of toy in a split must have the same number of pixels, but tile 0 has 3 and tile 1 has 5.",
        ),
        ("height", (0, 2, 0), np.nan, "height of toy: tile 3 is partly NaN or infinite"),
        (
            "label",
            (slice(2, 4), slice(2, 4)),
            255,
            "has no labelled position, all have the label 255; exclude it with another split",
        ),
        ("label", (0, 0), 7, "labels of toy must lie in [0, 2], got 0 to 7"),
    ],
)
def test_one_pixel_or_tile_that_breaks_a_rule_is_named(
    write: Write, maps: Arrays, name: str, index: Any, value: float, sentence: str
) -> None:
    assert sentence in load_error(write(with_value(maps, name, index, value), ignore_index=255, **SHEET))


def test_a_tile_without_any_label_is_named_by_its_number(write: Write, maps: Arrays) -> None:
    """Not by its place among those that are used."""
    maps["label"][maps["tile"] == 4] = 255
    maps["tile_split"] = np.array([0, 1, -1, 0, 1, 2])
    path = write(maps, ignore_index=255, **SHEET)
    assert f"data: tile 4 of light in {path} has no labelled position" in load_error(path)
    maps["tile_split"][4] = -1
    data.load({"path": str(write(maps, ignore_index=255, **SHEET))})


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_task_of_maps_is_segmentation(write: Write, maps: Arrays, task: str) -> None:
    assert f"holds maps, so its task must be segmentation, got {task}." in load_error(
        write(maps, **SHEET | {"task": task})
    )


def test_options_of_other_layouts_are_refused(write: Write, maps: Arrays) -> None:
    path = write(maps, **SHEET)
    assert "data.shots: needs classification, as it counts samples per class; toy is segmentation." in load_error(
        path, shots=2
    )
    assert "data.protocol: toy has no protocol 'a' (it has none)." in load_error(path, protocol="a")


def test_a_file_without_any_split_is_in_no_layout(write: Write, maps: Arrays) -> None:
    del maps["tile_split"]
    assert "has no known layout: it holds no `split` array with one value per sample (rows)" in load_error(
        write(maps, **SHEET)
    )
