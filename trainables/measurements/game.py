"""Cooperative game of the modalities on the validation split: predictions and scores of coalitions."""

from collections.abc import Iterator

import torch
from torch import Tensor

from trainables.diagnostics.checks import Floats
from trainables.diagnostics.coalitions import all_coalitions, permutation_coalitions, sampled_shapley, shapley
from trainables.evaluation import CHUNK, masked_mean
from trainables.methods.agm import AGM, MAX_LOSS
from trainables.randomness import normal
from trainables.setup import Learner, Setup
from trainables.shapley import permutations, weighted_sums
from trainables.signals import Task, all_subsets

MAX_EXACT = 8  # modalities; of more, permutations are sampled instead of evaluating all coalitions
PERMUTATIONS = 32  # in antithetic pairs, the same after every epoch
MAX_COALITIONS = 64  # evaluated in one pass over a full chunk of samples
LARGEST = 1e100  # replaces a loss or score that is not finite, so that a diverging run is measured to its end


def coalition_predictions(setup: Setup, learner: Learner, coalitions: Tensor) -> Iterator[tuple[Task, Tensor]]:
    """Yield tasks of chunks of validation samples with the predictions by each coalition [S, M], [S, B, C]."""
    size = max(1, CHUNK // (1 + len(coalitions) // MAX_COALITIONS))
    target = setup.target["validation"]
    for chunk in torch.split(torch.arange(len(target), device=target.device), size):
        inputs = {m: x[chunk] for m, x in setup.inputs["validation"].items()}
        signals, _ = setup.model(
            learner.params, learner.buffers, inputs, frozenset({"muted_values"}), coalitions=coalitions, training=False
        )
        yield validation_task(setup, chunk), signals.muted


def validation_task(setup: Setup, indices: Tensor) -> Task:
    """Return the task of the validation samples at ``indices``, [B]; its noise is the same in all epochs."""
    trial, present = setup.trial, setup.present["validation"]
    labels = setup.target["validation"][indices]
    criteria = setup.criteria(labels)

    def noise(purpose: str, like: Tensor) -> Tensor:
        return normal(tuple(like.shape), trial["seed"], purpose, "validation").to(like)

    present = None if present is None else present[:, indices]
    return Task(*criteria, noise, torch.ones((), dtype=torch.float64, device=labels.device), len(indices), present)


@torch.no_grad()
def coalition_scores(setup: Setup, learner: Learner, coalitions: Tensor) -> Tensor:
    """Return the score on validation with all but each coalition muted, [S, M] -> [S] float64, on the CPU."""
    scores = [task.score(muted).double() for task, muted in coalition_predictions(setup, learner, coalitions)]
    return torch.cat(scores, -1).nan_to_num(-LARGEST, LARGEST, -LARGEST).mean(-1).cpu()


def all_coalition_scores(setup: Setup, learner: Learner) -> Tensor:
    """Return the score of every coalition, the empty one included, [2**M]."""
    return coalition_scores(setup, learner, torch.from_numpy(all_coalitions(len(setup.model.encoders))))


def shapley_values(setup: Setup, learner: Learner) -> tuple[Floats, float]:
    """Return the Shapley value of each modality, [M], and the score with all muted (METHODS.md 10.2)."""
    modalities = len(setup.model.encoders)
    if modalities <= MAX_EXACT:
        scores = all_coalition_scores(setup, learner)
        return shapley(scores), scores[0].item()
    ranks = permutations(modalities, PERMUTATIONS, validation_task(setup, torch.arange(0))).cpu()
    scores = coalition_scores(setup, learner, torch.from_numpy(permutation_coalitions(ranks)))
    return sampled_shapley(scores, ranks), scores[0].item()


@torch.no_grad()
def share_losses(setup: Setup, learner: Learner) -> Tensor:
    """Return the loss of each modality's Shapley share of the prediction, the score of AGM, [M] float64 on the CPU.

    nan if no sample has the modality.
    """
    modalities = len(setup.model.encoders)
    agm = AGM(samples=0 if modalities <= MAX_EXACT else PERMUTATIONS)
    if agm.samples:
        coalitions = agm.coalitions(modalities, validation_task(setup, torch.arange(0)))
    else:
        coalitions = all_subsets(modalities)
    losses = []
    for task, muted in coalition_predictions(setup, learner, coalitions):
        weights = agm.weights(modalities, task)
        shares = weighted_sums(weights.to(muted), muted, by_sample=weights.ndim == 3)
        losses.append(task.loss(shares, MAX_LOSS) if task.nats else task.loss(shares))
    return masked_mean(setup.present["validation"], torch.cat(losses, -1).double().nan_to_num(LARGEST, LARGEST)).cpu()
