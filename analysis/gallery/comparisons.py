"""Figures that compare methods and their encoders."""

from collections.abc import Iterator

import polars as pl

from analysis import plots
from analysis.choice import best_configurations, is_seed_invariant, test_scores, without_dummy
from analysis.drawing import Drawing
from analysis.formatting import format_score, is_percent, plural
from analysis.gallery.captions import pairs_caption
from analysis.pareto import objective_values, pareto_front
from analysis.rankings import ranking, ranking_text
from analysis.statistics import bounds, estimate
from analysis.summary import encoder_summary, summary
from analysis.tables import Run


def differences(run: Run) -> Iterator[Drawing]:
    """Draw each method's difference to joint training on the test split."""
    rows = summary(run).filter(~pl.col("method").is_in(["joint", "unimodal"]))
    name = pl.when(pl.col("settings").fill_null("") == "").then("method").otherwise(
        pl.format("{} ({})", "method", "settings")
    )  # fmt: skip
    table = rows.select(
        name=name, mean="difference", low="difference_low", high="difference_high", p="p", pairs="pairs"
    )
    measured = table.drop_nulls("mean")
    if measured.is_empty():
        return
    subtitle = f"{pairs_caption(measured)}, Holm-corrected p, test split"
    figure = plots.plot_forest(table, metric=run.metric, title=f"{run.name}: minus joint training", subtitle=subtitle)
    values = [
        f"{row['name']} {format_score(run.metric, row['mean'], row['low'], row['high'], sign='+')}"
        for row in measured.iter_rows(named=True)
    ]
    unit = " in points" if is_percent(run.metric) else ""
    caption = f"Difference to joint training on the test split{unit}, paired by seed: {'; '.join(values)}."
    yield Drawing("differences", "Differences to joint training", caption, figure, table)


def encoder_gaps(run: Run) -> Iterator[Drawing]:
    """Draw the difference of each encoder's probe to that of the same encoder trained alone."""
    table = encoder_summary(run).drop_nulls("gap")
    if table.is_empty():
        return
    rows = table.select(
        name=pl.format("{}, {} encoder", "method", "modality"),
        mean="gap",
        low="gap_low",
        high="gap_high",
        pairs="pairs",
    )
    subtitle = f"{pairs_caption(rows)}, test split, linear probes"
    title = f"{run.name}: encoders minus the same encoders trained alone"
    worst = table.sort("gap", descending=not run.higher_is_better).row(0, named=True)
    gap = format_score(run.metric, worst["gap"], worst["gap_low"], worst["gap_high"], sign="+")
    is_behind = worst["gap"] < 0 if run.higher_is_better else worst["gap"] > 0
    farthest = f"Largest deficit: {worst['modality']} with {worst['method']}, {gap}."
    caption = (
        "Test score of a linear probe on each encoder, minus that of the same encoder trained alone, paired by seed. "
        f"{farthest if is_behind else 'No encoder is worse on average.'}"
    )
    figure = plots.plot_forest(rows, metric=run.metric, title=title, subtitle=subtitle)
    yield Drawing("encoders", "Encoders compared with training alone", caption, figure, rows)


def ranks(run: Run) -> Iterator[Drawing]:
    """Draw the critical-difference diagram of the methods over the seeds."""
    joint = test_scores(run, best_configurations(run)).filter(pl.col("method") != "unimodal")
    ranked = ranking(joint.select("method", "score", block="seed"), higher_is_better=run.higher_is_better)
    if ranked.pairs.is_empty() or all(map(is_seed_invariant, joint.partition_by("method"))):  # seeds are one result
        return
    title = f"{run.name}: ranks of the methods on test"
    figure = plots.plot_ranks(ranked, title=title, blocks="seed", methods=run.methods)
    caption = f"{ranking_text(ranked, 'seed')} Ranks over the seeds of one data set hold for that data set only."
    yield Drawing("ranks", "Critical differences of ranks", caption, figure, plots.ranks_table(ranked))


def pareto_fronts(run: Run) -> Iterator[Drawing]:
    """Draw the configurations by the first two objectives, with their Pareto front."""
    if len(run.objectives) < 2:
        return
    configurations, metrics = pareto_front(without_dummy(run)), list(run.objectives)
    if configurations.is_empty():
        return
    scores = objective_values(run.trials, run.metrics, metrics).collect()
    ends: dict[str, list[float]] = {f"{metric}_{end}": [] for metric in metrics for end in ("low", "high")}
    for trials in configurations["trials"]:
        for metric in metrics:
            mean = estimate(scores.filter(pl.col("trial").is_in(trials))[metric], bounds(metric))
            ends[f"{metric}_low"].append(mean.low)
            ends[f"{metric}_high"].append(mean.high)
    table = configurations.drop("trials").with_columns(
        pl.Series(name, column).fill_nan(None) for name, column in ends.items()
    )
    best = [f"{row['method']} {row['settings']}".strip() for row in table.filter("front").iter_rows(named=True)]
    heading = f"Pareto front of {' and '.join(metrics)}"
    caption = f"{plural(len(table), 'configuration')} by {' and '.join(metrics)}; front: {'; '.join(best)}."
    title = f"{run.name}: {heading}"
    figure = plots.plot_front(table, metrics, directions=run.objectives, title=title, methods=run.methods)
    yield Drawing("front", heading, caption, figure, table)
