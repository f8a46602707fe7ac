"""OGM: on-the-fly gradient modulation."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.signals import Group, Params, Pull, Signals, Step, Task

BOUNDS = 1e-8, 1e4  # smallest mean score of the other modalities, and largest ratio
Change = Callable[[Tensor, Tensor, str], Tensor]  # (k_m, gradient, "m.name") -> gradient


class OGM(NamedTuple):
    r"""On-the-fly gradient modulation (Peng et al., CVPR 2022, https://arxiv.org/abs/2203.15332, 3.2).

    With :math:`s_m = \sum_n \mathrm{softmax}(u_m)_{n, y_n}` the probability of the true class by modality m alone
    (main.py:118; :math:`u_m` is its part of the joint head or, for other fusions, f({m})), and
    :math:`\rho_m = s_m / s_j` its ratio to that of the other modality, the gradient of encoder m is multiplied by

    .. math:: k_m = 1 - \tanh(\alpha \rho_m) \text{ if } \rho_m > 1, \text{ else } 1.

    ``alpha=0``: joint training. Paper and release agree (main.py:124-133). The release computes k with a graph and
    never differentiates it; here it is detached. With sum fusion u_m includes the whole bias of its branch, as in
    training by the release (main.py:85; its validation adds half of it).

    ``filter`` selects the tensors of an encoder that are scaled. The release takes convolution weights only
    (main.py:130, ``conv4d``), which leaves encoders without convolutions unchanged; ``auto`` takes convolution weights
    where an encoder has them and all weights (``ndim>1``) elsewhere; ``all`` takes every tensor of encoder and
    readout, as the re-implementation in the AGM repository does (CREMAD_main.py:178-200). ``apply=lr`` scales the
    optimiser's update in place of the gradient (ours): under Adam a constant factor on the gradient cancels.

    It acts in all epochs by default; the release in the first 51 of 100 (main.py: 0 to 50): ``end: 51``.

    Ours: for M > 2 the denominator of :math:`\rho_m` is the mean of the others (``ratio=mean``), the ratio is at most
    1e4, and the likelihood of a regression is exp(-loss). BalanceBenchmark's variants (OGM_trainer.py:89-167) are
    ``ratio=bb``, for M > 2 the score by the cosine of the logits over that of the weakest modality, and ``ratio=bb3``,
    the sum of the ratios to the others, which only for the last modality is divided by their number.
    """

    alpha: float | Tensor = 0.8
    filter: str = "auto"
    apply: str = "grad"
    ratio: str = "mean"

    @property
    def needs(self) -> frozenset[str]:
        """Return the signals that the method reads in addition to the logits."""
        return frozenset({"unimodal_values"})

    @property
    def bounds(self) -> tuple[float, float]:
        """Return the smallest denominator and the largest value of a ratio (ours)."""
        return BOUNDS

    def init(self, params: Params) -> tuple[()]:
        """Return the empty state."""
        return ()

    def step(self, state: tuple[()], signals: Signals, task: Task, pull: Pull) -> Step:
        """Scale down the gradients of the encoders whose modality is ahead of the others."""
        metrics = coefficients(signals, task, self.alpha, self.ratio, self.bounds)

        def rescale(tree: Params) -> Params:
            return modulate(tree, metrics["scale"], self.filter, lambda k, g, name: k * g)

        grads = pull(lambda s: task.objective(s.logits))
        return Step(grads, state, metrics, rescale) if self.apply == "lr" else Step(rescale(grads), state, metrics)


def coefficients(
    signals: Signals, task: Task, alpha: float | Tensor, ratio: str, bounds: tuple[float, float]
) -> dict[str, Tensor]:
    """Return `scale`, the coefficient k of each modality, and `ratio`, its rho; both [M]."""
    logits = signals.unimodal.detach()
    if ratio == "mean":
        rho = ratios(task.heard(task.likelihood(logits)), task.attending(), bounds)
    else:
        rho = benchmark_ratios(logits, task, ratio)
    return {"scale": task.faded(damping_factors(rho, alpha)), "ratio": rho}


def damping_factors(ratio: Tensor, alpha: float | Tensor) -> Tensor:
    """Return the coefficient k of each modality from its ratio rho, [M] -> [M]."""
    return 1 - torch.tanh(alpha * F.threshold(ratio, 1, 0))


def ratios(score: Tensor, present: Tensor | None = None, bounds: tuple[float, float] = BOUNDS) -> Tensor:
    """Return each modality's score over the mean of the others', [M] -> [M]; 1 where there are no others.

    ``present`` [M] are the modalities in the batch; None: all. ``bounds`` are the smallest mean and the largest ratio.
    """
    min_mean, max_ratio = bounds
    if len(score) == 1:
        return torch.ones_like(score)
    if len(score) == 2:
        others = score.flip(0)
    else:
        count = len(score) if present is None else present.sum().clamp(min=2)
        others = (score.sum() - score) / (count - 1)  # an absent modality scores 0
    ratio = (score / others.clamp(min=min_mean)).clamp(max=max_ratio)
    return ratio if present is None else torch.where(present & (present.sum() > 1), ratio, 1.0)


def benchmark_ratios(logits: Tensor, task: Task, variant: str) -> Tensor:
    """Return the ratios of BalanceBenchmark's variants, ``bb`` or ``bb3``, from unimodal logits, [M, B, C] -> [M].

    The modalities in the batch are compared as if there were no others; an absent or single one gets 1.
    """
    present = task.attending()
    present = torch.ones(len(logits), dtype=torch.bool, device=logits.device) if present is None else present
    count, score = present.sum(), task.heard(task.likelihood(logits)) * task.samples
    others = present & ~torch.eye(len(score), dtype=torch.bool, device=score.device)
    ratio = torch.where(others, score[:, None] / (score + 1e-5), 0.0).sum(-1)
    if variant == "bb3":
        ratio = torch.where(present.cumsum(0) == count, ratio / (count - 1).clamp(min=1), ratio)  # only the last one
    elif len(score) > 2:
        hits = task.heard(task.likelihood(torch.cos(logits)) * task.score(logits)) * task.samples
        weakest = torch.where(present, hits, torch.inf).amin()
        ratio = torch.where(count > 2, hits / (weakest + 1e-5), ratio)
    return torch.where(present & (count > 1), ratio, 1.0)


def modulate(tree: Params, scale: Tensor, selection: str, change: Change) -> Params:
    """Return gradients (or updates) with ``change`` applied to those that ``selection``, a `filter`, selects."""

    def change_group(k: Tensor, modality: str, tensors: Group, names: frozenset[str]) -> Group:
        return {n: change(k, g, f"{modality}.{n}") if n in names else g for n, g in tensors.items()}

    factors = scale.unbind()
    pairs = zip(factors, tree.encoders.items(), strict=True)
    encoders = {m: change_group(k, m, tensors, selected_names(tensors, selection)) for k, (m, tensors) in pairs}
    if selection != "all":
        return tree._replace(encoders=encoders)
    return tree._replace(
        encoders=encoders,
        readouts={
            m: change_group(k, f"{m}.readout", r, frozenset(r))
            for k, (m, r) in zip(factors, tree.readouts.items(), strict=True)
        },
    )


def selected_names(group: Group, selection: str) -> frozenset[str]:
    """Return the names of the tensors of an encoder that ``selection``, a `filter`, selects."""
    if selection == "all":
        return frozenset(group)
    convolutions = frozenset(name for name, tensor in group.items() if tensor.ndim == 4)
    if selection == "conv4d" or (selection == "auto" and convolutions):
        return convolutions
    return frozenset(name for name, tensor in group.items() if tensor.ndim > 1)
