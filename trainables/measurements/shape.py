"""SHAPE scores (Hu, Li and Zhou, IJCAI 2022): contribution of each modality, and gain by cooperation."""

from trainables.diagnostics import coalitions
from trainables.evaluation import Progress, Row, tabulate
from trainables.measurements.game import all_coalition_scores
from trainables.setup import Learner, Setup


def rows(setup: Setup, state: tuple[()], learner: Learner, progress: Progress) -> list[Row]:
    """Return the SHAPE scores on validation."""
    scores = coalitions.shape(all_coalition_scores(setup, learner))
    values = {"shape_contribution": scores.contribution, "shape_cooperation": scores.cooperation}
    return tabulate(setup, values, "validation", progress)
