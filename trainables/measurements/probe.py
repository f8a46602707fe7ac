"""Linear probes of the encoders (METHODS.md 10.6)."""

from trainables.diagnostics.probe import linear_probe
from trainables.evaluation import Progress, Row, compute_signals, samples_with_modality
from trainables.setup import SPLITS, Learner, Setup
from trainables.tasks import named_metric


def rows(setup: Setup, known: tuple[()], learner: Learner, progress: Progress) -> list[Row]:
    """Return how well a linear model reads the target off each encoder's features; on test at the last moment.

    Of samples that have the modality, for fitting as for the score (METHODS.md 13).
    """
    splits = SPLITS if progress.last else SPLITS[:2]
    seen = {split: compute_signals(setup, learner, split, frozenset({"features"})).features for split in splits}
    metric = f"probe_{named_metric(setup.task, 0.0)[0]}"
    found = []
    for place, modality in enumerate(setup.model.encoders):
        own = {split: samples_with_modality(setup, split, place) for split in splits}
        features = {split: seen[split][modality][own[split]].cpu().numpy() for split in splits}
        targets = {split: setup.target[split][own[split]].cpu().numpy() for split in splits}
        for split, value in sorted(linear_probe(features, targets, setup.task).items()):
            found.append(Row(progress.epoch, progress.step, split, modality, metric, value))
    return found
