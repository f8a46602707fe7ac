"""AGM: adaptive gradient modulation."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from trainables.methods.ogm import modulate
from trainables.shapley import (
    MAX_EXACT,
    exact_weights,
    permutations,
    prefixes,
    present_sampled_weights,
    sampled_weights,
    weighted_sums,
)
from trainables.signals import Params, Pull, Signals, Step, Task, all_subsets, leaves, mix, placed, scalar

MAX_LOSS = -math.log(1e-8)  # in a score the true-class probability is at least 1e-8 (CREMAD_main.py:140)
MAX_LOG_SCALE = 80.0  # bound on the log of a coefficient, which keeps it finite in float32
MAX_LOG_RATIO = 300.0  # bound on the log of r, which keeps sums of r finite in float64


class AGMState(NamedTuple):
    """Statistics of past scores, in float64 so that long averages stay exact."""

    steps: Tensor  # [M] number of steps with a sample of modality m
    history: Tensor  # [1, M] weighted sum of past scores, or [W, M] the last W scores
    weight: Tensor  # [M] sum of the weights
    moments: Tensor  # [3] count, sum and sum of squares of all scores, of losses without a natural unit
    scale: Tensor  # [M] last coefficients


class AGM(NamedTuple):
    r"""Adaptive gradient modulation (Li et al., ICCV 2023, https://arxiv.org/abs/2308.07686, 3.1).

    Shapley values split the joint logits into one share per modality, :math:`A^m = \sum_S w_{m,S} f(S)`. With
    :math:`s_m` the cross-entropy of share m on this batch and :math:`\mu_m` its reference, by default the mean over
    all previous batches, the gradient that reaches :math:`A^m` is multiplied by

    .. math:: \kappa_m = \exp(\alpha \min(\tau_m - r_m, c)), \qquad
        r_m = \exp \frac{1}{M - 1} \sum_{j \neq m} (s_j - s_m), \quad \tau_m \text{ the same of } \mu

    so that a modality stronger than its reference (:math:`r_m > \tau_m`) is damped. It acts on all parameters: the
    prediction of coalition S receives :math:`\sum_m \kappa_m w_{m,S}` times the gradient of the logits (METHODS.md
    6.2). ``alpha=0``, and a single modality: joint training. Where paper and release differ:

    - ``cap`` (c) is from the release: 10 in CREMAD_main.py:151, 7 in URFunny_main.py; the paper has none (``inf``).
    - The value of the empty coalition is zero (CREMAD_net.py:67), so that the shares sum to the joint logits.
    - In a score the probability of the true class is at least 1e-8; URFunny_main.py has no such floor (`max_loss`).
    - Masked passes run in evaluation mode and with gradients (release); ``mute`` is the input of a masked modality:
      ``zero`` (release), the ``mean`` of the training set or, in place of its feature, zeros (``feature``; both ours).
    - The late-fusion and early-fusion scripts clip the total norm to 1 if an element of the head's gradient exceeds 1
      (CREMAD_main.py:168): ``train.clip: 1, train.clip_trigger: 1``, which a study has to set; UR-Funny 5 and 5, AVE
      never. MOSEI's condition (largest element above 1 and smallest below 1) has no counterpart here.
    - It acts in all epochs by default; the release, by its argparse defaults, in the first 20 (its README trains 100):
      ``end: 20``.
    - Outside its epochs the coefficients are 1; ``stale`` keeps the last ones, as the release does by mistake.

    Ours, for ablation: ``reference`` is ``cumulative`` (paper and release), ``ema`` with decay ``beta``, ``window`` of
    the last ``window`` steps, ``fixed`` after ``warm`` steps, ``target`` (a given number for each modality) or
    ``balanced`` (no history: all equally strong). ``route=encoder`` scales the gradients of encoder m (those that
    ``filter`` selects, or with ``apply=lr`` their updates), not of its readout, and needs no gradients of masked
    passes; the scored prediction, ``score_attr``, may then be ``single``, f({m}), ``loo``, f(all) - f(all but m), or
    ``head``, the modality's part of the joint head, in place of ``shapley``. ``samples`` is a number of permutations to
    draw in each step (antithetic pairs) in place of all coalitions; 0: exact. In regression a score is the loss over
    the standard deviation of all previous losses; the first batch has none, and kappa is 1. A sample without m has no
    share of m; a batch without m leaves the history of m unchanged.

    Differences from METHODS.md 6.8: a step whose scores are not finite is not skipped; the trial ends as diverged, as
    with any other method. The logarithm of r is bounded by 300, not by 20 (the release has no bound): with the floor it
    is at most 18.4; without one (regression, UR-Funny's script), a bound of 20 would make larger differences equal.

    BalanceBenchmark's variant (AGM_trainer.py:226-277, 536-590) is ``score_attr=bb`` (the shares without their
    first term, f({m}) / M), ``bb_sign=True`` (the *weaker* modality is damped), ``route=encoder``, ``filter=ndim>1``
    and ``cap=7``; it clips as UR-Funny's script does.
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
        """Return the signals that the method reads in addition to the logits.

        Raises:
            ValueError: with ``route=phi``, ``score_attr`` is not ``shapley`` or a setting of ``route=encoder`` is
                given; or ``reference=target`` has no ``target``.
        """
        if self.route == "phi" and self.score_attr != "shapley":
            raise ValueError(
                f"agm: score_attr: {self.score_attr} needs route: encoder; only shapley shares sum to the logits"
            )
        if self.route == "phi" and (self.apply, self.filter) != ("grad", "all"):
            raise ValueError("agm: apply and filter act on encoders; they need route: encoder")
        if self.reference == "target" and isinstance(self.target, float | int):  # equal for all: as `balanced`
            raise ValueError("agm: reference: target needs agm.target, a mapping modality -> cross-entropy")
        if self.score_attr == "head":
            return frozenset({"unimodal_values"})
        return frozenset({"muted" if self.route == "phi" else "muted_values"})

    @property
    def max_loss(self) -> float:
        """Return the upper bound of a sample's cross-entropy in a score."""
        return MAX_LOSS

    def init(self, params: Params) -> AGMState:
        """Return an empty history; coefficients start at 1."""
        zero = torch.zeros(len(params.encoders), dtype=torch.float64, device=leaves(params)[0].device)
        history = zero.new_zeros(self.window if self.reference == "window" else 1, len(zero))
        if self.reference == "target":
            history, zero = history + target_scores(self.target, list(params.encoders)).to(zero.device), zero + 1
        return AGMState(zero, history, zero, zero.new_zeros(3), torch.ones_like(zero))

    def coalitions(self, modalities: int, task: Task) -> Tensor:
        """Return the coalitions whose predictions are compared, [S, M] bool.

        Raises:
            ValueError: more than six modalities without `samples`.
        """
        single = torch.eye(modalities, dtype=torch.bool, device=task.device)
        if self.score_attr in {"single", "head"}:
            return single
        if self.score_attr == "loo":
            return ~single
        if self.samples:
            return prefixes(permutations(modalities, self.samples, task))
        if modalities > MAX_EXACT:
            raise ValueError(f"agm: {modalities} modalities have {2**modalities} coalitions; set agm.samples")
        return placed(task.device, all_subsets, modalities)

    def step(self, state: AGMState, signals: Signals, task: Task, pull: Pull) -> Step:
        """Scale the gradient that reaches each share, or the gradients of each encoder, by its coefficient."""
        weights = self.weights(len(state.scale), task)
        score = self.scores(signals, task, weights)
        metrics, state = self.compare_scores(state, score, task.attending(), task)
        scale = metrics["scale"]
        if self.route == "encoder":
            grads = pull(lambda s: task.objective(s.logits))

            def rescale(tree: Params) -> Params:
                modulated = modulate(tree, scale, self.filter, lambda k, g, name: k * g)
                return modulated._replace(readouts=tree.readouts)

            return Step(grads, state, metrics, rescale) if self.apply == "lr" else Step(rescale(grads), state, metrics)
        excess = mix(scale - 1, weights).to(signals.logits)  # [S] or [S, B] factor of each path beyond joint training

        def loss(s: Signals) -> Tensor:
            path = weighted_sums(excess, s.muted, by_sample=weights.ndim == 3)
            return task.objective(add_gradient_path(s.logits, path))

        return Step(pull(loss), state, metrics)

    def scores(self, signals: Signals, task: Task, weights: Tensor) -> Tensor:
        """Return the score s of each modality, the loss of its prediction on this batch, [M] float64."""
        if self.score_attr == "head":
            predictions = signals.unimodal.detach()
        elif self.score_attr == "loo":
            predictions = signals.logits.detach() - signals.muted.detach()
        else:
            predictions = weighted_sums(weights.to(signals.muted), signals.muted.detach(), by_sample=weights.ndim == 3)
        return task.heard(task.loss(predictions, self.max_loss) if task.nats else task.loss(predictions)).double()

    def weights(self, modalities: int, task: Task) -> Tensor:
        """Return the weight of each coalition in each modality's prediction, [M, S] or, by sample, [M, S, B]."""
        if self.score_attr not in {"shapley", "bb"}:
            return torch.eye(modalities, dtype=torch.float64, device=task.device)
        if self.samples:
            ranks, first = permutations(modalities, self.samples, task), self.score_attr == "shapley"
            if task.present is None:
                return sampled_weights(ranks, first=first)
            return present_sampled_weights(ranks, task.present, first=first)
        weights = exact_weights(modalities, task)
        if self.score_attr == "bb":
            indices = torch.arange(modalities, device=weights.device)
            weights = weights.index_put((indices, 2**indices - 1), weights.new_zeros(()))
            if task.present is not None:  # the share of a sample's only modality has no other term
                full = torch.arange(weights.shape[1], device=weights.device) == weights.shape[1] - 1
                single = task.present & (task.present.sum(0) == 1)
                weights = torch.where(full[:, None] & single[:, None], 0.0, weights)
        return weights

    def compare_scores(
        self, state: AGMState, score: Tensor, present: Tensor | None, task: Task
    ) -> tuple[dict[str, Tensor], AGMState]:
        """Return `scale`, `score`, `ratio` r and `reference` tau of a batch, each [M], and the state after it.

        ``present`` [M] are the modalities in the batch; None: all.
        """
        reference, moments = self.reference_scores(state), state.moments
        known = None if present is None else present & (state.weight > 0)
        if task.nats:
            r, tau = self.strength_ratios(score, reference, present, known)
        else:
            unit = standard_deviation(moments)
            r, tau = self.strength_ratios(score / unit, reference / unit, present, known)
            r = torch.where(moments[0] > 0, r, tau)  # the first batch has no unit
            moments = moments + score_moments(score, present)
        scale = task.faded(self.kappa(r, tau, present))
        if self.stale:
            scale = torch.where(task.strength > 0, scale, state.scale)
        metrics = {"scale": scale, "score": score, "ratio": r, "reference": tau}
        return metrics, self.update_history(state, score, scale, present)._replace(moments=moments)

    def strength_ratios(
        self, score: Tensor, reference: Tensor, present: Tensor | None = None, known: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return r of the scores of a batch and tau of their reference, all [M].

        ``present`` [M] are the modalities in this batch, and ``known`` [M] those of them with a reference; None: all.
        """
        if len(score) == 1:
            return torch.ones_like(score), torch.ones_like(score)
        sign = -1 if self.bb_sign else 1
        return strength_ratio(sign * score, present), strength_ratio(sign * reference, known)

    def kappa(self, r: Tensor, tau: Tensor, present: Tensor | None = None) -> Tensor:
        """Return the coefficient kappa of r and tau, all [M]; finite for any alpha and cap."""
        difference = torch.minimum(tau - r, scalar(self.cap, r))
        kappa = torch.exp(torch.clamp(self.alpha * difference, max=MAX_LOG_SCALE))
        return kappa if present is None else torch.where(present & (present.sum() > 1), kappa, 1.0)

    def coefficients(self, score: Tensor, reference: Tensor) -> Tensor:
        """Return kappa for the scores of a batch and their reference, both [M]."""
        return self.kappa(*self.strength_ratios(score, reference))

    def reference_scores(self, state: AGMState) -> Tensor:
        """Return the reference score mu of each modality, [M]; the same for all where there is no history."""
        if self.reference == "balanced":
            return torch.zeros_like(state.scale)
        return state.history.sum(0) / state.weight.clamp(min=1e-300)

    def update_history(self, state: AGMState, score: Tensor, scale: Tensor, present: Tensor | None = None) -> AGMState:
        """Return the state after a step with these scores and coefficients, both [M]."""
        steps, history, weight = state.steps + 1, state.history, state.weight
        if self.reference == "window":
            slot = torch.arange(self.window, device=score.device)[:, None] == (state.steps % self.window)
            history = torch.where(slot, score, history)
            weight = steps.clamp(max=self.window)
        elif self.reference != "target":
            decay = gain = torch.ones_like(weight)
            if self.reference == "ema":
                decay, gain = self.beta * decay, 1 - self.beta * gain
            elif self.reference == "fixed":
                gain = (state.steps < self.warm).to(weight)
            history, weight = decay * history + gain * score, decay * weight + gain
        if present is None:
            return state._replace(steps=steps, history=history, weight=weight, scale=scale)
        steps, weight = torch.where(present, steps, state.steps), torch.where(present, weight, state.weight)
        return AGMState(steps, torch.where(present, history, state.history), weight, state.moments, scale)


def strength_ratio(score: Tensor, present: Tensor | None = None) -> Tensor:
    """Return r, the exp of the mean difference between the other modalities' losses and each one's, [M] -> [M].

    ``present`` [M] are the modalities that are compared (None: all); others, and a single one, get 1.
    """
    if present is None:
        modalities = score.shape[-1]
        return torch.exp(
            (modalities / (modalities - 1) * (score.mean(-1, keepdim=True) - score)).clamp(
                -MAX_LOG_RATIO, MAX_LOG_RATIO
            )
        )
    count = present.sum()
    mean = torch.where(present, score, 0.0).sum() / count.clamp(min=1)
    difference = (count / (count - 1).clamp(min=1) * (mean - score)).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    return torch.where(present & (count > 1), torch.exp(difference), 1.0)


def add_gradient_path(value: Tensor, path: Tensor) -> Tensor:
    """Return ``value`` unchanged, with the gradient of ``value + path``."""
    return value + (path - path.detach())


def target_scores(target: float | Tensor | Mapping[str, float], modalities: list[str]) -> Tensor:
    """Return the setting ``target`` as a tensor, [M] in the order of the modalities or []."""
    values = [target[m] for m in modalities] if isinstance(target, Mapping) else target
    return torch.as_tensor(values, dtype=torch.float64)


def score_moments(score: Tensor, present: Tensor | None) -> Tensor:
    """Return count, sum and sum of squares of the scores of a batch, [3]."""
    weight = torch.ones_like(score) if present is None else present.to(score)
    return torch.stack([weight, weight * score, weight * score * score]).sum(-1)


def standard_deviation(moments: Tensor) -> Tensor:
    """Return the standard deviation of all scores so far, []; 1 where they are equal."""
    mean, square = moments[1:] / moments[0].clamp(min=1)
    spread = (square - mean * mean).clamp(min=0).sqrt()
    return torch.where(spread > 1e-7 * mean.abs(), spread, 1.0)  # rounding leaves about 1e-8 of equal scores
