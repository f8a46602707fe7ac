"""Seeds of several kinds, nested in each other."""

import polars as pl
import pytest

from analysis import load
from analysis.blocks import independent, spread
from analysis.summary import summary
from tests.analysis.conftest import Write, probe, trial

NESTED = {"auto": None, "split": 3, "init": None, "order": 2}
SCORES = {"joint": [0.1, 0.3, 0.4, 0.4, 0.5, 0.9], "ogm": [0.2, 0.4, 0.5, 0.5, 0.6, 1.0]}


def rows() -> list[dict[str, object]]:
    return [
        trial(f"{method}-{seed}", method, seed, one, one / 2, **{"seed.split": seed // 2, "seed.order": seed})
        for method, scores in SCORES.items()
        for seed, one in enumerate(scores)
    ]


def test_what_is_nested_in_a_seed_is_repetition(write_run: Write) -> None:
    run = load(
        write_run(rows(), [*probe("ogm-2", "a", 0.6, 0.2), *probe("ogm-3", "a", 0.8, 0.4)], seeds=NESTED, vary={})
    )
    assert run.kinds == {"split": 3, "order": 2}
    found = independent(run)
    assert found.looks == [3]
    trials = found.trials.sort("method", "seed").collect()
    assert trials["trial"].to_list() == [f"{m}-{s}" for m in ("joint", "ogm") for s in (0, 2, 4)]
    assert trials["seed"].to_list() == [0, 1, 2] * 2
    assert trials["validation.accuracy"].to_list() == pytest.approx([0.2, 0.4, 0.7, 0.3, 0.5, 0.8])
    last = found.metrics.filter(pl.col("epoch") == 2, pl.col("split") == "test").collect()
    assert last.select("trial", "value").rows() == [("ogm-2", pytest.approx(0.3))]
    ogm = summary(found).row(by_predicate=pl.col("method") == "ogm", named=True)
    assert (ogm["seeds"], ogm["pairs"], ogm["test"], ogm["difference"]) == (
        3,
        3,
        pytest.approx(0.8 / 3),
        pytest.approx(0.05),
    )


def test_a_mean_is_of_all_or_there_is_none(write_run: Write) -> None:
    """Of ogm one trial failed, and one is still to come."""
    lost = rows()
    lost[6] = trial("ogm-0", "ogm", 0, None, None, **{"seed.split": 0, "seed.order": 0})
    del lost[9]
    trials = (
        independent(load(write_run(lost, seeds=NESTED, vary={}))).trials.filter(method="ogm").sort("seed").collect()
    )
    assert trials["seed"].to_list() == [0, 2]
    assert trials["status"].to_list() == ["failed", "done"]
    assert trials["error"].to_list() == ["out of memory", None]
    assert trials["test.accuracy"].to_list() == [None, pytest.approx(0.4)]


@pytest.mark.parametrize("seeds", [6, {"auto": None, "split": None, "init": 6, "order": 1}])
def test_seeds_of_one_kind_are_independent(write_run: Write, seeds: object) -> None:
    run = load(write_run(rows(), seeds=seeds, vary={}))
    assert independent(run) is run
    assert run.looks == [6]


def test_the_spread_is_shared_among_the_kinds(write_run: Write) -> None:
    """By hand: of ogm on test, means of the splits 0.15, 0.25, 0.4, and within them +-0.05, 0, +-0.1."""
    table = spread(load(write_run(rows(), seeds=NESTED, vary={}))).filter(method="ogm")
    assert table["source"].to_list() == ["split", "order"]
    assert table["levels"].to_list() == [3, 6]
    within = (2 * 0.05**2 + 2 * 0.1**2) / 3
    between = 2 * sum((mean - 0.8 / 3) ** 2 for mean in (0.15, 0.25, 0.4)) / 2
    assert table["variance"].to_list() == pytest.approx([(between - within) / 2, within])
    assert table["share"].sum() == pytest.approx(1)
