"""What each modality adds to the score on validation: Shapley values of the data set (METHODS.md 10.2)."""

import math

from trainables.measure import Moment, Row, tabulate
from trainables.measurements.game import shapley_values
from trainables.setup import Learner, Setup


def begin(setup: Setup) -> tuple[()]:
    """Return nothing: epochs share nothing."""
    return ()


def rows(setup: Setup, known: tuple[()], learner: Learner, moment: Moment) -> list[Row]:
    """Return the Shapley values, which sum to the joint score less that of silence, and the score of silence.

    ``shapley_share`` is each one's part of that sum; nan where there is no gain to share.
    """
    gains, silence = shapley_values(setup, learner)
    share = gains / gains.sum() if gains.sum() > 0 else gains * math.nan
    return tabulate(setup, {"shapley": gains, "shapley_share": share, "shapley_empty": silence}, "validation", moment)
