"""OGM: on-the-fly gradient modulation."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from trainables.signals import Group, Params, Pull, Signals, Step, Task


class OGM(NamedTuple):
    r"""On-the-fly gradient modulation (Peng et al., CVPR 2022, https://arxiv.org/abs/2203.15332, 3.2).

    The gradient of encoder ``m`` is multiplied by :math:`k_m = 1 - \tanh(\alpha \rho_m)` where modality ``m``
    leads (:math:`\rho_m > 1`), by 1 elsewhere; :math:`\rho_m` is the mean probability that it gives the true class,
    over that of the others (M > 2: our reading; the paper has two modalities). ``alpha=0``: joint training.

    ``filter`` says which tensors of an encoder are scaled. The release takes convolution weights alone
    (main.py:130, ``conv4d``), which leaves encoders without convolutions untouched; ``auto`` takes
    convolution weights where an encoder has them and all weights (``ndim>1``) elsewhere.
    """

    alpha: float | Tensor = 0.8
    filter: str = "auto"

    @property
    def needs(self) -> frozenset[str]:
        """Return the signals it reads beside the logits."""
        return frozenset({"unimodal"})

    def init(self, params: Params) -> tuple[()]:
        """Return the empty state."""
        return ()

    def step(self, state: tuple[()], signals: Signals, task: Task, pull: Pull) -> Step:
        """Damp the encoders of the modalities that lead."""
        metrics = coefficients(signals, task, self.alpha)
        grads = pull(lambda s: task.objective(s.logits))
        return Step(modulate(grads, metrics["scale"], self.filter, lambda k, g, name: k * g), state, metrics)


def coefficients(signals: Signals, task: Task, alpha: float | Tensor) -> dict[str, Tensor]:
    """Return `scale`, the coefficient k of each modality, and `ratio`, how far it leads; both [M]."""
    ratio = ratios(task.heard(task.likelihood(signals.unimodal.detach())))
    return {"scale": task.faded(damping(ratio, alpha)), "ratio": ratio}


def damping(ratio: Tensor, alpha: float | Tensor) -> Tensor:
    """Return each modality's coefficient k from how far it leads, [M] -> [M]."""
    return torch.where(ratio > 1, 1 - torch.tanh(alpha * ratio), torch.ones_like(ratio))


def ratios(score: Tensor) -> Tensor:
    """Return each modality's score over the mean of the others', [M] -> [M]; 1 where there are no others."""
    if len(score) == 1:
        return torch.ones_like(score)
    others = (score.sum() - score) / (len(score) - 1)
    return (score / others.clamp(min=1e-8)).clamp(max=1e4)


def modulate(grads: Params, scale: Tensor, which: str, change: Callable[[Tensor, Tensor, str], Tensor]) -> Params:
    """Return gradients in which ``change(k_m, gradient, "m.name")`` stands for those that ``which`` selects."""

    def group(k: Tensor, modality: str, gradients: Group) -> Group:
        names = chosen(gradients, which)
        return {n: change(k, g, f"{modality}.{n}") if n in names else g for n, g in gradients.items()}

    pairs = zip(scale.unbind(), grads.encoders.items(), strict=True)
    return grads._replace(encoders={modality: group(k, modality, gradients) for k, (modality, gradients) in pairs})


def chosen(group: Group, which: str) -> frozenset[str]:
    """Return the names of the tensors of an encoder that ``which`` selects."""
    convolutions = frozenset(name for name, tensor in group.items() if tensor.ndim == 4)
    weights = frozenset(name for name, tensor in group.items() if tensor.ndim > 1)
    return {"conv4d": convolutions, "ndim>1": weights, "all": frozenset(group), "auto": convolutions or weights}[which]
