"""What an ablation finds: numbers, one per seed, for a rule to judge, and lines to draw."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from analysis.rankings import Ranking
from analysis.statistics import Estimate, estimate

Sample = NDArray[np.float64]  # [N], one per seed, nan where a trial has no result
GAIN = "gain"  # the panel of lines that are differences
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
    metric: str | None = None  # that it is in the unit of, if not that of the finding
    noun: str | None = None  # what it has a number of each of, if not that of the finding

    @property
    def sides(self) -> tuple[Sample | Estimate, ...]:
        """Return what a rule is given."""
        return (self.values,) if self.baseline is None else (self.values, self.baseline)

    @property
    def numbers(self) -> Sample:
        """Return the values, less their baseline, one per seed."""
        values = np.array([self.values.mean]) if isinstance(self.values, Estimate) else self.values
        return values if self.baseline is None else values - self.baseline


class Finding(NamedTuple):
    """What tables of runs say, before it is judged."""

    effects: list[Effect]  # the one to look at first is first
    metric: str  # that the effects are in the unit of
    lines: pl.DataFrame = pl.DataFrame(schema=LINES)
    axis: str = ""  # of the lines
    scale: str = "linear"  # or log, of the axis
    beside: tuple[Effect, ...] = ()  # shown, and not judged
    remarks: tuple[str, ...] = ()
    ranking: Ranking | None = None  # of what is compared, over blocks
    axes: Mapping[str, str] = MappingProxyType({})  # panel -> axis of its lines, where that is not the same for all
    metrics: Mapping[str, str] = MappingProxyType({})  # panel -> metric of its lines, likewise
    noun: str = "seed"  # what an effect has a number of each of
    changes: bool = False  # the lines are, and not levels
    lines_of: str = ""  # what the lines are of, in words, where it is not what the effects are of


def point(panel: str, line: str, x: float, values: ArrayLike, within: tuple[float, float]) -> dict[str, object]:
    """Return a row of LINES from values [N], one per seed, and the bounds that they lie within."""
    numbers = np.asarray(values, dtype=float)
    return {"panel": panel, "line": line, "x": float(x), **estimate(numbers[np.isfinite(numbers)], within)._asdict()}


def drawn(rows: list[dict[str, object]]) -> pl.DataFrame:
    """Return rows of `point` as LINES."""
    return pl.DataFrame(rows, schema=LINES)


def mean_of(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean of estimates of one thing from the same seeds, and of the ends of their intervals.

    The mean of several varies no more than each does: an interval by Student's t holds the truth as often at least;
    of others, such as a bootstrap's, that is not proved.
    """
    mean, low, high, _ = np.mean(estimates, axis=0).tolist()
    return Estimate(mean, low, high, estimates[0].seeds)
