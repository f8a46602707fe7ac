"""Weights: whom BOGC believes, and how far, over the dimensions of each encoder and of the joint head (10.1)."""

import torch
from torch import Tensor

from trainables.evaluation import Progress, Row, tabulate
from trainables.evidence import Opinion
from trainables.measurements.variance import QUANTILES
from trainables.methods.bogc import BOGC, ENCODERS, JOINT
from trainables.setup import Learner, Setup


def rows(setup: Setup, known: tuple[()], learner: Learner, progress: Progress) -> list[Row]:
    """Return quantiles of the weights of the sources, and of the uncertainty, by the moments after the last step.

    ``weight_own`` is that of encoder m's own source (its unimodal loss; with ``where=phi`` its share of the joint
    gradient), ``weight_rest`` that of the others together; ``weight_joint`` that of each modality's source in fusion
    and joint head and, without modality, of the fusion loss. In frame ``modality`` weights and uncertainty of a
    dimension sum to 1. A source that was never heard has none; until all others of a tensor were heard twice, they
    weigh alike. A method that keeps no moments has none.
    """
    method = setup.method
    if not isinstance(method, BOGC) or not learner.state.moments:
        return []
    opinions = method.opinions(learner.state, learner.params)
    values: dict[str, Tensor] = {}
    if ENCODERS in opinions:
        values |= of_encoders(method, opinions[ENCODERS], learner)
    if JOINT in opinions:
        weights, doubt = opinions[JOINT]
        values |= quantiles("weight_joint", weights if method.where == "phi" else weights.roll(-1, 0))
        values |= quantiles("uncertainty_joint", doubt)
    return tabulate(setup, values, "train", progress)


def of_encoders(method: BOGC, opinion: Opinion, learner: Learner) -> dict[str, Tensor]:
    """Return the quantiles of each encoder, [M]."""
    sizes = [sum(p.numel() for p in group.values()) for group in learner.params.encoders.values()]
    blocks = zip(torch.split(opinion.weights, sizes, -1), torch.split(opinion.uncertainty, sizes, -1), strict=True)
    found = []
    for place, (weights, doubt) in enumerate(blocks):
        own = weights[place if method.where == "phi" else 1]
        parts = {"weight_own": own, "weight_rest": weights.sum(0) - own, "uncertainty": doubt}
        found.append({key: q for name, part in parts.items() for key, q in quantiles(name, part).items()})
    return {key: torch.stack([one[key] for one in found]) for key in found[0]}


def quantiles(name: str, values: Tensor) -> dict[str, Tensor]:
    """Return the 10, 50 and 90 % quantiles over the dimensions, [..., D] -> [...] each, by the names of metrics."""
    at = torch.quantile(values.double(), values.new_tensor([*QUANTILES.values()]).double(), -1)
    return {f"{name}_{key}": one for key, one in zip(QUANTILES, at.unbind(), strict=True)}
