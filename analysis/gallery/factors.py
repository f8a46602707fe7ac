"""Which settings matter."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import polars as pl

from analysis import plots
from analysis.choice import design
from analysis.designs import indices
from analysis.drawing import Drawing
from analysis.formatting import format_amount
from analysis.gallery.words import methods, slug
from analysis.importance import importance
from analysis.indices import DUMMY
from analysis.plots.style import parts
from analysis.tables import Run

LEAST = {"fanova": 8, "ped-anova": 100}  # with a result, from which on a setting that does all is above the floor


def sensitivities(run: Run) -> Iterator[Drawing]:
    """Draw the indices of a Sobol or a Morris design, for each of its methods."""
    kind, _ = run.search
    for method, table in indices(run).items():
        known = table.drop_nulls("value").filter(pl.col("factor") != DUMMY)
        if known.is_empty():
            continue
        size = "{:.2g}".format if kind == "sobol" else partial(format_amount, run.metric)
        main = known.filter(index="total" if kind == "sobol" else "mu_star").sort("value", descending=True)
        words = "; ".join(
            f"{row['factor']} {size(row['value'])}{' (not above the floor)' if row['above_floor'] is False else ''}"
            for row in main.iter_rows(named=True)
        )
        what = "Total Sobol indices" if kind == "sobol" else "Morris' mean effects"
        caption = f"{what} of the settings of {method} for the score on validation: {words or 'cannot be told'}."
        if main["floor"].null_count():
            caption += " There is no floor that tells which of them matter."
        groups, dropped = table.select("groups", "dropped").row(0)
        if dropped:
            group = "groups of points" if kind == "sobol" else "trajectories"
            caption += f" Left out for want of a result: {dropped} of {groups + dropped} {group}."
        title = f"{run.name}: {kind.capitalize()} of {method}"
        figure = plots.plot_indices(table, title=title, metric=run.metric)
        yield Drawing(f"{kind}-{slug(method)}", f"{kind.capitalize()}: settings of {method}", caption, figure, table)


def importances(run: Run) -> Iterator[Drawing]:
    """Draw which of several axes matter, for each method that has enough configurations."""
    for method in methods(run):
        found = design(run, method)
        known = int(np.isfinite(found.scores).any(axis=1).sum())
        enough = [evaluator for evaluator, least in LEAST.items() if known >= least]
        if len(found.axes) < 2 or not enough:
            continue
        tables = {evaluator: importance(run, method, evaluator) for evaluator in enough}
        data = pl.concat([table.insert_column(0, pl.lit(name).alias("by")) for name, table in tables.items()])
        above = data.filter(pl.col("above_floor").fill_null(value=False))
        matter = "; ".join(f"by {name}: {', '.join(part['factor'])}" for name, part in parts(above, "by"))
        caption = (
            f"Importance of the settings of {method} for the score on validation, with a dummy's floor. "
            f"Above the floor, {matter or 'none: it cannot be told which matters'}."
        )
        figure = plots.plot_importance(
            dict(parts(data, "by")),
            title=f"{run.name}: importance of {method}'s settings",
        )
        yield Drawing(f"importance-{slug(method)}", f"Importance of the settings of {method}", caption, figure, data)
