"""A figure with its data, title and caption, as reports and pages show it."""

from pathlib import Path
from typing import NamedTuple

import polars as pl
from matplotlib.figure import Figure

from analysis.plots import save_figure


class Drawing(NamedTuple):
    """A figure with its data, title and caption."""

    stem: str  # of its files
    title: str
    caption: str
    figure: Figure
    data: pl.DataFrame

    def write(self, folder: Path, *, pdf: bool = True) -> None:
        """Write svg, png and csv, with ``pdf`` also that, into a folder."""
        save_figure(self.figure, folder / self.stem, self.data, pdf=pdf)
