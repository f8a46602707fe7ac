"""How the variance of the gradient is spread over the dimensions of each encoder (METHODS.md 8.5)."""

import torch
from torch import Tensor

from trainables.evaluation import Progress, Row, tabulate
from trainables.measurements.slopes import afresh, flat, gradients
from trainables.randomness import permutation
from trainables.setup import Learner, Setup
from trainables.step import batch_task

PARTS, SIZE = 24, 16  # batches of the training split, and samples in each, at most
QUANTILES = {"low": 0.1, "median": 0.5, "high": 0.9}


def begin(setup: Setup) -> tuple[Tensor, ...]:
    """Return the samples of each part, the same in all epochs; of few samples there are two parts."""
    count = len(setup.target["train"])
    size = max(1, min(SIZE, count // 2))
    order = permutation(count, setup.trial["seed"], "variance")
    return torch.split(order[: min(PARTS, count // size) * size], size)


def rows(setup: Setup, known: tuple[Tensor, ...], learner: Learner, progress: Progress) -> list[Row]:
    """Return quantiles over the dimensions, in decades, of the variance of one sample's gradient of the joint loss.

    Estimated from the gradients of some small batches, in evaluation mode. ``variance_spread`` is the 90 % quantile
    less the 10 %. Dimensions that never move (dead units) count in none.
    """
    made = torch.stack([encoders(setup, learner, part, progress) for part in known])  # [parts, D]
    sizes = [sum(p.numel() for p in group.values()) for group in learner.params.encoders.values()]
    found: dict[str, list[float]] = {f"variance_{name}": [] for name in (*QUANTILES, "spread")}
    for block in torch.split(made, sizes, 1):
        variance = len(known[0]) * block.var(0, correction=min(1, len(known) - 1))  # of a single part 0, which is none
        decades = variance[variance > 0].log10()
        ends = {n: decades.quantile(q).item() if len(decades) else float("nan") for n, q in QUANTILES.items()}
        for name, value in (ends | {"spread": ends["high"] - ends["low"]}).items():
            found[f"variance_{name}"].append(value)
    return tabulate(setup, found, "train", progress)


def encoders(setup: Setup, learner: Learner, indices: Tensor, progress: Progress) -> Tensor:
    """Return the gradient of the joint loss on some samples by all encoders, one after another, [D]."""
    params = afresh(learner.params)
    inputs = {m: x[indices] for m, x in setup.inputs["train"].items()}
    signals, _ = setup.model(params, learner.buffers, inputs, frozenset(), training=False)
    task = batch_task(setup, indices, progress.epoch, progress.step)
    return flat(gradients(task.loss(signals.logits).mean(), params.encoders))
