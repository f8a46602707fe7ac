"""Several metrics at once: the front by hand, the balance of modalities, and a mark in the summary."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import load
from analysis.pareto import balance, is_nondominated, pareto_front
from analysis.summary import summary
from tests.analysis.conftest import Write, probe, trial

Points = list[tuple[int, int]]
SEVERAL = {"objectives": {"accuracy": "max", "seconds": "min", "balance": "max"}, "methods": ["joint", "agm"]}


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30))
def test_the_front_is_never_empty_and_what_is_off_it_is_beaten_by_one_on_it(points: Points) -> None:
    table = np.array(points, dtype=float)
    on = is_nondominated(table)
    assert any(on)
    for point, kept in zip(table, on, strict=True):
        beaten = [(other >= point).all() and (other > point).any() for other in table[on]]
        assert any(beaten) != kept


def test_the_balance_is_minus_the_gap_after_the_last_epoch() -> None:
    rows = probe("a", "image", 0.9, 0.2) + probe("a", "audio", 0.6, 0.2)
    rows += [
        row | {"trial": "b", "metric": "shapley"}
        for row in probe("a", "image", 0.3, 0.2) + probe("a", "audio", 0.35, 0.2)
    ]
    table = balance(pl.LazyFrame(rows)).sort("trial").collect()
    assert table["balance"].to_list() == pytest.approx([-0.3, -0.05])


def written(write_run: Write) -> pl.DataFrame:
    """joint: worst accuracy, fastest; agm at 0.5: best balance; at 2: best accuracy; at 9: worse than at 2 throughout."""
    trials = [trial(f"joint-{s}", "joint", s, 0.5 + 0.1 * s, 0.5, seconds=1.0) for s in range(2)]
    metrics = [
        row for s in range(2) for row in probe(f"joint-{s}", "image", 0.9, 0) + probe(f"joint-{s}", "audio", 0.4, 0)
    ]
    for alpha, accuracy, seconds, gap in ((0.5, 0.7, 3.0, 0.1), (2.0, 0.8, 2.0, 0.3), (9.0, 0.8, 2.5, 0.3)):
        for s in range(2):
            name = f"agm-{alpha}-{s}"
            trials.append(trial(name, "agm", s, accuracy, accuracy, seconds=seconds, **{"agm.alpha": alpha}))
            metrics += probe(name, "image", 0.6 + gap, 0) + probe(name, "audio", 0.6, 0)
    trials.append(trial("agm-7-0", "agm", 0, 0.99, 0.99, seconds=0.1, **{"agm.alpha": 7.0}))
    trials.append(trial("agm-7-1", "agm", 1, None, None, **{"agm.alpha": 7.0}))
    vary = {"agm.alpha": {"values": [0.5, 2.0, 7.0, 9.0], "scale": "log"}}
    run = load(write_run(trials, metrics, vary=vary, **SEVERAL))
    assert summary(run).select("method", "front").rows() == [("joint", True), ("agm", True)]
    return pareto_front(run)


def test_the_front_of_a_run(write_run: Write) -> None:
    table = written(write_run)
    assert table.select("method", "settings", "seeds", "front").rows() == [
        ("joint", "", 2, True),
        ("agm", "alpha=2", 2, True),
        ("agm", "alpha=9", 2, False),
        ("agm", "alpha=0.5", 2, True),
    ]
    assert table["trials"][0].to_list() == ["joint-0", "joint-1"]
    assert table.select("accuracy", "seconds", "balance").row(0) == pytest.approx((0.55, 1.0, -0.5))


def test_one_metric_has_no_marks(write_run: Write) -> None:
    run = load(write_run([trial("joint-0", "joint", 0, 0.5, 0.5)], methods=["joint"], vary={}))
    assert summary(run)["front"].to_list() == [None]
    assert pareto_front(run)["front"].to_list() == [True]
