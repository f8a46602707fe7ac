"""Standardisation uses training samples only, and one mean where values share a unit."""

import numpy as np
import pytest

from tests.trainables.data.conftest import Write
from trainables import data
from trainables.data.standardise import fit_scale, standardisation_kind

RANDOM = np.random.default_rng(0)
ALL = np.ones(8, bool)


@pytest.mark.parametrize("name", ["av-digits", "mfeat", "diabetes", "synthetic"])
def test_training_inputs_have_mean_zero(name: str) -> None:
    for samples in data.load(name).train.inputs.values():
        assert abs(samples.mean(dtype=np.float64)) < 1e-6


def test_each_training_feature_has_mean_zero_and_deviation_one_unless_constant() -> None:
    for view in data.load("mfeat").train.inputs.values():
        std = view.std(axis=0, dtype=np.float64)
        np.testing.assert_allclose(view.mean(axis=0, dtype=np.float64), 0, atol=1e-5)
        np.testing.assert_allclose(std[std > 0], 1, atol=1e-4)


def test_validation_and_test_use_the_statistics_of_training(write: Write, rows: dict[str, np.ndarray]) -> None:
    loaded = data.load({"path": str(write(rows, modalities=["sound"]))})
    mean, std = rows["sound"][:3].mean(0), rows["sound"][:3].std(0)
    np.testing.assert_allclose(
        loaded.validation.inputs["sound"], (rows["sound"][3:6] - mean) / std, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(loaded.test.inputs["sound"], (rows["sound"][6:9] - mean) / std, rtol=1e-4, atol=1e-5)
    assert abs(loaded.test.inputs["sound"].mean()) > 0.01


def test_a_constant_feature_becomes_zero_and_not_noise(write: Write, rows: dict[str, np.ndarray]) -> None:
    rows["sound"][:, 1] = 0.1
    loaded = data.load({"path": str(write(rows, modalities=["sound"]))})
    assert not loaded.train.inputs["sound"][:, 1].any()
    assert not loaded.test.inputs["sound"][:, 1].any()


def test_pixels_share_one_mean_and_one_deviation() -> None:
    images = data.load("av-digits").train.inputs["image"]
    assert images.std(dtype=np.float64) == pytest.approx(1, abs=1e-5)
    assert np.ptp(images[:, 0, 0]) == 0  # a corner is always black: constant, but not blown up
    assert images[:, 14, 14].std() > 1


@pytest.mark.parametrize(
    ("raw", "description", "kind"),
    [
        (np.zeros((8, 5)), {}, "feature"),
        (np.zeros((8, 5), np.uint8), {}, "feature"),
        (np.zeros((8, 5, 3), np.uint8), {}, "all"),
        (np.zeros((8, 5, 3)), {}, "channel_last"),
        (np.zeros((8, 5, 3)), {"channels": "first"}, "channel_first"),
        (np.zeros((8, 5, 3)), {"channels": {"m": "first"}}, "channel_first"),
        (np.zeros((8, 5, 3)), {"channels": {"m": ["x", "y", "z"]}}, "channel_last"),
        (np.zeros((8, 5, 3)), {"standardise": {"m": "none"}}, "none"),
        (np.zeros((8, 5, 4, 3)), {}, "all"),
    ],
)
def test_shape_type_and_datasheet_say_what_shares_a_unit(raw: np.ndarray, description: dict, kind: str) -> None:
    assert standardisation_kind("m", raw, description) == kind


@pytest.mark.parametrize(
    ("description", "kind"),
    [({}, "channel_last"), ({"channels": "first"}, "channel_last"), ({"standardise": {"m": "all"}}, "all"),
     ({"standardise": {"m": "channel_first"}}, "channel_last")],
)  # fmt: skip
def test_the_channels_of_a_map_are_last_in_its_tiles(description: dict, kind: str) -> None:
    assert standardisation_kind("m", np.zeros((8, 5, 3), np.uint8), description, tiled=True) == kind


def test_an_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(data.DataError, match="Did you mean 'channel_last'"):
        standardisation_kind("m", np.zeros((8, 5)), {"standardise": {"m": "channels_last"}})


@pytest.mark.parametrize(
    ("kind", "shape"),
    [("feature", (1, 5, 3)), ("channel_last", (1, 1, 3)), ("channel_first", (1, 5, 1)), ("all", (1, 1, 1))],
)
def test_a_kind_has_one_mean_for_each_of_what_it_names(kind: str, shape: tuple[int, ...]) -> None:
    scale = fit_scale(RANDOM.normal(size=(8, 5, 3)), ALL, kind)
    assert scale.mean.shape == scale.std.shape == shape


def test_absent_samples_do_not_enter_the_statistics() -> None:
    samples = np.array([[1.0], [3.0], [1000.0]])
    scale = fit_scale(samples, np.array([True, True, False]), "feature")
    assert (scale.mean.item(), scale.std.item()) == (2, 1)
