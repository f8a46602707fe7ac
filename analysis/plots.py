"""Tables drawn."""

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.files import write
from analysis.ruler import Ruler, ruler, window
from analysis.text import is_percent, score

# Okabe and Ito's palette, which the colour-blind can tell apart; the two references keep their colours
REFERENCES = {"joint": "#555555", "unimodal": "#009E73"}
PALETTE = ("#0072B2", "#D55E00", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LABELS = {"unimodal": "trained alone"}
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#777777",
    "axes.axisbelow": True,
    "xtick.color": "#777777",
    "ytick.color": "#777777",
    "xtick.labelcolor": "#222222",
    "ytick.labelcolor": "#222222",
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "svg.hashsalt": "ablate",
}
COLUMNS = 3
FAILED = "#B00020"


def plot_curve(
    curve: pl.DataFrame, probes: pl.DataFrame, *, axis: str, metric: str, title: str, scale: str = "linear"
) -> Figure:
    """Return the response along an axis: the joint prediction first, then a panel for each encoder's probe."""
    panels = {"joint prediction": curve} | {
        f"{encoder} encoder, probed": probes.filter(pl.col("modality") == encoder)
        for encoder in probes["modality"].unique(maintain_order=True)
    }
    curves = curve.filter(pl.col("kind") == "curve")
    colours = _colours([*curves["method"], *curve["method"], *probes["method"]])
    places = ruler(curve["value"].drop_nulls(), scale)
    columns = min(len(panels), COLUMNS)
    rows = -(-len(panels) // columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(1.2 + 3.6 * columns, 1.3 + 2.7 * rows), layout="constrained")
        FigureCanvasAgg(figure)
        for place, (name, table) in enumerate(panels.items(), start=1):
            panel = figure.add_subplot(rows, columns, place)
            panel.set_title(name)
            _draw(panel, table, places, colours)
            _frame(panel, places, axis, metric)
            _crop(panel, table, places, colours, metric)
        _mark_failures(figure.axes[0], curves, places)
        _head(figure, title, _subtitle(curve))
        _legend(figure)
    return figure


def save(figure: Figure, stem: Path) -> None:
    """Write STEM.png and STEM.svg; the same figure gives the same bytes."""
    with rc_context(STYLE):
        for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
            buffer = BytesIO()
            figure.savefig(buffer, format=kind, dpi=150, metadata=metadata)
            write(stem.with_name(f"{stem.name}.{kind}"), buffer.getvalue())


def _draw(panel: Axes, table: pl.DataFrame, places: Ruler, colours: dict[str, str]) -> None:
    for part in table.filter(pl.col("kind") == "curve").partition_by("method", maintain_order=True):
        _draw_curve(panel, part, places, colours[part["method"][0]])
    for row in table.filter(pl.col("kind") == "baseline").drop_nulls("mean").iter_rows(named=True):
        _draw_baseline(panel, row["method"], row["mean"], row["low"], row["high"], colours[row["method"]])


def _draw_baseline(panel: Axes, method: str, mean: float, low: float | None, high: float | None, colour: str) -> None:
    """Draw joint training as a solid line in its band, other baselines dashed in a lighter one."""
    main = method == "joint"
    label = LABELS.get(method, method)
    panel.axhline(mean, color=colour, lw=1.4, ls="-" if main else "--", label=label, zorder=1.5)
    if low is not None and high is not None:
        panel.axhspan(low, high, color=colour, alpha=0.18 if main else 0.10, lw=0, zorder=1)


def _draw_curve(panel: Axes, table: pl.DataFrame, places: Ruler, colour: str) -> None:
    """Draw a line in its band; values behind a break stand alone, with an error bar."""
    method = table["method"][0]
    x = table["value"].replace_strict(places.at, return_dtype=pl.Float64)
    table = table.with_columns(x=x, outside=table["value"].is_in(places.outside))
    line = table.filter(~pl.col("outside")).sort("x")
    panel.fill_between(line["x"], line["low"], line["high"], color=colour, alpha=0.2, lw=0, zorder=2)
    style = "--" if method == "unimodal" else "-"
    label = LABELS.get(method, method)
    panel.plot(line["x"], line["mean"], style, marker="o", ms=4.5, lw=1.8, color=colour, label=label, zorder=3)
    for row in table.filter(pl.col("outside")).drop_nulls("mean").iter_rows(named=True):
        panel.plot(row["x"], row["mean"], "o", ms=4.5, color=colour, zorder=3)
        if row["low"] is not None:
            panel.vlines(row["x"], row["low"], row["high"], color=colour, lw=1.8, alpha=0.6, zorder=2)


def _frame(panel: Axes, places: Ruler, axis: str, metric: str) -> None:
    """Set ticks, labels and the marks of a broken axis."""
    panel.set_xticks(list(places.ticks), list(places.ticks.values()))
    panel.margins(x=0.06, y=0.12)
    panel.set_xlabel(axis)
    panel.set_ylabel(f"{metric}, %" if is_percent(metric) else metric)
    if is_percent(metric):
        panel.yaxis.set_major_formatter(lambda y, _: f"{100 * y:g}")
    panel.grid(axis="y", color="#e6e6e6", lw=0.8)
    for x in places.breaks:
        panel.plot(
            [x], [0], marker=[(-1, -2), (1, 2)], ms=9, color="#777777", mew=1.2, clip_on=False,
            transform=panel.get_xaxis_transform(),
        )  # fmt: skip


def _crop(panel: Axes, table: pl.DataFrame, places: Ruler, colours: dict[str, str], metric: str) -> None:
    """Leave points far off outside the panel and write them, with an arrow, at its edge."""
    ends = window(table)
    if ends is None:
        return
    panel.set_ylim(*ends)
    for row in table.filter(~pl.col("mean").is_between(*ends), pl.col("kind") == "curve").iter_rows(named=True):
        arrow, height = ("↓", 0.09) if row["mean"] < ends[0] else ("↑", 0.93)
        where, colour = (places.at[row["value"]], height), colours[row["method"]]
        text = f"{arrow} {score(metric, row['mean'])}"
        panel.annotate(
            text, where, xycoords=panel.get_xaxis_transform(), ha="center", fontsize=9, color=colour, fontweight="bold"
        )


def _mark_failures(panel: Axes, curves: pl.DataFrame, places: Ruler) -> None:
    """Write at the foot of the panel how many trials have no result, and are in no mean, at a value."""
    foot = panel.get_xaxis_transform()
    failed = curves.group_by("value", maintain_order=True).agg(pl.sum("failed")).filter(pl.col("failed") > 0)
    for value, count in failed.iter_rows():
        where = (places.at[value], 0.02)
        panel.annotate(f"{count} failed", where, xycoords=foot, ha="center", fontsize=8, color=FAILED)


def _head(figure: Figure, title: str, subtitle: str) -> None:
    """Write a bold title; its empty second line keeps the room of the subtitle, which is plain."""
    x, top = 0.01, 0.99
    figure.suptitle(f"{title}\n", x=x, ha="left", fontsize=12, fontweight="bold")
    figure.text(x, top - 0.23 / figure.get_figheight(), subtitle, va="top", fontsize=10, color="#555555")


def _legend(figure: Figure) -> None:
    """Name each line once, below the panels, where no data can be covered."""
    handles: dict[str, Artist] = {}
    for panel in figure.axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(list(handles.values()), list(handles), loc="outside lower left", ncols=6)


def _colours(methods: Iterable[str]) -> dict[str, str]:
    others = [method for method in dict.fromkeys(methods) if method not in REFERENCES]
    return REFERENCES | {method: PALETTE[i % len(PALETTE)] for i, method in enumerate(others)}


def _subtitle(curve: pl.DataFrame) -> str:
    counts = sorted({curve["seeds"].min() or 0, curve["seeds"].max() or 0})
    seeds = "\N{EN DASH}".join(str(count) for count in counts)
    return f"mean and 95 % interval over {seeds} seeds, validation split"
