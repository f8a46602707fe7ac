"""Measured contributions beside the planted ones (`trainables.data.truth`)."""

import math

import numpy as np
from numpy.typing import ArrayLike

from trainables.diagnostics.checks import Floats, finite


def shares(losses: ArrayLike) -> Floats:
    """Return the share of each modality in the joint prediction, exp(-s_m) / sum exp(-s_j), [M] -> [M].

    ``losses`` are those of the modalities' own parts (METHODS.md 10.1); a constant added to all changes nothing.

    Raises:
        ValueError: a loss is not finite.
    """
    losses = finite("shares: losses", losses)
    odds = np.exp(losses.min() - losses)
    return np.asarray(odds / odds.sum())


def rank_correlation(measured: ArrayLike, planted: ArrayLike) -> float:
    """Return Spearman's rank correlation, both [M]; nan where either is constant: it ranks nothing.

    Raises:
        ValueError: a number is not finite, or the two are not of the same modalities.
    """
    from scipy.stats import spearmanr

    measured, planted = _paired(measured, planted)
    if np.ptp(measured) == 0 or np.ptp(planted) == 0:
        return math.nan
    return float(spearmanr(measured, planted).statistic)


def calibration_error(measured: ArrayLike, planted: ArrayLike) -> float:
    """Return the mean absolute difference of shares, both [M] and divided by their sums first.

    So the planted contributions and Shapley values of any score can be given as they are. nan where either does not
    sum to more than 0: a model no better than silence has nothing to share out.

    Raises:
        ValueError: a number is not finite, or the two are not of the same modalities.
    """
    measured, planted = _paired(measured, planted)
    if min(measured.sum(), planted.sum()) <= 0:
        return math.nan
    return float(np.abs(measured / measured.sum() - planted / planted.sum()).mean())


def _paired(measured: ArrayLike, planted: ArrayLike) -> tuple[Floats, Floats]:
    """Return the contributions of the same modalities."""
    ours, theirs = finite("measured contributions", measured), finite("planted contributions", planted)
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} measured contributions cannot be compared with {len(theirs)} planted ones")
    return ours, theirs
