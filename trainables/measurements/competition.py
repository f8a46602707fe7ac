"""Competition strength: how much of a modality's concept is lost in the joint feature (METHODS.md 10.4)."""

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
from trainables.train import iterate_epochs


class Concept(NamedTuple):
    """The output of a network trained on one modality, on the validation split."""

    feature: Tensor  # [N, H]
    score: float  # the recorded metric, over the samples that have the modality


def begin(setup: Setup) -> dict[str, Concept]:
    """Return the concept of each modality: that of the unimodal trial of the same study and seed, fully trained."""
    return {m: train_concept(setup, m) for m in setup.model.encoders}


def train_concept(setup: Setup, modality: str) -> Concept:
    """Train a network on one modality and return its concept."""
    unimodal = unimodal_setup(setup, modality)
    samples = samples_with_modality(setup, "validation", list(setup.model.encoders).index(modality))
    *_, last = iterate_epochs(unimodal, init_learner(unimodal))
    signals = compute_signals(unimodal, last.learner, "validation", frozenset({"features"}))
    score = setup.criteria(setup.target["validation"][samples]).score(signals.logits[samples]).double().mean()
    return Concept(signals.features[modality], named_metric(setup.task, score.item())[1])


def joint_setup(setup: Setup) -> Setup:
    """Return the setup of joint training with the same settings, without measurements."""
    optimizer = setup.optimizer.model if isinstance(setup.optimizer, SplitOptimizer) else setup.optimizer
    trial = {**setup.trial, "start": 1, "end": math.inf, "warmup": 0, "measure": {}}
    model = setup.model._replace(classifier=None)
    return setup._replace(trial=trial, model=model, method=Joint(), needs=frozenset(), optimizer=optimizer)


def unimodal_setup(setup: Setup, modality: str) -> Setup:
    """Return the setup of unimodal training on one modality with the same settings, without measurements."""
    joint, index = joint_setup(setup), list(setup.model.encoders).index(modality)
    return joint._replace(
        trial={**joint.trial, "modality": modality},
        model=joint.model._replace(encoders={modality: setup.model.encoders[modality]}, mute_inputs={}),
        inputs={split: {modality: x[modality]} for split, x in setup.inputs.items()},
        present={split: None if p is None else p[index : index + 1] for split, p in setup.present.items()},
    )


def rows(setup: Setup, concepts: dict[str, Concept], learner: Learner, progress: Progress) -> list[Row]:
    """Return each modality's competition strength, its concept's rank, and which modality is preferred.

    The strength is an average over all Q features of the concept, even if they vary in fewer directions (the rank): of
    a concept that is lost completely it is rank / Q. The share is relative to that, with each direction scaled by the
    variance of the concept on all of validation. Both are computed from the samples that have the modality and their
    labelled positions.

    Every other sample of the validation split, which may be sorted, is for fitting and the rest for evaluation; samples
    that share a recording or a group are in the same half. The scores of the concepts themselves, the ceiling, are
    returned after the last epoch.
    """
    fused = compute_signals(setup, learner, "validation", frozenset({"fused"})).fused
    results = {
        m: concept_competition(setup, fused, concept.feature, i) for i, (m, concept) in enumerate(concepts.items())
    }
    preferred = preferred_modality({m: result.strength for m, result in results.items()})
    values = {
        "competition": [result.strength for result in results.values()],
        "competition_rank": [result.rank for result in results.values()],
        "competition_share": [result.share for result in results.values()],
        "competition_preferred": [m == preferred for m in results],
    }
    if progress.last:
        values[f"concept_{named_metric(setup.task, 0.0)[0]}"] = [concept.score for concept in concepts.values()]
    return tabulate(setup, values, "validation", progress)


def concept_competition(setup: Setup, fused: Tensor, concept: Tensor, index: int) -> Competition:
    """Return the competition strength of the concept [N, ..., H] of the modality at ``index`` in the joint feature.

    It is computed from the validation samples that have the modality, and their labelled positions. nan if a feature is
    not finite, or there is no sample to fit or to evaluate on.
    """
    samples, labelled = samples_with_modality(setup, "validation", index), setup.label_mask("validation")
    mask = fit_mask(len(samples), connected_groups(setup.links)[samples.cpu()] if setup.links else None)
    fit_samples, eval_samples = samples[mask], samples[~mask]
    finite = fused[samples].isfinite().all() and concept[samples].isfinite().all()
    if not (len(fit_samples) and len(eval_samples) and finite):
        return Competition(math.nan, 0, math.nan)

    def select(x: Tensor, half: Tensor) -> Tensor:
        return (x[half].flatten(0, -2) if labelled is None else x[half][labelled[half]]).cpu()

    fused_halves, concept_halves = ((select(x, fit_samples), select(x, eval_samples)) for x in (fused, concept))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about features so large that the penalty is lost in rounding
        return competition_strength(fused_halves, concept_halves)


def fit_mask(count: int, groups: np.ndarray | None) -> Tensor:
    """Return which of ``count`` samples to fit on, [n] bool: every other one, or whole groups that are about half."""
    if groups is None:
        return torch.arange(count) % 2 == 0
    _, first, group, size = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    selected, totals = np.zeros(len(size), bool), [0, 0]
    for index in np.argsort(first):
        half = int(totals[1] < totals[0])
        selected[index], totals[half] = half == 0, totals[half] + size[index]
    return torch.from_numpy(selected[group])
