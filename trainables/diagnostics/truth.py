"""Comparison of measured contributions with the planted ones (`trainables.data.truth`)."""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import spearmanr

from trainables.diagnostics.checks import Floats, finite_array


def shares(losses: ArrayLike) -> Floats:
    """Return the share of each modality in the joint prediction, exp(-s_m) / sum exp(-s_j), [M] -> [M].

    ``losses`` are those of the modalities' shares of the prediction (METHODS.md 10.1); adding a constant to all of them
    changes nothing.

    Raises:
        ValueError: a loss is not finite.
    """
    losses = finite_array("shares: losses", losses)
    odds = np.exp(losses.min() - losses)
    return np.asarray(odds / odds.sum())


def rank_correlation(measured: ArrayLike, planted: ArrayLike) -> float:
    """Return Spearman's rank correlation, both [M]; nan if either is constant.

    Raises:
        ValueError: a number is not finite, or the two differ in length.
    """
    measured, planted = check_pair(measured, planted)
    if np.ptp(measured) == 0 or np.ptp(planted) == 0:
        return math.nan
    return float(spearmanr(measured, planted).statistic)


def calibration_error(measured: ArrayLike, planted: ArrayLike) -> float:
    """Return the mean absolute difference of shares, both [M] and divided by their sums first.

    Planted contributions and Shapley values of any score can therefore be passed as they are. nan if the sum of either
    is not positive: a model no better than with all modalities muted has no gain to share.

    Raises:
        ValueError: a number is not finite, or the two differ in length.
    """
    measured, planted = check_pair(measured, planted)
    if min(measured.sum(), planted.sum()) <= 0:
        return math.nan
    return float(np.abs(measured / measured.sum() - planted / planted.sum()).mean())


def check_pair(measured: ArrayLike, planted: ArrayLike) -> tuple[Floats, Floats]:
    """Return both as arrays, [M]; raise a ValueError if they differ in length."""
    measured = finite_array("measured contributions", measured)
    planted = finite_array("planted contributions", planted)
    if len(measured) != len(planted):
        raise ValueError(f"{len(measured)} measured contributions cannot be compared with {len(planted)} planted ones")
    return measured, planted
