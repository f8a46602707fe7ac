"""Who is ahead: the methods, and their encoders, against each other."""

from collections.abc import Iterator

import polars as pl

from analysis import plots
from analysis.choice import best_configurations, is_seed_invariant, test_scores, without_dummy
from analysis.drawing import Drawing
from analysis.formatting import format_score, is_percent, plural
from analysis.pareto import front, values
from analysis.plots.style import interval_caption, seed_count_range
from analysis.rankings import ranking, said
from analysis.statistics import bounds, estimate
from analysis.summary import encoder_summary, summary
from analysis.tables import Run


def differences(run: Run) -> Iterator[Drawing]:
    """Draw each method's difference to joint training on test."""
    rows = summary(run).filter(~pl.col("method").is_in(["joint", "unimodal"]))
    name = pl.when(pl.col("settings").fill_null("") == "").then("method").otherwise(
        pl.format("{} ({})", "method", "settings")
    )  # fmt: skip
    table = rows.select(
        name=name, mean="difference", low="difference_low", high="difference_high", p="p", pairs="pairs"
    )
    known = table.drop_nulls("mean")
    if known.is_empty():
        return
    subtitle = f"{_pairs_caption(known)}, Holm-corrected p, test split"
    figure = plots.plot_forest(table, metric=run.metric, title=f"{run.name}: minus joint training", subtitle=subtitle)
    words = [
        f"{row['name']} {format_score(run.metric, row['mean'], row['low'], row['high'], sign='+')}"
        for row in known.iter_rows(named=True)
    ]
    unit = " in points" if is_percent(run.metric) else ""
    caption = f"Difference to joint training on the test split{unit}, paired by seed: {'; '.join(words)}."
    yield Drawing("differences", "Differences to joint training", caption, figure, table)


def encoder_gaps(run: Run) -> Iterator[Drawing]:
    """Draw what the company of other modalities costs each encoder."""
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
    subtitle = f"{_pairs_caption(rows)}, test split, linear probes"
    title = f"{run.name}: encoders minus themselves trained alone"
    worst = table.sort("gap", descending=not run.higher_is_better).row(0, named=True)
    gap = format_score(run.metric, worst["gap"], worst["gap_low"], worst["gap_high"], sign="+")
    behind = worst["gap"] < 0 if run.higher_is_better else worst["gap"] > 0
    farthest = f"Farthest behind: {worst['modality']} with {worst['method']}, {gap}."
    caption = (
        "What a linear probe reads off each encoder, less the same for the encoder trained alone, paired by seed. "
        f"{farthest if behind else 'On average none is behind.'}"
    )
    figure = plots.plot_forest(rows, metric=run.metric, title=title, subtitle=subtitle)
    yield Drawing("encoders", "Encoders against themselves trained alone", caption, figure, rows)


def ranks(run: Run) -> Iterator[Drawing]:
    """Draw the ranks of the methods over the seeds."""
    joint = test_scores(run, best_configurations(run)).filter(pl.col("method") != "unimodal")
    found = ranking(joint.select("method", "score", block="seed"), higher_is_better=run.higher_is_better)
    if found.pairs.is_empty() or all(map(is_seed_invariant, joint.partition_by("method"))):  # seeds are one result
        return
    title = f"{run.name}: ranks of the methods on test"
    figure = plots.plot_ranks(found, title=title, blocks="seed", methods=run.methods)
    caption = f"{said(found, 'seed')} Ranks over the seeds of one data set speak of that one."
    yield Drawing("ranks", "Critical differences of ranks", caption, figure, plots.ranks_table(found))


def pareto_fronts(run: Run) -> Iterator[Drawing]:
    """Draw the configurations by the first two metrics that are weighed against each other."""
    if len(run.objectives) < 2:
        return
    found, metrics = front(without_dummy(run)), list(run.objectives)
    if found.is_empty():
        return
    scores = values(run.trials, run.metrics, metrics).collect()
    ends: dict[str, list[float]] = {f"{metric}_{end}": [] for metric in metrics for end in ("low", "high")}
    for trials in found["trials"]:
        for metric in metrics:
            one = estimate(scores.filter(pl.col("trial").is_in(trials))[metric], bounds(metric))
            ends[f"{metric}_low"].append(one.low)
            ends[f"{metric}_high"].append(one.high)
    table = found.drop("trials").with_columns(pl.Series(name, reach).fill_nan(None) for name, reach in ends.items())
    best = [f"{row['method']} {row['settings']}".strip() for row in table.filter("front").iter_rows(named=True)]
    what = f"Pareto front of {' and '.join(metrics)}"
    caption = f"{plural(len(table), 'configuration')} by {' and '.join(metrics)}; front: {'; '.join(best)}."
    title = f"{run.name}: {what}"
    figure = plots.plot_front(table, metrics, directions=run.objectives, title=title, methods=run.methods)
    yield Drawing("front", what, caption, figure, table)


def _pairs_caption(table: pl.DataFrame) -> str:
    """Return over how many seeds the intervals of differences are, if there are any."""
    pairs = table.select(seeds="pairs")
    some = len(table.drop_nulls("low"))
    return f"{interval_caption(pairs) if some else f'{seed_count_range(pairs)}, no interval'}, paired by seed"
