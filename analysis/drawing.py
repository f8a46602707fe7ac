"""A figure with its numbers and its words, as reports and pages show it."""

from pathlib import Path
from typing import NamedTuple

import polars as pl
from matplotlib.figure import Figure

from analysis.plots import save_figure


class Drawing(NamedTuple):
    """A figure, its numbers, and what it shows in words."""

    stem: str  # of its files
    title: str
    caption: str
    figure: Figure
    data: pl.DataFrame

    def write(self, folder: Path, *, pdf: bool = True) -> None:
        """Write svg, png and csv, and pdf if asked for, into a folder."""
        save_figure(self.figure, folder / self.stem, self.data, pdf=pdf)
