"""Plot importances and sensitivity indices with their intervals, and the floor set by a dummy setting."""

from collections.abc import Mapping
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.formatting import plural
from analysis.indices import DUMMY_FACTOR
from analysis.plots.style import (
    DARK,
    GREY,
    PALETTE,
    SOFT,
    WIDE,
    add_legend,
    add_title,
    axis_label,
    display_factor,
    new_figure,
    style_context,
    unique_labels,
)

FAINT = "#bbbbbb"  # of values not shown to be above the floor
SOBOL_LABELS = {"first": "first-order", "total": "total", "second": "second-order"}
MORRIS_LABELS = {
    "mu_star": "μ*, mean size of an effect",
    "sigma": "\N{GREEK SMALL LETTER SIGMA}, its spread over the space",
}


def plot_importance(tables: Mapping[str, pl.DataFrame], *, title: str) -> Figure:
    """Return a panel for each evaluator with the importance of settings; grey if not above the dummy's floor.

    Args:
        tables: evaluator -> as `importance.importance` returns it.
        title: of the figure.
    """
    factors = next(iter(tables.values()))["factor"].to_list()
    with style_context():
        figure = new_figure(WIDE, 1.5 + 0.3 * max(len(factors), 2))
        for index, (name, table) in enumerate(tables.items(), start=1):
            panel = figure.add_subplot(1, len(tables), index)
            panel.set_title(name)
            for row, setting in enumerate(factors):
                draw_bar(panel, row, table.row(by_predicate=pl.col("factor") == setting, named=True))
            draw_floor(panel, table["floor"])
            panel.set_yticks(
                range(len(factors)), unique_labels(factors).values() if index == 1 else [""] * len(factors)
            )
            panel.set_ylim(len(factors) - 0.4, -0.6)
            panel.set_xlim(left=0)
            panel.set_xlabel("importance")
            panel.grid(axis="x")
        smallest = min((table.row(0, named=True) for table in tables.values()), key=lambda row: row["used"])
        used = f"{smallest['used']} or more of " if smallest["used"] < smallest["configurations"] else ""
        dropped = f", {smallest['dropped']} without a result" if smallest["dropped"] else ""
        total = plural(smallest["configurations"], "configuration")
        counts = f"{used}{total}{dropped}, {plural(smallest['seeds'], 'seed')}"
        floor = "grey: not shown to be above the floor (dashed) of a dummy setting"
        add_title(figure, title, f"95 % intervals over {counts}; {floor}")
    return figure


def plot_indices(indices: pl.DataFrame, *, title: str, metric: str) -> Figure:
    """Return sensitivity indices of `indices.sobol` or `indices.morris`; a line marks the dummy's upper end.

    Args:
        indices: the table.
        title: of the figure.
        metric: the unit of Morris' effects.
    """
    shares = bool(indices["index"].is_in(list(SOBOL_LABELS)).any())
    shown = {i: words for i, words in (SOBOL_LABELS if shares else MORRIS_LABELS).items() if i in indices["index"]}
    pair = pl.concat_str(["factor", "other"], separator=" x ", ignore_nulls=True)
    numbers = pl.col("value", "low", "high", "floor") * (1.0 if shares else display_factor(metric))
    table = indices.with_columns(numbers, name=pair).filter(pl.col("factor") != DUMMY_FACTOR)
    names = table["name"].unique(maintain_order=True).to_list()
    with style_context():
        figure = new_figure(WIDE, 1.6 + 0.34 * max(len(names), 2))
        panel = figure.add_subplot()
        for at, (index, words) in enumerate(shown.items()):
            rows = table.filter(index=index)
            judged = rows["above_floor"].is_not_null().any()
            panel.plot([], [], "o", ms=5, color=PALETTE[at], mfc=PALETTE[at] if judged else FAINT, label=words)
            shift = 0.22 * (at - (len(shown) - 1) / 2)
            for row in rows.drop_nulls("value").iter_rows(named=True):
                draw_dot(panel, names.index(row["name"]) + shift, row, PALETTE[at])
            draw_floor(panel, rows["floor"], PALETTE[at], f"floor: {words.partition(',')[0]}")
        panel.set_yticks(range(len(names)), unique_labels(names).values())
        panel.set_ylim(len(names) - 0.4, -0.6)
        panel.set_xlabel(
            "share of the variance" if shares else f"{axis_label(metric, change=True)}, over the whole range"
        )
        panel.grid(axis="x")
        counts = indices.row(0, named=True) if len(indices) else {"groups": 0, "dropped": 0, "seeds": 0}
        dropped = f", {counts['dropped']} more without a result" if counts["dropped"] else ""
        words = f"{plural(counts['groups'], 'group')} of points{dropped}, {plural(counts['seeds'], 'seed')}"
        marks = "open: not above the floor of a dummy setting; grey: no floor"
        add_title(figure, title, f"95 % intervals over {words}; {marks}")
        add_legend(figure, columns=4)
    return figure


def draw_bar(panel: Axes, place: int, row: Mapping[str, Any]) -> None:
    """Draw an importance with its interval."""
    value, low, high = (row[key] for key in ("value", "low", "high"))
    if value is None:
        panel.text(0, place, "  not available", va="center", fontsize=8, color=SOFT)
        return
    panel.barh(place, value, height=0.6, color=PALETTE[0] if row["above_floor"] else FAINT)
    if low is not None:
        panel.hlines(place, low, high, color=DARK, lw=1.2)


def draw_dot(panel: Axes, place: float, row: Mapping[str, Any], colour: str) -> None:
    """Draw an index with its interval; open if it is not above the floor, grey if there is no floor."""
    filled = {True: colour, False: "white", None: FAINT}[row["above_floor"]]
    if row["low"] is not None:
        panel.hlines(place, row["low"], row["high"], color=colour, lw=1.4)
    panel.plot(row["value"], place, "o", ms=5, color=colour, mfc=filled)


def draw_floor(panel: Axes, floors: pl.Series, colour: str = GREY, words: str = "") -> None:
    """Draw the floor as a vertical line, if it is known."""
    for floor in floors.drop_nulls().head(1):
        panel.axvline(floor, color=colour, lw=1.1, ls="--", label=words)
