import math
from itertools import product

import numpy as np
import polars as pl
import pytest

from analysis.components import RESIDUAL, components, icc

RNG = np.random.default_rng(0)
SHROUT_FLEISS = np.array(  # targets x judges, Shrout and Fleiss (1979), table 2
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=float
)


def test_the_intraclass_correlation_of_the_textbook() -> None:
    """ICC(2,1) = 0.29, its interval 0.02 to 0.76."""
    found = icc(SHROUT_FLEISS)
    assert found.mean == pytest.approx(0.29, abs=0.005)
    assert (found.low, found.high, found.seeds) == (pytest.approx(0.02, abs=0.03), pytest.approx(0.76, abs=0.04), 4)


def test_raters_that_say_the_same_agree() -> None:
    same = np.tile(np.arange(5.0)[:, None], (1, 3))
    assert icc(same).mean == pytest.approx(1.0)


@pytest.mark.parametrize("scores", [np.ones((3, 3)), np.empty((0, 2)), np.ones((1, 4)), np.full((3, 3), np.nan)])
def test_nothing_to_agree_on(scores: np.ndarray) -> None:
    assert math.isnan(icc(scores).mean)


def crossed(split_sd: float, init_sd: float, rest_sd: float, levels: int = 12) -> pl.DataFrame:
    split, init = RNG.normal(0, split_sd, levels), RNG.normal(0, init_sd, levels)
    rows = [
        {"seed.split": s, "seed.init": i, "seed.order": 0, "score": split[s] + init[i] + RNG.normal(0, rest_sd)}
        for s, i in product(range(levels), range(levels))
    ]
    return pl.DataFrame(rows)


def test_planted_components_lie_in_their_intervals() -> None:
    table = components(crossed(0.3, 0.1, 0.05), ["seed.split", "seed.init", "seed.order"])
    truth = {"seed.split": 0.09, "seed.init": 0.01, RESIDUAL: 0.0025}
    for row in table.iter_rows(named=True):
        if row["source"] in truth:
            assert row["low"] <= truth[row["source"]] <= row["high"]
    assert table.filter(pl.col("source") == "seed.order")["variance"].to_list() == [None]
    assert table["share"].drop_nulls().sum() == pytest.approx(1.0)


def test_a_single_block_has_all_the_spread() -> None:
    table = components(pl.DataFrame({"seed.init": [0, 1, 2], "score": [1.0, 2.0, 3.0]}), ["seed.init"])
    row = table.row(0, named=True)
    assert (row["variance"], row["share"]) == (1.0, 1.0)
    assert row["low"] < 1 < row["high"]


@pytest.mark.parametrize("scores", [[0.5] * 4, [None] * 4, [0.5, None, None, None]])
def test_what_cannot_be_told_is_null(scores: list[float | None]) -> None:
    runs = pl.DataFrame(
        {"split": [0, 0, 1, 1], "init": [0, 1, 0, 1], "score": scores}, schema_overrides={"score": pl.Float64}
    )
    assert components(runs, ["split", "init"])["variance"].null_count() == 3
