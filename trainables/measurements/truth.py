"""Measured contributions beside the planted ones of synthetic data (METHODS.md 10.7)."""

from trainables.diagnostics.truth import calibration_error, rank_correlation, shares
from trainables.evaluation import Progress, Row, tabulate
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


def rows(setup: Setup, known: list[float], learner: Learner, progress: Progress) -> list[Row]:
    """Return how the shares, and the Shapley values of the score, rank the modalities; and how far shares are off.

    What is planted is worth less where samples lack it. So are Shapley values, over all samples; shares are of those
    that have a modality, and are compared where all have all.
    """
    values = {"shapley_truth_rank": rank_correlation(shapley_values(setup, learner)[0], known)}
    if setup.present["validation"] is None:
        share = shares(share_losses(setup, learner).numpy())
        values |= {"truth_rank": rank_correlation(share, known), "truth_error": calibration_error(share, known)}
    return tabulate(setup, values, "validation", progress)
