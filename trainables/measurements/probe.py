"""Linear probes of the encoders (METHODS.md 10.6)."""

from trainables.diagnostics.probe import linear_probe
from trainables.measure import Moment, Row, outputs
from trainables.setup import SPLITS, Learner, Setup
from trainables.tasks import report


def begin(setup: Setup) -> tuple[()]:
    """Return nothing: epochs share nothing."""
    return ()


def rows(setup: Setup, known: tuple[()], learner: Learner, moment: Moment) -> list[Row]:
    """Return how well a linear model reads the target off each encoder's features; on test at the last moment."""
    splits = SPLITS if moment.last else SPLITS[:2]
    seen = {split: outputs(setup, learner, split, frozenset({"features"})).features for split in splits}
    targets = {split: setup.target[split].cpu().numpy() for split in splits}
    metric = f"probe_{report(setup.task, 0.0)[0]}"
    found = []
    for modality in setup.model.encoders:
        features = {split: by_modality[modality].cpu().numpy() for split, by_modality in seen.items()}
        for split, value in sorted(linear_probe(features, targets, setup.task).items()):
            found.append(Row(moment.epoch, moment.step, split, modality, metric, value))
    return found
