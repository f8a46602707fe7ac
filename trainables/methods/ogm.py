"""OGM: on-the-fly gradient modulation."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.signals import Group, Params, Pull, Signals, Step, Task

BOUNDS = 1e-8, 1e4  # least mean of the others, and largest ratio
Change = Callable[[Tensor, Tensor, str], Tensor]  # (k_m, gradient, "m.name") -> gradient


class OGM(NamedTuple):
    r"""On-the-fly gradient modulation (Peng et al., CVPR 2022, https://arxiv.org/abs/2203.15332, 3.2).

    With :math:`s_m = \sum_n \mathrm{softmax}(u_m)_{n, y_n}` the probability that modality m alone gives to the true
    class (main.py:118; its part of the joint head, or for other fusions f({m})), and
    :math:`\rho_m = s_m / s_j` how far it leads the other, the gradient of encoder m is multiplied by

    .. math:: k_m = 1 - \tanh(\alpha \rho_m) \text{ if } \rho_m > 1, \text{ else } 1.

    ``alpha=0``: joint training. Paper and release agree (main.py:124-133). The release computes k with its graph and
    never differentiates it; here it is detached. With sum fusion u_m has its own whole bias, as in the release's
    training (main.py:85; its validation has half of it).

    ``filter`` says which tensors of an encoder are scaled. The release takes convolution weights alone
    (main.py:130, ``conv4d``), which leaves encoders without convolutions untouched; ``auto`` takes
    convolution weights where an encoder has them and all weights (``ndim>1``) elsewhere; ``all`` takes every tensor
    of encoder and readout, as the re-implementation in the AGM repository (CREMAD_main.py:178-200).
    ``apply=lr`` scales the optimiser's update in place of the gradient (ours): under Adam a constant factor on the
    gradient cancels.

    It acts in all epochs by default; the release in the first 51 of 100 (main.py: 0 to 50): ``end: 51``.

    Ours: for M > 2 :math:`\rho_m` is over the mean of the others (``ratio=mean``), it is at most 1e4, and the
    likelihood of a regression is exp(-loss). BalanceBenchmark's variants (OGM_trainer.py:89-167) are ``ratio=bb``,
    for M > 2 by the cosine of the logits over the weakest modality, and ``ratio=bb3``, the sum of the ratios, divided
    by their number for the last modality alone.
    """

    alpha: float | Tensor = 0.8
    filter: str = "auto"
    apply: str = "grad"
    ratio: str = "mean"

    @property
    def needs(self) -> frozenset[str]:
        """Return the signals it reads beside the logits."""
        return frozenset({"unimodal_values"})

    @property
    def bounds(self) -> tuple[float, float]:
        """Return the least that others count for, and the most that a modality leads by (ours)."""
        return BOUNDS

    def init(self, params: Params) -> tuple[()]:
        """Return the empty state."""
        return ()

    def step(self, state: tuple[()], signals: Signals, task: Task, pull: Pull) -> Step:
        """Damp the encoders of the modalities that lead."""
        metrics = coefficients(signals, task, self.alpha, self.ratio, self.bounds)

        def damped(tree: Params) -> Params:
            return modulate(tree, metrics["scale"], self.filter, lambda k, g, name: k * g)

        grads = pull(lambda s: task.objective(s.logits))
        return Step(grads, state, metrics, damped) if self.apply == "lr" else Step(damped(grads), state, metrics)


def coefficients(
    signals: Signals, task: Task, alpha: float | Tensor, ratio: str, bounds: tuple[float, float]
) -> dict[str, Tensor]:
    """Return `scale`, the coefficient k of each modality, and `ratio`, how far it leads; both [M]."""
    logits = signals.unimodal.detach()
    if ratio == "mean":
        leads = ratios(task.heard(task.likelihood(logits)), task.attending(), bounds)
    else:
        leads = benchmark_ratios(logits, task, ratio)
    return {"scale": task.faded(damping(leads, alpha)), "ratio": leads}


def damping(ratio: Tensor, alpha: float | Tensor) -> Tensor:
    """Return each modality's coefficient k from how far it leads, [M] -> [M]."""
    return 1 - torch.tanh(alpha * F.threshold(ratio, 1, 0))


def ratios(score: Tensor, among: Tensor | None = None, bounds: tuple[float, float] = BOUNDS) -> Tensor:
    """Return each modality's score over the mean of the others', [M] -> [M]; 1 where there are no others.

    ``among`` [M] are the modalities in the batch; None: all. ``bounds`` are the least mean, and the largest ratio.
    """
    least, most = bounds
    if len(score) == 1:
        return torch.ones_like(score)
    if len(score) == 2:
        others = score.flip(0)
    else:
        count = len(score) if among is None else among.sum().clamp(min=2)
        others = (score.sum() - score) / (count - 1)  # an absent modality scores 0
    ratio = (score / others.clamp(min=least)).clamp(max=most)
    return ratio if among is None else torch.where(among & (among.sum() > 1), ratio, 1.0)


def benchmark_ratios(logits: Tensor, task: Task, which: str) -> Tensor:
    """Return the ratios of BalanceBenchmark's two versions from modality-only logits, [M, B, C] -> [M].

    Those in the batch are compared, as if there were no others; the others, and one alone, get 1.
    """
    among = task.attending()
    among = torch.ones(len(logits), dtype=torch.bool, device=logits.device) if among is None else among
    count, score = among.sum(), task.heard(task.likelihood(logits)) * task.samples
    others = among & ~torch.eye(len(score), dtype=torch.bool, device=score.device)
    ratio = torch.where(others, score[:, None] / (score + 1e-5), 0.0).sum(-1)
    if which == "bb3":
        ratio = torch.where(among.cumsum(0) == count, ratio / (count - 1).clamp(min=1), ratio)  # of the last alone
    elif len(score) > 2:
        hits = task.heard(task.likelihood(torch.cos(logits)) * task.score(logits)) * task.samples
        least = torch.where(among, hits, torch.inf).amin()
        ratio = torch.where(count > 2, hits / (least + 1e-5), ratio)
    return torch.where(among & (count > 1), ratio, 1.0)


def modulate(tree: Params, scale: Tensor, which: str, change: Change) -> Params:
    """Return gradients (or updates) in which ``change`` of them stands for those that ``which`` selects."""

    def group(k: Tensor, modality: str, tensors: Group, names: frozenset[str]) -> Group:
        return {n: change(k, g, f"{modality}.{n}") if n in names else g for n, g in tensors.items()}

    factors = scale.unbind()
    pairs = zip(factors, tree.encoders.items(), strict=True)
    encoders = {m: group(k, m, tensors, chosen(tensors, which)) for k, (m, tensors) in pairs}
    if which != "all":
        return tree._replace(encoders=encoders)
    return tree._replace(
        encoders=encoders,
        readouts={
            m: group(k, f"{m}.readout", r, frozenset(r))
            for k, (m, r) in zip(factors, tree.readouts.items(), strict=True)
        },
    )


def chosen(group: Group, which: str) -> frozenset[str]:
    """Return the names of the tensors of an encoder that ``which`` selects."""
    if which == "all":
        return frozenset(group)
    convolutions = frozenset(name for name, tensor in group.items() if tensor.ndim == 4)
    if which == "conv4d" or (which == "auto" and convolutions):
        return convolutions
    return frozenset(name for name, tensor in group.items() if tensor.ndim > 1)
