"""What trials are known to record before they run is what they record."""

from pathlib import Path
from typing import Any

import pytest

from ablate.designs import DesignPoint
from ablate.metrics import METHOD_METRICS, expected_metrics, measurement_metrics, names_match
from ablate.plan import point_trials
from ablate.study import load
from tests.ablate.helpers import write
from trainables.data import load as dataset
from trainables.measurements import MEASUREMENTS
from trainables.methods import METHODS
from trainables.train import fit

OTHERS = ("joint", "bogc")  # methods for the tasks that are not classification
DENSE = {"task": "segmentation", "positions": 4}


@pytest.mark.parametrize(
    ("data", "methods"), [({}, list(METHODS)), ({"task": "regression"}, list(OTHERS)), (DENSE, list(OTHERS))]
)
def test_a_run_has_the_metrics_that_are_known_before(data: dict[str, Any], methods: list[str], tmp_path: Path) -> None:
    """All that trials record is known, and all that is known is recorded."""
    given = {"name": "synthetic", "modalities": 2, "samples": [48, 32, 32], **data}
    changes: dict[str, Any] = {
        "methods": methods,
        "vary": None,
        "measure": sorted(MEASUREMENTS),
        "train": {"epochs": 1},
    }
    changes["set"] = {"bogc.where": "phi"}  # weighs all that it can
    study = load(str(write(tmp_path, data=given, **changes)))
    known, seen = set[tuple[str, str]](), set[tuple[str, str]]()
    for method in methods:
        ours = expected_metrics(study, method)
        rows = fit(point_trials(study, method, DesignPoint({}, {}))[0].config, dataset(study.data)).rows
        result = {(row.split, row.metric) for row in rows if row.metric != "score"}
        assert not {(s, m) for s, m in result if not any(s == t and names_match(m, n) for t, n in ours)}
        known, seen = known | ours, seen | result
    unseen = {(s, n) for s, n in known if not any(s == t and names_match(n, m) for t, m in seen)}
    assert unseen == {(split, "score") for split in ("validation", "test")}  # another name for the study's metric


def test_all_methods_and_measurements_are_known() -> None:
    assert METHOD_METRICS.keys() == METHODS.keys()
    assert measurement_metrics("classification").keys() == MEASUREMENTS.keys()


def test_what_a_method_of_ones_own_records_is_not_known(tmp_path: Path) -> None:
    study = load(str(write(tmp_path, methods=["joint", "trainables.methods.agm:AGM"], vary=None)))
    assert ("train", "*") in expected_metrics(study, "AGM")
    assert expected_metrics(study, "joint") == {
        ("train", "loss"), ("validation", "loss"), ("test", "loss"), ("validation", "accuracy"), ("test", "accuracy"),
        ("validation", "score"), ("test", "score"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "name", "expected"),
    [
        ("share", "share", True),
        ("share", "share_loss", False),
        ("share*", "share_loss", True),
        ("noise_accuracy_2", "noise_accuracy_*", True),
        ("noise_*", "noise_accuracy_*", True),
        ("noise_mae_*", "noise_accuracy_*", False),
    ],
)
def test_names_of_metrics_may_mean_the_same(asked: str, name: str, expected: bool) -> None:
    assert names_match(asked, name) is expected
