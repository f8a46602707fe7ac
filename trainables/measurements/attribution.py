"""Attribution: are the Shapley shares of the logits what the branches of an additive head put out? (METHODS.md 6.4)."""

import torch

from trainables.evaluation import Progress, Row, compute_signals, tabulate
from trainables.measurements.game import predictions
from trainables.setup import Learner, Setup
from trainables.shapley import shapley_weights, weighted_sums
from trainables.signals import all_subsets


@torch.no_grad()
def rows(setup: Setup, known: tuple[()], learner: Learner, progress: Progress) -> list[Row]:
    r"""Return the largest and the mean distance between shares and branches on validation, by modality.

    A branch is the modality's part u_m of the joint prediction, its share of the bias included. As f is their sum
    and the value of silence counts as 0, the share is

    .. math:: A^m = u_m(x) - u_m(0) + \frac{1}{M} \sum_j u_j(0)

    where u(0) are the branches of silence, as the method mutes: equal to u_m(x) only where all silent branches are
    alike. ``attribution_theory`` is the largest distance to the formula. Of a fusion that does not add up, the
    branch is the prediction with all others silent, and the formula need not hold.
    """
    modalities = len(setup.model.encoders)
    coalitions = all_subsets(modalities)
    muted = torch.cat([one for _, one in predictions(setup, learner, coalitions)], 1).double()  # [S, N, C]
    shares = weighted_sums(shapley_weights(modalities).to(muted), muted, by_sample=False)
    branches = compute_signals(setup, learner, "validation", frozenset({"unimodal_values"})).unimodal.double()
    others = muted[coalitions.sum(1) == 1] - branches  # [M, N, C] what all others say in silence
    silence = others.sum(0) / max(modalities - 1, 1)
    gap, theory = shares - branches, shares - (branches + others - silence + silence / modalities)
    values = {
        "attribution_gap": gap.abs().flatten(1).amax(1),
        "attribution_gap_mean": gap.abs().flatten(1).mean(1),
        "attribution_theory": theory.abs().flatten(1).amax(1),
    }
    return tabulate(setup, values, "validation", progress)
