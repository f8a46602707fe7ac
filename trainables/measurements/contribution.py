"""Contribution curves: how well each modality's Shapley share of the logits does, and its part of the whole."""

from trainables.diagnostics.truth import shares
from trainables.measure import Moment, Row, tabulate
from trainables.measurements.game import share_losses
from trainables.setup import Learner, Setup


def begin(setup: Setup) -> tuple[()]:
    """Return nothing: epochs share nothing."""
    return ()


def rows(setup: Setup, known: tuple[()], learner: Learner, moment: Moment) -> list[Row]:
    """Return the loss of each share on validation, and exp(-loss) over the sum of all (METHODS.md 10.1)."""
    losses = share_losses(setup, learner)
    return tabulate(setup, {"share_loss": losses, "share": shares(losses)}, "validation", moment)
