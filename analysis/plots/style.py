"""What all figures have in common: their style file, colours, heads, and the files that they are written to."""

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
    """What a method is drawn like: colour is never all that tells two apart."""

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
LINE_STYLES = tuple(  # of lines that are no methods
    LineStyle(c, m, d)
    for d, ms in (("-", "hpd<8X"), ("--", "Xhpd<8"), ("-.", "8Xhpd<"))
    for c, m in zip(PALETTE, ms, strict=True)
)
METHOD_LABELS = {"unimodal": "trained alone"}
GREY, DARK, SOFT, FAILURE_COLOUR = "#777777", "#222222", "#555555", "#B00020"
HIGHLIGHT = PALETTE[1]  # of the best, and of what is near it, on maps and surfaces
NARROW, WIDE = 4.7, 7.0  # inches: a column and a half, and a page of text
PNG_COLOURS = 256  # of a png
FILE_METADATA = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}


@contextmanager
def style_context() -> Iterator[None]:
    """Draw as the style file says, whatever a user's own settings are."""
    with style.context([STYLE], after_reset=True), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # of a name in a script that the font lacks
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def panel_grid(panels: int) -> tuple[int, int]:
    """Return rows and columns for some panels."""
    columns = 3 if panels == 3 else min(panels, 2)
    return -(-panels // max(columns, 1)), columns


def add_title(figure: Figure, title: str, subtitle: str) -> None:
    """Write a bold title; its empty second line keeps the room of the subtitle, which is plain. Both fit the width."""
    title = shorten(title, 100)
    size = _fitting_font_size(title, 10.5, 0.70, figure)
    figure.suptitle(f"{title}\n", x=0.01, ha="left", fontsize=size, fontweight="bold")
    below = 1 - 0.24 / figure.get_figheight()  # inches, however tall it is
    figure.text(0.01, below, subtitle, va="top", fontsize=_fitting_font_size(subtitle, 8.5, 0.58, figure), color=SOFT)


def groups(table: pl.DataFrame, column: str) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yield the values of a column in order, each with its rows."""
    for (name,), part in table.group_by(column, maintain_order=True):
        yield str(name), part


def add_legend(figure: Figure, columns: int = 5) -> None:
    """Name each line once, below the panels, where no data can be covered; a single line needs no name.

    There are as many columns, up to so many, as the figure has room for.
    """
    handles: dict[str, Artist] = {}
    for panel in figure.axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if len(handles) > 1:
        names = list(unique_labels(handles, 60).values())
        for count in range(columns, 0, -1):
            drawn = figure.legend(list(handles.values()), names, loc="outside lower left", ncols=count)
            if count == 1 or drawn.get_window_extent().width <= figure.bbox.width:
                break
            drawn.remove()


def method_styles(methods: Iterable[str]) -> dict[str, LineStyle]:
    """Return the look of each method; user-defined ones take theirs by name: of the same methods, always the same."""
    own = sorted({method for method in methods if method not in METHOD_STYLES})
    return METHOD_STYLES | {method: USER_METHOD_STYLES[i % len(USER_METHOD_STYLES)] for i, method in enumerate(own)}


def add_colour_bar(figure: Figure, panel: Axes, shades: ScalarMappable, metric: str) -> Axes:
    """Show beside a panel which colour is which value of a metric, drawn as vectors like the rest."""
    bar = figure.colorbar(shades, ax=panel, label=axis_label(metric), aspect=30, pad=0.02)
    bar.outline.set_visible(False)
    for solid in bar.ax.collections:
        solid.set(rasterized=False, edgecolor="face")
    return bar.ax


def axis_label(metric: str, *, change: bool = False) -> str:
    """Return a metric with its unit, as an axis has it."""
    if is_percent(metric):
        return f"{metric}, {'points' if change else '%'}"
    if metric.startswith(GAIN_IN):
        return metric
    name = {"seconds": "time, s", "bytes": "memory, bytes", "": "score"}.get(metric, metric)
    if change:
        return f"difference in {name}" if metric else "difference, each in its metric's own unit"
    return name


def clip_to_bounds(panel: Axes, metric: str, *, side: str = "y", change: bool = False) -> None:
    """End an axis where its metric does, with room for the half of a marker; no data are cut off."""
    axis = getattr(panel, f"{side}axis")
    first, last = axis.get_view_interval()
    least, most = axis.get_data_interval()
    low, high = (end * display_factor(metric) for end in bounds(metric, change=change))
    low, high = max(first, min(low, least)), min(last, max(high, most))
    room = 0.03 * (high - low)
    panel.set(**{f"{side}lim": (max(first, low - room), min(last, high + room))})


def display_factor(metric: str) -> float:
    """Return what a value is multiplied by to be in the unit that is shown."""
    return 100.0 if is_percent(metric) else 1.0


def _fitting_font_size(text: str, size: float, wide: float, figure: Figure) -> float:
    """Return the size of type at which a line fits the figure, letters being `wide` times as wide as their size."""
    return min(size, 72 * figure.get_figwidth() * 0.98 / (wide * max(len(text), 1)))


def use_plain_ticks(axis: Axis) -> None:
    """Write the ticks of a logarithmic axis as numbers."""
    axis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", MINUS))
    axis.set_minor_formatter(NullFormatter())


def shorten(name: str, most: int = 36) -> str:
    """Return a name that fits beside a figure: of a long one, how it begins and ends."""
    name = " ".join(name.split())
    return name if len(name) <= most else f"{name[: most - 12]}…{name[-11:]}"


def unique_labels(names: Iterable[str], most: int = 36) -> dict[str, str]:
    """Return what each name is called in a figure: shortened, but so far only that no other is called the same."""
    every = set(names)
    return {name: _unique_label(name, every - {name}, most) for name in dict.fromkeys(names)}


def _unique_label(name: str, others: set[str], most: int) -> str:
    sizes = range(most, max(most, len(name)) + 1)
    return next((shorten(name, n) for n in sizes if shorten(name, n) not in {shorten(o, n) for o in others}), name)


def ranked_points(points: pl.DataFrame, *, higher_is_better: bool) -> pl.DataFrame:
    """Return the points that have the most seeds, best first: one that lost a seed is not ahead of one that lost none.

    So `choice.configurations` chooses.
    """
    known = points.drop_nulls("mean")
    return known.filter(pl.col("seeds") == pl.col("seeds").max()).sort(
        "mean", descending=higher_is_better, maintain_order=True
    )


def seed_count_range(table: pl.DataFrame) -> str:
    """Return `5 seeds`, or `3 to 5 seeds`, as a caption has it."""
    counts = sorted({int(count) for count in table["seeds"].drop_nulls() if count})
    if not counts:
        return "no finished seed"
    return plural(counts[0], "seed") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"


def interval_caption(table: pl.DataFrame) -> str:
    """Return what a caption says of the intervals: over how many seeds, or that one seed has none."""
    seeds = seed_count_range(table)
    several = (table["seeds"].drop_nulls() > 1).any()
    return f"mean and 95 % interval over {seeds}" if several else f"{seeds}, no interval"


def save_figure(figure: Figure, stem: Path, data: pl.DataFrame, *, pdf: bool = True) -> None:
    """Write a figure as STEM.svg, .png and .pdf and its numbers as STEM.csv; the same figure gives the same bytes.

    The png, for a quick look, has a palette of its own, which takes a third of the room.
    Without ``pdf``, whose fonts take as long as the rest, an earlier one is removed.
    """
    with style_context():
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # the layout is found; each format would look for it again
        for kind, metadata in FILE_METADATA.items():
            if kind == "pdf" and not pdf:
                stem.with_name(f"{stem.name}.pdf").unlink(missing_ok=True)
                continue
            buffer = BytesIO()
            figure.savefig(buffer, format=kind, metadata=metadata)
            content = _quantise_png(buffer) if kind == "png" else buffer.getvalue()
            write_atomically(stem.with_name(f"{stem.name}.{kind}"), content)
    write_atomically(stem.with_name(f"{stem.name}.csv"), data.write_csv().encode())


def _quantise_png(png: BytesIO) -> bytes:
    """Return a picture with a palette of its most frequent colours."""
    picture, small = Image.open(png), BytesIO()
    few = picture.convert("RGB").quantize(PNG_COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(small, "png", optimize=True, dpi=picture.info["dpi"])
    return small.getvalue()
