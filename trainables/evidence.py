"""Evidence: how far each source of a gradient can be trusted, dimension by dimension (METHODS.md 8.2, 8.4, 8.5).

BOGC (https://arxiv.org/abs/2505.23071) has no public code. The path from precision to evidence, from evidence to an
opinion, and the reduced Dempster rule are the paper's; scales, floors, K, the other frames, what doubt falls back on
and the gain are our reading.

Letters in shapes: S sources (losses or modalities), ``...`` the shape of the tensor they all have a gradient of.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

SCALES = ("tensor", "dim", "none", "ema")
FRAMES = ("modality", "reliability", "dims")
FALLBACKS = ("mean", "zero", "fusion")
GAINS = ("sum", "none", "match_norm")
FLOOR = 1e-6  # of a variance, in units of the tensor's median
SMALLEST = 1e-30  # of a variance, so that its logarithm is finite in float32
LARGEST = 30.0  # log of an evidence, up or down


class Opinion(NamedTuple):
    """What the sources say together: their weights and the uncertainty that is left sum to 1."""

    weights: Tensor  # [S, ...]
    uncertainty: Tensor  # [...]


def only(present: Tensor | None, values: Tensor, otherwise: float = 0.0) -> Tensor:
    """Return the values of the sources that are present, [S, ...] and [S] bool; None: all are."""
    if present is None:
        return values
    return torch.where(present.view(-1, *[1] * (values.ndim - 1)), values, otherwise)


def floored(values: Tensor, present: Tensor | None = None) -> Tensor:
    """Return positive values no less than a millionth of their median (the lower one), [S, ...]."""
    floor = only(present, values, math.nan).nanmedian() * FLOOR
    return torch.maximum(values, floor.clamp(min=SMALLEST))


def average(values: Tensor, present: Tensor | None = None, dim: int | None = None) -> Tensor:
    """Return the mean over the sources that are present, and over all dimensions unless ``dim`` is 0."""
    return values.mean(dim) if present is None else only(present, values, math.nan).nanmean(dim)


def log_variance(variance: Tensor, means: Tensor | None = None, present: Tensor | None = None) -> Tensor:
    """Return the logarithm of the floored variances, [S, ...]; with ``means``, of their ratio to the squared means."""
    logs = floored(variance, present).log()
    return logs if means is None else logs - floored(means.square(), present).log()


def level(variance: Tensor, means: Tensor | None = None, present: Tensor | None = None) -> Tensor:
    """Return the mean log-precision of a tensor, []: what scale ``ema`` expects a running mean of."""
    return -average(log_variance(variance, means, present), present)


def evidence(
    variance: Tensor,
    kappa: float | Tensor,
    scale: str = "tensor",
    reference: float | Tensor = 0.0,
    *,
    means: Tensor | None = None,
    present: Tensor | None = None,
) -> Tensor:
    r"""Return how much evidence each source has, :math:`(\lambda / \lambda_0)^\kappa` of its precision, [S, ...].

    The unit :math:`\lambda_0` is the geometric mean of the precisions over the ``tensor`` or, for each ``dim``, over
    the sources; 1 for ``none``; exp of ``reference``, a running mean of `level`, for ``ema``. With ``means`` the
    precision is replaced by :math:`\mu^2 / v` (option `snr`; squared means are floored like variances). A source
    that is not ``present`` [S] has none and does not count in the unit. Variances must be finite.
    """
    logs = log_variance(variance, means, present)
    if scale == "tensor":
        logs = logs - average(logs, present)
    elif scale == "dim":
        logs = logs - average(logs, present, 0)
    elif scale == "ema":
        logs = logs + reference
    return only(present, (logs * -kappa).clamp(-LARGEST, LARGEST).exp())


def combine(evidence: Tensor, k: float | Tensor, frame: str = "modality") -> Opinion:
    r"""Combine the opinions of the sources by Dempster's rule without its conflict, [S, ...].

    ``modality``: each source supports itself: :math:`w_s = e_s / (K + \sum_j e_j)`, :math:`u = K / (K + \sum_j e_j)`.

    The other two frames have no belief in single sources. How it becomes a weight is our reading: sources that say
    anything share it equally, so that it is a gain on their mean, dimension by dimension.
    ``reliability``: each source supports that the dimension can be trusted, :math:`b = 1 - \prod_s u_s`.
    ``dims``: the D dimensions compete (as classes do in trusted multi-view classification, with K = D whatever ``k``
    is): :math:`b_d \propto \prod_s (1 + e_{sd} / D) - 1` and :math:`u \propto 1`; the gain is :math:`D b_d`, so that
    weights and uncertainty sum to 1 on the average over the dimensions.
    """
    if frame == "modality":
        total = k + evidence.sum(0)
        return Opinion(evidence / total, k / total)
    heard = (evidence > 0).to(evidence.dtype)
    share = heard / heard.sum(0).clamp(min=1)
    belief, uncertainty = dimensions(evidence) if frame == "dims" else reliability(evidence, k)
    return Opinion(share * belief, uncertainty)


def reliability(evidence: Tensor, k: float | Tensor) -> tuple[Tensor, Tensor]:
    """Return belief and uncertainty of frame ``reliability``, both [...]."""
    uncertainty = (k / (k + evidence)).prod(0)
    return 1 - uncertainty, uncertainty


def dimensions(evidence: Tensor) -> tuple[Tensor, Tensor]:
    """Return D times the belief, and the uncertainty, of frame ``dims``, both [...]; finite for any evidence."""
    size = evidence[0].numel()
    support = torch.log1p(evidence / size).sum(0)
    top = support.amax()
    belief, doubt = -torch.expm1(-support) * torch.exp(support - top), torch.exp(-top)
    total = belief.sum() + doubt
    return size * belief / total, (doubt / total).expand_as(support)


def aggregate(
    means: Tensor,
    variance: Tensor,
    kappa: float | Tensor,
    k: float | Tensor,
    *,
    scale: str = "tensor",
    frame: str = "modality",
    fallback: str = "mean",
    gain: str = "sum",
    snr: bool = False,
    reference: float | Tensor = 0.0,
    present: Tensor | None = None,
    fusion: float | Tensor = 0.0,
) -> Tensor:
    r"""Return :math:`\sum_s w_s \mu_s + u f`, the gradient that sources with these moments agree on, [S, ...] -> [...].

    ``fallback`` (f) is what doubt leaves: the ``mean`` of the sources, ``zero``, or the ``fusion`` loss's gradient.
    ``gain``: times the number of sources (``sum``), once (``none``), or as long as the plain sum (``match_norm``).
    ``kappa=0`` with fallback ``mean`` and gain ``sum`` is the plain sum of the means, bit for bit.

    In the frames ``reliability`` and ``dims`` the weights are a gain on the mean of the sources (see `combine`). In
    ``reliability`` doubt in that mean cannot fall back on it: ``mean`` counts as ``zero`` there, and no kappa is
    neutral. A source that is not ``present`` [S] counts nowhere; at least one must be.
    """
    means = only(present, means)
    count = len(means) if present is None else present.sum()
    e = evidence(variance, kappa, scale, reference, means=means if snr else None, present=present)
    if frame == "modality" and fallback == "mean":
        weights = (count * e + k) / (e.sum(0) + k)  # S (w + u / S), exactly 1 where all evidence is
        return regain((weights * means).sum(0), means, count, gain)
    weights, uncertainty = combine(e, k, frame)
    agreed = (weights * means).sum(0)
    if fallback == "fusion":
        agreed = agreed + uncertainty * fusion
    elif fallback == "mean" and frame != "reliability":
        agreed = agreed + uncertainty * (means.sum(0) / count)
    return regain(count * agreed, means, count, gain)


def regain(total: Tensor, means: Tensor, count: int | Tensor, gain: str) -> Tensor:
    """Return a gradient that counts every source once, [...], with the gain that is asked for."""
    if gain == "none":
        return total / count
    if gain == "match_norm":
        norm: Tensor = torch.linalg.vector_norm(total)
        wanted: Tensor = torch.linalg.vector_norm(means.sum(0))
        return total * (wanted / norm.clamp(min=torch.finfo(total.dtype).tiny))
    return total


class Moments(NamedTuple):
    """Running moments of a gradient in which the past fades (METHODS.md 8.4)."""

    seen: Tensor  # [] gradients, each worth beta times the next, in float64
    mean: Tensor  # [S, ...]
    variance: Tensor  # [S, ...]


def unseen(like: Tensor) -> Moments:
    """Return the moments before the first gradient, of tensors like this one, [S, ...]."""
    zero = torch.zeros_like(like)
    return Moments(torch.zeros((), dtype=torch.float64, device=like.device), zero, zero)


def update(moments: Moments, gradient: Tensor, beta: float | Tensor) -> Moments:
    r"""Return the moments after one more gradient, [S, ...].

    Equal to the debiased running averages of :math:`g` and :math:`g^2`, the square of the first taken from the
    second, but never negative and without their cancellation.
    """
    seen = beta * moments.seen + 1
    off = gradient - moments.mean
    step = off / seen
    variance = torch.addcmul(moments.variance, off, step) * (1 - 1 / seen)
    return Moments(seen, moments.mean + step, variance)


def running_variance(moments: Moments) -> Tensor:
    """Return the variance of a gradient, [S, ...]; 1 for all, which says nothing, until two have been seen."""
    return torch.where(moments.seen > 1, moments.variance, 1.0)


def sample_variance(rows: Tensor) -> Tensor:
    """Return the variance of the mean of the samples' gradients, [B, ...] -> [...] (METHODS.md 8.5); 1 where B is 1."""
    samples = len(rows)
    return rows.var(0) / samples if samples > 1 else torch.ones_like(rows[0])
