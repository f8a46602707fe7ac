"""Distribution of the gradient's variance over the dimensions of each encoder (METHODS.md 8.5)."""

import torch
from torch import Tensor

from trainables.evaluation import Progress, Row, tabulate
from trainables.measurements.autograd import detach_params, flatten, gradients
from trainables.randomness import permutation
from trainables.setup import Learner, Setup
from trainables.step import batch_task

MAX_BATCHES, MAX_SIZE = 24, 16  # batches of the training split, and samples in each
QUANTILES = {"low": 0.1, "median": 0.5, "high": 0.9}


def begin(setup: Setup) -> tuple[Tensor, ...]:
    """Return the sample indices of each batch, the same in all epochs; small data sets have two batches."""
    count = len(setup.target["train"])
    size = max(1, min(MAX_SIZE, count // 2))
    order = permutation(count, setup.trial["seed"], "variance")
    return torch.split(order[: min(MAX_BATCHES, count // size) * size], size)


def rows(setup: Setup, batches: tuple[Tensor, ...], learner: Learner, progress: Progress) -> list[Row]:
    """Return quantiles over the dimensions of the variance of one sample's gradient of the joint loss, as log10.

    It is estimated from the gradients of small batches in evaluation mode. ``variance_spread`` is the 90 % quantile
    minus the 10 % quantile. Dimensions without variance (dead units) are left out.
    """
    gradients_by_batch = torch.stack([encoder_gradient(setup, learner, batch, progress) for batch in batches])
    sizes = [sum(p.numel() for p in group.values()) for group in learner.params.encoders.values()]
    values: dict[str, list[float]] = {f"variance_{name}": [] for name in (*QUANTILES, "spread")}
    for block in torch.split(gradients_by_batch, sizes, 1):
        variance = len(batches[0]) * block.var(0, correction=min(1, len(batches) - 1))  # 0 for a single batch
        decades = variance[variance > 0].log10()
        quantiles = {n: decades.quantile(q).item() if len(decades) else float("nan") for n, q in QUANTILES.items()}
        for name, value in (quantiles | {"spread": quantiles["high"] - quantiles["low"]}).items():
            values[f"variance_{name}"].append(value)
    return tabulate(setup, values, "train", progress)


def encoder_gradient(setup: Setup, learner: Learner, indices: Tensor, progress: Progress) -> Tensor:
    """Return the gradient of the joint loss on the samples at ``indices`` by all encoders, concatenated, [D]."""
    params = detach_params(learner.params)
    inputs = {m: x[indices] for m, x in setup.inputs["train"].items()}
    signals, _ = setup.model(params, learner.buffers, inputs, frozenset(), training=False)
    task = batch_task(setup, indices, progress.epoch, progress.step)
    return flatten(gradients(task.loss(signals.logits).mean(), params.encoders))
