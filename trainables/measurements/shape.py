"""SHAPE scores (Hu, Li and Zhou, IJCAI 2022): what modalities contribute, and what they gain by cooperation."""

from trainables.diagnostics import coalitions
from trainables.evaluation import Progress, Row, tabulate
from trainables.measurements.game import all_worth
from trainables.setup import Learner, Setup


def rows(setup: Setup, known: tuple[()], learner: Learner, progress: Progress) -> list[Row]:
    """Return the scores on validation."""
    scores = coalitions.shape(all_worth(setup, learner))
    values = {"shape_contribution": scores.contribution, "shape_cooperation": scores.cooperation}
    return tabulate(setup, values, "validation", progress)
