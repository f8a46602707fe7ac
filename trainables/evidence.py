"""Evidence: how far each source of a gradient can be trusted, dimension by dimension (METHODS.md 8.2).

BOGC (https://arxiv.org/abs/2505.23071) has no public code. The steps from precision to evidence and from evidence to an
opinion, and the reduced Dempster rule are the paper's; scales, floors, K, the other frames, the fallback of the
uncertainty and the gain are our reading.

Letters in shapes: S sources (losses or modalities), ``...`` the shape of the tensor that all have a gradient of, or
D the elements of T such tensors, flattened and concatenated, with their ``sizes``, which are processed at once.
"""

import math
from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainables.logarithms import floored_log
from trainables.moments import Sizes, expand_numbers, mask_absent
from trainables.signals import scalar

SCALES = ("tensor", "dim", "none", "ema")
FRAMES = ("modality", "reliability", "dims")
FALLBACKS = ("mean", "zero", "fusion")
GAINS = ("sum", "none", "match_norm")
FLOOR = 1e-6  # of a variance, in units of the tensor's median
SMALLEST = 1e-30  # of a variance, so that its logarithm is finite in float32
LARGEST = 30.0  # logarithm of an evidence, up or down
FAINT, RAISE = 2.0**-40, 2.0**80  # numbers below are raised for a norm, whose squares are then no zeros in float32


class Opinion(NamedTuple):
    """The combined opinion of the sources: their weights and the remaining uncertainty sum to 1."""

    weights: Tensor  # [S, ...]
    uncertainty: Tensor  # [...]


class CombinedGradient(NamedTuple):
    """A gradient combined from those of the sources."""

    gradient: Tensor  # [...]
    uncertainty: Tensor  # [...]
    plain: Tensor  # [...] the sum of the sources' gradients


def tensorwise(statistic: Callable[[Tensor], Tensor], values: Tensor, sizes: Sizes) -> Tensor:
    """Return the statistic of each tensor, [S, D] -> [T]; of a single tensor, [S, ...] -> []."""
    if sizes is None:
        return statistic(values)
    return torch.stack([statistic(part) for part in torch.split(values, list(sizes), -1)])


def tensor_means(values: Tensor, present: Tensor | None = None, sizes: Sizes = None) -> Tensor:
    """Return each tensor's mean over all dimensions of the present sources, [T] or []."""
    if present is None:
        return tensorwise(Tensor.mean, values, sizes)
    return tensorwise(Tensor.nanmean, mask_absent(present, values, math.nan), sizes)


def fused_logarithms(values: Tensor, sizes: Sizes, *, centred: bool, power: Tensor | None = None) -> Tensor:
    """Return `logarithms` where all sources are present, by one operator; with ``power`` [], exp(power * log)."""
    logs = floored_log(
        values.flatten(1), sizes or [values[0].numel()], FLOOR, SMALLEST, centred=centred, power=power, limit=LARGEST
    )
    return logs.view_as(values)


def logarithms(values: Tensor, present: Tensor | None, sizes: Sizes, *, centred: bool) -> Tensor:
    """Return logarithms of positive values, floored at a millionth of their tensor's (lower) median, [S, ...].

    ``centred``: minus the mean of their tensor, over all dimensions of the present sources.
    """
    if present is None:
        return fused_logarithms(values, sizes, centred=centred)
    median = tensorwise(Tensor.nanmedian, mask_absent(present, values, math.nan), sizes)
    logs = torch.maximum(values, expand_numbers((median * FLOOR).clamp(min=SMALLEST), sizes)).log_()
    return logs - expand_numbers(tensor_means(logs, present, sizes), sizes) if centred else logs


def log_variance(
    variance: Tensor,
    means: Tensor | None = None,
    present: Tensor | None = None,
    sizes: Sizes = None,
    *,
    centred: bool = False,
) -> Tensor:
    """Return the logarithm of the floored variances, [S, ...]; with ``means``, of their ratio to the squared means."""
    logs = logarithms(variance, present, sizes, centred=centred)
    return logs if means is None else logs - logarithms(means.square(), present, sizes, centred=centred)


def mean_log_precision(
    variance: Tensor, means: Tensor | None = None, present: Tensor | None = None, sizes: Sizes = None
) -> Tensor:
    """Return each tensor's mean log-precision, [T] or []; scale ``ema`` takes a running mean of it."""
    return -tensor_means(log_variance(variance, means, present, sizes), present, sizes)


def evidence(
    variance: Tensor,
    kappa: float | Tensor,
    scale: str = "tensor",
    reference: float | Tensor = 0.0,
    *,
    means: Tensor | None = None,
    present: Tensor | None = None,
    sizes: Sizes = None,
) -> Tensor:
    r"""Return the evidence of each source, :math:`(\lambda / \lambda_0)^\kappa` of its precision, [S, ...].

    The unit :math:`\lambda_0` is the geometric mean of the precisions over the ``tensor`` or, for each ``dim``, over
    the sources; 1 for ``none``; exp of ``reference``, a running mean of `mean_log_precision`, for ``ema``. With
    ``means`` the precision is replaced by :math:`\mu^2 / v` (option `snr`; squared means are floored like variances).
    A source that is not ``present`` [S] or [S, D] has no evidence and is not in the unit. Variances must be finite.
    """
    power = scalar(-kappa, variance)
    if present is None and means is None and scale in {"tensor", "none"} and power.ndim == 0:
        return fused_logarithms(variance, sizes, centred=scale == "tensor", power=power)
    logs = log_variance(variance, means, present, sizes, centred=scale == "tensor")
    if scale == "dim":
        logs = logs - (logs.mean(0) if present is None else mask_absent(present, logs, math.nan).nanmean(0))
    elif scale == "ema":
        logs = logs + expand_numbers(scalar(reference, logs), sizes)
    return mask_absent(present, (logs * power).clamp(-LARGEST, LARGEST).exp_())


def combine(evidence: Tensor, k: float | Tensor, frame: str = "modality") -> Opinion:
    r"""Combine the opinions of the sources by Dempster's rule without its conflict, [S, ...].

    ``modality``: each source supports itself: :math:`w_s = e_s / (K + \sum_j e_j)`, :math:`u = K / (K + \sum_j e_j)`.

    The other two frames have no belief in single sources. How their belief becomes a weight is our reading: sources
    that have evidence share it equally, so that it is a gain on their mean, dimension by dimension.
    ``reliability``: each source supports that the dimension can be trusted, :math:`b = 1 - \prod_s u_s`.
    ``dims``: the D dimensions compete (as classes do in trusted multi-view classification, with K = D whatever ``k``
    is): :math:`b_d \propto \prod_s (1 + e_{sd} / D) - 1` and :math:`u \propto 1`; the gain is :math:`D b_d`, so that
    weights and uncertainty sum to 1 on the average over the dimensions.
    """
    if frame == "modality":
        total = (evidence.sum(0) + k).clamp(min=SMALLEST)
        return Opinion(evidence / total, k / total)
    has_evidence = (evidence > 0).to(evidence.dtype)
    share = has_evidence / has_evidence.sum(0).clamp(min=1)
    belief, uncertainty = dimensions_belief(evidence) if frame == "dims" else reliability_belief(evidence, k)
    return Opinion(share * belief, uncertainty)


def reliability_belief(evidence: Tensor, k: float | Tensor) -> tuple[Tensor, Tensor]:
    """Return belief and uncertainty of frame ``reliability``, both [...]."""
    uncertainty = (k / (evidence + k).clamp(min=SMALLEST)).prod(0)
    return 1 - uncertainty, uncertainty


def dimensions_belief(evidence: Tensor) -> tuple[Tensor, Tensor]:
    """Return D times the belief, and the uncertainty, of frame ``dims``, both [...]; finite for any evidence."""
    size = evidence[0].numel()
    support = torch.log1p(evidence / size).sum(0)
    top = support.amax()
    belief, uncertainty = -torch.expm1(-support) * torch.exp(support - top), torch.exp(-top)
    total = belief.sum() + uncertainty
    return size * belief / total, (uncertainty / total).expand_as(support)


def aggregate(means: Tensor, variance: Tensor, kappa: float | Tensor, k: float | Tensor, **options: Any) -> Tensor:
    """Return the gradient of `combine_gradients`, [S, ...] -> [...]."""
    return combine_gradients(means, variance, kappa, k, **options).gradient


def combine_gradients(
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
    sizes: Sizes = None,
) -> CombinedGradient:
    r"""Return :math:`\sum_s w_s \mu_s + u f`, the combined gradient of sources with these moments, [S, ...] -> [...].

    ``fallback`` (f), weighted by the uncertainty: the ``mean`` of the sources, ``zero``, or the ``fusion`` gradient.
    ``gain``: times the number of sources (``sum``), 1 (``none``), or to the norm of the plain sum (``match_norm``).
    ``kappa=0`` with fallback ``mean`` and gain ``sum`` is the plain sum of the means, bit for bit.

    In the frames ``reliability`` and ``dims`` the weights are a gain on the mean of the sources (see `combine`). In
    ``reliability`` the uncertainty is about that mean, which therefore cannot be the fallback: ``mean`` counts as
    ``zero`` there, and no kappa is neutral. A source that is not ``present`` [S] is ignored; without any source the
    gradient is zero.

    With ``sizes``, several tensors are concatenated, [S, D]; floor, unit, competition and norm are of each, and
    ``present`` may be [S, D], ``kappa`` and ``k`` [D].
    """
    means = mask_absent(present, means)
    count = len(means) if present is None else present.sum(0).to(means)
    e = evidence(variance, kappa, scale, reference, means=means if snr else None, present=present, sizes=sizes)

    def combine_columns(*columns: Any) -> CombinedGradient:
        return combine_with_evidence(*columns, frame=frame, fallback=fallback, gain=gain)

    if sizes is None or (frame != "dims" and gain != "match_norm"):
        return combine_columns(means, e, k, count, fusion)
    columns = [scalar(x, means) for x in (means, e, k, count, fusion)]
    pieces = [torch.split(x.expand(*x.shape[:-1], means.shape[-1]), list(sizes), -1) for x in columns]
    parts = [combine_columns(*part) for part in zip(*pieces, strict=True)]
    return CombinedGradient(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


def combine_with_evidence(
    means: Tensor,
    evidence: Tensor,
    k: float | Tensor,
    count: int | Tensor,
    fusion: float | Tensor,
    *,
    frame: str,
    fallback: str,
    gain: str,
) -> CombinedGradient:
    """Return the combined gradient of sources with this evidence, [S, ...] -> [...]; of absent ones both are zero."""
    plain = sum_sources(means)
    if frame == "modality" and fallback == "mean":
        divisor = at_least_one(count)
        mean_evidence, mean_k = sum_sources(evidence) / divisor, scalar(k / divisor, plain)
        weighted = sum_products(evidence, means)
        excess = torch.addcmul(weighted, mean_evidence, plain, value=-1)  # 0 where all evidence is 1
        total = mean_evidence + mean_k
        total = total if isinstance(count, int) else total.clamp(min=SMALLEST)
        combined = torch.addcdiv(plain, excess, total)  # S sum_s (w_s + u / S) mu_s
        if gain == "match_norm":  # scales what is left to the norm of the plain sum, so it must be more than rounding
            exact = torch.addcmul(weighted, mean_k, plain) / total
            combined = torch.where(excess == 0, plain, exact)
        return CombinedGradient(apply_gain(combined, plain, count, gain), mean_k / total, plain)
    weights, uncertainty = combine(evidence, k, frame)
    combined = (weights * means).sum(0)
    if fallback == "fusion":
        combined = combined + uncertainty * fusion
    elif fallback == "mean" and frame != "reliability":
        combined = combined + uncertainty * (plain / at_least_one(count))
    return CombinedGradient(apply_gain(count * combined, plain, count, gain), uncertainty, plain)


def apply_gain(total: Tensor, plain: Tensor, count: int | Tensor, gain: str) -> Tensor:
    """Return a gradient with the requested gain; ``total`` counts every source once, [...]."""
    if gain == "none":
        return total / at_least_one(count)
    if gain == "match_norm":
        total = total * torch.where(total.abs().amax() < FAINT, RAISE, 1.0)
        norm: Tensor = torch.linalg.vector_norm(total)
        target: Tensor = torch.linalg.vector_norm(plain)
        return total * (target / norm.clamp(min=SMALLEST))
    return total


def sum_sources(values: Tensor) -> Tensor:
    """Return the sum over the sources, [S, ...] -> [...], in their order; faster than `Tensor.sum` for a few."""
    return reduce(torch.add, values.unbind())


def sum_products(a: Tensor, b: Tensor) -> Tensor:
    """Return the sum over the sources of a product, [S, ...] and [S, ...] -> [...]."""
    (first_a, first_b), *pairs = zip(a.unbind(), b.unbind(), strict=True)
    return reduce(lambda total, pair: torch.addcmul(total, *pair), pairs, first_a * first_b)


def at_least_one(count: int | Tensor) -> int | Tensor:
    """Return a number of sources that may be a divisor."""
    return count.clamp(min=1) if isinstance(count, Tensor) else count
