"""Figures of the response of the score to settings: along one axis, over two, and of names and components."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import polars as pl

from analysis import plots
from analysis.axis_layout import AxisLayout, axis_layout
from analysis.drawing import Drawing
from analysis.formatting import format_amount, format_score, format_setting, format_settings, is_percent, plural
from analysis.gallery.captions import GRID_SEARCHES, compared_methods, pairs_caption, safe_margin, safe_share, slug
from analysis.plots.style import groups, ranked_points
from analysis.regions import Region, safe_region
from analysis.sensitivity import axes, changes, choices, curve, heat_map, probe_curve
from analysis.surfaces import Surface, surface, surface_slice
from analysis.tables import Run

MIN_PREDICTED_R2 = 0.5  # below which the shape of a surface means nothing
MAX_VALUES = 25  # of an axis of a heat map


def curves(run: Run) -> Iterator[Drawing]:
    """Draw the response along each axis with results at two or more values."""
    for axis in axes(run) if run.search[0] in GRID_SEARCHES else []:
        response = curve(run, axis)
        if response.drop_nulls(["value", "mean"])["value"].n_unique() < 2:
            continue
        probes, scale = probe_curve(run, axis), run.vary[axis]["scale"]
        title = f"{run.name}: {axis}"
        figure = plots.plot_curve(
            response, probes, axis=axis, metric=run.metric, title=title, scale=scale, methods=run.methods
        )
        data = pl.concat([response, probes], how="diagonal")
        yield Drawing(
            f"curve-{slug(axis)}", f"Sensitivity to {axis}", extremes_caption(run, axis, response), figure, data
        )


def choice_differences(run: Run) -> Iterator[Drawing]:
    """Draw the difference that each value of an axis of names makes, and each variant of a method in an ablation."""
    for family, names in choices(run).items() if run.search[0] in GRID_SEARCHES else []:
        table = changes(run, names)
        if table.is_empty():
            continue
        is_method, first = family in run.methods, run.vary[names[0]]["values"][0]
        reference = f"the complete {family}" if is_method else f"{family}={format_setting(first)}"
        rows = table.with_columns(name=pl.col("change") if is_method else pl.format("{} {}", "method", "change"))
        unit = " in points" if is_percent(run.metric) else ""
        caption = (
            f"Difference to {reference} on the validation split{unit}, paired by seed. {changes_caption(run, table)}"
        )
        subtitle = f"{pairs_caption(table)}, validation split"
        figure = plots.plot_forest(rows, metric=run.metric, title=f"{run.name}: minus {reference}", subtitle=subtitle)
        yield Drawing(f"choice-{slug(family)}", f"Differences to {reference}", caption, figure, rows)


def heat_maps(run: Run) -> Iterator[Drawing]:
    """Draw a heat map of each method over each pair of its axes that make a grid."""
    for x, y in combinations(axes(run), 2) if run.search[0] in GRID_SEARCHES else []:
        for method, part in groups(heat_map(run, x, y), "method"):
            scored = part.drop_nulls("mean")
            sides = part["x"].n_unique(), part["y"].n_unique()
            if min(sides) < 2 or max(sides) > MAX_VALUES or 2 * len(part) < sides[0] * sides[1] or scored.is_empty():
                continue
            best = ranked_points(part, higher_is_better=run.higher_is_better).row(0, named=True)
            settings = f" with {best['settings']}" if best["settings"] else ""
            region = safe_region(run, method, safe_margin(run, method))
            is_whole = set(region.table.columns) & set(run.vary) == {x, y}  # otherwise the map is a slice of it
            margin = format_amount(run.metric, region.margin)
            safe = f" Safe region, within {margin} of the best: {safe_share(region)}." if is_whole else ""
            caption = (
                f"{method}{settings} over {x} and {y}, {len(scored)} of {sides[0] * sides[1]} cells with a result; "
                f"best on validation at {x}={format_setting(best['x'])}, {y}={format_setting(best['y'])}: "
                f"{format_score(run.metric, best['mean'], best['low'], best['high'])}.{safe}"
            )
            if is_whole:
                inside = region.table.select(pl.col(x, y).cast(pl.Float64), "within").rename({x: "x", y: "y"})
                part = part.join(inside, on=["x", "y"], how="left", maintain_order="left")
            title = f"{run.name}: {method}"
            figure = plots.plot_map(
                part, x=x, y=y, metric=run.metric, title=title, higher_is_better=run.higher_is_better
            )
            yield Drawing(
                f"map-{slug(method)}-{slug(x)}-{slug(y)}", f"{method} over {x} and {y}", caption, figure, part
            )


def response_surfaces(run: Run) -> Iterator[Drawing]:
    """Draw the response surface of each method over each pair of its axes, where a quadratic model is adequate.

    It is if its leave-one-out predictions explain MIN_PREDICTED_R2 of the variance.
    """
    for method in compared_methods(run):
        fitted = surface(run, method)
        if not fitted.predicted_r2 >= MIN_PREDICTED_R2:  # nan is not
            continue
        region = safe_region(run, method, safe_margin(run, method))
        for x, y in combinations(fitted.positions, 2):
            yield draw_surface(run, method, fitted, region, (x, y))


def draw_surface(run: Run, method: str, fitted: Surface, region: Region, pair: tuple[str, str]) -> Drawing:
    """Draw the response surface of a method over a pair of axes."""
    x, y = pair
    table = surface_slice(fitted, x, y, higher_is_better=run.higher_is_better)
    layouts = {axis: axis_layout(region.table[axis].drop_nulls(), run.vary[axis]["scale"]) for axis in pair}
    positions = [pl.col(axis).replace_strict(layouts[axis].positions, return_dtype=pl.Float64) for axis in pair]
    points = region.table.select(positions[0].alias("x"), positions[1].alias("y"), "within", x_value=x, y_value=y)
    best = table.filter(kind="surface").sort("mean", descending=run.higher_is_better).row(0, named=True)
    nearest = [nearest_value(layouts[axis], best[side]) for axis, side in ((x, "x"), (y, "y"))]
    settings = format_settings(region.table.row(0, named=True), [axis for axis in fitted.positions if axis not in pair])
    at = f" at {settings}" if settings else ""
    seeds, margin = plural(region.seeds, "seed"), format_amount(run.metric, region.margin)
    caption = (
        f"Quadratic surface of {method}{at} on validation over {seeds}, fitted to "
        f"{plural(fitted.points, 'configuration')}. It explains {fitted.r2:.0%} of the variance of their means, and "
        f"{fitted.predicted_r2:.0%} in leave-one-out prediction. "
        f"It is best near {x}={format_setting(nearest[0])}, {y}={format_setting(nearest[1])}: "
        f"{format_score(run.metric, best['mean'], best['low'], best['high'])}. "
        f"Safe region, within {margin} of the best configuration: {safe_share(region)}."
    )
    fit = f"R² {fitted.r2:.2f}, leave-one-out R² {fitted.predicted_r2:.2f}"
    figure = plots.plot_surface(
        table,
        points,
        axes=layouts,
        metric=run.metric,
        margin=region.margin,
        title=f"{run.name}: {method}",
        subtitle=f"mean over {seeds}, validation split; {fit}",
        higher_is_better=run.higher_is_better,
    )
    data = pl.concat([table, points.with_columns(kind=pl.lit("configuration"))], how="diagonal")
    stem = f"surface-{slug(method)}-{slug(x)}-{slug(y)}"
    return Drawing(stem, f"Response surface of {method} over {x} and {y}", caption, figure, data)


def nearest_value(layout: AxisLayout, position: float) -> float:
    """Return the value of an axis that is nearest to a position."""
    return min(layout.positions, key=lambda value: abs(layout.positions[value] - position))


def extremes_caption(run: Run, axis: str, response: pl.DataFrame) -> str:
    """Return each method's best and worst value of an axis, among those with the most seeds."""
    sentences = []
    for method, points in groups(response.drop_nulls("value"), "method"):
        line = ranked_points(points, higher_is_better=run.higher_is_better)
        if line.is_empty():
            continue
        best, worst = line.row(0, named=True), line.row(-1, named=True)
        settings = f" with {best['settings']}" if best["settings"] else ""
        if len(line) > 1 and format_score(run.metric, best["mean"]) == format_score(run.metric, worst["mean"]):
            sentence = f"{format_score(run.metric, best['mean'])} on validation at each of {len(line)} values of {axis}"
        else:
            sentence = f"best on validation at {axis}={format_point(run, best)}"
            sentence += f", worst at {format_point(run, worst)}" if len(line) > 1 else ""
        others = [format_setting(value) for value in points["value"] if value not in line["value"]]
        unranked = f" Not ranked, as they have fewer seeds: {', '.join(others)}." if others else ""
        sentences.append(f"{method}{settings}: {sentence}.{unranked}")
    return " ".join(sentences)


def changes_caption(run: Run, table: pl.DataFrame) -> str:
    """Return the differences that each method's changes make."""
    sentences = []
    for method, part in groups(table, "method"):
        settings = f" with {part['settings'][0]}" if part["settings"][0] else ""
        differences = (
            f"{row['change']} {format_score(run.metric, row['mean'], row['low'], row['high'], sign='+')}"
            for row in part.iter_rows(named=True)
        )
        sentences.append(f"{method}{settings}: {'; '.join(differences)}.")
    return " ".join(sentences)


def format_point(run: Run, point: dict[str, Any]) -> str:
    """Return a value of an axis with the score there."""
    return f"{format_setting(point['value'])} ({format_score(run.metric, point['mean'], point['low'], point['high'])})"
