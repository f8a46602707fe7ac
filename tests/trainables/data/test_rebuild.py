"""The recipes of the embedded data, and (ABLATE_REBUILD=1, needs the registry) that they give the shipped files."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from trainables import data
from trainables.data.archive import EMBEDDED
from trainables.data.datasheets import DATASHEETS
from trainables.data.rebuild import RECIPES, rebuild
from trainables.data.recipes import pair_by_class, principal_components, resample_frames, stratified_split


def random() -> np.random.Generator:
    return np.random.default_rng(0)


def test_every_embedded_set_has_a_recipe_and_a_datasheet() -> None:
    assert set(RECIPES) == set(DATASHEETS) == {p.stem for p in EMBEDDED.glob("*.npz")}


def test_the_shipped_datasheets_say_what_the_recipes_say() -> None:
    for name, text in DATASHEETS.items():
        shipped = data.load_sheet(name).description
        assert {key: shipped[key] for key in text} == text


def test_resampling_keeps_both_ends_and_a_straight_line() -> None:
    line = np.column_stack([np.arange(6.0), 10 - np.arange(6.0)])
    for frames in (3, 11):
        at = np.linspace(0, 5, frames)
        np.testing.assert_allclose(resample_frames(line, frames), np.column_stack([at, 10 - at]))


def test_a_stratified_split_has_the_stated_counts_in_each_class() -> None:
    label = np.repeat(np.arange(3), 10)
    split = stratified_split(label, (5, 2, 1), random())
    for digit in range(3):
        assert [(split[label == digit] == code).sum() for code in (0, 1, 2, -1)] == [5, 2, 1, 2]


def test_pairs_use_each_image_once_and_clips_evenly() -> None:
    image_label, audio_label = np.repeat([0, 1], 7), np.repeat([0, 1], 3)
    table = pair_by_class(np.arange(14), image_label, np.arange(6), audio_label, random())
    assert sorted(table[:, 0]) == list(range(14))
    assert sorted(np.bincount(table[:, 1])) == [2, 2, 2, 2, 3, 3]
    np.testing.assert_array_equal(image_label[table[:, 0]], audio_label[table[:, 1]])


def test_principal_components_are_orthonormal_and_ordered() -> None:
    scales = np.geomspace(200, 1, 16).reshape(4, 4)
    images = (random().normal(size=(500, 4, 4)) * scales).clip(-255, 255)
    parts = principal_components(images)
    basis = parts["pca_basis"].astype(float)
    np.testing.assert_allclose(basis @ basis.T, np.eye(len(basis)), atol=2e-3)
    assert (np.diff(parts["pca_share"]) <= 0).all()
    assert (basis[np.arange(len(basis)), np.abs(basis).argmax(1)] > 0).all()  # the sign is fixed


@pytest.mark.skipif(os.environ.get("ABLATE_REBUILD") != "1", reason="ABLATE_REBUILD=1 downloads the sources")
def test_rebuilding_gives_the_shipped_files_and_keeps_what_was_measured(tmp_path: Path) -> None:
    (tmp_path / "mfeat.json").write_text(json.dumps({"measured": {"accuracy": 0.97}}))
    hashes = rebuild(tmp_path)
    assert hashes == {name: data.load_sheet(name).sha256 for name in RECIPES}
    assert json.loads((tmp_path / "mfeat.json").read_text())["measured"] == {"accuracy": 0.97}
    assert (tmp_path / "av-digits.npz").read_bytes() == (EMBEDDED / "av-digits.npz").read_bytes()
