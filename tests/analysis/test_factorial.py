from itertools import product

import numpy as np
import polars as pl
import pytest

from analysis.factorial import TERMS, factorial

RNG = np.random.default_rng(0)


def design(effect: dict[tuple[int, int], float], seeds: int = 3, sd: float = 0.0) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"seed": seed, "magnitude": bool(m), "direction": d, "score": 10 * seed + effect[m, d] + sd * RNG.normal()}
            for seed in range(seeds)
            for m, d in product((0, 1), (0, 1))
        ]
    )


def test_effects_by_hand() -> None:
    """Magnitude: (3 - 0 + 8 - 1) / 2 = 5; direction: (1 - 0 + 8 - 3) / 2 = 3; together (8 - 1) - (3 - 0) = 4."""
    table = factorial(design({(0, 0): 0, (0, 1): 1, (1, 0): 3, (1, 1): 8}), ["magnitude", "direction"])
    assert table["term"].to_list() == ["magnitude", "direction", "magnitude x direction"]
    assert table["effect"].to_list() == pytest.approx([5, 3, 4])
    assert table["share"].to_list() == pytest.approx([25 / 38, 9 / 38, 4 / 38])  # 5^2, 3^2, (4 / 2)^2


def test_an_effect_is_a_paired_difference() -> None:
    runs = design({(0, 0): 0, (0, 1): 0, (1, 0): 1, (1, 1): 1}, seeds=6, sd=0.5)
    row = factorial(runs, ["magnitude", "direction"]).row(0, named=True)
    assert row["low"] < 1 < row["high"]
    assert row["seeds"] == 6
    assert factorial(runs, ["magnitude", "direction"])["p"][0] < 0.05


def test_three_levels_have_a_test_and_no_single_effect() -> None:
    rows = [
        {"seed": s, "route": r, "on": on, "score": i + 0.1 * RNG.normal()}
        for s in range(4) for i, r in enumerate("abc") for on in (False, True)
    ]  # fmt: skip
    table = factorial(pl.DataFrame(rows), ["route", "on"])
    route = table.row(0, named=True)
    assert (route["effect"], route["share"] > 0.9, route["p"] < 0.001) == (None, True, True)
    assert table["effect"].null_count() == 2


def test_a_seed_that_lacks_a_combination_is_dropped_and_counted() -> None:
    runs = design({(0, 0): 0, (0, 1): 1, (1, 0): 3, (1, 1): 8})
    runs[0, "score"] = None
    table = factorial(runs, ["magnitude", "direction"])
    assert table.select("seeds", "dropped").unique().rows() == [(2, 1)]
    assert table["effect"].to_list() == pytest.approx([5, 3, 4])


@pytest.mark.parametrize("runs", [
    design({(0, 0): 0, (0, 1): 0, (1, 0): 0, (1, 1): 0}, seeds=1),
    design({(0, 0): 0, (0, 1): 0, (1, 0): 0, (1, 1): 0}).with_columns(score=pl.lit(None, pl.Float64)),
    design({(0, 0): 0, (0, 1): 0, (1, 0): 0, (1, 1): 0}).with_columns(score=pl.lit(0.5)),
    design({(0, 0): 0, (0, 1): 0, (1, 0): 0, (1, 1): 0}).filter("magnitude"),
    design({(0, 0): 0, (0, 1): 0, (1, 0): 0, (1, 1): 0}).clear(),
])  # fmt: skip
def test_what_cannot_be_told_is_null(runs: pl.DataFrame) -> None:
    table = factorial(runs, ["magnitude", "direction"])
    assert list(table.schema) == list(TERMS)
    assert table["p"].drop_nulls().to_list() in ([], [1.0, 1.0, 1.0], [1.0])
