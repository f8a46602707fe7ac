"""The figures of a run: for each kind of study those that its tables allow, with a caption that says what they show."""

import re
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import polars.selectors as cs
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis import plots
from analysis.choice import chosen, configurations, design, test_scores, validation_scores
from analysis.importance import importance
from analysis.indices import DUMMY, morris, responses, sobol
from analysis.pareto import front, values
from analysis.plots.style import intervals, parts
from analysis.rankings import ranking
from analysis.sensitivity import axes, curve, heat, probe_curve
from analysis.statistics import estimate
from analysis.summary import encoders, summary
from analysis.tables import Run
from analysis.text import is_percent, plural, score, setting
from analysis.training import coefficients, learning
from analysis.tuning import best_of

LISTED = ("grid", "one-at-a-time", "ablate")  # designs of the values that the study names
EVALUATORS = ("ped-anova", "fanova")
FEW = 8  # configurations, from which on their importance can be asked for
SIDE = 25  # values of an axis, up to which a heat map can be read


class Drawing(NamedTuple):
    """A figure, its numbers, and what it shows in words."""

    stem: str  # of its files
    title: str
    caption: str
    figure: Figure
    data: pl.DataFrame


def gallery(run: Run) -> Iterator[Drawing]:
    """Yield the figures of a run, what decides first."""
    for draw in DRAW:
        yield from draw(run)


def write(drawing: Drawing, folder: Path, *, pdf: bool) -> None:
    """Write a drawing as svg, png and csv, and pdf if asked for, into a folder."""
    plots.save(drawing.figure, folder / drawing.stem, drawing.data, pdf=pdf)


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
    subtitle = f"{_pairs(known)}, Holm-corrected p, test split"
    figure = plots.plot_forest(table, metric=run.metric, title=f"{run.name}: minus joint training", subtitle=subtitle)
    words = [
        f"{row['name']} {score(run.metric, row['mean'], row['low'], row['high'], sign='+')}"
        for row in known.iter_rows(named=True)
    ]
    unit = " in points" if is_percent(run.metric) else ""
    caption = f"Difference to joint training on the test split{unit}, paired by seed: {'; '.join(words)}."
    yield Drawing("differences", "Differences to joint training", caption, figure, table)


def gaps(run: Run) -> Iterator[Drawing]:
    """Draw what the company of other modalities costs each encoder."""
    table = encoders(run).drop_nulls("gap")
    if table.is_empty():
        return
    rows = table.select(
        name=pl.format("{}, {} encoder", "method", "modality"),
        mean="gap",
        low="gap_low",
        high="gap_high",
        pairs="pairs",
    )
    subtitle = f"{_pairs(rows)}, test split, linear probes"
    title = f"{run.name}: encoders minus themselves trained alone"
    worst = table.sort("gap", descending=not run.highest_is_best).row(0, named=True)
    gap = score(run.metric, worst["gap"], worst["gap_low"], worst["gap_high"], sign="+")
    caption = (
        "What a linear probe reads off each encoder, less the same for the encoder trained alone, paired by seed. "
        f"Farthest behind: {worst['modality']} with {worst['method']}, {gap}."
    )
    figure = plots.plot_forest(rows, metric=run.metric, title=title, subtitle=subtitle)
    yield Drawing("encoders", "Encoders against themselves trained alone", caption, figure, rows)


def ranks(run: Run) -> Iterator[Drawing]:
    """Draw the ranks of the methods over the seeds."""
    joint = test_scores(run, chosen(run)).filter(pl.col("encoder").is_null(), pl.col("method") != "unimodal")
    found = ranking(joint.select("method", "score", block="seed"), highest_is_best=run.highest_is_best)
    if found.pairs.is_empty():
        return
    figure = plots.plot_ranks(found, title=f"{run.name}: ranks of the methods on test", blocks="seed")
    order = ", ".join(f"{method} {rank:.2f}" for method, rank in found.ranks.items())
    apart = len(found.pairs.filter(pl.col("p") < 0.05))
    caption = (
        f"Mean ranks on the test split over {plural(found.blocks, 'seed')}, 1 is best: {order}. Nemenyi's test "
        f"separates {apart} of {plural(len(found.pairs), 'pair')} at 5 %. "
        "Ranks over the seeds of one data set speak of that one."
    )
    yield Drawing("ranks", "Critical differences of ranks", caption, figure, plots.ranks_data(found))


def curves(run: Run) -> Iterator[Drawing]:
    """Draw the response along each axis on which there are results at two values or more."""
    for axis in axes(run) if _search(run)[0] in LISTED else []:
        response = curve(run, axis)
        if response.drop_nulls(["value", "mean"])["value"].n_unique() < 2:
            continue
        probes, scale = probe_curve(run, axis), run.vary[axis]["scale"]
        title = f"{run.name}: {axis}"
        figure = plots.plot_curve(response, probes, axis=axis, metric=run.metric, title=title, scale=scale)
        data = pl.concat([response, probes], how="diagonal")
        yield Drawing(f"curve-{_slug(axis)}", f"Sensitivity to {axis}", _extremes(run, axis, response), figure, data)


def maps(run: Run) -> Iterator[Drawing]:
    """Draw a heat map of each method over each pair of its axes that make a grid."""
    for x, y in combinations(axes(run), 2):
        for method, part in parts(heat(run, x, y), "method"):
            known = part.drop_nulls("mean")
            sides = part["x"].n_unique(), part["y"].n_unique()
            if min(sides) < 2 or max(sides) > SIDE or 2 * len(part) < sides[0] * sides[1] or known.is_empty():
                continue
            best = known.sort("mean", descending=run.highest_is_best).row(0, named=True)
            caption = (
                f"{method} over {x} and {y}, {len(known)} of {sides[0] * sides[1]} cells with a result; best on "
                f"validation at {x}={setting(best['x'])}, {y}={setting(best['y'])}: "
                f"{score(run.metric, best['mean'], best['low'], best['high'])}."
            )
            title = f"{run.name}: {method}"
            figure = plots.plot_map(part, x=x, y=y, metric=run.metric, title=title, highest_is_best=run.highest_is_best)
            yield Drawing(
                f"map-{_slug(method)}-{_slug(x)}-{_slug(y)}", f"{method} over {x} and {y}", caption, figure, part
            )


def slices(run: Run) -> Iterator[Drawing]:
    """Draw all configurations of a search along each axis."""
    if _search(run)[0] in LISTED or not axes(run):
        return
    scores = validation_scores(run, configurations(run)).filter(
        pl.col("encoder").is_null(), pl.col("method") != "unimodal"
    )
    rows = [
        dict(zip(["method", *axes(run)], key, strict=True)) | estimate(group["score"].drop_nulls())._asdict()
        for key, group in scores.group_by("method", *axes(run), maintain_order=True)
    ]
    kept = pl.DataFrame(rows, infer_schema_length=None)
    points = kept.with_columns(cs.float().fill_nan(None)).drop_nulls("mean") if len(kept) else kept
    scales = {axis: run.vary[axis]["scale"] for axis in axes(run) if len(points) and points[axis].n_unique() > 1}
    if not scales:
        return
    best = points.sort("mean", descending=run.highest_is_best).row(0, named=True)
    where = ", ".join(f"{axis}={setting(best[axis])}" for axis in scales if best[axis] is not None)
    caption = (
        f"Each of {plural(len(points), 'configuration')} that has a result, along each axis, on validation. Best: "
        f"{best['method']} at {where}, {score(run.metric, best['mean'], best['low'], best['high'])}."
    )
    figure = plots.plot_slices(points, scales, metric=run.metric, title=f"{run.name}: all configurations")
    yield Drawing("search", "All configurations of the search", caption, figure, points)


def sensitivities(run: Run) -> Iterator[Drawing]:
    """Draw the indices of a Sobol or a Morris design, for each of its methods."""
    kind, options = _search(run)
    if kind not in ("sobol", "morris") or "point" not in run.trials.collect_schema():
        return
    for method, about in run.study["study"]["design"].items():
        done = (pl.col("method") == method) & (pl.col("status") == "done")
        results = responses(run.trials.filter(done).select("point", "seed", score=f"validation.{run.metric}").collect())
        names = about["names"]
        if kind == "sobol":
            count = options["samples"] * (len(names) * (2 if options["second_order"] else 1) + 2)
            table = sobol(_whole(results, count), names, second_order=options["second_order"])
        else:
            points = np.array(about["points"], dtype=float)
            table = morris(_whole(results, len(points)), points, names, levels=options["levels"])
        known = table.drop_nulls("value").filter(pl.col("factor") != DUMMY)
        main = known.filter(index="total" if kind == "sobol" else "mu_star").sort("value", descending=True)
        words = "; ".join(
            f"{row['factor']} {row['value']:.2g}{'' if row['above_floor'] else ' (not above the floor)'}"
            for row in main.iter_rows(named=True)
        )
        what = "Total Sobol indices" if kind == "sobol" else "Morris' mean effects"
        caption = f"{what} of the settings of {method} for the score on validation: {words or 'cannot be told'}."
        title = f"{run.name}: {kind.capitalize()} of {method}"
        figure = plots.plot_indices(table, title=title, metric=run.metric)
        yield Drawing(f"{kind}-{_slug(method)}", f"{kind.capitalize()}: settings of {method}", caption, figure, table)


def weighed(run: Run) -> Iterator[Drawing]:
    """Draw the configurations by the first two metrics that are weighed against each other."""
    if len(run.objectives) < 2:
        return
    found, metrics = front(run), list(run.objectives)
    if found.is_empty():
        return
    scores = values(run.trials, run.metrics, metrics).collect()
    ends: dict[str, list[float]] = {f"{metric}_{end}": [] for metric in metrics for end in ("low", "high")}
    for trials in found["trials"]:
        for metric in metrics:
            one = estimate(scores.filter(pl.col("trial").is_in(trials))[metric])
            ends[f"{metric}_low"].append(one.low)
            ends[f"{metric}_high"].append(one.high)
    table = found.drop("trials").with_columns(pl.Series(name, reach).fill_nan(None) for name, reach in ends.items())
    best = [f"{row['method']} {row['settings']}".strip() for row in table.filter("front").iter_rows(named=True)]
    caption = f"{plural(len(table), 'configuration')} by {metrics[0]} and {metrics[1]}; front: {'; '.join(best)}."
    figure = plots.plot_front(table, metrics, directions=run.objectives, title=f"{run.name}: Pareto front")
    yield Drawing("front", f"Pareto front of {metrics[0]} and {metrics[1]}", caption, figure, table)


def importances(run: Run) -> Iterator[Drawing]:
    """Draw which of several axes matter, for each method that has enough configurations."""
    for method in _methods(run):
        found = design(run, method)
        if len(found.axes) < 2 or len(found.scores) < FEW:
            continue
        tables = {evaluator: importance(run, method, evaluator) for evaluator in EVALUATORS}
        data = pl.concat([table.insert_column(0, pl.lit(name).alias("by")) for name, table in tables.items()])
        above = data.filter(pl.col("above_floor").fill_null(value=False))
        matter = "; ".join(f"by {name}: {', '.join(part['factor'])}" for name, part in parts(above, "by"))
        caption = (
            f"Importance of the settings of {method} for the score on validation, with a dummy's floor. "
            f"Above the floor, {matter or 'none by either measure: it cannot be told which matters'}."
        )
        figure = plots.plot_importance(
            dict(parts(data, "by")),
            title=f"{run.name}: importance of {method}'s settings",
        )
        yield Drawing(f"importance-{_slug(method)}", f"Importance of the settings of {method}", caption, figure, data)


def budgets(run: Run) -> Iterator[Drawing]:
    """Draw the best of n configurations."""
    table = best_of(run)
    if table["n"].max() in (None, 1) or table["mean"].drop_nulls().is_empty():
        return
    ends = table.drop_nulls("mean").group_by("method", maintain_order=True).last()
    words = [
        f"{row['method']} {score(run.metric, row['mean'], row['low'], row['high'])} of {row['n']}"
        for row in ends.iter_rows(named=True)
    ]
    caption = f"What the best of n configurations scores on validation; at the whole budget: {'; '.join(words)}."
    figure = plots.plot_best_of(table, metric=run.metric, title=f"{run.name}: what tuning buys")
    yield Drawing("best-of-n", "Best of n configurations", caption, figure, table)


def learned(run: Run) -> Iterator[Drawing]:
    """Draw learning curves."""
    table = learning(run)
    if table["epoch"].n_unique() < 2:
        return
    last = table.filter(split="validation", metric=run.metric).group_by("method", maintain_order=True).last()
    words = [
        f"{row['method']} {score(run.metric, row['mean'], row['low'], row['high'])}"
        for row in last.iter_rows(named=True)
    ]
    caption = f"Learning curves of the chosen configurations; after the last epoch, on validation: {'; '.join(words)}."
    figure = plots.plot_learning(table, metric=run.metric, title=f"{run.name}: learning curves")
    yield Drawing("learning", "Learning curves", caption, figure, table)


def modulation(run: Run) -> Iterator[Drawing]:
    """Draw the coefficients of each modality over training."""
    table = coefficients(run)
    if table["epoch"].n_unique() < 2:
        return
    last = table.group_by("method", "modality", maintain_order=True).last()
    words = [f"{row['method']} {row['modality']} {row['mean']:.3g}" for row in last.iter_rows(named=True)]
    caption = (
        "What the chosen configurations multiply each modality's gradients by (for AGM the ratio that follows from its "
        f"Shapley shares), mean over the steps of an epoch; in the last one: {'; '.join(words)}."
    )
    figure = plots.plot_coefficients(table, title=f"{run.name}: coefficients over training")
    yield Drawing("coefficients", "Coefficients over training", caption, figure, table)


DRAW: tuple[Callable[[Run], Iterator[Drawing]], ...] = (
    differences, weighed, curves, maps, slices, sensitivities, importances, gaps, ranks, budgets, learned, modulation,
)  # fmt: skip


def _extremes(run: Run, axis: str, response: pl.DataFrame) -> str:
    """Return the best value of each method, and its worst."""
    sentences = []
    points = response.drop_nulls(["value", "mean"]).sort("mean", descending=run.highest_is_best)
    for method, line in parts(points, "method"):
        best, worst = line.row(0, named=True), line.row(-1, named=True)
        held = f" with {best['settings']}" if best["settings"] else ""
        sentences.append(
            f"{method}{held}: best on validation at {axis}={setting(best['value'])} "
            f"({score(run.metric, best['mean'], best['low'], best['high'])}), worst at "
            f"{setting(worst['value'])} ({score(run.metric, worst['mean'], worst['low'], worst['high'])})."
        )
    return " ".join(sentences)


def _search(run: Run) -> tuple[str, dict[str, Any]]:
    """Return how configurations were found, and its options."""
    search = run.study["study"].get("search", "grid")
    return (search, {}) if isinstance(search, str) else next(iter(search.items()))


def _whole(results: NDArray[np.float64], points: int) -> NDArray[np.float64]:
    """Return results [P, S] of all the points of a design; nan for those that have none yet."""
    return np.concatenate([results, np.full((points - len(results), results.shape[1]), np.nan)])


def _methods(run: Run) -> list[str]:
    return [method for method in chosen(run)["method"].unique(maintain_order=True) if method != "unimodal"]


def _pairs(table: pl.DataFrame) -> str:
    """Return over how many seeds the intervals of differences are."""
    return f"{intervals(table.select(seeds='pairs'))}, paired by seed"


def _slug(name: str) -> str:
    """Return a name that is a file's."""
    return re.sub(r"[^\w.-]+", "_", name)[:60]
