"""Figures of sensitivity analyses: which settings matter."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import polars as pl

from analysis import plots
from analysis.choice import design
from analysis.designs import indices
from analysis.drawing import Drawing
from analysis.formatting import format_amount
from analysis.gallery.captions import compared_methods, slug
from analysis.importance import importance
from analysis.indices import DUMMY_FACTOR
from analysis.plots.style import groups
from analysis.tables import Run

# with a result: with fewer, even a setting that decides everything may stay below the floor
MIN_CONFIGURATIONS = {"fanova": 8, "ped-anova": 100}


def sensitivities(run: Run) -> Iterator[Drawing]:
    """Draw the indices of a Sobol or a Morris design, for each of its methods."""
    kind, _ = run.search
    for method, table in indices(run).items():
        scored = table.drop_nulls("value").filter(pl.col("factor") != DUMMY_FACTOR)
        if scored.is_empty():
            continue
        format_index = "{:.2g}".format if kind == "sobol" else partial(format_amount, run.metric)
        main = scored.filter(index="total" if kind == "sobol" else "mu_star").sort("value", descending=True)
        values = "; ".join(
            f"{row['factor']} {format_index(row['value'])}" + " (not above the floor)" * (row["above_floor"] is False)
            for row in main.iter_rows(named=True)
        )
        index = "Total Sobol indices" if kind == "sobol" else "Morris' mean effects"
        caption = f"{index} of the settings of {method} for the score on validation: {values or 'not available'}."
        if main["floor"].null_count():
            caption += " Without a floor, none is shown to matter."
        num_groups, dropped = table.select("groups", "dropped").row(0)
        if dropped:
            noun = "groups of points" if kind == "sobol" else "trajectories"
            caption += f" Left out for missing results: {dropped} of {num_groups + dropped} {noun}."
        title = f"{run.name}: {kind.capitalize()} of {method}"
        figure = plots.plot_indices(table, title=title, metric=run.metric)
        yield Drawing(f"{kind}-{slug(method)}", f"{kind.capitalize()}: settings of {method}", caption, figure, table)


def importances(run: Run) -> Iterator[Drawing]:
    """Draw the importance of the axes, for each method that has enough configurations."""
    for method in compared_methods(run):
        points = design(run, method)
        num_scored = int(np.isfinite(points.scores).any(axis=1).sum())
        evaluators = [evaluator for evaluator, least in MIN_CONFIGURATIONS.items() if num_scored >= least]
        if len(points.axes) < 2 or not evaluators:
            continue
        tables = {evaluator: importance(run, method, evaluator) for evaluator in evaluators}
        data = pl.concat([table.insert_column(0, pl.lit(name).alias("by")) for name, table in tables.items()])
        above = data.filter(pl.col("above_floor").fill_null(value=False))
        important = "; ".join(f"{', '.join(part['factor'])} by {name}" for name, part in groups(above, "by"))
        caption = (
            f"Importance of the settings of {method} for the score on validation, with the floor of a dummy setting. "
            f"Above the floor: {important or 'none, so no setting is shown to matter'}."
        )
        figure = plots.plot_importance(
            dict(groups(data, "by")),
            title=f"{run.name}: importance of {method}'s settings",
        )
        yield Drawing(f"importance-{slug(method)}", f"Importance of the settings of {method}", caption, figure, data)
