"""Samples of training and validation that change places: `deal`."""

from typing import Any

import numpy as np
import pytest

from tests.trainables.data.conftest import Write
from trainables import data
from trainables.data.layouts import dealt
from trainables.data.parameters import resolve
from trainables.data.synthetic import draw

Arrays = dict[str, np.ndarray]
PLAIN = {"name": "mfeat", "modalities": ["fou"], "standardise": False}
CLIPS = {"name": "av-digits", "modalities": ["audio"], "standardise": False}


def rows_of(split: data.Split) -> list[bytes]:
    (inputs,) = split.inputs.values()
    return [row.tobytes() for row in inputs]


@pytest.mark.parametrize("spec", [PLAIN, CLIPS])
def test_a_deal_leaves_test_and_the_classes_and_no_sample_is_in_two_splits(spec: dict[str, Any]) -> None:
    """Clips serve several images; those of training are not those of validation in any deal."""
    as_filed, one, again, other = (data.load(spec | {"deal": deal}) for deal in (0, 1, 1, 2))
    assert rows_of(data.load(spec).train) == rows_of(as_filed.train)
    assert rows_of(one.train) == rows_of(again.train)
    for made in (one, other):
        assert rows_of(made.test) == rows_of(as_filed.test)
        both = rows_of(made.train) + rows_of(made.validation)
        assert set(both) == {*rows_of(as_filed.train), *rows_of(as_filed.validation)}
        assert not {*rows_of(made.train)} & {*rows_of(made.validation)}
        for split in ("train", "validation"):
            counts = [np.bincount(getattr(x, split).target, minlength=10) for x in (made, as_filed)]
            np.testing.assert_array_equal(*counts)
    moved = [len({*rows_of(one.train)} - {*rows_of(x.train)}) for x in (as_filed, other)]
    assert min(moved) > len({*rows_of(one.validation)}) / 2


def test_a_sample_keeps_its_label_and_its_modalities() -> None:
    known = data.load({"name": "mfeat", "modalities": ["fou", "zer"], "standardise": False})
    made = data.load({"name": "mfeat", "modalities": ["fou", "zer"], "standardise": False, "deal": 5})
    sample = {
        x.tobytes(): (y.tobytes(), label)
        for split in (known.train, known.validation)
        for x, y, label in zip(split.inputs["fou"], split.inputs["zer"], split.target, strict=True)
    }
    for split in (made.train, made.validation):
        for x, y, label in zip(split.inputs["fou"], split.inputs["zer"], split.target, strict=True):
            assert sample[x.tobytes()] == (y.tobytes(), label)


def test_targets_that_are_no_classes_go_with_their_samples(write: Write, rows: Arrays) -> None:
    rows = rows | {"label": np.arange(10.0), "sound": np.arange(20.0).reshape(10, 2)}
    path = write(rows, task="regression", modalities=["sound"])
    made = data.load({"path": str(path), "standardise": False, "deal": 1})
    for split in (made.train, made.validation, made.test):
        np.testing.assert_array_equal(2 * split.target, split.inputs["sound"][:, :1])
    assert {*made.train.target[:, 0], *made.validation.target[:, 0]} == {0, 1, 2, 3, 4, 5}
    assert made.test.target[:, 0].tolist() == [6, 7, 8]


def test_a_row_that_is_named_twice_stays_one_sample() -> None:
    train, val, test = dealt([np.array([0, 0, 1, 2]), np.array([3]), np.array([4])], np.zeros(5), 3)
    assert train[0] == train[1]
    assert sorted({*train.tolist(), *val.tolist()}) == [0, 1, 2, 3]
    assert test.tolist() == [4]


def test_another_deal_of_synthetic_data_draws_other_samples_of_one_population() -> None:
    p, other = (resolve({"name": "synthetic", "deal": deal}) for deal in (0, 3))
    for split, same in enumerate((False, False, True)):
        assert np.array_equal(draw(p, split)[0][0], draw(other, split)[0][0]) is same
    assert data.sheet({"name": "synthetic", "deal": 3}) == data.sheet("synthetic")
    np.testing.assert_array_equal(
        data.load("synthetic").test.target, data.load({"name": "synthetic", "deal": 3}).test.target
    )


@pytest.mark.parametrize("deal", [-1, 1.5, True, "one"])
@pytest.mark.parametrize("name", ["mfeat", "synthetic"])
def test_a_deal_is_a_whole_number(name: str, deal: Any) -> None:
    with pytest.raises(data.DataError, match=r"^data\.deal: must "):
        data.sheet({"name": name, "deal": deal})
