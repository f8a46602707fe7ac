"""Evidence: how far each source of a gradient can be trusted, dimension by dimension (METHODS.md 8.2).

BOGC (https://arxiv.org/abs/2505.23071) has no public code. The path from precision to evidence, from evidence to an
opinion, and the reduced Dempster rule are the paper's; scales, floors, K, the other frames, what doubt falls back on
and the gain are our reading.

Letters in shapes: S sources (losses or modalities), ``...`` the shape of the tensor they all have a gradient of, or
D the places of T such tensors side by side, ``sizes`` of each: most of this is done for all of them at once.
"""

import math
from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainables.logarithms import logs
from trainables.moments import Sizes, expand_numbers, mask_absent
from trainables.signals import scalar

SCALES = ("tensor", "dim", "none", "ema")
FRAMES = ("modality", "reliability", "dims")
FALLBACKS = ("mean", "zero", "fusion")
GAINS = ("sum", "none", "match_norm")
FLOOR = 1e-6  # of a variance, in units of the tensor's median
SMALLEST = 1e-30  # of a variance, so that its logarithm is finite in float32
LARGEST = 30.0  # logarithm of an evidence, up or down


class Opinion(NamedTuple):
    """What the sources say together: their weights and the uncertainty that is left sum to 1."""

    weights: Tensor  # [S, ...]
    uncertainty: Tensor  # [...]


class Agreement(NamedTuple):
    """The gradient that the sources agree on."""

    gradient: Tensor  # [...]
    uncertainty: Tensor  # [...]
    plain: Tensor  # [...] the sum of the sources' gradients


def tensorwise(statistic: Callable[[Tensor], Tensor], values: Tensor, sizes: Sizes) -> Tensor:
    """Return one number a tensor, [S, D] -> [T]; of a single tensor, [S, ...] -> []."""
    if sizes is None:
        return statistic(values)
    return torch.stack([statistic(part) for part in torch.split(values, list(sizes), -1)])


def average(values: Tensor, present: Tensor | None = None, sizes: Sizes = None) -> Tensor:
    """Return each tensor's mean over all dimensions of the sources that are present, [T] or []."""
    if present is None:
        return tensorwise(Tensor.mean, values, sizes)
    return tensorwise(Tensor.nanmean, mask_absent(present, values, math.nan), sizes)


def together(values: Tensor, sizes: Sizes, *, centred: bool, times: Tensor | None = None) -> Tensor:
    """Return `logarithms` where all sources are present or, with ``times`` [], e to the power of so many times them."""
    found = logs(
        values.flatten(1), sizes or [values[0].numel()], FLOOR, SMALLEST, centred=centred, times=times, most=LARGEST
    )
    return found.view_as(values)


def logarithms(values: Tensor, present: Tensor | None, sizes: Sizes, *, centred: bool) -> Tensor:
    """Return logarithms of positive values, none below a millionth of their tensor's (lower) median, [S, ...].

    ``centred``: about the mean of their tensor, over all dimensions of the sources that are present.
    """
    if present is None:
        return together(values, sizes, centred=centred)
    median = tensorwise(Tensor.nanmedian, mask_absent(present, values, math.nan), sizes)
    found = torch.maximum(values, expand_numbers((median * FLOOR).clamp(min=SMALLEST), sizes)).log_()
    return found - expand_numbers(average(found, present, sizes), sizes) if centred else found


def log_variance(
    variance: Tensor,
    means: Tensor | None = None,
    present: Tensor | None = None,
    sizes: Sizes = None,
    *,
    centred: bool = False,
) -> Tensor:
    """Return the logarithm of the floored variances, [S, ...]; with ``means``, of their ratio to the squared means."""
    found = logarithms(variance, present, sizes, centred=centred)
    return found if means is None else found - logarithms(means.square(), present, sizes, centred=centred)


def level(variance: Tensor, means: Tensor | None = None, present: Tensor | None = None, sizes: Sizes = None) -> Tensor:
    """Return each tensor's mean log-precision, [T] or []: what scale ``ema`` expects a running mean of."""
    return -average(log_variance(variance, means, present, sizes), present, sizes)


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
    r"""Return how much evidence each source has, :math:`(\lambda / \lambda_0)^\kappa` of its precision, [S, ...].

    The unit :math:`\lambda_0` is the geometric mean of the precisions over the ``tensor`` or, for each ``dim``, over
    the sources; 1 for ``none``; exp of ``reference``, a running mean of `level`, for ``ema``. With ``means`` the
    precision is replaced by :math:`\mu^2 / v` (option `snr`; squared means are floored like variances). A source
    that is not ``present`` [S] or [S, D] has none and does not count in the unit. Variances must be finite.
    """
    power = scalar(-kappa, variance)
    if present is None and means is None and scale in {"tensor", "none"} and power.ndim == 0:
        return together(variance, sizes, centred=scale == "tensor", times=power)
    found = log_variance(variance, means, present, sizes, centred=scale == "tensor")
    if scale == "dim":
        found = found - (found.mean(0) if present is None else mask_absent(present, found, math.nan).nanmean(0))
    elif scale == "ema":
        found = found + expand_numbers(scalar(reference, found), sizes)
    return mask_absent(present, (found * power).clamp(-LARGEST, LARGEST).exp_())


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
        total = (evidence.sum(0) + k).clamp(min=SMALLEST)
        return Opinion(evidence / total, k / total)
    heard = (evidence > 0).to(evidence.dtype)
    share = heard / heard.sum(0).clamp(min=1)
    belief, uncertainty = dimensions(evidence) if frame == "dims" else reliability(evidence, k)
    return Opinion(share * belief, uncertainty)


def reliability(evidence: Tensor, k: float | Tensor) -> tuple[Tensor, Tensor]:
    """Return belief and uncertainty of frame ``reliability``, both [...]."""
    uncertainty = (k / (evidence + k).clamp(min=SMALLEST)).prod(0)
    return 1 - uncertainty, uncertainty


def dimensions(evidence: Tensor) -> tuple[Tensor, Tensor]:
    """Return D times the belief, and the uncertainty, of frame ``dims``, both [...]; finite for any evidence."""
    size = evidence[0].numel()
    support = torch.log1p(evidence / size).sum(0)
    top = support.amax()
    belief, doubt = -torch.expm1(-support) * torch.exp(support - top), torch.exp(-top)
    total = belief.sum() + doubt
    return size * belief / total, (doubt / total).expand_as(support)


def aggregate(means: Tensor, variance: Tensor, kappa: float | Tensor, k: float | Tensor, **options: Any) -> Tensor:
    """Return the gradient of `agree`, [S, ...] -> [...]."""
    return agree(means, variance, kappa, k, **options).gradient


def agree(
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
) -> Agreement:
    r"""Return :math:`\sum_s w_s \mu_s + u f`, the gradient that sources with these moments agree on, [S, ...] -> [...].

    ``fallback`` (f) is what doubt leaves: the ``mean`` of the sources, ``zero``, or the ``fusion`` loss's gradient.
    ``gain``: times the number of sources (``sum``), once (``none``), or as long as the plain sum (``match_norm``).
    ``kappa=0`` with fallback ``mean`` and gain ``sum`` is the plain sum of the means, bit for bit.

    In the frames ``reliability`` and ``dims`` the weights are a gain on the mean of the sources (see `combine`). In
    ``reliability`` doubt in that mean cannot fall back on it: ``mean`` counts as ``zero`` there, and no kappa is
    neutral. A source that is not ``present`` [S] counts nowhere. Without one the gradient is zero.

    With ``sizes``, several tensors lie side by side, [S, D]; each has a floor, unit, competition and norm of its own,
    and ``present`` may be [S, D], ``kappa`` and ``k`` [D].
    """
    means = mask_absent(present, means)
    count = len(means) if present is None else present.sum(0).to(means)
    e = evidence(variance, kappa, scale, reference, means=means if snr else None, present=present, sizes=sizes)

    def settled(*columns: Any) -> Agreement:
        return settle(*columns, frame=frame, fallback=fallback, gain=gain)

    if sizes is None or (frame != "dims" and gain != "match_norm"):
        return settled(means, e, k, count, fusion)
    columns = [scalar(x, means) for x in (means, e, k, count, fusion)]
    pieces = [torch.split(x.expand(*x.shape[:-1], means.shape[-1]), list(sizes), -1) for x in columns]
    parts = [settled(*part) for part in zip(*pieces, strict=True)]
    return Agreement(*(torch.cat(each) for each in zip(*parts, strict=True)))


def settle(
    means: Tensor,
    evidence: Tensor,
    k: float | Tensor,
    count: int | Tensor,
    fusion: float | Tensor,
    *,
    frame: str,
    fallback: str,
    gain: str,
) -> Agreement:
    """Return what sources with this evidence agree on, [S, ...] -> [...]; absent ones have zeros for both."""
    plain = added(means)
    if frame == "modality" and fallback == "mean":
        among = at_least_one(count)
        mean, doubt = added(evidence) / among, scalar(k / among, plain)
        excess = torch.addcmul(products(evidence, means), mean, plain, value=-1)  # 0 where all evidence is 1
        total = mean + doubt
        total = total if isinstance(count, int) else total.clamp(min=SMALLEST)
        agreed = torch.addcdiv(plain, excess, total)  # S sum_s (w_s + u / S) mu_s
        if gain == "match_norm":  # makes what is left as long as the plain sum, and so it must be more than rounding
            agreed = torch.where(excess == 0, plain, torch.addcmul(products(evidence, means), doubt, plain) / total)
        return Agreement(regain(agreed, plain, count, gain), doubt / total, plain)
    weights, uncertainty = combine(evidence, k, frame)
    agreed = (weights * means).sum(0)
    if fallback == "fusion":
        agreed = agreed + uncertainty * fusion
    elif fallback == "mean" and frame != "reliability":
        agreed = agreed + uncertainty * (plain / at_least_one(count))
    return Agreement(regain(count * agreed, plain, count, gain), uncertainty, plain)


def regain(total: Tensor, plain: Tensor, count: int | Tensor, gain: str) -> Tensor:
    """Return a gradient that counts every source once, [...], with the gain that is asked for."""
    if gain == "none":
        return total / at_least_one(count)
    if gain == "match_norm":
        norm: Tensor = torch.linalg.vector_norm(total)
        wanted: Tensor = torch.linalg.vector_norm(plain)
        return total * (wanted / norm.clamp(min=torch.finfo(total.dtype).tiny))
    return total


def added(values: Tensor) -> Tensor:
    """Return the sum over the sources, [S, ...] -> [...]; in their order, and faster than `sum` for a few."""
    return reduce(torch.add, values.unbind())


def products(one: Tensor, other: Tensor) -> Tensor:
    """Return the sum over the sources of a product, [S, ...] and [S, ...] -> [...]."""
    (a, b), *rest = zip(one.unbind(), other.unbind(), strict=True)
    return reduce(lambda total, pair: torch.addcmul(total, *pair), rest, a * b)


def at_least_one(count: int | Tensor) -> int | Tensor:
    """Return a number of sources to divide by."""
    return count.clamp(min=1) if isinstance(count, Tensor) else count
