"""Whatever the results are, every analysis answers, and says what it cannot tell."""

import math
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis import report_tables
from analysis.choice import best_configurations, configurations
from analysis.components import components, icc
from analysis.decisions import Decision
from analysis.effects import improvement, interquartile_mean
from analysis.factorial import factorial
from analysis.gallery import run_figures
from analysis.headline import headline, limitations
from analysis.importance import importance
from analysis.indices import morris, sobol
from analysis.rankings import agreement, ranking
from analysis.regions import ranking_stability, ranking_stability_over, safe_region, safe_span
from analysis.rules import RULES, cell_decisions, every
from analysis.sensitivity import axes, curve, heat_map, probe_curve
from analysis.sequential import sequential_difference
from analysis.statistics import bca, estimate, paired, permutation, standardised, tost, wilcoxon
from analysis.summary import encoder_summary, summary
from analysis.surfaces import surface
from analysis.tables import METRICS, TRIALS, Run, traces
from analysis.tuning import best_of
from tests.analysis.conftest import STUDY, probe, trial

ALPHA, LR = "agm.alpha", "train.lr"
VARY = {
    ALPHA: {"values": [0.0, 0.5, 2.0], "scale": "log"},
    LR: {"values": [0.1, 0.2], "scale": "log"},
    "agm.route": {"values": ["phi", "encoder"], "scale": "choice"},
}
SCORES = st.one_of(st.none(), st.just(0.5), st.just(math.nan), st.floats(0, 1), st.just(math.inf))
FINITE = st.one_of(st.just(0.5), st.floats(-1, 1, width=16), st.floats(-1e6, 1e6))
NUMBERS = st.one_of(FINITE, st.just(math.nan), st.just(math.inf))


@st.composite
def runs(draw: st.DrawFn) -> Run:
    """A run of some methods and seeds; its scores are constant, missing, not finite or any."""
    methods = draw(st.lists(st.sampled_from(["joint", "agm", "unimodal", "ogm"]), unique=True, max_size=4))
    scores = draw(st.sampled_from([SCORES, st.none(), st.just(0.5), st.floats(0, 1)]))
    seeds = draw(st.integers(1, 4))
    rows, metrics = [], []
    for method in methods:
        values = VARY if method == "agm" else {LR: VARY[LR]}
        points = draw(st.lists(st.fixed_dictionaries({k: st.sampled_from(v["values"]) for k, v in values.items()}),
                               min_size=1, max_size=4, unique_by=str))  # fmt: skip
        for place, point in enumerate(points):
            for modality in ("image", "audio") if method == "unimodal" else (None,):
                for seed in range(seeds):
                    name = f"{method}{place}{modality}{seed}"
                    one = trial(name, method, seed, draw(scores), draw(scores), modality=modality)
                    rows.append(one | {LR: None} | point)
                    if draw(st.booleans()):
                        metrics += probe(name, "image", draw(st.floats(0, 1)), 0.5)
    study = STUDY | {"methods": methods, "vary": VARY, "direction": draw(st.sampled_from(["max", "min"]))}
    columns = {**TRIALS, ALPHA: pl.Float64, LR: pl.Float64, "agm.route": pl.String}
    columns |= {f"{split}.{metric}": pl.Float64 for split in ("validation", "test") for metric in ("loss", "accuracy")}
    trials = pl.DataFrame(rows, schema=columns).lazy()
    return Run("", {"study": study, "planned": 20}, trials, pl.DataFrame(metrics, schema=METRICS).lazy())


def finite(table: pl.DataFrame) -> bool:
    """Tell whether each number is one or null: what cannot be told is not nan."""
    return not any(table[c].is_nan().any() for c, kind in table.schema.items() if kind == pl.Float64)


@settings(max_examples=60)
@given(runs())
def test_every_analysis_of_a_run_answers(run: Run) -> None:
    configurations(run)
    best_configurations(run)
    table = summary(run)
    assert headline(run, table)
    assert finite(table.select("low", "high", "difference", "difference_low", "difference_high", "p"))
    lone = table.filter(pl.col("pairs") < 2)
    assert lone["p"].null_count() == len(lone)
    assert finite(encoder_summary(run))
    for axis in axes(run):
        line = curve(run, axis)
        assert finite(line.select("mean", "low", "high"))
        assert line.filter(pl.col("seeds") < 2)["low"].drop_nulls().is_empty()
        probe_curve(run, axis)
    assert finite(heat_map(run, ALPHA, LR).select("mean", "low", "high"))
    assert finite(traces(run))
    assert finite(best_of(run))


@settings(max_examples=15)
@given(runs())
def test_every_figure_and_every_table_of_a_report_can_be_made(run: Run) -> None:
    """What a figure says over its panels is there whatever the numbers are; what cannot be told is said."""
    for drawing in run_figures(run):
        assert drawing.caption
        assert "nan" not in f"{drawing.caption} {[text.get_text() for text in drawing.figure.texts]}"
        drawing.figure.draw_without_rendering()
        drawing.data.write_csv()
    table = summary(run)
    tables = [report_tables.methods_table(run, table, 0), report_tables.encoders_table(run, encoder_summary(run))]
    tables += [report_tables.configurations_table(run), report_tables.failures_table(run)]
    assert not [cell for one in tables for row in one.rows for cell in row if "nan" in cell.text]
    said = " ".join(limitations(run, table))
    silent = table.filter(pl.col("method") != "unimodal", pl.col("test").is_null())["method"]
    assert all(method in said for method in silent)


@settings(max_examples=40)
@given(runs(), st.sampled_from(["agm", "joint", "mses"]))
def test_every_analysis_of_a_method_answers(run: Run, method: str) -> None:
    assert finite(importance(run, method, resamples=2))
    region = safe_region(run, method, 0.01)
    assert not region.table.filter("shown", ~pl.col("within")).height
    safe_span(region, ALPHA, "log")
    assert finite(surface(run, method).terms)
    ranking_stability(run, method)
    ranking_stability_over({"one": run, "other": run}, method)


@settings(max_examples=5)
@given(runs())
def test_the_importance_of_a_forest_answers(run: Run) -> None:
    assert finite(importance(run, "agm", "fanova", resamples=2))


def sound(decision: Decision) -> None:
    assert decision.sentence.endswith(".")
    assert ("inconclusive" in decision.sentence.lower()) == (decision.verdict == "inconclusive")
    if decision.seeds < 2:
        assert decision.p is None
        assert decision.verdict == "inconclusive"
    if decision.verdict != "inconclusive":
        assert decision.p is not None
        assert decision.p < 0.05
        assert decision.low <= decision.effect <= decision.high or math.isclose(decision.low, decision.high)


@settings(max_examples=100)
@given(arrays(float, st.tuples(st.just(2), st.integers(0, 8)), elements=NUMBERS), st.floats(0, 1))
def test_every_rule_answers(sides: np.ndarray, margin: float) -> None:
    values, baseline = sides
    options: dict[str, Any] = {"margin": margin}
    for rule in ("greater", "less", "non_inferior", "equivalent"):
        sound(RULES[rule](values, baseline, **options))
        for one in cell_decisions({"a": (values, baseline), "b": (baseline, values)}, rule, **options).values():
            sound(one)
    sound(RULES["above"](values, threshold=margin))
    sound(RULES["below"](values, threshold=margin))
    assert every({"a": (values, baseline)}).verdict in {"supported", "refuted", "inconclusive"}
    assert RULES["exact"](values, tolerance=margin).verdict in {"supported", "refuted", "inconclusive"}
    assert RULES["report"](values, baseline).verdict == "reported"
    looked = sequential_difference(*(dict(enumerate(side)) for side in sides), [2, 4, 8])
    assert not (looked.p < 0.05 and looked.low <= 0 <= looked.high)


@settings(max_examples=60)
@given(arrays(float, st.tuples(st.just(2), st.integers(0, 6)), elements=FINITE))
def test_every_statistic_answers(sides: np.ndarray) -> None:
    values, baseline = sides
    for low, high in (estimate(values)[1:3], bca(values), paired(values, baseline)[2:4]):
        assert math.isnan(low) == (values.size < 2)
        assert math.isnan(low) or low <= high
    for p in (wilcoxon(values), tost(values, 0.1), permutation(values) if values.size > 1 else 1.0):
        assert 0 <= p <= 1
    standardised(values)


@settings(max_examples=60)
@given(arrays(float, st.tuples(st.integers(0, 4), st.integers(0, 5)), elements=NUMBERS))
def test_every_analysis_of_scores_answers(scores: np.ndarray) -> None:
    finite_ones = np.isfinite(scores)
    result = agreement(scores)
    assert math.isnan(result.w) or -1e-9 <= result.w <= 1 + 1e-9
    correlation = icc(scores)
    assert math.isnan(correlation.mean) or correlation.mean <= 1 + 1e-9
    interquartile_mean(list(scores))
    chance = improvement(list(scores), list(scores[::-1]))
    assert math.isnan(chance.mean) or 0 <= chance.mean <= 1
    rows = [{"block": b, "method": m, "seed": b, "split": b, "score": float(s)} for (b, m), s in np.ndenumerate(scores)]
    table = pl.DataFrame(
        rows, schema={"block": pl.Int64, "method": pl.Int64, "seed": pl.Int64, "split": pl.Int64, "score": pl.Float64}
    )
    ranked = ranking(table.with_columns(pl.col("method").cast(pl.String)))
    assert ranked.blocks + ranked.dropped <= len(scores)
    assert ranked.blocks == finite_ones.all(axis=1).sum() or not scores.size
    assert finite(components(table, ["split", "method"]))
    assert finite(factorial(table, ["method"]))


@settings(max_examples=60)
@given(arrays(float, st.tuples(st.integers(0, 4).map(lambda groups: 4 * groups), st.integers(0, 3)), elements=NUMBERS))
def test_every_index_answers(results: np.ndarray) -> None:
    assert finite(sobol(results, ["a", "b"]))
    trajectories = results[: len(results) // 3 * 3]
    points = np.tile([[0, 0], [2 / 3, 0], [2 / 3, 2 / 3]], (len(trajectories) // 3, 1))
    assert finite(morris(trajectories, points, ["a", "b"]))
