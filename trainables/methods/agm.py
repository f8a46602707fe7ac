"""AGM: adaptive gradient modulation."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from trainables.methods.ogm import modulate
from trainables.shapley import (
    EXACT,
    exact_weights,
    permutations,
    prefixes,
    present_sampled_weights,
    sampled_weights,
    weighted_sums,
)
from trainables.signals import Params, Pull, Signals, Step, Task, all_subsets, leaves, mix, placed, scalar

FLOOR = -math.log(1e-8)  # the true-class probability in a score is at least 1e-8 (CREMAD_main.py:140)
LARGEST = 80.0  # log of a coefficient, so that it is finite in float32
FARTHEST = 300.0  # log of how far one modality is ahead, so that sums of it are finite in float64


class AGMState(NamedTuple):
    """The scores seen so far, in float64 so that long averages stay exact."""

    steps: Tensor  # [M] with a sample of modality m
    history: Tensor  # [1, M] weighted sum of past scores, or [W, M] the last W of them
    weight: Tensor  # [M] the weights in that sum
    moments: Tensor  # [3] count, sum and sum of squares of all scores, where they have no natural unit
    scale: Tensor  # [M] last coefficients


class AGM(NamedTuple):
    r"""Adaptive gradient modulation (Li et al., ICCV 2023, https://arxiv.org/abs/2308.07686, 3.1).

    Shapley values split the joint logits into one share per modality, :math:`A^m = \sum_S w_{m,S} f(S)`. With
    :math:`s_m` the cross-entropy of share m on this batch and :math:`\mu_m` its reference, by default the mean over
    all batches before, the gradient reaching :math:`A^m` is multiplied by

    .. math:: \kappa_m = \exp(\alpha \min(\tau_m - r_m, c)), \qquad
        r_m = \exp \frac{1}{M - 1} \sum_{j \neq m} (s_j - s_m), \quad \tau_m \text{ the same of } \mu

    so that a modality ahead of its reference (:math:`r_m > \tau_m`) is damped. It acts on all parameters: the
    prediction of coalition S receives :math:`\sum_m \kappa_m w_{m,S}` (METHODS.md 6.2). ``alpha=0``: joint training.
    With one modality there is nothing to compare: joint training. Followed where paper and release differ:

    - ``cap`` (c) is the release's: 10 in CREMAD_main.py:151, 7 in URFunny_main.py; the paper has none (``inf``).
    - The empty coalition counts as zero (CREMAD_net.py:67), so that the shares sum to the joint logits.
    - A score takes the probability of the true class to be 1e-8 at least; in URFunny_main.py it has no floor (`most`).
    - Masked passes run in evaluation mode and with gradients (release); ``mute`` is what a masked modality hears:
      ``zero`` (release), the ``mean`` of the training set or a ``feature`` of zeros (ours).
    - The late-fusion and early-fusion scripts clip the total norm to 1 if an element of the head's gradient exceeds 1
      (CREMAD_main.py:168): ``train.clip: 1, train.clip_trigger: 1``, which a study has to set; UR-Funny 5 and 5, AVE
      never. MOSEI's condition, largest above 1 and smallest below, has no counterpart here.
    - It acts in all epochs by default; the release by argparse in the first 20, of 100 in its README: ``end: 20``.
    - Outside its epochs the coefficients are 1; ``stale`` keeps the last ones, as the release does by oversight.

    Ours, for ablation: ``reference`` is ``cumulative`` (paper and release), ``ema`` with decay ``beta``,
    ``window`` of the last ``window`` steps, ``fixed`` after ``warm`` steps, ``target`` (given, a number for
    each modality) or ``balanced`` (no history: all equally strong). ``route=encoder`` scales the gradients of
    encoder m (those that ``filter`` selects, or with ``apply=lr`` their updates), not of its readout, and needs no
    gradients of masked passes; there the scored prediction ``score_attr`` may be ``single``, f({m}), ``loo``, f(all)
    - f(all but m), or ``head``, the modality's part of the joint head, in place of ``shapley``. ``samples`` draws that
    many permutations a step (antithetic pairs) in place of all coalitions; 0: exact. In regression a score is
    the loss over the standard deviation of all losses before; the first batch has none, and kappa is 1. A
    sample without m has no share of m; a batch without m leaves m's history as it is.

    Otherwise than in METHODS.md 6.8, a step whose scores are not finite is not left out: the trial ends as diverged, as
    with any other method. And the logarithm of r is bounded by 300, not by 20: the release bounds it nowhere. With the
    floor it is 18.4 at most; without one (regression, UR-Funny's script), 20 would level whatever lies beyond.

    BalanceBenchmark's variant (AGM_trainer.py:226-277, 536-590) is ``score_attr=bb`` (the shares without their
    first term, f({m}) / M), ``bb_sign=True`` (the modality *behind* is damped), ``route=encoder``,
    ``filter=ndim>1`` and ``cap=7``; it clips as UR-Funny's script does.
    """

    alpha: float | Tensor = 1.0
    cap: float | Tensor = 10.0
    reference: str = "cumulative"
    beta: float | Tensor = 0.99
    window: int = 100
    warm: float | Tensor = 100
    target: float | Tensor | Mapping[str, float] = 0.0
    score_attr: str = "shapley"
    route: str = "phi"
    mute: str = "zero"
    samples: int = 0
    stale: bool = False
    filter: str = "all"
    apply: str = "grad"
    bb_sign: bool = False

    @property
    def needs(self) -> frozenset[str]:
        """Return the signals it reads beside the logits.

        Raises:
            ValueError: the gradient is routed through shares that do not sum to the joint prediction, a setting of
                the other route is given, or a reference is to be given and is not.
        """
        if self.route == "phi" and self.score_attr != "shapley":
            raise ValueError(f"agm: score_attr {self.score_attr} needs route: encoder; only shapley sums to the logits")
        if self.route == "phi" and (self.apply, self.filter) != ("grad", "all"):
            raise ValueError("agm: apply and filter are about encoders; they need route: encoder")
        if self.reference == "target" and isinstance(self.target, float | int):  # equal for all: as `balanced`
            raise ValueError("agm: reference target needs agm.target, a mapping modality -> cross-entropy")
        if self.score_attr == "head":
            return frozenset({"unimodal_values"})
        return frozenset({"muted" if self.route == "phi" else "muted_values"})

    @property
    def most(self) -> float:
        """Return what the cross-entropy of a sample counts in a score at most."""
        return FLOOR

    def init(self, params: Params) -> AGMState:
        """Return an empty history; coefficients start at 1."""
        zero = torch.zeros(len(params.encoders), dtype=torch.float64, device=leaves(params)[0].device)
        history = zero.new_zeros(self.window if self.reference == "window" else 1, len(zero))
        if self.reference == "target":
            history, zero = history + given(self.target, list(params.encoders)).to(zero.device), zero + 1
        return AGMState(zero, history, zero, zero.new_zeros(3), torch.ones_like(zero))

    def coalitions(self, modalities: int, task: Task) -> Tensor:
        """Return the coalitions whose predictions are compared, [S, M] bool.

        Raises:
            ValueError: more than six modalities without `samples`.
        """
        alone = torch.eye(modalities, dtype=torch.bool, device=task.device)
        if self.score_attr in {"single", "head"}:
            return alone
        if self.score_attr == "loo":
            return ~alone
        if self.samples:
            return prefixes(permutations(modalities, self.samples, task))
        if modalities > EXACT:
            raise ValueError(f"agm: {modalities} modalities have {2**modalities} coalitions; set agm.samples")
        return placed(task.device, all_subsets, modalities)

    def step(self, state: AGMState, signals: Signals, task: Task, pull: Pull) -> Step:
        """Scale the path of each share, or the gradients of each encoder, by its coefficient."""
        weights = self.weights(len(state.scale), task)
        score = self.scores(signals, task, weights)
        metrics, state = self.compare(state, score, task.attending(), task)
        scale = metrics["scale"]
        if self.route == "encoder":
            grads = pull(lambda s: task.objective(s.logits))

            def scaled(tree: Params) -> Params:
                made = modulate(tree, scale, self.filter, lambda k, g, name: k * g)
                return made._replace(readouts=tree.readouts)

            return Step(grads, state, metrics, scaled) if self.apply == "lr" else Step(scaled(grads), state, metrics)
        excess = mix(scale - 1, weights).to(signals.logits)  # [S] or [S, B]: what coalitions hear beyond joint training
        grads = pull(
            lambda s: task.objective(redirect(s.logits, weighted_sums(excess, s.muted, by_sample=weights.ndim == 3)))
        )
        return Step(grads, state, metrics)

    def scores(self, signals: Signals, task: Task, weights: Tensor) -> Tensor:
        """Return the loss of each modality's prediction on this batch, [M] float64."""
        if self.score_attr == "head":
            predictions = signals.unimodal.detach()
        elif self.score_attr == "loo":
            predictions = signals.logits.detach() - signals.muted.detach()
        else:
            predictions = weighted_sums(weights.to(signals.muted), signals.muted.detach(), by_sample=weights.ndim == 3)
        return task.heard(task.loss(predictions, self.most) if task.nats else task.loss(predictions)).double()

    def weights(self, modalities: int, task: Task) -> Tensor:
        """Return what each coalition contributes to each modality's prediction, [M, S] or, by sample, [M, S, B]."""
        if self.score_attr not in {"shapley", "bb"}:
            return torch.eye(modalities, dtype=torch.float64, device=task.device)
        if self.samples:
            ranks, whole = permutations(modalities, self.samples, task), self.score_attr == "shapley"
            if task.present is None:
                return sampled_weights(ranks, first=whole)
            return present_sampled_weights(ranks, task.present, first=whole)
        weights = exact_weights(modalities, task)
        if self.score_attr == "bb":
            first = torch.arange(modalities, device=weights.device)
            weights = weights.index_put((first, 2**first - 1), weights.new_zeros(()))
            if task.present is not None:  # of a sample's only modality that prediction is all there is
                last = torch.arange(weights.shape[1], device=weights.device) == weights.shape[1] - 1
                alone = task.present & (task.present.sum(0) == 1)
                weights = torch.where(last[:, None] & alone[:, None], 0.0, weights)
        return weights

    def compare(
        self, state: AGMState, score: Tensor, among: Tensor | None, task: Task
    ) -> tuple[dict[str, Tensor], AGMState]:
        """Return `scale`, `score`, `ratio` r and `reference` tau of a batch, each [M], and the state after it."""
        past, moments = self.past(state), state.moments
        known = None if among is None else among & (state.weight > 0)
        if task.nats:
            ahead, usual = self.leads(score, past, among, known)
        else:
            unit = deviation(moments)
            ahead, usual = self.leads(score / unit, past / unit, among, known)
            ahead = torch.where(moments[0] > 0, ahead, usual)  # there is no unit yet
            moments = moments + pooled(score, among)
        scale = task.faded(self.damping(ahead, usual, among))
        if self.stale:
            scale = torch.where(task.strength > 0, scale, state.scale)
        metrics = {"scale": scale, "score": score, "ratio": ahead, "reference": usual}
        return metrics, self.remember(state, score, scale, among)._replace(moments=moments)

    def leads(
        self, score: Tensor, past: Tensor, among: Tensor | None = None, known: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return r of the scores of a batch and tau of their reference, all [M].

        ``among`` [M] are the modalities in this batch, and ``known`` [M] those of them with a reference; None: all.
        """
        if len(score) == 1:
            return torch.ones_like(score), torch.ones_like(score)
        sign = -1 if self.bb_sign else 1
        return lead(sign * score, among), lead(sign * past, known)

    def damping(self, ahead: Tensor, usual: Tensor, among: Tensor | None = None) -> Tensor:
        """Return kappa of r and tau, all [M]; finite whatever alpha and cap are."""
        excess = torch.minimum(usual - ahead, scalar(self.cap, ahead))
        kappa = torch.exp(torch.clamp(self.alpha * excess, max=LARGEST))
        return kappa if among is None else torch.where(among & (among.sum() > 1), kappa, 1.0)

    def coefficients(self, score: Tensor, past: Tensor) -> Tensor:
        """Return kappa for the scores of a batch and their reference, both [M]."""
        return self.damping(*self.leads(score, past))

    def past(self, state: AGMState) -> Tensor:
        """Return the reference score of each modality, [M]; equal for all where there is no history."""
        if self.reference == "balanced":
            return torch.zeros_like(state.scale)
        return state.history.sum(0) / state.weight.clamp(min=1e-300)

    def remember(self, state: AGMState, score: Tensor, scale: Tensor, among: Tensor | None = None) -> AGMState:
        """Return the state after a step with these scores and coefficients, both [M]."""
        steps, history, weight = state.steps + 1, state.history, state.weight
        if self.reference == "window":
            slot = torch.arange(self.window, device=score.device)[:, None] == (state.steps % self.window)
            history = torch.where(slot, score, history)
            weight = steps.clamp(max=self.window)
        elif self.reference != "target":
            keep = add = torch.ones_like(weight)
            if self.reference == "ema":
                keep, add = self.beta * keep, 1 - self.beta * add
            elif self.reference == "fixed":
                add = (state.steps < self.warm).to(weight)
            history, weight = keep * history + add * score, keep * weight + add
        if among is None:
            return state._replace(steps=steps, history=history, weight=weight, scale=scale)
        steps, weight = torch.where(among, steps, state.steps), torch.where(among, weight, state.weight)
        return AGMState(steps, torch.where(among, history, state.history), weight, state.moments, scale)


def lead(score: Tensor, among: Tensor | None = None) -> Tensor:
    """Return how far each modality's loss lies below the others', as exp of the mean difference, [M] -> [M].

    ``among`` [M] are those compared; the others, and one alone, get 1.
    """
    if among is None:
        modalities = score.shape[-1]
        return torch.exp(
            (modalities / (modalities - 1) * (score.mean(-1, keepdim=True) - score)).clamp(-FARTHEST, FARTHEST)
        )
    count = among.sum()
    mean = torch.where(among, score, 0.0).sum() / count.clamp(min=1)
    difference = (count / (count - 1).clamp(min=1) * (mean - score)).clamp(-FARTHEST, FARTHEST)
    return torch.where(among & (count > 1), torch.exp(difference), 1.0)


def redirect(value: Tensor, path: Tensor) -> Tensor:
    """Return ``value``, whose gradient is its own and that of ``path``."""
    return value + (path - path.detach())


def given(target: float | Tensor | Mapping[str, float], modalities: list[str]) -> Tensor:
    """Return the stated reference of each modality, [M] or []."""
    values = [target[m] for m in modalities] if isinstance(target, Mapping) else target
    return torch.as_tensor(values, dtype=torch.float64)


def pooled(score: Tensor, among: Tensor | None) -> Tensor:
    """Return count, sum and sum of squares of the scores of a batch, [3]."""
    kept = torch.ones_like(score) if among is None else among.to(score)
    return torch.stack([kept, kept * score, kept * score * score]).sum(-1)


def deviation(moments: Tensor) -> Tensor:
    """Return the standard deviation of all scores so far, []; 1 where they do not differ."""
    mean, square = moments[1:] / moments[0].clamp(min=1)
    spread = (square - mean * mean).clamp(min=0).sqrt()
    return torch.where(spread > 1e-7 * mean.abs(), spread, 1.0)  # of equal scores rounding leaves some 1e-8
