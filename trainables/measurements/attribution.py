"""Attribution: do Shapley shares of the logits equal the outputs of an additive head's branches? (METHODS.md 6.4)."""

import torch

from trainables.evaluation import Progress, Row, compute_signals, tabulate
from trainables.measurements.game import coalition_predictions
from trainables.setup import Learner, Setup
from trainables.shapley import shapley_weights, weighted_sums
from trainables.signals import all_subsets


@torch.no_grad()
def rows(setup: Setup, state: tuple[()], learner: Learner, progress: Progress) -> list[Row]:
    r"""Return the largest and the mean distance between shares and branches on validation, by modality.

    A branch is the modality's part u_m of the joint prediction, including its part of the bias. As f is the sum of the
    branches and the value of the empty coalition is 0, the share is

    .. math:: A^m = u_m(x) - u_m(0) + \frac{1}{M} \sum_j u_j(0)

    where u(0) are the outputs of branches with muted inputs, as the method mutes them: equal to u_m(x) only where all
    muted branches have the same output. ``attribution_theory`` is the largest distance to the formula. In a fusion that
    is not additive the branch is the prediction with all others muted, and the formula need not hold.
    """
    modalities = len(setup.model.encoders)
    coalitions = all_subsets(modalities)
    muted = torch.cat(
        [logits for _, logits in coalition_predictions(setup, learner, coalitions)], 1
    ).double()  # [S, N, C]
    shares = weighted_sums(shapley_weights(modalities).to(muted), muted, by_sample=False)
    branches = compute_signals(setup, learner, "validation", frozenset({"unimodal_values"})).unimodal.double()
    others = muted[coalitions.sum(1) == 1] - branches  # [M, N, C] sum of the muted other branches
    all_muted = others.sum(0) / max(modalities - 1, 1)
    gap, theory = shares - branches, shares - (branches + others - all_muted + all_muted / modalities)
    values = {
        "attribution_gap": gap.abs().flatten(1).amax(1),
        "attribution_gap_mean": gap.abs().flatten(1).mean(1),
        "attribution_theory": theory.abs().flatten(1).amax(1),
    }
    return tabulate(setup, values, "validation", progress)
