"""Agreement of measured contributions with the planted ones of synthetic data (METHODS.md 10.7)."""

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
        raise ValueError("truth: this data set has no planted contributions")
    return [setup.truth[m] for m in setup.model.encoders]


def rows(setup: Setup, planted: list[float], learner: Learner, progress: Progress) -> list[Row]:
    """Return rank correlations of shares and of Shapley values with the planted contributions, and the error of shares.

    Missing samples reduce planted contributions, and likewise Shapley values, which are over all samples. Shares are
    over the samples that have a modality, and are compared only if no sample lacks one.
    """
    values = {"shapley_truth_rank": rank_correlation(shapley_values(setup, learner)[0], planted)}
    if setup.present["validation"] is None:
        share = shares(share_losses(setup, learner).numpy())
        values |= {"truth_rank": rank_correlation(share, planted), "truth_error": calibration_error(share, planted)}
    return tabulate(setup, values, "validation", progress)
