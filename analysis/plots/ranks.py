"""Plot the critical-difference diagram: mean ranks, with a bar over methods that do not differ (Demsar 2006)."""

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.formatting import format_p_value, plural
from analysis.plots.style import DARK, SOFT, WIDE, add_title, method_styles, new_figure, style_context, unique_labels
from analysis.rankings import Ranking

if TYPE_CHECKING:
    import pandas as pd

MIN_BAR = 0.03  # of the axis, half the least length of a bar, which also joins methods of equal rank


def plot_ranks(ranking: Ranking, *, title: str, blocks: str = "block", methods: Sequence[str] = ()) -> Figure:
    """Return the diagram of a ranking with a test, which needs at least three methods and two blocks.

    Args:
        ranking: as `rankings.ranking` returns it.
        title: of the figure.
        blocks: noun for a block of the ranking, such as `seed`.
        methods: of the study, so that each looks the same in all of its figures.
    """
    names = unique_labels(ranking.ranks, 24)
    ranks = {names[method]: rank for method, rank in ranking.ranks.items()}
    styles = method_styles([*methods, *ranking.ranks])
    colours = {names[method]: styles[method].colour for method in ranking.ranks}
    rows = list(ranks)
    with style_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the library's own dependencies deprecate
        import scikit_posthocs

        figure = new_figure(WIDE, 1.9 + 0.22 * len(rows))
        panel = figure.add_subplot()
        artists = scikit_posthocs.critical_difference_diagram(
            ranks, p_value_matrix(ranking, names), ax=panel, color_palette=colours,
            label_fmt_left="{label}  {rank:.2f} ", label_fmt_right=" {rank:.2f}  {label}", text_h_margin=0.15,
            label_props={"fontsize": 9}, crossbar_props={"color": DARK, "linewidth": 2.4},
        )  # fmt: skip
        for (bar,) in artists["crossbars"]:
            ends = bar.get_xdata()
            middle, half = (min(ends) + max(ends)) / 2, max((max(ends) - min(ends)) / 2, MIN_BAR * (len(rows) - 1))
            bar.set_data([middle - half, middle + half], [bar.get_ydata()[0]] * 2)
        panel.update_datalim([(1, 0), (len(rows), 0)])
        ticks = MaxNLocator(12, integer=True).tick_values(1, len(rows))
        panel.set_xticks([tick for tick in ticks if 1 <= tick <= len(rows)])
        for text in panel.texts:
            text.set_color(DARK)
        draw_critical_difference(panel, ranks[rows[0]], ranking.critical)
        panel.set_xlabel("mean rank, 1 is best", labelpad=6)
        panel.xaxis.set_label_position("top")
        dropped = f", {ranking.dropped} more left out for a missing score" if ranking.dropped else ""
        counts = f"Friedman p {format_p_value(ranking.p)} over {plural(ranking.blocks, blocks)}{dropped}"
        add_title(figure, title, f"{counts}; a bar joins methods that Nemenyi's test does not separate at 5 %")
    return figure


def p_value_matrix(ranking: Ranking, names: Mapping[str, str]) -> "pd.DataFrame":
    """Return the p-values of all pairs as a symmetric matrix with ones on the diagonal."""
    import pandas as pd

    matrix = pd.DataFrame(1.0, index=list(names.values()), columns=list(names.values()))
    for first, second, _, p in ranking.pairs.iter_rows():
        pair = names[first], names[second]
        matrix.loc[pair] = matrix.loc[pair[::-1]] = p
    return matrix


def draw_critical_difference(panel: Axes, left: float, critical: float) -> None:
    """Draw the critical difference below the diagram, starting at a rank."""
    low, _ = panel.get_ylim()
    panel.plot([left, left + critical], [low - 0.8] * 2, "|-", color=SOFT, lw=1.4, ms=6)
    label = f"critical difference {critical:.2f}"
    panel.text(left + critical / 2, low - 1, label, color=SOFT, ha="center", va="top", fontsize=8)
    panel.set_ylim(low - 2.2, 0.6)


def ranks_table(ranking: Ranking) -> pl.DataFrame:
    """Return the data of the diagram."""
    return pl.DataFrame({"method": list(ranking.ranks), "mean_rank": list(ranking.ranks.values())}).with_columns(
        critical_difference=pl.lit(ranking.critical), p=pl.lit(ranking.p), blocks=pl.lit(ranking.blocks)
    )
