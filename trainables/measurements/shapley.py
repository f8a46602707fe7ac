"""What each modality adds to the score on validation: Shapley values of the data set (METHODS.md 10.2)."""

import math

import numpy as np

from trainables.diagnostics.checks import Floats
from trainables.evaluation import Progress, Row, tabulate
from trainables.measurements.game import shapley_values
from trainables.setup import Learner, Setup

PRECISION = float(np.finfo(np.float32).eps)


def rows(setup: Setup, known: tuple[()], learner: Learner, progress: Progress) -> list[Row]:
    """Return the Shapley values, which sum to the joint score less that of silence, and the score of silence.

    ``shapley_share`` is each one's part of that sum.
    """
    gains, silence = shapley_values(setup, learner)
    values = {"shapley": gains, "shapley_share": shares(gains, silence), "shapley_empty": silence}
    return tabulate(setup, values, "validation", progress)


def shares(gains: Floats, silence: float) -> Floats:
    """Return each gain's part of their sum, [M]; nan where there is none to share, or none but what was rounded.

    The sum is of scores that were computed in single precision.
    """
    rounding = PRECISION * (abs(silence) + np.abs(gains).sum())
    return gains / gains.sum() if gains.sum() > rounding else gains * math.nan
