"""Measured contributions beside the planted ones of synthetic data (METHODS.md 10.7)."""

import numpy as np

from trainables.diagnostics.truth import calibration_error, rank_correlation, shares
from trainables.measure import Moment, Row, tabulate
from trainables.measurements.game import shapley_values, share_losses
from trainables.setup import Learner, Setup


def begin(setup: Setup) -> list[float]:
    """Return the planted contributions, [M].

    Raises:
        ValueError: the data has none.
    """
    if setup.truth is None:
        raise ValueError("truth: this data has no planted contributions")
    return [setup.truth[m] for m in setup.model.encoders]


def rows(setup: Setup, known: list[float], learner: Learner, moment: Moment) -> list[Row]:
    """Return how the shares, and the Shapley values of the score, rank the modalities; and how far shares are off.

    Shares are of those modalities that a sample has.
    """
    losses, (gains, _) = share_losses(setup, learner).numpy(), shapley_values(setup, learner)
    heard = ~np.isnan(losses)
    share, planted = shares(losses[heard]), np.array(known)[heard]
    values = {
        "truth_rank": rank_correlation(share, planted),
        "truth_error": calibration_error(share, planted),
        "shapley_truth_rank": rank_correlation(gains, known),
    }
    return tabulate(setup, values, "validation", moment)
