"""Contribution curves: the loss of each modality's Shapley share of the logits, and its fraction of the whole."""

import numpy as np

from trainables.diagnostics.truth import shares
from trainables.evaluation import Progress, Row, tabulate
from trainables.measurements.game import share_losses
from trainables.setup import Learner, Setup


def rows(setup: Setup, state: tuple[()], learner: Learner, progress: Progress) -> list[Row]:
    """Return the loss of each share on validation, and exp(-loss) over the sum of all (METHODS.md 10.1).

    Both are nan for a modality that no sample has.
    """
    losses = share_losses(setup, learner).numpy()
    present, share = ~np.isnan(losses), np.full_like(losses, np.nan)
    share[present] = shares(losses[present])
    return tabulate(setup, {"share_loss": losses, "share": share}, "validation", progress)
