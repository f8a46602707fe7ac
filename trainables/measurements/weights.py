"""Weights of BOGC's sources and their uncertainty, over the dimensions of each encoder and the joint head (10.1)."""

import torch
from torch import Tensor

from trainables.evaluation import Progress, Row, tabulate
from trainables.evidence import Opinion
from trainables.measurements.variance import QUANTILES
from trainables.methods.bogc import BOGC, ENCODERS, JOINT
from trainables.setup import Learner, Setup


def rows(setup: Setup, state: tuple[()], learner: Learner, progress: Progress) -> list[Row]:
    """Return quantiles of the weights of the sources, and of the uncertainty, from the moments after the last step.

    ``weight_own`` is the weight of encoder m's own source (its unimodal loss; with ``where=phi`` its share of the joint
    gradient), ``weight_rest`` the sum over the others; ``weight_joint`` the weight of each modality's source in fusion
    and joint head and, without modality, of the fusion loss. In frame ``modality`` the weights and the uncertainty of a
    dimension sum to 1. A source that was never present has weight 0; until all others of a tensor have been observed
    twice, they have equal weights. There are no rows for a method without moments.
    """
    method = setup.method
    if not isinstance(method, BOGC) or not learner.state.moments:
        return []
    opinions = method.opinions(learner.state, learner.params)
    values: dict[str, Tensor] = {}
    if ENCODERS in opinions:
        values |= encoder_quantiles(method, opinions[ENCODERS], learner)
    if JOINT in opinions:
        weights, uncertainty = opinions[JOINT]
        values |= quantiles("weight_joint", weights if method.where == "phi" else weights.roll(-1, 0))
        values |= quantiles("uncertainty_joint", uncertainty)
    return tabulate(setup, values, "train", progress)


def encoder_quantiles(method: BOGC, opinion: Opinion, learner: Learner) -> dict[str, Tensor]:
    """Return the quantiles for each encoder, [M], by the names of metrics."""
    sizes = [sum(p.numel() for p in group.values()) for group in learner.params.encoders.values()]
    blocks = zip(torch.split(opinion.weights, sizes, -1), torch.split(opinion.uncertainty, sizes, -1), strict=True)
    columns = []
    for index, (weights, uncertainty) in enumerate(blocks):
        own_weights = weights[index if method.where == "phi" else 1]
        parts = {"weight_own": own_weights, "weight_rest": weights.sum(0) - own_weights, "uncertainty": uncertainty}
        columns.append({key: q for name, part in parts.items() for key, q in quantiles(name, part).items()})
    return {key: torch.stack([column[key] for column in columns]) for key in columns[0]}


def quantiles(name: str, values: Tensor) -> dict[str, Tensor]:
    """Return the 10, 50 and 90 % quantiles over the dimensions, [..., D] -> [...] each, by the names of metrics."""
    rows = torch.quantile(values.double(), values.new_tensor([*QUANTILES.values()]).double(), -1)
    return {f"{name}_{key}": row for key, row in zip(QUANTILES, rows.unbind(), strict=True)}
