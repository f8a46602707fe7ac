"""Linear probes of the encoders (METHODS.md 10.6)."""

from trainables.diagnostics.probe import linear_probe
from trainables.evaluation import Progress, Row, compute_signals, samples_with_modality
from trainables.setup import SPLITS, Learner, Setup
from trainables.tasks import named_metric


def rows(setup: Setup, state: tuple[()], learner: Learner, progress: Progress) -> list[Row]:
    """Return the score of a linear probe on each encoder's features, on validation and, after the last epoch, on test.

    Only samples that have the modality are used, both to fit and to score (METHODS.md 13).
    """
    splits = SPLITS if progress.last else SPLITS[:2]
    features = {split: compute_signals(setup, learner, split, frozenset({"features"})).features for split in splits}
    metric = f"probe_{named_metric(setup.task, 0.0)[0]}"
    table = []
    for index, modality in enumerate(setup.model.encoders):
        samples = {split: samples_with_modality(setup, split, index) for split in splits}
        inputs = {split: features[split][modality][samples[split]].cpu().numpy() for split in splits}
        targets = {split: setup.target[split][samples[split]].cpu().numpy() for split in splits}
        for split, value in sorted(linear_probe(inputs, targets, setup.task).items()):
            table.append(Row(progress.epoch, progress.step, split, modality, metric, value))
    return table
