"""The validation split as a game of the modalities: what each coalition predicts, and what that is worth."""

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

EXACT = 8  # modalities, at most, whose coalitions are all asked; beyond, those along some orders of arrival
ORDERS = 32  # in antithetic pairs, the same after every epoch
TOGETHER = 64  # coalitions of a whole chunk of samples in one pass
WORST = 1e100  # stands for an error that is not finite, so that a run about to diverge is measured to its end


def predictions(setup: Setup, learner: Learner, coalitions: Tensor) -> Iterator[tuple[Task, Tensor]]:
    """Yield the task of some samples of validation, and what each coalition [S, M] predicts of them, [S, B, C]."""
    size = max(1, CHUNK // (1 + len(coalitions) // TOGETHER))
    target = setup.target["validation"]
    for chunk in torch.split(torch.arange(len(target), device=target.device), size):
        inputs = {m: x[chunk] for m, x in setup.inputs["validation"].items()}
        signals, _ = setup.model(
            learner.params, learner.buffers, inputs, frozenset({"muted_values"}), coalitions=coalitions, training=False
        )
        yield pose(setup, chunk), signals.muted


def pose(setup: Setup, indices: Tensor) -> Task:
    """Return the task of some samples of validation, [B] indices; its noise is the same in all epochs."""
    trial, present = setup.trial, setup.present["validation"]
    target = setup.target["validation"][indices]
    held = setup.criteria(target)

    def noise(purpose: str, like: Tensor) -> Tensor:
        return normal(tuple(like.shape), trial["seed"], purpose, "validation").to(like)

    heard = None if present is None else present[:, indices]
    return Task(*held, noise, torch.ones((), dtype=torch.float64, device=target.device), len(indices), heard)


@torch.no_grad()
def worth(setup: Setup, learner: Learner, coalitions: Tensor) -> Tensor:
    """Return the score on validation when each coalition alone is heard, [S, M] -> [S] float64, on the host."""
    scores = [task.score(muted).double() for task, muted in predictions(setup, learner, coalitions)]
    return torch.cat(scores, -1).nan_to_num(-WORST, WORST, -WORST).mean(-1).cpu()


def all_worth(setup: Setup, learner: Learner) -> Tensor:
    """Return the score of every coalition, the empty one included, [2**M]."""
    return worth(setup, learner, torch.from_numpy(all_coalitions(len(setup.model.encoders))))


def shapley_values(setup: Setup, learner: Learner) -> tuple[Floats, float]:
    """Return the Shapley value of each modality for the score, [M], and the score of silence (METHODS.md 10.2)."""
    modalities = len(setup.model.encoders)
    if modalities <= EXACT:
        scores = all_worth(setup, learner)
        return shapley(scores), scores[0].item()
    ranks = permutations(modalities, ORDERS, pose(setup, torch.arange(0))).cpu()
    scores = worth(setup, learner, torch.from_numpy(permutation_coalitions(ranks)))
    return sampled_shapley(scores, ranks), scores[0].item()


@torch.no_grad()
def share_losses(setup: Setup, learner: Learner) -> Tensor:
    """Return the loss of each modality's Shapley share of the prediction, [M] float64 on the host: the score of AGM.

    nan where no sample has the modality.
    """
    modalities = len(setup.model.encoders)
    rule = AGM(samples=0 if modalities <= EXACT else ORDERS)
    coalitions = rule.coalitions(modalities, pose(setup, torch.arange(0))) if rule.samples else all_subsets(modalities)
    losses = []
    for task, muted in predictions(setup, learner, coalitions):
        weights = rule.weights(modalities, task)
        shares = weighted_sums(weights.to(muted), muted, by_sample=weights.ndim == 3)
        losses.append(task.loss(shares, MAX_LOSS) if task.nats else task.loss(shares))
    return masked_mean(setup.present["validation"], torch.cat(losses, -1).double().nan_to_num(WORST, WORST)).cpu()
