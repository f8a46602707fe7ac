"""CGGM: classifier-guided gradient modulation."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainables.classifiers import Classifier
from trainables.optim import Optimizer, build_optimizer
from trainables.signals import Params, Pull, Signals, Sloped, Step, Task, leaves, placed, scalar, scale_encoders
from trainables.tasks import labelled_mean

SUM_EPS = 1e-8  # added to the sum of all changes (msatrain.py:109)
ETA = 1e-3  # added to every modality's gain by `delta=positive`, ours (METHODS.md 7.5)
NORM_EPS = 1e-30  # added to a squared norm


class CGGMState(NamedTuple):
    """What the next step is compared with."""

    eps: Tensor  # [M] float64 last value of each modality's metric
    measured: Tensor  # [M] float64, 1 where there is one, else 0
    previous: Any  # `grad_prev`: weights b_m / M [M] and q_m [M, C, P]; `param_released`: slope of L_gm by W [C, P]


class CGGM(NamedTuple):
    r"""Classifier-guided gradient modulation (Guo et al., NeurIPS 2024, https://arxiv.org/abs/2411.01409).

    A classifier on each modality's detached feature measures its progress: with :math:`\epsilon_m(t)` its accuracy
    on this batch, :math:`\epsilon_m(0) = 0`, :math:`\Delta_m = \epsilon_m(t) - \epsilon_m(t - 1)`,

    .. math:: B_m = \frac{S - \Delta_m}{S}, \quad S = \sum_j \Delta_j + 10^{-8}, \qquad
        L_{gm} = \frac{1}{M} \sum_m |B_m| - B_m \cos(g_\Omega, q_m)

    *Magnitude* (paper = msatrain.py:106-122): the gradients of encoder m are multiplied by :math:`\rho B_m`,
    which may be negative, and about :math:`10^7` where the changes cancel. *Direction* (paper): the loss is
    :math:`L + \lambda L_{gm}`, with :math:`g_\Omega` the gradient of the joint loss by the weight W of the joint head
    and :math:`q_m` that of classifier m's loss by its last weight :math:`V_m`. :math:`q_m` and :math:`B_m` are
    constants; :math:`g_\Omega = \sum_i \partial L_i / \partial f_i \otimes z_i` is a function of logits f and fused
    features z, so that :math:`L_{gm}` needs no second backward pass. In dense tasks the sum is over positions, too. The
    cosine is 0 where a norm is 0 (NORM_EPS). The classifiers are trained on their own losses by their own optimiser.

    ``magnitude=False, lam=0`` (or ``direction=off``): joint training, as is a single modality in data or batch.

    Where paper and release differ, the default is the paper:

    - ``direction=grad`` is the paper's. ``param_released``: the release hands *weights* to the cosine
      (msatrain.py:85-87, 99-104) and adds :math:`L_{gm}(t)` to the loss of step t + 1 (:76-77, none in the
      first), whose only effect is its slope by W at step t; what reaches :math:`V_m` is zeroed (:81).
      ``grad_prev`` (ours): B and q of step t - 1, none in the first.
    - ``rho`` does not enter :math:`L_{gm}` (release; the paper does not say). ``rho`` 1.3 and ``lam`` 0.2 are
      those of CMU-MOSI and IEMOCAP; Food-101 1.3 and 0.05, BraTS 1.0 and 0.1. The release's names never match a BraTS
      encoder (segtrain.py:106-110): ``magnitude=False`` there.
    - ``eps_metric=accuracy`` is the hit rate; in dense tasks that of positions, where BraTS takes the mean Dice.
      In regression it is minus the absolute error, and the first change is 0 (ours); ``sign`` is CMU-MOSI's metric,
      the fraction of outputs with the sign of the target (eval_metrics.py:46-53), taken before it was standardised.
      ``p_y`` (ours): the probability of the target.
    - The release clips the model without the classifiers to norm 0.8 (:126): ``train.clip: 0.8``.

    Ours, for ablation and stability (METHODS.md 7.5): ``delta=positive`` counts only gains,
    :math:`B_m = (S^+ - \Delta^+_m + (M - 1) \eta) / (S^+ + M \eta)` with :math:`\eta = 10^{-3}`, in [0, 1].
    ``smooth`` is the decay of a running mean of :math:`\epsilon` before differencing. ``clip_b`` bounds
    :math:`|B_m|` (METHODS.md has two bounds; the pole of :math:`B_m` is two-sided, and ``positive`` bounds it from
    below). ``eps_source`` measures m's part of the joint head (``head``) or the prediction of m alone (``single``) in
    place of a classifier (``aux``); with ``direction=off`` there are then no classifiers. ``apply=lr`` scales the
    update in place of the gradient. ``cls_layers``, ``cls_width`` and ``cls_heads`` are those of `Classifier`;
    ``cls_optimizer`` is Adam for CMU-MOSI, AdamW with ``cls_decay`` 3e-3 for Food-101, SGD (momentum 0.9, rate 6e-3)
    for BraTS. A modality absent from a batch keeps its state and its gradient, and does not count in S and M. The
    default classifier is cheaper than the release's attention layers (see `Classifier`), and all of encoder m is
    scaled, where the release leaves out its input projections ``proj.m``.
    """

    rho: float | Tensor = 1.3
    lam: float | Tensor = 0.2
    magnitude: bool = True
    direction: str = "grad"
    delta: str = "signed"
    smooth: float | Tensor = 0.0
    clip_b: float | Tensor = float("inf")
    eps_source: str = "aux"
    eps_metric: str = "accuracy"
    apply: str = "grad"
    cls_lr: float | Tensor = 5e-4
    cls_optimizer: str = "adam"
    cls_decay: float | Tensor = 0.0
    cls_layers: int = 2
    cls_width: int = 32
    cls_heads: int = 0

    @property
    def needs(self) -> frozenset[str]:
        """Return the signals that the method reads in addition to the logits."""
        source = {"aux": {"classified"}, "head": {"unimodal_values"}, "single": {"muted_values"}}[self.eps_source]
        gradients = {"classified", "fused"}
        direction = {
            "grad": gradients, "grad_prev": gradients, "param_released": {"classified", "weight"}, "off": set()
        }  # fmt: skip
        return frozenset(source | direction[self.direction])

    @property
    def classifier(self) -> Classifier | None:
        """Return the architecture of the classifiers; None where they are not used."""
        if "classified" not in self.needs:
            return None
        return Classifier(self.cls_layers, self.cls_width, self.cls_heads)

    @property
    def trainer(self) -> Optimizer:
        """Return the optimiser of the classifiers."""
        return build_optimizer(self.cls_optimizer, self.cls_lr, 0.9, self.cls_decay)

    def init(self, params: Params) -> CGGMState:
        """Return the state before the first step: metrics of 0 and no direction."""
        zero = torch.zeros(len(params.encoders), dtype=torch.float64, device=leaves(params)[0].device)
        previous: Any = ()
        if self.direction in {"grad_prev", "param_released"}:
            readouts = [readout["weight"] for readout in params.readouts.values() if readout]
            slope = torch.zeros_like(torch.cat(readouts, -1) if readouts else params.shared["head.weight"])
            previous = (
                (slope.new_zeros(len(zero)), slope.expand(len(zero), *slope.shape))
                if self.direction == "grad_prev"
                else slope
            )
        return CGGMState(zero, zero, previous)

    def coalitions(self, modalities: int, task: Task) -> Tensor:
        """Return the coalitions of one modality each, [M, M] bool."""
        return placed(task.device, single_coalitions, modalities)

    def step(self, state: CGGMState, signals: Signals, task: Task, pull: Pull) -> Step:
        """Scale each encoder's gradients by rho B, and align the joint gradient with those of the classifiers."""
        present = task.attending()
        eps, change, measured = self.update_metric(state, self.measure(signals, task), present, task)
        modulated = modulated_modalities(eps, present)
        raw = mask_values(modulated, self.balance(change, present), 1.0)
        balance = self.clip_balance(raw)
        scale = torch.ones_like(balance)
        if self.magnitude:
            scale = mask_values(modulated, task.faded(self.rho * balance), 1.0)
        metrics = {
            "scale": scale, "balance": balance, "eps": eps,
            "negative": (raw < 0).to(raw), "clipped": (balance != raw).to(raw),
            "joint_eps": task.mean(self.metric(task)(signals.logits.detach()[None]).double())[0],
        }  # fmt: skip
        weights = mask_values(modulated, balance, 0.0) / (len(eps) if present is None else present.sum().clamp(min=1))
        has_classifiers = isinstance(signals.classified, Tensor)
        slopes: Any = task.slopes(signals.logits, signals.classified) if has_classifiers else ()
        slope, previous, direction_metrics = self.direction_slope(state, signals, slopes, task, weights)
        has_direction = self.direction != "off" and len(eps) > 1 and (isinstance(self.lam, Tensor) or self.lam != 0)

        def loss(s: Signals) -> Tensor | Sloped:
            if not has_direction:
                total = task.objective(s.logits)
                return total + (slopes[1:] * s.classified).sum() if has_classifiers else total
            if self.direction == "param_released":
                share = len(s.logits) / task.samples  # of this worker
                return Sloped((s.logits, s.classified, s.weight), (slopes[0], slopes[1:], share * slope))
            logits, change = signals.logits.detach(), signals.fused.detach() @ slope
            curvature = task.curve(logits, change if task.reduction == "sum" else change / task.samples)
            return Sloped((s.logits, s.classified, s.fused), (slopes[0] + curvature, slopes[1:], slopes[0] @ slope.mT))

        def rescale(tree: Params) -> Params:
            return scale_encoders(tree, scale.to(signals.logits))

        result = Step(pull(loss), CGGMState(eps, measured, previous), metrics | direction_metrics)
        if not self.magnitude:
            return result
        return result._replace(rescale=rescale) if self.apply == "lr" else result._replace(grads=rescale(result.grads))

    def measure(self, signals: Signals, task: Task) -> Tensor:
        """Return the metric of each modality on this batch, [M] float64."""
        sources = {"aux": signals.classified, "head": signals.unimodal, "single": signals.muted}
        return task.heard(self.metric(task)(sources[self.eps_source].detach()).double())

    def metric(self, task: Task) -> Callable[[Tensor], Tensor]:
        """Return the function that computes the metric of predictions, [..., B, C] -> [..., B]."""
        metrics: dict[str, Callable[[Tensor], Tensor]] = {
            "accuracy": task.score, "p_y": task.likelihood, "sign": partial(sign_accuracy, task)
        }  # fmt: skip
        return metrics[self.eps_metric]

    def update_metric(
        self, state: CGGMState, eps: Tensor, present: Tensor | None, task: Task
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the new `eps`, its change (0 for absent modalities) and the new `measured`, each [M]."""
        previous = state.eps
        if self.eps_metric == "accuracy" and not task.nats:  # minus an error, which does not start from 0
            previous = torch.where(state.measured > 0, previous, eps)
        if isinstance(self.smooth, Tensor) or self.smooth:
            eps = torch.lerp(eps, previous, scalar(self.smooth, eps))
        if present is None:
            return eps, eps - previous, torch.ones_like(eps)
        eps = torch.where(present, eps, state.eps)
        return eps, torch.where(present, eps - previous, 0.0), torch.where(present, 1.0, state.measured)

    def balance(self, change: Tensor, present: Tensor | None) -> Tensor:
        """Return B of the changes of the metrics, [M] -> [M]; it sums to one less than the number of present ones."""
        if self.delta == "signed":
            total = change.sum() + SUM_EPS
            total = torch.where(total == 0, SUM_EPS, total)
            return (total - change) / total
        count = len(change) if present is None else present.sum()
        gain = change.clamp(min=0)
        total = gain.sum()
        return (total - gain + (count - 1) * ETA) / (total + count * ETA)

    def clip_balance(self, balance: Tensor) -> Tensor:
        """Return B clipped to `clip_b` in absolute value, [M] -> [M]."""
        if not isinstance(self.clip_b, Tensor) and self.clip_b == float("inf"):
            return balance
        bound = scalar(self.clip_b, balance)
        return torch.minimum(torch.maximum(balance, -bound), bound)

    def direction_slope(
        self, state: CGGMState, signals: Signals, slopes: Any, task: Task, weights: Tensor
    ) -> tuple[Tensor, Any, dict[str, Tensor]]:
        """Return the gradient of lambda L_gm for this step, the new `previous` of the state, and metrics.

        It is the gradient by W for `param_released`, [C, P], else by the unreduced g_Omega, [P, C]: the sum of which
        it is the mean. ``weights`` [M] are b_m / M, 0 for modalities that are not modulated.
        """
        if self.direction == "off":
            return torch.zeros(()), (), {}
        weights, previous = weights.to(signals.logits), state.previous
        if self.direction == "param_released":
            matrices = torch.cat([signals.weight[None], signals.classifiers[1]]).detach()
        else:
            inputs = torch.cat([signals.fused[None], signals.classifiers[0]]).detach()
            matrices = task.total(torch.bmm(slopes.flatten(1, -2).mT, inputs.flatten(1, -2)))
        if self.direction == "grad_prev":
            previous, (weights, directions) = (weights, matrices[1:]), previous
            matrices = torch.cat([matrices[:1], directions])
        cosine, slope = cosine_alignment(matrices, weights)
        lam = (self.lam * task.strength).to(slope)
        metrics = {"cosine": cosine, "direction": (weights.abs() - weights * cosine).sum()}
        if self.direction == "param_released":
            return lam * previous, slope, metrics
        return lam * slope.mT, previous, metrics


def sign_accuracy(task: Task, prediction: Tensor) -> Tensor:
    """Return the fraction of outputs with the sign of the target, [M, B, ..., C] -> [M, B].

    The sign of the target is minus that of the loss's slope at 0, `task.zero`; as in the release, 0 counts as negative.
    """
    positive = task.slope(torch.full_like(prediction, task.zero)) < 0
    hits = (prediction > task.zero) == positive
    if task.labelled is not None:
        return labelled_mean(hits.double().mean(-1), task.labelled)
    return hits.flatten(2).double().mean(-1)


def modulated_modalities(eps: Tensor, present: Tensor | None) -> Tensor | None:
    """Return the modalities that are present with at least one other, [M] bool; None: all."""
    if len(eps) == 1:
        return torch.zeros_like(eps, dtype=torch.bool)
    return None if present is None else present & (present.sum() > 1)


def mask_values(mask: Tensor | None, values: Tensor, fill: float) -> Tensor:
    """Return the values where the mask (None: everywhere) is true, else ``fill``."""
    return values if mask is None else torch.where(mask, values, fill)


def cosine_alignment(matrices: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the cosines of the first matrix with the others, [1 + M, C, P] -> [M], and a gradient [C, P].

    It is the gradient of :math:`-\sum_m w_m \cos_m` by the first matrix, for ``weights`` w [M]. Where a matrix is 0,
    both are 0.
    """
    rows = matrices.flatten(1)
    products = rows @ rows.mT
    squares = products.diagonal()
    inverse = squares.sqrt() / (squares + NORM_EPS)  # of the norms
    inverse = inverse * inverse[0]
    cosine = (products[0] * inverse)[1:]
    mixture = torch.cat([(weights @ cosine)[None], -weights]) * inverse
    return cosine, (mixture @ rows).view(matrices.shape[1:])


@cache
def single_coalitions(modalities: int) -> Tensor:
    """Return the coalitions of one modality each, [M, M] bool."""
    return torch.eye(modalities, dtype=torch.bool)
