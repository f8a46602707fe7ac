"""Shapley values of the modalities for the score on validation (METHODS.md 10.2)."""

import math

import numpy as np

from trainables.diagnostics.checks import Floats
from trainables.evaluation import Progress, Row, tabulate
from trainables.measurements.game import shapley_values
from trainables.setup import Learner, Setup

PRECISION = float(np.finfo(np.float32).eps)


def rows(setup: Setup, state: tuple[()], learner: Learner, progress: Progress) -> list[Row]:
    """Return the Shapley values, which sum to the joint score minus that with all muted, and the latter.

    ``shapley_share`` is each value over that sum.
    """
    gains, empty = shapley_values(setup, learner)
    values = {"shapley": gains, "shapley_share": gain_shares(gains, empty), "shapley_empty": empty}
    return tabulate(setup, values, "validation", progress)


def gain_shares(gains: Floats, empty: float) -> Floats:
    """Return each gain over their sum, [M]; nan if the sum is not above its rounding error.

    The scores, of which ``empty`` is that with all muted, are computed in single precision.
    """
    rounding = PRECISION * (abs(empty) + np.abs(gains).sum())
    return gains / gains.sum() if gains.sum() > rounding else gains * math.nan
