"""Competition strength for concepts of many seeds: how much it depends on the model and on the concept (10.4)."""

from torch import Tensor

from trainables.evaluation import Progress, Row, compute_signals
from trainables.fusions import Features
from trainables.measurements.competition import concept_competition, unimodal_setup
from trainables.setup import Learner, Setup, init_learner
from trainables.train import iterate_epochs

SEEDS = 20  # unimodal networks of each modality, the same for all trials
FIRST_SEED = 1_000_000  # far from the seeds of trials


def begin(setup: Setup) -> dict[str, list[Tensor]]:
    """Return the concepts of each modality: features [N, H] of validation, by unimodal networks of other seeds."""
    return {m: [train_concept(setup, m, FIRST_SEED + i) for i in range(SEEDS)] for m in setup.model.encoders}


def train_concept(setup: Setup, modality: str, seed: int) -> Tensor:
    """Train a network on one modality with a seed and return its concept, [N, H]."""
    unimodal = unimodal_setup(setup, modality)
    unimodal = unimodal._replace(trial={**unimodal.trial, "seed": seed, "init": seed})
    *_, last = iterate_epochs(unimodal, init_learner(unimodal))
    features: Features = compute_signals(unimodal, last.learner, "validation", frozenset({"features"})).features
    return features[modality]


def rows(setup: Setup, concepts: dict[str, list[Tensor]], learner: Learner, progress: Progress) -> list[Row]:
    """Return the share of each concept that is lost, ``competition_concept_I`` for the I-th seed."""
    fused, table = compute_signals(setup, learner, "validation", frozenset({"fused"})).fused, []
    for index, (modality, features) in enumerate(concepts.items()):
        for i, concept in enumerate(features):
            value = concept_competition(setup, fused, concept, index).share
            metric = f"competition_concept_{i}"
            table.append(Row(progress.epoch, progress.step, "validation", modality, metric, value))
    return table
