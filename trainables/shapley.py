"""Shapley shares of predictions: weights of all coalitions, or of those of sampled permutations (METHODS.md 6.1).

Letters in shapes: M modalities, S coalitions, B samples, C outputs.
"""

import math
from functools import cache

import torch
from torch import Tensor

from trainables.signals import Task, all_subsets, mix, placed

MAX_EXACT = 6  # modalities; of more, coalitions are sampled


@cache
def shapley_weights(modalities: int) -> Tensor:
    """Return the weight of each coalition of `all_subsets` in each Shapley share, [M, S] float64.

    With s = |S|: (s-1)! (M-s)! / M! where m is in S, -s! (M-s-1)! / M! where it is not (METHODS.md 6.1).
    """
    choices = [math.comb(modalities - 1, s) for s in range(modalities)] + [1]
    marginal = torch.tensor([1 / (modalities * c) for c in choices], dtype=torch.float64)  # of joining s others
    members = all_subsets(modalities)  # [S, M]
    size = members.sum(-1, keepdim=True)
    return torch.where(members, marginal[size - 1], -marginal[size]).T


@cache
def present_weights(modalities: int) -> Tensor:
    """Return `shapley_weights` of the game among present modalities, [M, S, 2**M] for each set of them by its bits.

    The prediction of all present modalities is that of the full coalition: the joint pass itself.
    """
    table = torch.zeros(modalities, 2**modalities - 1, 2**modalities, dtype=torch.float64)
    for present in range(1, 2**modalities):
        members = [m for m in range(modalities) if present >> m & 1]
        weights = shapley_weights(len(members))
        for s in range(2 ** len(members) - 1):
            is_full = s == 2 ** len(members) - 2
            bits = 2**modalities - 1 if is_full else sum(1 << m for i, m in enumerate(members) if s + 1 >> i & 1)
            table[members, bits - 1, present] = weights[:, s]
    return table


def presence_code(present: Tensor) -> Tensor:
    """Return the present modalities of each sample as the bits of a number, [M, B] bool -> [B]."""
    return (present.long() << torch.arange(len(present), device=present.device)[:, None]).sum(0)


def exact_weights(modalities: int, task: Task) -> Tensor:
    """Return the weights of all coalitions in each share, [M, S] float64, or [M, S, B] among present modalities."""
    if task.present is None:
        return placed(task.device, shapley_weights, modalities)
    return placed(task.device, present_weights, modalities)[:, :, presence_code(task.present)]


def permutations(modalities: int, count: int, task: Task) -> Tensor:
    """Return ``count`` random permutations in antithetic pairs, [count, M]: the rank of each modality."""
    keys = task.noise("agm.permutations", torch.empty((count + 1) // 2, modalities, device=task.device))
    ranks = keys.argsort(-1)
    return torch.cat([ranks, modalities - 1 - ranks])[:count]


def prefixes(ranks: Tensor) -> Tensor:
    """Return the coalitions of the first modalities of each permutation, the full one first.

    [count, M] -> [1 + count (M - 1), M] bool.
    """
    modalities = ranks.shape[-1]
    positions = torch.arange(modalities - 1, device=ranks.device)[:, None]
    partial = (ranks[:, None, :] <= positions).flatten(0, 1)
    return torch.cat([torch.ones(1, modalities, dtype=torch.bool, device=ranks.device), partial])


def sampled_weights(ranks: Tensor, *, first: bool = True) -> Tensor:
    """Return the weight of each coalition of `prefixes` in each share, [M, S] float64: its mean marginal gain.

    Without ``first``, the first modality of a permutation gains nothing, which leaves f({m}) / M out of the shares.
    """
    everyone = torch.ones(ranks.shape[-1], 1, dtype=torch.bool, device=ranks.device)
    return present_sampled_weights(ranks, everyone, first=first)[..., 0]


def present_sampled_weights(ranks: Tensor, present: Tensor, *, first: bool = True) -> Tensor:
    """Return `sampled_weights` of the game among present modalities, [M, S, B] float64.

    The first present modality gains on 0; the prediction of all present modalities is the joint pass.
    """
    count, modalities = ranks.shape
    positions = torch.arange(modalities, device=ranks.device)
    reached = ranks[:, None, None, :] <= positions[:, None]
    size = (present.T[None, :, None, :] & reached).sum(-1)  # [count, B, position] of the prefix, among those present
    one_hot = torch.nn.functional.one_hot(ranks, modalities).double()[:, None]  # [count, 1, M, position]
    complete = (size == present.sum(0)[:, None])[:, :, None, :]  # all present modalities are in the prefix
    gaining = one_hot if first else torch.where((size == 1)[:, :, None, :], 0.0, one_hot)
    after = torch.where(complete, 0.0, gaining)
    after[..., -1] = torch.where(complete, gaining, 0.0).sum(-1)
    started = (size > 0)[:, :, None, :]
    before = torch.where(started, torch.nn.functional.pad(one_hot[..., 1:], (0, 1)), 0.0)
    gain = (after - before) * present.T[:, :, None]  # [count, B, M, position]
    full = gain[..., -1].sum(0) / count  # [B, M]
    partial = gain[..., :-1].permute(2, 0, 3, 1).flatten(1, 2) / count  # [M, count (M - 1), B]
    return torch.cat([full.T[:, None], partial], 1)


def weighted_sums(weights: Tensor, values: Tensor, *, by_sample: bool) -> Tensor:
    """Return weighted sums of the coalitions' predictions, [..., S] or [..., S, B] by sample, and [S, B, C]."""
    if by_sample:
        return (weights.view(*weights.shape, *[1] * (values.ndim - 2)) * values).sum(-values.ndim)
    return mix(weights, values)
