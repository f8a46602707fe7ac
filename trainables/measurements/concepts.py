"""Competition strength by concepts of many seeds: how much is the model's, and how much the concept's? (10.4)."""

from torch import Tensor

from trainables.evaluation import Progress, Row, compute_signals
from trainables.fusions import Features
from trainables.measurements.competition import isolated, strength
from trainables.setup import Learner, Setup, init_learner
from trainables.train import epochs

SEEDS = 20  # of networks on one modality, the same for all trials
FIRST = 1_000_000  # far from the seeds of trials


def begin(setup: Setup) -> dict[str, list[Tensor]]:
    """Return the concepts of each modality, features [N, H] of validation by networks of other seeds."""
    return {m: [learnt(setup, m, FIRST + i) for i in range(SEEDS)] for m in setup.model.encoders}


def learnt(setup: Setup, modality: str, seed: int) -> Tensor:
    """Return the concept of one modality and seed."""
    alone = isolated(setup, modality)
    alone = alone._replace(trial={**alone.trial, "seed": seed, "init": seed})
    *_, last = epochs(alone, init_learner(alone))
    features: Features = compute_signals(alone, last.learner, "validation", frozenset({"features"})).features
    return features[modality]


def rows(setup: Setup, known: dict[str, list[Tensor]], learner: Learner, progress: Progress) -> list[Row]:
    """Return the share of each concept that is lost, ``competition_concept_I`` of the I-th seed."""
    fused, found = compute_signals(setup, learner, "validation", frozenset({"fused"})).fused, []
    for place, (modality, concepts) in enumerate(known.items()):
        for i, concept in enumerate(concepts):
            value = strength(setup, fused, concept, place).share
            metric = f"competition_concept_{i}"
            found.append(Row(progress.epoch, progress.step, "validation", modality, metric, value))
    return found
