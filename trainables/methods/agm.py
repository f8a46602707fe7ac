"""AGM: adaptive gradient modulation."""

import math
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from trainables.signals import Params, Pull, Signals, Step, Task, all_subsets, leaves, mix, steer_gradient

REFERENCES = ("cumulative", "ema", "window", "fixed", "balanced")
FLOOR = -math.log(1e-8)  # the true-class probability in a score is at least 1e-8 (CREMAD_main.py:140)
LARGEST = 80.0  # log of a coefficient, so that it is finite in float32
EXACT = 6  # from seven modalities on, coalitions are sampled


class AGMState(NamedTuple):
    """The scores seen so far, in float64 so that long averages stay exact."""

    steps: Tensor  # []
    history: Tensor  # [1, M] weighted sum of past scores, or [W, M] the last W of them
    weight: Tensor  # [] the weights in that sum
    scale: Tensor  # [M] last coefficients


class AGM(NamedTuple):
    r"""Adaptive gradient modulation (Li et al., ICCV 2023, https://arxiv.org/abs/2308.07686, 3.1).

    Shapley values split the joint logits into one share per modality; the gradient reaching share ``m`` is
    multiplied by :math:`\kappa_m = \exp(\alpha \min(\tau_m - r_m, c))`, where :math:`r_m` compares the shares'
    losses on this batch and :math:`\tau_m` their reference, by default the mean over all batches before.
    ``alpha=0``: joint training. With one modality there is nothing to compare: joint training.

    ``cap`` (c) is the release's (10 in CREMAD_main.py:151, 7 in URFunny_main.py; the paper has none: ``inf``).
    The empty coalition counts as zero (CREMAD_net.py:67), so that the shares sum to the joint logits.
    ``reference`` is our ablation: ``cumulative`` (paper and release), ``ema`` with decay ``beta``, ``window`` of the
    last ``window`` steps, ``fixed`` after ``warm`` steps, ``balanced`` (no history: all modalities equally strong).
    ``samples`` draws that many permutations a step (antithetic pairs) in place of all coalitions; 0: exact.
    ``stale`` keeps the last coefficients after the method's last epoch, as the release does by oversight.
    """

    alpha: float | Tensor = 1.0
    cap: float | Tensor = 10.0
    reference: str = "cumulative"
    beta: float | Tensor = 0.99
    window: int = 100
    warm: float | Tensor = 100
    samples: int = 0
    stale: bool = False

    @property
    def needs(self) -> frozenset[str]:
        """Return the signals it reads beside the logits."""
        return frozenset({"muted"})

    def init(self, params: Params) -> AGMState:
        """Return an empty history; coefficients start at 1."""
        modalities = len(params.encoders)
        some = leaves(params)[0]
        length = self.window if self.reference == "window" else 1
        zero = torch.zeros((), dtype=torch.float64, device=some.device)
        return AGMState(zero, zero.new_zeros(length, modalities), zero, zero.new_ones(modalities))

    def coalitions(self, modalities: int, task: Task) -> Tensor:
        """Return the coalitions whose predictions the shares are made of, [S, M] bool.

        Raises:
            ValueError: more than six modalities without `samples`.
        """
        if self.samples:
            return prefixes(permutations(modalities, self.samples, task))
        if modalities > EXACT:
            raise ValueError(f"agm: {modalities} modalities have {2**modalities} coalitions; set agm.samples")
        return all_subsets(modalities)

    def step(self, state: AGMState, signals: Signals, task: Task, pull: Pull) -> Step:
        """Scale the path of each share by its coefficient."""
        modalities = state.scale.numel()
        weights = self.weights(modalities, task).to(signals.muted)  # [M, S]
        shares = mix(weights, signals.muted.detach())
        score = task.mean(task.loss(shares).clamp(max=FLOOR)).double()  # [M]
        scale = self.coefficients(score, self.past(state))
        over = state.scale if self.stale else torch.ones_like(scale)
        scale = torch.where(task.strength > 0, task.faded(scale), over)
        path = scale.to(weights) @ weights  # [S] what reaches a coalition's prediction
        grads = pull(lambda s: task.objective(steer_gradient(s.logits, mix(path, s.muted))))
        return Step(grads, self.remember(state, score, scale), {"scale": scale, "score": score})

    def coefficients(self, score: Tensor, past: Tensor) -> Tensor:
        """Return kappa for the scores of a batch and their reference, both [M]; finite whatever alpha and cap are."""
        if len(score) == 1:
            return torch.ones_like(score)
        excess = torch.minimum(lead(past) - lead(score), torch.as_tensor(self.cap, dtype=score.dtype))
        return torch.exp(torch.clamp(self.alpha * excess, max=LARGEST))

    def weights(self, modalities: int, task: Task) -> Tensor:
        """Return what each coalition's prediction contributes to each share, [M, S] float64."""
        if self.samples:
            return sampled_weights(permutations(modalities, self.samples, task))
        return shapley_weights(modalities)

    def past(self, state: AGMState) -> Tensor:
        """Return the reference score of each modality, [M]; equal for all where there is no history."""
        if self.reference == "balanced":
            return torch.zeros_like(state.scale)
        return state.history.sum(0) / state.weight.clamp(min=1e-300)

    def remember(self, state: AGMState, score: Tensor, scale: Tensor) -> AGMState:
        """Return the state after a step with these scores and coefficients, both [M]."""
        steps, history, weight = state.steps + 1, state.history, state.weight
        if self.reference == "window":
            slot = torch.arange(self.window, device=score.device) == (state.steps % self.window)
            history = torch.where(slot[:, None], score, history)
            weight = steps.clamp(max=self.window)
        else:
            keep = add = torch.ones_like(weight)
            if self.reference == "ema":
                keep, add = self.beta * keep, 1 - self.beta * add
            elif self.reference == "fixed":
                add = (state.steps < self.warm).to(weight)
            history, weight = keep * history + add * score, keep * weight + add
        return AGMState(steps, history, weight, scale)


def lead(score: Tensor) -> Tensor:
    """Return how far each modality's loss lies below the others', as exp of the mean difference, [M] -> [M]."""
    modalities = score.shape[-1]
    return torch.exp((modalities / (modalities - 1) * (score.mean(-1, keepdim=True) - score)).clamp(-20, 20))


@cache
def shapley_weights(modalities: int) -> Tensor:
    """Return the weight of each coalition of `all_subsets` in each Shapley share, [M, S] float64.

    With s = |S|: (s-1)! (M-s)! / M! where m is heard in S, -s! (M-s-1)! / M! where it is not (METHODS.md 6.1).
    """
    choices = [math.comb(modalities - 1, s) for s in range(modalities)] + [1]
    arrival = torch.tensor([1 / (modalities * c) for c in choices], dtype=torch.float64)  # s others already there
    heard = all_subsets(modalities)  # [S, M]
    size = heard.sum(-1, keepdim=True)
    return torch.where(heard, arrival[size - 1], -arrival[size]).T


def permutations(modalities: int, count: int, task: Task) -> Tensor:
    """Return ``count`` orders of arrival drawn in antithetic pairs, [count, M]: the rank of each modality."""
    draw = task.noise("agm.permutations", torch.empty((count + 1) // 2, modalities))
    order = draw.argsort(-1)
    return torch.cat([order, modalities - 1 - order])[:count]


def prefixes(ranks: Tensor) -> Tensor:
    """Return who has arrived at each moment of each order, the full coalition first, [1 + count (M - 1), M] bool."""
    modalities = ranks.shape[-1]
    moments = torch.arange(modalities - 1)[:, None]
    partial = (ranks[:, None, :] <= moments).flatten(0, 1)
    return torch.cat([torch.ones(1, modalities, dtype=torch.bool), partial])


def sampled_weights(ranks: Tensor) -> Tensor:
    """Return the weight of each coalition of `prefixes` in each share, [M, S] float64: mean gain on arrival."""
    count, modalities = ranks.shape
    arrives = torch.nn.functional.one_hot(ranks, modalities).double()  # [count, M, moment]
    gain = arrives - arrives.roll(-1, -1) * (torch.arange(modalities) < modalities - 1)  # leaves one moment later
    full = gain[..., -1].sum(0) / count  # [M]
    partial = gain[..., :-1].permute(1, 0, 2).flatten(1) / count  # [M, count (M - 1)]
    return torch.cat([full[:, None], partial], 1)
