"""A user's own files: every one loads, or is refused by a sentence that says why."""

import os
from pathlib import Path

import numpy as np
import pytest

from trainables import data

FOLDER = Path(os.environ.get("ABLATE_DATA", "."))
pytestmark = pytest.mark.skipif("ABLATE_DATA" not in os.environ, reason="ABLATE_DATA names no folder")

OUTPUTS = {
    "av_digits": 10, "av_digits_mini": 10, "mfeat": 10, "leaves100": 100, "tcga_breast": 3, "beijing_air": 1,
    "s2_landcover": 4,
}  # fmt: skip
REFUSED = {"av_digits_babble": "has no task 'companion of av_digits"}


def path(name: str) -> str:
    file = FOLDER / f"{name}.npz"
    if not file.exists():
        pytest.skip(f"no {name} in ABLATE_DATA")
    return str(file)


@pytest.mark.parametrize("name", OUTPUTS)
def test_the_file_loads_standardised(name: str) -> None:
    loaded = data.load({"path": path(name)})
    assert loaded.outputs == data.load_sheet({"path": path(name)}).outputs == OUTPUTS[name]
    for split in (loaded.train, loaded.validation, loaded.test):
        assert {len(x) for x in split.inputs.values()} == {len(split.target)}
        assert all(np.isfinite(x).all() for x in split.inputs.values())
    for samples in loaded.train.inputs.values():
        assert abs(samples.mean(dtype=np.float64)) < 1e-5


@pytest.mark.parametrize("name", REFUSED)
def test_the_file_is_refused_with_a_reason(name: str) -> None:
    with pytest.raises(data.DataError, match=REFUSED[name]):
        data.load({"path": path(name)})


def test_a_folder_of_many_files_lists_them_and_asks_for_one() -> None:
    with pytest.raises(data.DataError, match=r"must hold exactly one .npz .* found \d+: .*Name one of them"):
        data.load_sheet({"path": str(FOLDER)})


def test_speakers_are_disjoint_in_one_protocol_and_the_same_in_the_other() -> None:
    spec = {"path": path("av_digits"), "target": "audio_speaker", "modalities": ["audio"]}
    speakers = {
        protocol: [set(s.target) for s in data.load({**spec, "protocol": protocol})[3:6]]
        for protocol in ("speaker", "official")
    }
    assert speakers["speaker"] == [{0, 1, 2, 3}, {4}, {5}]
    assert speakers["official"] == [set(range(6))] * 3


def test_the_pen_is_a_third_modality_for_those_who_ask() -> None:
    asked = data.load_sheet({"path": path("av_digits"), "modalities": ["image", "audio", "pen"]})
    assert asked.modalities == ("image", "audio", "pen")
    assert data.load_sheet({"path": path("av_digits")}).modalities == ("image", "audio")


def test_the_near_oracle_of_beijing_is_left_out_and_its_target_is_a_logarithm() -> None:
    loaded = data.load({"path": path("beijing_air"), "standardise": False})
    assert tuple(loaded.train.inputs) == ("gas", "met", "cal")
    with np.load(path("beijing_air")) as file:
        expected = np.log1p(file["pm25"][file["split"] == 2])
    np.testing.assert_allclose(loaded.test.target[:, 0], expected, rtol=1e-6)


def test_the_tiles_of_a_map_are_samples_and_its_pixels_are_positions() -> None:
    loaded = data.load({"path": path("s2_landcover"), "standardise": False})
    with np.load(path("s2_landcover")) as file:
        arrays = dict(file)
    for code, (split, count) in enumerate(((loaded.train, 13), (loaded.validation, 5), (loaded.test, 7))):
        numbers = np.flatnonzero(arrays["tile_split"] == code)
        assert {m: x.shape for m, x in split.inputs.items()} == {
            "optical": (count, 400, 39), "history": (count, 400, 29), "terrain": (count, 400, 4)
        }  # fmt: skip
        within = np.isin(arrays["tile"], numbers)
        assert (split.target == -1).sum() == (arrays["label"][within] == 255).sum() > 0
        for sample, number in enumerate(numbers):
            own = arrays["tile"] == number
            np.testing.assert_array_equal(split.inputs["terrain"][sample], arrays["terrain"][:, own].T)
            np.testing.assert_array_equal(
                split.target[sample], np.where(arrays["label"] == 255, -1, arrays["label"].astype(int))[own]
            )


def test_the_mini_set_has_the_degradation_too() -> None:
    clean, degraded = (
        data.load({"path": path("av_digits_mini"), "image": v, "modalities": ["image"]}) for v in ("clean", "pca25")
    )
    assert clean.train.inputs["image"].shape == degraded.train.inputs["image"].shape
    assert not np.allclose(clean.train.inputs["image"], degraded.train.inputs["image"], atol=0.1)
