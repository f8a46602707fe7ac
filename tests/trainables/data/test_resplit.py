"""Random reassignments of samples between training and validation: `deal`."""

from typing import Any

import numpy as np
import pytest

from tests.trainables.data.conftest import Write
from trainables import data
from trainables.data.parameters import parse_parameters
from trainables.data.resplit import connected_groups, resplit
from trainables.data.synthetic import draw_split

Arrays = dict[str, np.ndarray]
PLAIN = {"name": "mfeat", "modalities": ["fou"], "standardise": False}
CLIPS = {"name": "av-digits", "modalities": ["audio"], "standardise": False}


def all_splits(dataset: data.Dataset) -> tuple[data.Split, ...]:
    return dataset.train, dataset.validation, dataset.test


def sample_bytes(split: data.Split) -> list[bytes]:
    (inputs,) = split.inputs.values()
    return [row.tobytes() for row in inputs]


@pytest.mark.parametrize("spec", [PLAIN, CLIPS])
def test_a_deal_keeps_test_and_class_counts_and_no_sample_is_in_two_splits(spec: dict[str, Any]) -> None:
    """Clips serve several images; those of training are not those of validation in any deal."""
    original, first, repeated, second = (data.load(spec | {"deal": deal}) for deal in (0, 1, 1, 2))
    assert sample_bytes(data.load(spec).train) == sample_bytes(original.train)
    assert sample_bytes(first.train) == sample_bytes(repeated.train)
    for dataset in (first, second):
        assert sample_bytes(dataset.test) == sample_bytes(original.test)
        samples = sample_bytes(dataset.train) + sample_bytes(dataset.validation)
        assert sorted(samples) == sorted(sample_bytes(original.train) + sample_bytes(original.validation))
        assert not {*sample_bytes(dataset.train)} & {*sample_bytes(dataset.validation)}
        for split in ("train", "validation"):
            counts = [class_counts(getattr(x, split)) for x in (dataset, original)]
            np.testing.assert_array_equal(*counts)
    moved = [len({*sample_bytes(first.train)} - {*sample_bytes(x.train)}) for x in (original, second)]
    assert min(moved) > len({*sample_bytes(first.validation)}) / 2


def class_counts(split: data.Split) -> Any:
    """The number of distinct samples of each class."""
    label_of = dict(zip(sample_bytes(split), split.target, strict=True))
    return np.bincount(list(label_of.values()), minlength=10)


def test_all_pairs_of_a_clip_stay_in_one_split_and_pairs_stay_pairs(write: Write) -> None:
    """Twelve clips of four frames each: two modalities, of which one has a row a clip."""
    clip, frame = np.arange(12), np.arange(48)
    pools = {"sound": clip[:, None] * np.ones(2), "sight": frame[:, None] * np.ones(3)}
    labels = {"sound_label": clip % 2, "sight_label": frame // 4 % 2}
    table = np.stack([frame // 4, frame], axis=1)
    tables = {f"pairs_natural_{s}": table[a:b] for s, a, b in (("train", 0, 24), ("val", 24, 36), ("test", 36, 48))}
    path = str(write(pools | labels | tables, modalities=["sound", "sight"]))
    seen = set()
    for deal in range(18):
        dataset = data.load({"path": path, "standardise": False, "deal": deal})
        for split in all_splits(dataset):
            np.testing.assert_array_equal(split.inputs["sound"][:, 0], split.inputs["sight"][:, 0] // 4)
        sides = [{*split.inputs["sound"][:, 0].astype(int)} for split in all_splits(dataset)]
        assert (sides[0] | sides[1], sides[0] & sides[1], sides[2]) == ({*range(9)}, set(), {9, 10, 11})
        assert [len(split.target) for split in (dataset.train, dataset.validation)] == [24, 12]
        counts = [len(np.unique(connected_groups(split.links))) for split in (dataset.train, dataset.validation)]
        assert counts == [6, 3]
        seen.add(frozenset(sides[1]))
    assert len(seen) == 18


def test_pairs_that_are_all_connected_are_refused(write: Write) -> None:
    """Any two of a class share a row of some pool, so that splits could only change places as a whole."""
    pools = {m: np.arange(8.0)[:, None] for m in ("sound", "sight")}
    pools |= {f"{m}_label": np.zeros(8, int) for m in ("sound", "sight")}
    chain = np.array([[0, 0], [0, 1], [1, 1], [1, 2], [2, 2]])
    tables = {"pairs_a_train": chain, "pairs_a_val": chain[:3] + 4, "pairs_a_test": np.array([[7, 7]])}
    path = str(write(pools | tables, modalities=["sound", "sight"], classes=2))
    assert data.load({"path": path}).train.target.shape == (5,)
    with pytest.raises(data.DataError, match="are in groups too large to be reassigned"):
        data.load({"path": path, "deal": 1})


@pytest.mark.parametrize("place", ["study", "datasheet"])
def test_groups_stay_in_one_split(write: Write, place: str) -> None:
    """Six speakers of four samples each, of all classes: another one is held out."""
    speaker = np.repeat(np.array(["a", "b", "c", "d", "e", "f"]), 4)
    arrays = {"sound": np.arange(48.0).reshape(24, 2), "label": np.tile([0, 1], 12), "speaker": speaker}
    arrays["split"] = np.repeat([0, 0, 0, 0, 1, 2], 4)
    path = str(write(arrays, modalities=["sound"], **({"groups": "speaker"} if place == "datasheet" else {})))
    spec = {"path": path, "standardise": False} | ({"groups": "speaker"} if place == "study" else {})
    validation_speakers = set()
    for deal in range(5):
        dataset = data.load(spec | {"deal": deal})
        speakers = [{*(split.inputs["sound"][:, 0] // 8).astype(int)} for split in all_splits(dataset)]
        assert ([len(one) for one in speakers], speakers[2], speakers[0] & speakers[1]) == ([4, 1, 1], {5}, set())
        np.testing.assert_array_equal(
            *dataset.train.links, speaker[dataset.train.inputs["sound"][:, 0].astype(int) // 2]
        )
        validation_speakers |= speakers[1]
    assert validation_speakers == {0, 1, 2, 3, 4}  # no two deals are the same
    with pytest.raises(data.DataError, match="has only 4 deals other than the split of the file, got 5"):
        data.load(spec | {"deal": 5})
    data.check_deals(spec, 5)
    with pytest.raises(data.DataError, match="has only 4 deals"):
        data.check_deals(spec, 6)


def test_validation_keeps_at_least_half_of_its_samples() -> None:
    """One group of thirty among single samples: were it dealt away, hardly any would be left."""
    groups = np.concatenate([np.arange(60), np.full(30, 60), np.full(30, 61), [62]])
    splits = [np.arange(60), np.arange(60, 120), np.array([120])]
    for deal in range(1, 40):
        train, val, _ = resplit(splits, np.zeros(121), groups, deal, "toy")
        assert 30 <= len(val) <= 120
        assert len(train) + len(val) == 120


def test_each_group_is_equally_often_in_validation() -> None:
    splits = [np.arange(90), np.arange(90, 120), np.array([], int)]
    times = sum(
        np.bincount(resplit(splits, np.zeros(120), np.arange(120), d, "toy")[1], minlength=120) for d in range(1, 2001)
    )
    assert abs(times / 2000 - 0.25).max() < 0.05


def test_a_deal_of_pairs_does_not_depend_on_the_modalities_used() -> None:
    image = data.load({"name": "av-digits", "deal": 1, "modalities": ["image"], "standardise": False})
    both = data.load({"name": "av-digits", "deal": 1, "standardise": False})
    np.testing.assert_array_equal(image.validation.inputs["image"], both.validation.inputs["image"])


def test_groups_must_be_known_for_every_sample(write: Write, rows: Arrays) -> None:
    speaker = np.array([0, 1, 2, 3, 4, np.nan, 6, 7, 8, 9])
    path = str(write(rows | {"speaker": speaker}, modalities=["sound"], groups="speaker"))
    for read in (data.load_sheet, data.load):
        with pytest.raises(data.DataError, match="must hold the group of every sample, but holds NaN"):
            read({"path": path})


def test_groups_of_a_pool_keep_their_pairs_together(write: Write) -> None:
    speaker = np.repeat([0, 1, 2, 3], 2)
    pools = {"sound": np.arange(8.0)[:, None], "sight": np.arange(8.0)[:, None], "sound_speaker": speaker}
    labels = {f"{m}_label": np.tile([0, 1], 4) for m in ("sound", "sight")}
    rows = np.repeat(np.arange(8)[:, None], 2, axis=1)
    tables = {"pairs_a_train": rows[:4], "pairs_a_val": rows[4:6], "pairs_a_test": rows[6:]}
    path = str(write(pools | labels | tables, modalities=["sound", "sight"]))
    validation_rows = set()
    for deal in range(3):
        dataset = data.load({"path": path, "standardise": False, "groups": "sound_speaker", "deal": deal})
        assert len({*speaker[dataset.validation.inputs["sight"][:, 0].astype(int)]}) == 1
        validation_rows |= {*dataset.validation.inputs["sound"][:, 0].astype(int)}
        counts = [len({*connected_groups(split.links)}) for split in all_splits(dataset)]
        assert counts == [2, 1, 1]
    assert validation_rows == {0, 1, 2, 3, 4, 5}
    with pytest.raises(data.DataError, match=r"data\.groups: in the pairs layout it must begin with a modality"):
        data.load_sheet({"path": path, "groups": "pairs_a_val"})


def test_groups_that_the_split_of_the_file_separates_are_refused(write: Write, rows: Arrays) -> None:
    path = str(write(rows | {"speaker": np.arange(10) % 2}, modalities=["sound"], groups="speaker"))
    assert len(data.load({"path": path}).train.target) == 3
    with pytest.raises(data.DataError, match="has samples in both training and validation"):
        data.load({"path": path, "deal": 1})
    with pytest.raises(data.DataError, match=r"has no array 'speakr' .*Did you mean 'speaker'"):
        data.load_sheet({"path": path, "groups": "speakr"})


def test_all_deals_of_a_regression_share_their_standardisation(write: Write) -> None:
    arrays = {"sound": np.arange(24.0).reshape(12, 2), "label": np.arange(12.0) ** 2, "split": np.repeat([0, 1, 2], 4)}
    path = str(write(arrays, task="regression", modalities=["sound"]))
    training = arrays["label"][:4]
    for deal in range(4):
        dataset = data.load({"path": path, "deal": deal})
        expected = (arrays["label"][8:] - training.mean()) / training.std()
        np.testing.assert_allclose(dataset.test.target[:, 0], expected, rtol=1e-6)


def test_a_sample_keeps_its_label_and_its_modalities() -> None:
    original = data.load({"name": "mfeat", "modalities": ["fou", "zer"], "standardise": False})
    dataset = data.load({"name": "mfeat", "modalities": ["fou", "zer"], "standardise": False, "deal": 5})
    sample = {
        x.tobytes(): (y.tobytes(), label)
        for split in (original.train, original.validation)
        for x, y, label in zip(split.inputs["fou"], split.inputs["zer"], split.target, strict=True)
    }
    for split in (dataset.train, dataset.validation):
        for x, y, label in zip(split.inputs["fou"], split.inputs["zer"], split.target, strict=True):
            assert sample[x.tobytes()] == (y.tobytes(), label)


def test_regression_targets_stay_with_their_samples(write: Write, rows: Arrays) -> None:
    rows = rows | {"label": np.arange(10.0), "sound": np.arange(20.0).reshape(10, 2)}
    path = write(rows, task="regression", modalities=["sound"])
    dataset = data.load({"path": str(path), "standardise": False, "deal": 1})
    for split in all_splits(dataset):
        np.testing.assert_array_equal(2 * split.target, split.inputs["sound"][:, :1])
    assert {*dataset.train.target[:, 0], *dataset.validation.target[:, 0]} == {0, 1, 2, 3, 4, 5}
    assert dataset.test.target[:, 0].tolist() == [6, 7, 8]


def test_copies_of_a_row_stay_in_one_split() -> None:
    for deal in range(1, 4):
        splits = [np.array([0, 0, 1, 2]), np.array([3]), np.array([4])]
        train, val, test = resplit(splits, np.zeros(5), np.arange(5), deal, "toy")
        assert sorted([*train, *val]) == [0, 0, 1, 2, 3]
        assert len({*train}) == 3
        assert not {*train} & {*val}
        assert test.tolist() == [4]


def test_a_deal_of_synthetic_data_draws_other_samples_of_the_same_population() -> None:
    original, other = (parse_parameters({"name": "synthetic", "deal": deal}) for deal in (0, 3))
    for split, same in enumerate((False, False, True)):
        assert np.array_equal(draw_split(original, split)[0][0], draw_split(other, split)[0][0]) is same
    assert data.load_sheet({"name": "synthetic", "deal": 3}) == data.load_sheet("synthetic")
    np.testing.assert_array_equal(
        data.load("synthetic").test.target, data.load({"name": "synthetic", "deal": 3}).test.target
    )


def test_all_deals_of_a_synthetic_regression_share_their_standardisation() -> None:
    original, other = (data.load({"name": "synthetic", "task": "regression", "deal": deal}) for deal in (0, 3))
    np.testing.assert_array_equal(original.test.target, other.test.target)
    assert abs(float(other.train.target.std()) - 1) > 1e-4


@pytest.mark.parametrize("deal", [-1, 1.5, True, "one"])
@pytest.mark.parametrize("name", ["mfeat", "synthetic"])
def test_a_deal_is_a_whole_number(name: str, deal: Any) -> None:
    with pytest.raises(data.DataError, match=r"^data\.deal: must "):
        data.load_sheet({"name": name, "deal": deal})
