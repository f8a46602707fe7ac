"""Competition strength: what of a modality's own concept is lost in the joint feature (METHODS.md 10.4)."""

import math
import warnings
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainables.data.resplit import connected_groups
from trainables.diagnostics.competition import Competition, competition_strength, preferred_modality
from trainables.evaluation import Progress, Row, compute_signals, samples_with_modality, tabulate
from trainables.methods.joint import Joint
from trainables.optim import SplitOptimizer
from trainables.setup import Learner, Setup, init_learner
from trainables.tasks import named_metric
from trainables.train import epochs


class Concept(NamedTuple):
    """What a network trained on one modality makes of the validation split."""

    feature: Tensor  # [N, H]
    score: float  # as recorded, of the samples that have the modality


def begin(setup: Setup) -> dict[str, Concept]:
    """Return each modality's concept: the unimodal trial of the same study and seed, trained to its end."""
    return {m: learnt(setup, m) for m in setup.model.encoders}


def learnt(setup: Setup, modality: str) -> Concept:
    """Return the concept of one modality."""
    alone = isolated(setup, modality)
    own = samples_with_modality(setup, "validation", list(setup.model.encoders).index(modality))
    *_, last = epochs(alone, init_learner(alone))
    seen = compute_signals(alone, last.learner, "validation", frozenset({"features"}))
    score = setup.criteria(setup.target["validation"][own]).score(seen.logits[own]).double().mean()
    return Concept(seen.features[modality], named_metric(setup.task, score.item())[1])


def plain(setup: Setup) -> Setup:
    """Return the same training by no method, unobserved."""
    rule = setup.optimizer.model if isinstance(setup.optimizer, SplitOptimizer) else setup.optimizer
    trial = {**setup.trial, "start": 1, "end": math.inf, "warmup": 0, "measure": {}}
    model = setup.model._replace(classifier=None)
    return setup._replace(trial=trial, model=model, method=Joint(), needs=frozenset(), optimizer=rule)


def isolated(setup: Setup, modality: str) -> Setup:
    """Return the same training by no method, on one modality alone and unobserved."""
    bare, place = plain(setup), list(setup.model.encoders).index(modality)
    return bare._replace(
        trial={**bare.trial, "modality": modality},
        model=bare.model._replace(encoders={modality: setup.model.encoders[modality]}, mute_inputs={}),
        inputs={split: {modality: x[modality]} for split, x in setup.inputs.items()},
        present={split: None if p is None else p[place : place + 1] for split, p in setup.present.items()},
    )


def rows(setup: Setup, known: dict[str, Concept], learner: Learner, progress: Progress) -> list[Row]:
    """Return each modality's competition strength, its concept's rank, and which modality is preferred.

    The strength is an average over all features of the concept, also where they vary in fewer directions, its rank:
    a concept that is lost altogether has rank / Q. The share is in units of that, each direction by how much the
    concept varies in it on all of validation. They are of the samples that have the modality, and of their positions
    that have a label.
    Of the validation split, every other sample is for fitting and the rest for evaluation: it may be sorted; those that
    share something (a recording, a group) are on one side. What the concepts score themselves, the ceiling, comes with
    the last moment.
    """
    fused = compute_signals(setup, learner, "validation", frozenset({"fused"})).fused
    found = {m: strength(setup, fused, one.feature, place) for place, (m, one) in enumerate(known.items())}
    first = preferred_modality({m: one.strength for m, one in found.items()})
    values = {
        "competition": [one.strength for one in found.values()],
        "competition_rank": [one.rank for one in found.values()],
        "competition_share": [one.share for one in found.values()],
        "competition_preferred": [m == first for m in found],
    }
    if progress.last:
        values[f"concept_{named_metric(setup.task, 0.0)[0]}"] = [concept.score for concept in known.values()]
    return tabulate(setup, values, "validation", progress)


def strength(setup: Setup, fused: Tensor, concept: Tensor, place: int) -> Competition:
    """Return the competition strength of a concept, [N, ..., H], of the modality at a place, in the joint feature.

    It is of the validation samples that have the modality, and of their positions that have a label. nan where a
    feature is not finite, or no sample is left to fit or to evaluate on.
    """
    samples, labelled = samples_with_modality(setup, "validation", place), setup.label_mask("validation")
    fitting = fitted(len(samples), connected_groups(setup.links)[samples.cpu()] if setup.links else None)
    first, rest = samples[fitting], samples[~fitting]
    known = fused[samples].isfinite().all() and concept[samples].isfinite().all()
    if not (len(first) and len(rest) and known):
        return Competition(math.nan, 0, math.nan)

    def of(x: Tensor, side: Tensor) -> Tensor:
        return (x[side].flatten(0, -2) if labelled is None else x[side][labelled[side]]).cpu()

    seen, wanted = ((of(x, first), of(x, rest)) for x in (fused, concept))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of features so large that the penalty is lost in rounding
        return competition_strength(seen, wanted)


def fitted(count: int, units: np.ndarray | None) -> Tensor:
    """Return which of so many samples are to fit on, [n] bool: every other, or units of them, about as many."""
    if units is None:
        return torch.arange(count) % 2 == 0
    _, first, unit, size = np.unique(units, return_index=True, return_inverse=True, return_counts=True)
    chosen, sums = np.zeros(len(size), bool), [0, 0]
    for one in np.argsort(first):
        side = int(sums[1] < sums[0])
        chosen[one], sums[side] = side == 0, sums[side] + size[one]
    return torch.from_numpy(chosen[unit])
