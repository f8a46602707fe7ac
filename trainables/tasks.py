"""Targets: per-sample loss, score and likelihood of a prediction, for each kind of task.

Letters in shapes: B samples, L positions of a dense target, C outputs. The functions broadcast over leading
dimensions and return one number per sample, the mean over the positions that have a label.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Criteria(NamedTuple):
    """Loss, score and derivatives of a prediction, closed over the target."""

    loss: Callable[..., Tensor]  # [..., B, C] -> [..., B]; an optional second argument bounds that of each position
    score: Callable[[Tensor], Tensor]  # [..., B, C] -> [..., B], higher is better
    likelihood: Callable[[Tensor], Tensor]  # [..., B, C] -> [..., B], of the target, in [0, 1]
    slope: Callable[[Tensor], Tensor]  # [..., B, C] -> [..., B, C], derivative of the loss by the prediction
    curve: Callable[[Tensor, Tensor], Tensor]  # (prediction, change of it) -> change of the slope
    nats: bool  # the loss is a negative log-likelihood
    labelled: Tensor | None = None  # [B, L] bool, which positions have a label; None: all


def classification(target: Tensor, *, gaps: bool = False) -> Criteria:
    """Return cross-entropy, accuracy and probability of classes, [B] or [B, L] int64; predictions are logits.

    With ``gaps``, positions [B, L] of class -1 have no label and are ignored.
    """
    positions = target.ndim - 1
    labelled = target >= 0 if gaps else None
    classes = target.clamp(min=0) if gaps else target

    def per_sample(values: Tensor) -> Tensor:
        if labelled is not None:
            return labelled_mean(values, labelled)
        return values.flatten(values.ndim - positions).mean(-1) if positions else values

    def per_position(changes: Tensor) -> Tensor:
        if labelled is not None:
            return torch.where(labelled[..., None], changes, 0.0) / label_count(labelled)[:, None, None]
        return changes / math.prod(target.shape[1:]) if positions else changes

    def labels(logits: Tensor) -> Tensor:
        return classes.expand(logits.shape[:-1]).unsqueeze(-1)

    def log_likelihood(logits: Tensor) -> Tensor:
        return F.log_softmax(logits, -1).gather(-1, labels(logits)).squeeze(-1)

    def loss(logits: Tensor, cap: float = math.inf) -> Tensor:
        losses = -log_likelihood(logits)
        return per_sample(losses if cap == math.inf else losses.clamp(max=cap))

    def score(logits: Tensor) -> Tensor:
        return per_sample((logits.argmax(-1) == target).to(logits.dtype))

    def slope(logits: Tensor) -> Tensor:
        one_hot = target[..., None] == torch.arange(logits.shape[-1], device=logits.device)
        return per_position(torch.softmax(logits, -1) - one_hot.to(logits))

    def curve(logits: Tensor, change: Tensor) -> Tensor:
        p = torch.softmax(logits, -1)
        weighted = p * per_position(change)
        return weighted - p * weighted.sum(-1, keepdim=True)

    return Criteria(
        loss,
        score,
        lambda logits: per_sample(torch.softmax(logits, -1).gather(-1, labels(logits)).squeeze(-1)),
        slope,
        curve,
        nats=True,
        labelled=labelled,
    )


def labelled_mean(values: Tensor, labelled: Tensor) -> Tensor:
    """Return the mean over the positions that have a label, [..., B, L] and [B, L] bool -> [..., B]."""
    return torch.where(labelled, values, 0.0).sum(-1) / label_count(labelled)


def label_count(labelled: Tensor) -> Tensor:
    """Return how many positions have a label, [B, L] bool -> [B]; 1 where none has, to divide by it."""
    return labelled.sum(-1).clamp(min=1)


def regression(target: Tensor, kind: str) -> Criteria:
    """Return loss (l1, mse or huber) and minus the absolute error of values, [B, C]; outputs are averaged.

    The likelihood is exp(-loss), our reading (METHODS.md 13).
    """
    errors: dict[str, Callable[..., Tensor]] = {"l1": F.l1_loss, "mse": F.mse_loss, "huber": F.huber_loss}

    def loss(prediction: Tensor) -> Tensor:
        return errors[kind](prediction, target.expand(prediction.shape), reduction="none").mean(-1)

    def score(prediction: Tensor) -> Tensor:
        return -(prediction - target).abs().mean(-1)

    def slope(prediction: Tensor) -> Tensor:
        error = prediction - target
        slopes: dict[str, Callable[[Tensor], Tensor]] = {
            "l1": torch.sign, "mse": lambda e: 2 * e, "huber": lambda e: e.clamp(-1, 1)
        }  # fmt: skip
        return slopes[kind](error) / target.shape[-1]

    def curve(prediction: Tensor, change: Tensor) -> Tensor:
        error = prediction - target
        curves: dict[str, Callable[[Tensor], Tensor]] = {
            "l1": torch.zeros_like, "mse": lambda e: torch.full_like(e, 2.0), "huber": lambda e: (e.abs() <= 1).to(e)
        }  # fmt: skip
        return curves[kind](error) * change / target.shape[-1]

    return Criteria(loss, score, lambda prediction: torch.exp(-loss(prediction)), slope, curve, nats=False)


def build_criteria(task: str, target: Tensor, loss: str, *, gaps: bool = False) -> Criteria:
    """Return the criteria of a target for a task (classification, segmentation or regression)."""
    return regression(target, loss) if task == "regression" else classification(target, gaps=gaps)


def named_metric(task: str, score: float) -> tuple[str, float]:
    """Return name and value of the metric that is recorded for a mean score: accuracy, or mae = -score."""
    return ("mae", -score) if task == "regression" else ("accuracy", score)
