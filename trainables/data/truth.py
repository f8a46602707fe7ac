r"""The planted contributions of synthetic data: Shapley values of the modalities for the explained variance.

A coalition S of modalities explains the share :math:`R^2(S)` of the variance of the label's score, with the
optimal predictor. Under the model of `synthetic.py`, with signal-to-noise ratios :math:`o_m` (as a
ratio, not in dB), information :math:`w_m`, redundancy :math:`\rho` and synergy :math:`\sigma`,

.. math::

    R^2(S) = (1-\sigma) \Big[ (1-\rho) \sum_{m \in S} w_m g_m + \rho \frac{O_S}{1 + O_S} \Big]
             + \sigma \sum_{m < n \in S} v_{mn} t_m t_n, \qquad O_S = \sum_{m \in S, w_m > 0} o_m.

:math:`g_m = o_m / (1 + o_m)` is the share of a normal latent that a noisy reading explains, :math:`t_m` that of a
sign (`sign_gain`), :math:`O_S / (1 + O_S)` that of one latent that several readings explain; :math:`v_{mn}` is
:math:`w_m w_n` divided by its sum over pairs. Shapley values are linear in the game, so each of the three
terms is attributed on its own, exactly for any number of modalities.
"""

import numpy as np

from trainables.data.parameters import Parameters


def planted_contributions(p: Parameters, snr: tuple[float, ...]) -> dict[str, float]:
    """Return the planted contribution of each modality at the given ratios [M] in dB.

    The contributions sum to the explained variance of all modalities together, in [0, 1]. A modality without
    information gets 0. A missing modality counts as absent from the coalition of that sample.
    """
    odds = snr_ratio(snr)
    present = 1 - np.array(p.missing)
    unique = np.array(p.information) * odds / (1 + odds) * present
    sign = sign_gain(odds) * present
    interaction = pair_weights(p) * np.outer(sign, sign)
    redundant = pooling_shapley(np.where(np.array(p.information) > 0, odds, 0), present)
    shares = (1 - p.synergy) * ((1 - p.redundancy) * unique + p.redundancy * redundant)
    shares += p.synergy * interaction.sum(axis=1) / 2  # divided equally between the two of a pair
    return dict(zip(p.names, shares.tolist(), strict=True))


def snr_ratio(snr: tuple[float, ...]) -> np.ndarray:
    """Return decibels as a ratio of variances."""
    return np.asarray(10 ** (np.array(snr) / 10))


def pair_weights(p: Parameters) -> np.ndarray:
    """Return the share of each pair in the joint part, [M, M] symmetric, its upper half summing to 1."""
    products = np.outer(p.information, p.information)
    np.fill_diagonal(products, 0)
    return np.asarray(products / max(products.sum() / 2, np.finfo(float).tiny))


def sign_gain(odds: np.ndarray) -> np.ndarray:
    r"""Return the explained variance of a random sign read with noise, [M] -> [M].

    The best prediction of a from :math:`y = a + \tau n` is :math:`\tanh(y / \tau^2)`, so that the share is
    :math:`E[\tanh^2(o + \sqrt{o} n)]` over standard normal n, by the trapezoid rule.
    """
    n = np.linspace(-12, 12, 4801)
    density = np.exp(-(n**2) / 2) * (n[1] - n[0]) / np.sqrt(2 * np.pi)
    return np.asarray(np.tanh(odds[:, None] + np.sqrt(odds)[:, None] * n) ** 2 @ density)


def pooling_shapley(odds: np.ndarray, present: np.ndarray) -> np.ndarray:
    r"""Return the Shapley values of :math:`O_S / (1 + O_S)`, the precision of pooled noisy copies, [M].

    The Shapley value is the mean marginal contribution when every other modality is in the coalition with
    probability t, over t uniform in [0, 1]. With :math:`1/(1+O) = \int_0^\infty e^{-x(1+O)} dx` the mean
    over coalitions becomes a product over modalities, and two smooth integrals remain: Gauss-Legendre in t
    is exact (a polynomial), the trapezoid rule in log x converges below rounding.
    """
    nodes, weights = np.polynomial.legendre.leggauss(len(odds) // 2 + 1)
    t, dt = (nodes + 1) / 2, weights / 2
    log_x = np.linspace(-45, 5, 1001)
    x, dx = np.exp(log_x), np.exp(log_x) * (log_x[1] - log_x[0])
    reductions = -np.expm1(-np.outer(x, odds)) * present  # [X, M] share of e^-x that modality m removes
    others = np.empty((len(odds), len(x), len(t)))
    factors = 1 - t * reductions[:, :, None]  # [X, M, T]
    for m in range(len(odds)):
        others[m] = np.delete(factors, m, axis=1).prod(axis=1)
    return np.asarray(np.einsum("mxt,xm,x,t->m", others, reductions, dx * np.exp(-x), dt))
