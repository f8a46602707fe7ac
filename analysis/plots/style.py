"""Shared style of all figures: style file, colours, titles, legends, labels, and the files they are saved to."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import polars as pl
from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from PIL import Image

from analysis.files import write_atomically
from analysis.formatting import GAIN_IN, MINUS, is_percent, plural
from analysis.statistics import bounds

STYLE = Path(__file__).parents[1] / "ablate.mplstyle"
PALETTE = ("#0072B2", "#D55E00", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito's


class LineStyle(NamedTuple):
    """Colour, marker and dash of a line; colour alone never distinguishes two lines."""

    colour: str
    marker: str
    dash: str


# the same in every figure of every study; related methods share a colour
METHOD_STYLES = {
    "joint": LineStyle("#555555", "p", "-"),
    "unimodal": LineStyle("#009E73", "h", "--"),
    "joint-uni": LineStyle("#D55E00", "s", "--"),
    "moddrop": LineStyle("#D55E00", "X", ":"),
    "agm": LineStyle("#0072B2", "o", "-"),
    "cggm": LineStyle("#CC79A7", "D", "-"),
    "bogc": LineStyle("#000000", "v", "-"),
    "ogm": LineStyle("#E69F00", "^", "-"),
    "ogm-ge": LineStyle("#E69F00", ">", "--"),
    "mslr": LineStyle("#56B4E9", "P", "-"),
    "mses": LineStyle("#56B4E9", "*", "--"),
}
# of user-defined methods; any two styles, of both tables, differ in at least two of colour, marker and dash
USER_METHOD_STYLES = (
    LineStyle("#CC79A7", "<", "--"),
    LineStyle("#000000", "d", ":"),
    LineStyle("#0072B2", "H", "--"),
    LineStyle("#D55E00", "<", "-"),
    LineStyle("#56B4E9", "d", "-."),
    LineStyle("#E69F00", "H", ":"),
    LineStyle("#CC79A7", "8", "-."),
    LineStyle("#000000", "8", "--"),
    LineStyle("#CC79A7", "p", ":"),
    LineStyle("#000000", "<", "-."),
    LineStyle("#0072B2", "X", "-."),
    LineStyle("#D55E00", "H", "-."),
    LineStyle("#0072B2", "8", ":"),
    LineStyle("#56B4E9", "<", ":"),
    LineStyle("#E69F00", "p", "-."),
)
LINE_STYLES = tuple(  # of lines that are not methods
    LineStyle(c, m, d)
    for d, ms in (("-", "hpd<8X"), ("--", "Xhpd<8"), ("-.", "8Xhpd<"))
    for c, m in zip(PALETTE, ms, strict=True)
)
METHOD_LABELS = {"unimodal": "trained alone"}
GREY, DARK, SOFT, FAILURE_COLOUR = "#777777", "#222222", "#555555", "#B00020"
HIGHLIGHT = PALETTE[1]  # of the best and the region around it, on maps and surfaces
NARROW, WIDE = 4.7, 7.0  # inches: a column and a half, and a page of text
PNG_COLOURS = 256  # of a png
FILE_METADATA = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}


@contextmanager
def style_context() -> Iterator[None]:
    """Apply the style file of the package, whatever a user's own settings are."""
    with style.context([STYLE], after_reset=True), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # names may be in a script that the font lacks
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def panel_grid(panels: int) -> tuple[int, int]:
    """Return the numbers of rows and columns for a number of panels."""
    columns = 3 if panels == 3 else min(panels, 2)
    return -(-panels // max(columns, 1)), columns


def add_title(figure: Figure, title: str, subtitle: str) -> None:
    """Write a bold title and a plain subtitle, which both fit the width.

    The empty second line of the title reserves the room of the subtitle.
    """
    title = shorten(title, 100)
    size = fitting_font_size(title, 10.5, 0.70, figure)
    figure.suptitle(f"{title}\n", x=0.01, ha="left", fontsize=size, fontweight="bold")
    below = 1 - 0.24 / figure.get_figheight()  # inches, however tall it is
    figure.text(0.01, below, subtitle, va="top", fontsize=fitting_font_size(subtitle, 8.5, 0.58, figure), color=SOFT)


def groups(table: pl.DataFrame, column: str) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yield the values of a column in order of appearance, each with its rows."""
    for (name,), part in table.group_by(column, maintain_order=True):
        yield str(name), part


def add_legend(figure: Figure, columns: int = 5) -> None:
    """Add a legend with each line once, below the panels, where it covers no data; a single line needs none.

    It has as many columns as fit the figure, at most `columns`.
    """
    handles: dict[str, Artist] = {}
    for panel in figure.axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if len(handles) > 1:
        names = list(unique_labels(handles, 60).values())
        for count in range(columns, 0, -1):
            candidate = figure.legend(list(handles.values()), names, loc="outside lower left", ncols=count)
            if count == 1 or candidate.get_window_extent().width <= figure.bbox.width:
                break
            candidate.remove()


def method_styles(methods: Iterable[str]) -> dict[str, LineStyle]:
    """Return the style of each method; user-defined methods get theirs in the order of their names."""
    user_methods = sorted({method for method in methods if method not in METHOD_STYLES})
    return METHOD_STYLES | {
        method: USER_METHOD_STYLES[i % len(USER_METHOD_STYLES)] for i, method in enumerate(user_methods)
    }


def add_colour_bar(figure: Figure, panel: Axes, mappable: ScalarMappable, metric: str) -> Axes:
    """Add a colour bar of a metric next to a panel, drawn as vectors like the rest."""
    bar = figure.colorbar(mappable, ax=panel, label=axis_label(metric), aspect=30, pad=0.02)
    bar.outline.set_visible(False)
    for solid in bar.ax.collections:
        solid.set(rasterized=False, edgecolor="face")
    return bar.ax


def axis_label(metric: str, *, change: bool = False) -> str:
    """Return a metric with its unit, as the label of an axis."""
    if is_percent(metric):
        return f"{metric}, {'points' if change else '%'}"
    if metric.startswith(GAIN_IN):
        return metric
    name = {"seconds": "time, s", "bytes": "memory, bytes", "": "score"}.get(metric, metric)
    if change:
        return f"difference in {name}" if metric else "difference, each in its metric's own unit"
    return name


def clip_to_bounds(panel: Axes, metric: str, *, side: str = "y", change: bool = False) -> None:
    """Limit an axis to the bounds of its metric, with room for half a marker, without cutting off data."""
    axis = getattr(panel, f"{side}axis")
    first, last = axis.get_view_interval()
    least, most = axis.get_data_interval()
    low, high = (end * display_factor(metric) for end in bounds(metric, change=change))
    low, high = max(first, min(low, least)), min(last, max(high, most))
    room = 0.03 * (high - low)
    panel.set(**{f"{side}lim": (max(first, low - room), min(last, high + room))})


def display_factor(metric: str) -> float:
    """Return the factor from the unit of a metric to the unit shown: 100 for percent."""
    return 100.0 if is_percent(metric) else 1.0


def fitting_font_size(text: str, size: float, wide: float, figure: Figure) -> float:
    """Return the font size at which a line fits the figure; a letter is `wide` times as wide as the font size."""
    return min(size, 72 * figure.get_figwidth() * 0.98 / (wide * max(len(text), 1)))


def use_plain_ticks(axis: Axis) -> None:
    """Write the ticks of a logarithmic axis as plain numbers."""
    axis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", MINUS))
    axis.set_minor_formatter(NullFormatter())


def shorten(name: str, most: int = 36) -> str:
    """Return a name of at most `most` letters: of a longer one, its beginning and its end."""
    name = " ".join(name.split())
    return name if len(name) <= most else f"{name[: most - 12]}…{name[-11:]}"


def unique_labels(names: Iterable[str], most: int = 36) -> dict[str, str]:
    """Return the label of each name: shortened, but only as far as all labels stay distinct."""
    distinct = set(names)
    return {name: unique_label(name, distinct - {name}, most) for name in dict.fromkeys(names)}


def unique_label(name: str, others: set[str], most: int) -> str:
    """Return a name, shortened as far as it differs from the others shortened alike."""
    sizes = range(most, max(most, len(name)) + 1)
    return next((shorten(name, n) for n in sizes if shorten(name, n) not in {shorten(o, n) for o in others}), name)


def ranked_points(points: pl.DataFrame, *, higher_is_better: bool) -> pl.DataFrame:
    """Return the points that have the most seeds, best first, as `choice.configurations` ranks them.

    A point that lost a seed is not ahead of one that lost none.
    """
    scored = points.drop_nulls("mean")
    return scored.filter(pl.col("seeds") == pl.col("seeds").max()).sort(
        "mean", descending=higher_is_better, maintain_order=True
    )


def seed_count_range(table: pl.DataFrame) -> str:
    """Return `5 seeds`, or `3 to 5 seeds`."""
    counts = sorted({int(count) for count in table["seeds"].drop_nulls() if count})
    if not counts:
        return "no finished seed"
    return plural(counts[0], "seed") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"


def interval_caption(table: pl.DataFrame) -> str:
    """Return the caption of the intervals: their number of seeds, or that one seed has no interval."""
    seeds = seed_count_range(table)
    has_interval = (table["seeds"].drop_nulls() > 1).any()
    return f"mean and 95 % interval over {seeds}" if has_interval else f"{seeds}, no interval"


def save_figure(figure: Figure, stem: Path, data: pl.DataFrame, *, pdf: bool = True) -> None:
    """Write a figure as STEM.svg, .png and .pdf and its data as STEM.csv; the same figure gives the same bytes.

    The png has a reduced palette, which takes a third of the space. Without ``pdf``, whose fonts take as long as the
    rest, an earlier one is removed.
    """
    with style_context():
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # the layout is computed; each format would compute it again
        for kind, metadata in FILE_METADATA.items():
            if kind == "pdf" and not pdf:
                stem.with_name(f"{stem.name}.pdf").unlink(missing_ok=True)
                continue
            buffer = BytesIO()
            figure.savefig(buffer, format=kind, metadata=metadata)
            content = quantise_png(buffer) if kind == "png" else buffer.getvalue()
            write_atomically(stem.with_name(f"{stem.name}.{kind}"), content)
    write_atomically(stem.with_name(f"{stem.name}.csv"), data.write_csv().encode())


def quantise_png(png: BytesIO) -> bytes:
    """Return a png reduced to a palette of its most frequent colours."""
    picture, buffer = Image.open(png), BytesIO()
    reduced = picture.convert("RGB").quantize(PNG_COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    reduced.save(buffer, "png", optimize=True, dpi=picture.info["dpi"])
    return buffer.getvalue()
