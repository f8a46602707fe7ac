"""What an ablation finds: effects, one number per seed, for a rule to decide on, and lines to draw."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from analysis.rankings import Ranking
from analysis.statistics import Estimate, estimate

Sample = NDArray[np.float64]  # [N], one per seed, nan where a trial has no result
GAIN_PANEL = "gain"  # the panel of lines that are differences
LINES = {
    "panel": pl.String,
    "line": pl.String,
    "x": pl.Float64,
    "mean": pl.Float64,
    "low": pl.Float64,  # of the 95 % interval
    "high": pl.Float64,
    "seeds": pl.Int64,
}


class Effect(NamedTuple):
    """One comparison, or one quantity where there is no baseline."""

    name: str
    values: Sample | Estimate  # an estimate has an interval of its own
    baseline: Sample | None = None
    metric: str | None = None  # in whose unit it is, if not that of the finding
    noun: str | None = None  # for its replicates, if not that of the finding

    @property
    def samples(self) -> tuple[Sample | Estimate, ...]:
        """Return the arguments of a rule: the values, and the baseline if there is one."""
        return (self.values,) if self.baseline is None else (self.values, self.baseline)

    @property
    def seed_values(self) -> Sample:
        """Return the values less their baseline, if there is one, one per seed."""
        values = np.array([self.values.mean]) if isinstance(self.values, Estimate) else self.values
        return values if self.baseline is None else values - self.baseline


class Finding(NamedTuple):
    """The effects that an ablation finds in tables of runs, before a rule decides on them."""

    effects: list[Effect]  # the most important one first
    metric: str  # in whose unit the effects are
    lines: pl.DataFrame = pl.DataFrame(schema=LINES)
    axis: str = ""  # of the lines
    scale: str = "linear"  # or log, of the axis
    beside: tuple[Effect, ...] = ()  # shown, without a decision
    remarks: tuple[str, ...] = ()
    ranking: Ranking | None = None  # of the methods, over blocks
    panel_axes: Mapping[str, str] = MappingProxyType({})  # panel -> axis of its lines, where it is not `axis`
    panel_metrics: Mapping[str, str] = MappingProxyType({})  # panel -> metric of its lines, where it is not `metric`
    noun: str = "seed"  # for the replicates of an effect
    lines_are_changes: bool = False  # and not levels
    lines_label: str = ""  # what the lines show, where it is not what the effects are of


def line_point(panel: str, line: str, x: float, values: ArrayLike, within: tuple[float, float]) -> dict[str, object]:
    """Return a row of LINES: the estimate of values [N], one per seed, with its interval within some bounds."""
    array = np.asarray(values, dtype=float)
    return {"panel": panel, "line": line, "x": float(x), **estimate(array[np.isfinite(array)], within)._asdict()}


def line_table(points: list[dict[str, object]]) -> pl.DataFrame:
    """Return rows of `line_point` as a table with the columns LINES."""
    return pl.DataFrame(points, schema=LINES)


def mean_estimate(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean of several estimates of one value from the same seeds, with the mean ends of their intervals.

    The mean of several varies no more than each does: a Student's t interval keeps its coverage at least; for others,
    such as a bootstrap's, that is not proved.
    """
    mean, low, high, _ = np.mean(estimates, axis=0).tolist()
    return Estimate(mean, low, high, estimates[0].seeds)
