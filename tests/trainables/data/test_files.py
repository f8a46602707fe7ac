"""The product's own format: rows and pairs, missing modalities, and files that break a rule."""

import json
import re
from typing import Any

import numpy as np
import pytest

from tests.trainables.data.conftest import Write
from tests.trainables.test_train import trial
from trainables import data
from trainables.data.sanity import dataset_warnings
from trainables.setup import build_setup
from trainables.train import fit

Arrays = dict[str, np.ndarray]
MODALITIES = ["sound", "sight"]


@pytest.fixture
def pairs() -> Arrays:
    """Return two pools of six samples, two a class, and tables that pair within class."""
    label = np.array([0, 1, 2, 0, 1, 2])
    table = np.array([[0, 3], [1, 4], [2, 5]])
    pools = {m: np.arange(6.0)[:, None] * [1, scale] for m, scale in (("sound", 10), ("sight", 20))}
    tables = {f"pairs_{p}_{s}": table[:, ::o] for p, o in (("a", 1), ("b", -1)) for s in ("train", "val", "test")}
    return {**pools, **{f"{m}_label": label for m in pools}, **tables}


def load_error(path: Any, **options: Any) -> str:
    with pytest.raises(data.DataError) as error:
        data.load({"path": str(path), **options})
    return str(error.value)


def test_rows_are_split_by_code_and_other_codes_are_unused(write: Write, rows: Arrays) -> None:
    loaded = data.load({"path": str(write(rows, modalities=MODALITIES)), "standardise": False})
    assert loaded.outputs == 3
    for split, start in ((loaded.train, 0), (loaded.validation, 3), (loaded.test, 6)):
        np.testing.assert_array_equal(split.inputs["sound"], rows["sound"][start : start + 3])
        np.testing.assert_array_equal(split.target, [0, 1, 2])


def test_arrays_are_float32_and_labels_int64(write: Write, rows: Arrays) -> None:
    rows["sound"] = rows["sound"].astype(np.float16)
    rows["label"] = rows["label"].astype(np.uint8)
    train = data.load({"path": str(write(rows, modalities=MODALITIES))}).train
    assert {x.dtype for x in train.inputs.values()} == {np.dtype(np.float32)}
    assert train.target.dtype == np.int64


def test_bytes_are_shares_of_255(write: Write, rows: Arrays) -> None:
    loaded = data.load({"path": str(write(rows, modalities=MODALITIES)), "standardise": False})
    np.testing.assert_allclose(loaded.train.inputs["sight"], rows["sight"][:3] / 255, rtol=1e-6)


def test_pairs_point_into_pools_in_the_order_of_the_modalities(write: Write, pairs: Arrays) -> None:
    train = data.load({"path": str(write(pairs, modalities=MODALITIES)), "standardise": False}).train
    np.testing.assert_array_equal(train.inputs["sound"][:, 0], [0, 1, 2])
    np.testing.assert_array_equal(train.inputs["sight"][:, 0], [3, 4, 5])


def test_a_subset_of_pairs_keeps_each_column_with_its_pool(write: Write, pairs: Arrays) -> None:
    spec = {"path": str(write(pairs, modalities=MODALITIES)), "modalities": ["sight"], "standardise": False}
    np.testing.assert_array_equal(data.load(spec).train.inputs["sight"][:, 0], [3, 4, 5])


def test_the_first_protocol_is_the_default(write: Write, pairs: Arrays) -> None:
    path = str(write(pairs, modalities=MODALITIES))
    first, a, b = (data.load({"path": path, **p}).train for p in ({}, {"protocol": "a"}, {"protocol": "b"}))
    np.testing.assert_array_equal(first.inputs["sound"], a.inputs["sound"])
    np.testing.assert_array_equal(b.inputs["sound"], a.inputs["sound"])  # standardised: 3 4 5 is 0 1 2
    np.testing.assert_array_equal(b.target, a.target)


def test_rows_and_pairs_of_the_same_samples_are_the_same_data(write: Write, rows: Arrays) -> None:
    as_pairs = {k: v for k, v in rows.items() if k in MODALITIES} | {f"{m}_label": rows["label"] for m in MODALITIES}
    for name, start in (("train", 0), ("val", 3), ("test", 6)):
        as_pairs[f"pairs_all_{name}"] = np.repeat(np.arange(start, start + 3)[:, None], 2, axis=1)
    one = data.load({"path": str(write(rows, modalities=MODALITIES))})
    two = data.load({"path": str(write(as_pairs, modalities=MODALITIES))})
    for a, b in zip((one.train, one.validation, one.test), (two.train, two.validation, two.test), strict=True):
        np.testing.assert_array_equal(a.target, b.target)
        for m in MODALITIES:
            np.testing.assert_array_equal(a.inputs[m], b.inputs[m])


def test_a_pair_of_two_classes_is_refused(write: Write, pairs: Arrays) -> None:
    pairs["pairs_a_val"] = np.array([[0, 0], [1, 2]])
    assert "row 1 of an index table of toy pairs samples of different" in load_error(
        write(pairs, modalities=MODALITIES)
    )


def test_an_index_outside_its_pool_is_refused(write: Write, pairs: Arrays) -> None:
    pairs["pairs_a_val"] = np.array([[0, 6]])
    assert "points outside the pool of sight" in load_error(write(pairs, modalities=MODALITIES))


def test_a_sample_of_nan_is_a_missing_modality_and_becomes_zeros(write: Write, rows: Arrays) -> None:
    rows["sound"][[1, 4]] = np.nan
    loaded = data.load({"path": str(write(rows, modalities=MODALITIES))})
    train, validation = loaded.train.inputs["sound"], loaded.validation.inputs["sound"]
    assert not train[1].any()
    assert not validation[1].any()
    np.testing.assert_allclose(train[[0, 2]].mean(0), 0, atol=1e-5)  # statistics of the present samples
    np.testing.assert_allclose(train[[0, 2]].std(0), 1, rtol=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_broken_sample_names_modality_and_row(write: Write, rows: Arrays, value: float) -> None:
    rows["sound"][4, 2] = value
    assert "sound of toy: row 4 is partly NaN or infinite" in load_error(write(rows, modalities=MODALITIES))


def test_a_number_beyond_single_precision_is_called_too_large(write: Write, rows: Arrays) -> None:
    rows["sound"] = rows["sound"].astype(np.float64)
    rows["sound"][4, 2] = -1e300
    sentence = "sound of toy: row 4 holds numbers too large for single precision, beyond 3.4e+38."
    assert sentence in load_error(write(rows, modalities=MODALITIES))
    rows["sound"][4, 3] = np.nan
    assert "row 4 is partly NaN or infinite" in load_error(write(rows, modalities=MODALITIES))


def test_a_kind_of_standardisation_for_an_unknown_modality_is_refused(write: Write, rows: Arrays) -> None:
    path = write(rows, modalities=MODALITIES, standardise={"sond": "all"})
    assert "data.standardise: toy has no modality 'sond'" in load_error(path)


@pytest.mark.filterwarnings("error")
def test_a_target_beyond_single_precision_is_refused_unless_it_is_standardised(write: Write, rows: Arrays) -> None:
    path = write(rows | {"dose": np.arange(10) * 1e100}, task="regression", modalities=MODALITIES, target="dose")
    assert "the target of toy is too large for single precision, beyond 3.4e+38" in load_error(path, standardise=False)
    assert np.isfinite(data.load({"path": str(path)}).train.target).all()


def test_a_modality_without_a_training_sample_is_refused(write: Write, rows: Arrays) -> None:
    rows["sound"][:3] = np.nan
    assert "missing in every training sample" in load_error(write(rows, modalities=MODALITIES))


def test_a_regression_target_is_standardised_by_its_training_samples(write: Write, rows: Arrays) -> None:
    rows["dose"] = np.arange(10, dtype=np.float32)
    spec = {"path": str(write(rows, task="regression", modalities=MODALITIES, target="dose (mg)"))}
    loaded = data.load(spec)
    assert loaded.outputs == 1
    assert loaded.train.target.shape == (3, 1)
    unit = np.sqrt(2 / 3)  # the standard deviation of 0, 1, 2
    np.testing.assert_allclose(loaded.validation.target[:, 0], np.array([2, 3, 4]) / unit, rtol=1e-6)
    plain = data.load({**spec, "standardise": False})
    np.testing.assert_array_equal(plain.validation.target[:, 0], [3, 4, 5])


def test_log1p_is_applied_where_the_datasheet_advises_it(write: Write, rows: Arrays) -> None:
    rows["dose"] = np.expm1(np.arange(10, dtype=np.float64))
    path = str(write(rows, task="regression", modalities=MODALITIES, target="dose (mg); log1p is advised"))
    advised = data.load({"path": path, "standardise": False})
    np.testing.assert_allclose(advised.test.target[:, 0], [6, 7, 8], rtol=1e-6)
    plain = data.load({"path": path, "standardise": False, "transform": "none"})
    np.testing.assert_allclose(plain.test.target[:, 0], np.expm1([6, 7, 8]), rtol=1e-6)


def test_another_target_counts_its_own_classes(write: Write, rows: Arrays) -> None:
    rows["speaker"] = rows["label"] % 2
    path = str(write(rows, modalities=MODALITIES, classes=["a", "b", "c"]))
    assert data.load_sheet({"path": path}).outputs == data.load_sheet({"path": path, "target": "label"}).outputs == 3
    assert data.load_sheet({"path": path, "target": "speaker"}).outputs == 2


def test_dense_labels_are_a_segmentation(write: Write, rows: Arrays) -> None:
    rows["sound"] = np.zeros((10, 5, 4))
    rows["label"] = np.tile(np.array([0, 1, 1, 0, 2]), (10, 1))
    loaded = data.load({"path": str(write(rows, task="segmentation", modalities=["sound"], classes=3))})
    assert loaded.task == "segmentation"
    assert loaded.train.target.shape == loaded.train.inputs["sound"].shape[:2] == (3, 5)


@pytest.fixture
def dense(rows: Arrays) -> Arrays:
    """Return the ten samples with five positions each, of which some have no label: 255."""
    random = np.random.default_rng(1)
    labels = np.where(random.random((10, 5)) < 0.4, 255, random.integers(0, 3, (10, 5)))
    labels[:, 2] = [0, 1, 2, 0, 1, 2, 0, 1, 2, 255]
    return rows | {"sound": random.normal(size=(10, 5, 4)), "label": labels.astype(np.uint8)}


SEGMENTS: dict[str, Any] = {"task": "segmentation", "modalities": ["sound"], "classes": 3}


def test_a_position_without_a_label_is_of_class_minus_one(write: Write, dense: Arrays) -> None:
    spec = {"path": str(write(dense, ignore_index=255, **SEGMENTS))}
    loaded = data.load(spec)
    assert loaded.outputs == data.load_sheet(spec).outputs == 3
    for split, start in ((loaded.train, 0), (loaded.validation, 3), (loaded.test, 6)):
        stored = dense["label"][start : start + 3].astype(np.int64)
        np.testing.assert_array_equal(split.target, np.where(stored == 255, -1, stored))
        assert split.target.dtype == np.int64
    assert not any("class" in sentence for sentence in dataset_warnings(loaded))
    counted = {key: value for key, value in SEGMENTS.items() if key != "classes"}
    assert data.load({"path": str(write(dense, ignore_index=255, **counted))}).outputs == 3


def test_a_single_class_among_labelled_positions_is_a_warning(write: Write, dense: Arrays) -> None:
    dense["label"][:3] = np.where(dense["label"][:3] == 255, 255, 1)
    path = write(dense, ignore_index=255, **SEGMENTS)
    assert dataset_warnings(data.load({"path": str(path)})) == ["data: all training samples have the same target."]


def test_a_sample_without_any_label_is_refused_unless_it_is_not_used(write: Write, dense: Arrays) -> None:
    dense["label"][9] = 255
    data.load({"path": str(write(dense, ignore_index=255, **SEGMENTS))})
    dense["label"][4] = 255
    path = write(dense, ignore_index=255, **SEGMENTS)
    rule = "has no labelled position, all have the label 255; exclude it with another split, such as -1"
    sentence = f"data: row 4 of sound in {path} {rule}"
    assert sentence in load_error(path)
    with pytest.raises(data.DataError, match="row 4 of sound"):
        data.load_sheet({"path": str(path)})


@pytest.mark.parametrize(
    ("description", "sentence"),
    [
        (SEGMENTS, "labels of toy must lie in [0, 2], got 0 to 255"),
        (SEGMENTS | {"ignore_index": 254}, "labels of toy must lie in [0, 2], got 0 to 255"),
        (SEGMENTS | {"ignore_index": 255.0}, "must be an integer, got 255.0."),
        (SEGMENTS | {"ignore_index": True}, "must be an integer, got True."),
        (SEGMENTS | {"ignore_index": "255"}, "must be an integer, got '255'."),
        (SEGMENTS | {"ignore_indx": 255}, "has an unknown key `ignore_indx`. Did you mean `ignore_index`?"),
        (
            SEGMENTS | {"ignore_index": 255, "task": "classification"},
            "which only segmentation uses, but its task is classification",
        ),
        (
            SEGMENTS | {"ignore_index": 255, "task": "regression"},
            "which only segmentation uses, but its task is regression.",
        ),
    ],
)
def test_an_invalid_ignore_index_is_refused(
    write: Write, dense: Arrays, description: dict[str, Any], sentence: str
) -> None:
    assert sentence in load_error(write(dense, **description))


def test_minus_one_is_no_label_unless_it_is_the_ignore_index(write: Write, dense: Arrays) -> None:
    labels = np.where(dense["label"] == 255, -1, dense["label"].astype(int))
    path = write(dense | {"label": labels}, ignore_index=255, **SEGMENTS)
    assert "labels of toy must lie in [0, 2], got -1 to 2" in load_error(path)
    loaded = data.load({"path": str(write(dense | {"label": labels}, ignore_index=-1, **SEGMENTS))})
    np.testing.assert_array_equal(loaded.train.target, labels[:3])


def test_an_ignore_index_that_does_not_occur_changes_nothing(write: Write, dense: Arrays) -> None:
    """Not a bit of what is trained."""
    dense["label"] %= 3
    plain, stated = (data.load({"path": str(write(dense, **SEGMENTS, **more))}) for more in ({}, {"ignore_index": 255}))
    config = trial("trainables.methods.bogc:BOGC", epochs=3, measure={"probe": 0, "quality": 0, "contribution": 1})
    one, other = fit(config, plain), fit(config, stated)
    assert (one.rows, one.final, one.weights) == (other.rows, other.final, other.weights)
    assert not build_setup(config, stated).gaps


def test_an_optional_modality_is_used_when_it_is_named(write: Write, rows: Arrays) -> None:
    path = str(write(rows, modalities=["sound", "sight (optional, blurred)"]))
    assert data.load_sheet({"path": path}).modalities == ("sound",)
    assert data.load_sheet({"path": path, "modalities": ["sight", "sound"]}).modalities == ("sight", "sound")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"label": np.full(10, 3)}, "labels of toy must lie in [0, 2], got 3 to 3"),
        ({"label": np.full(10, -1)}, "labels of toy must lie in [0, 2], got -1 to -1"),
        ({"label": np.zeros(10)}, "must be integers [N], got float64"),
        ({"split": np.full(10, "train")}, "`split` of toy must be 0 (training), 1 (validation) or 2 (test)"),
        ({"label": np.zeros(9, int)}, "`split` and `label` of toy must have one entry per sample"),
        ({"split": np.zeros(10, int)}, "toy has no sample in its val split"),
        ({"sound": np.zeros((11, 4))}, "sound of toy must be numbers with one row for each of 10 samples"),
        ({"sound": np.full((10, 4), "a")}, "sound of toy must be numbers"),
        ({"sound": np.zeros((10, 0))}, "sound of toy holds no number for any sample, got (10, 0)"),
        ({"sound": np.array([{}] * 10)}, "array `sound` of"),
    ],
)
def test_a_file_that_breaks_a_rule_is_refused(write: Write, rows: Arrays, change: Arrays, sentence: str) -> None:
    assert sentence in load_error(write({**rows, **change}, modalities=MODALITIES, classes=3))


def test_a_modality_that_the_file_lacks_is_refused(write: Write, rows: Arrays) -> None:
    assert "holds no array `smell`, which its datasheet lists" in load_error(write(rows, modalities=["smell"]))


def test_a_modality_whose_name_has_a_space_is_refused_by_that_rule(write: Write, rows: Arrays) -> None:
    for names in (["loud sound", "sight"], ["loud sound", "loud sight"]):
        path = write({**rows, "loud sound": rows["sound"], "loud sight": rows["sight"]}, modalities=names)
        for options in ({}, {"modalities": ["loud sound"]}):
            assert (
                "the name of a modality ends at the first space, the rest is a remark; got 'loud sound'"
                in load_error(path, **options)
            )
    path = write({**rows, "loud sound": rows["sound"]}, modalities=["loud sound (of the left ear)", "sight"])
    assert "no array `loud`, which its datasheet lists; a name ends at the first space" in load_error(path)


@pytest.mark.parametrize("name", ["a/../../b", "..", "a\\b", ".hidden"])
def test_a_modality_is_not_named_like_a_path(write: Write, rows: Arrays, name: str) -> None:
    path = write(rows | {name: rows["sound"]}, modalities=["sound", name])
    assert f"must not be a path, got {name!r}" in load_error(path)


@pytest.mark.parametrize("name", ["label", "split"])
def test_labels_and_splits_cannot_be_inputs(write: Write, rows: Arrays, name: str) -> None:
    path = write(rows, modalities=[*MODALITIES, name])
    assert f"data.modalities: `{name}` of toy holds targets or splits and cannot be an input" in load_error(path)
    assert data.load_sheet({"path": str(path), "modalities": MODALITIES}).modalities == tuple(MODALITIES)


@pytest.mark.parametrize(
    ("key", "near"),
    [("clases", "classes"), ("Standardize", "standardise"), ("targets", "target"), ("Target", "target")],
)
def test_a_key_of_a_datasheet_that_is_nearly_one_is_refused(write: Write, rows: Arrays, key: str, near: str) -> None:
    path = write(rows, modalities=MODALITIES, **{key: None})
    assert load_error(path).endswith(f"toy.json has an unknown key `{key}`. Did you mean `{near}`?")


def test_a_key_that_resembles_one_in_use_is_allowed(write: Write, rows: Arrays) -> None:
    data.load({"path": str(write(rows, modalities=MODALITIES, target="label", targets="what the digits are"))})


@pytest.mark.parametrize("key", ["Task", "MODALITIES"])
def test_a_key_in_another_case_is_refused_also_beside_the_right_one(write: Write, rows: Arrays, key: str) -> None:
    path = write(rows, modalities=MODALITIES, **{key: "other"})
    assert load_error(path).endswith(f"has an unknown key `{key}`. Did you mean `{key.lower()}`?")


def test_a_task_of_another_name_is_refused(write: Write, rows: Arrays) -> None:
    path = write(rows, modalities=MODALITIES, task="regresion")
    assert load_error(path).endswith("Did you mean 'regression'?")


def test_one_changed_byte_is_refused(write: Write, rows: Arrays) -> None:
    path = write(rows, modalities=MODALITIES)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert "was changed or truncated: its sha256 is" in load_error(path)


def test_a_truncated_file_is_refused_also_without_a_stated_sha256(write: Write, rows: Arrays) -> None:
    path = write(rows, modalities=MODALITIES)
    description = json.loads(path.with_suffix(".json").read_text())
    del description["sha256_file"]
    path.with_suffix(".json").write_text(json.dumps(description))
    data.load({"path": str(path)})
    path.write_bytes(path.read_bytes()[:-40])
    assert "is not a readable .npz file" in load_error(path)


def test_a_datasheet_is_needed_and_must_be_json(write: Write, rows: Arrays) -> None:
    path = write(rows, modalities=MODALITIES)
    path.with_suffix(".json").write_text("{")
    assert "toy.json is not valid JSON" in load_error(path)
    path.with_suffix(".json").unlink()
    assert "needs a datasheet in the same folder, toy.json" in load_error(path)


def test_few_shots_are_the_first_of_each_class_and_leave_the_other_splits() -> None:
    whole, few = data.load("mfeat"), data.load({"name": "mfeat", "shots": 3})
    assert np.bincount(few.train.target).tolist() == [3] * 10
    for digit in range(10):
        first = np.flatnonzero(whole.train.target == digit)[:3]
        assert len(first) == 3
    assert np.array_equal(few.test.target, whole.test.target)


def test_few_shots_of_an_empty_training_split_are_refused(write: Write, rows: Arrays) -> None:
    rows["split"][rows["split"] == 0] = -1
    assert "toy has no sample in its train split" in load_error(write(rows, modalities=MODALITIES), shots=2)


def test_missing_is_the_share_of_samples_that_lack_a_modality() -> None:
    whole, part = data.load("mfeat"), data.load({"name": "mfeat", "missing": {"fou": 0.5}})
    present = part.train.present["fou"]
    assert 0.45 < present.mean() < 0.55
    assert not part.train.inputs["fou"][~present].any()
    assert np.array_equal(part.train.inputs["fou"][present], whole.train.inputs["fou"][present])
    assert set(part.train.present) == {"fou"}
    assert 0.4 < part.test.present["fou"].mean() < 0.6


def test_the_missing_modalities_of_a_sample_do_not_depend_on_other_samples() -> None:
    whole, few = (data.load({"name": "mfeat", "missing": {"fou": 0.5}, **more}) for more in ({}, {"shots": 5}))
    kept = np.sort(np.concatenate([np.flatnonzero(whole.train.target == one)[:5] for one in range(10)]))
    assert np.array_equal(few.train.present["fou"], whole.train.present["fou"][kept])
    assert np.array_equal(few.test.present["fou"], whole.test.present["fou"])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"name": "mfeat", "shots": 0}, "data.shots: must be an integer of at least 1, got 0."),
        (
            {"name": "diabetes", "shots": 3},
            "data.shots: needs classification, as it counts samples per class; diabetes is regression.",
        ),
        ({"name": "mfeat", "missing": 1}, "data.missing: must be a probability in [0, 1), got 1."),
        ({"name": "mfeat", "missing": {"fuo": 0.1}}, "data.missing: mfeat has no modality 'fuo'"),
    ],
)
def test_invalid_shots_and_missing_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(data.DataError, match=re.escape(sentence)):
        data.load_sheet(options)


def test_constant_inputs_and_targets_are_warnings(write: Write, rows: Arrays) -> None:
    def load_warnings() -> list[str]:
        return dataset_warnings(data.load({"path": str(write(rows, modalities=MODALITIES, classes=8))}))

    assert load_warnings() == []
    rows["sight"][:3] = 7
    rows["label"][3] = 6
    assert load_warnings() == [
        "data: no training sample has class 6, which validation or test contain.",
        "data: sight is the same in all training samples.",
    ]
    rows["label"][:3] = 1
    assert load_warnings()[0] == "data: all training samples have the same target."


def test_a_modality_without_training_samples_is_a_warning() -> None:
    dataset = data.load({"name": "synthetic", "modalities": 2, "samples": [20, 10, 10], "missing": [0, 1]})
    assert dataset_warnings(dataset) == ["data: m1 is missing in all training samples."]
