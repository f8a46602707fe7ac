"""Evaluation of every trial: the rows of an epoch, final scores and predictions, and a hash of the weights."""

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from trainables.differentiation import concatenate_signals
from trainables.parallel import identity
from trainables.setup import SPLITS, Learner, Setup, method_strength
from trainables.signals import EpochMethod, Signals, Validation
from trainables.tasks import named_metric

CHUNK = 2048  # samples of one evaluation pass


class Row(NamedTuple):
    """One measured number."""

    epoch: int
    step: int
    split: str
    modality: str | None  # None: the joint prediction
    metric: str
    value: float


class Progress(NamedTuple):
    """The point that training has reached."""

    epoch: int
    step: int
    last: bool = False  # after the last epoch, when the test split may be read


class Prediction(NamedTuple):
    """The final outputs on a split."""

    split: str
    outputs: np.ndarray  # [N, ..., C] float32
    target: np.ndarray  # [N, ...], -1 where a position has no label


class Outcome(NamedTuple):
    """The result of a trial."""

    status: str  # done; pruned; or diverged: a loss was not finite
    error: str | None
    seconds: float  # of its pack, without compiling, divided among those that trained in it
    steps: int
    params: int  # number of parameters
    final: dict[str, float]  # "validation.accuracy", "test.loss", ...
    rows: list[Row]
    predictions: list[Prediction]
    weights: str | None = None  # a hash of them; None unless it is done


@torch.no_grad()
def compute_signals(
    setup: Setup, learner: Learner, split: str, needs: frozenset[str], rows: slice | None = None
) -> Signals:
    """Return the signals of a whole split, or of some of its samples, in evaluation mode."""
    parts = []
    target = setup.target[split]
    for chunk in torch.split(torch.arange(len(target), device=target.device)[rows or slice(None)], CHUNK):
        inputs = {m: x[chunk] for m, x in setup.inputs[split].items()}
        parts.append(setup.model(learner.params, learner.buffers, inputs, needs, training=False)[0])
    return parts[0] if len(parts) == 1 else concatenate_signals(parts)


def validate(setup: Setup, learner: Learner, epoch: int) -> Validation:
    """Return losses and scores on the validation split; by modality only where the method acts between epochs."""
    return build_validation(setup, validation_scores(setup, learner), epoch)


def validation_scores(setup: Setup, learner: Learner) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return loss and score on the validation split, [M] by modality and [] joint, as in `Validation`."""
    by_modality = frozenset({"unimodal_values"}) if isinstance(setup.method, EpochMethod) else frozenset[str]()
    target, present = setup.target["validation"], setup.present["validation"] if by_modality else None
    total, rows = setup.workers.total, setup.workers.local_slice(len(target))
    signals = compute_signals(setup, learner, "validation", by_modality, rows)
    if rows is not None:
        target, present = target[rows], None if present is None else present[:, rows]
    criteria = setup.criteria(target)
    loss, score = (masked_mean(None, f(signals.logits).double(), total) for f in (criteria.loss, criteria.score))
    if not by_modality:
        return loss[None], score[None], loss, score
    losses, scores = (
        masked_mean(present, f(signals.unimodal).double(), total) for f in (criteria.loss, criteria.score)
    )
    return losses, scores, loss, score


def build_validation(setup: Setup, scores: tuple[Tensor, Tensor, Tensor, Tensor], epoch: int) -> Validation:
    """Return `validation_scores` after an epoch as the `Validation` that a method takes."""
    strength = torch.tensor(method_strength(setup.trial, epoch), dtype=torch.float64)
    return Validation(*scores, torch.tensor(epoch), strength)


def masked_mean(present: Tensor | None, values: Tensor, total: Callable[[Tensor], Tensor] = identity) -> Tensor:
    """Average over the samples that are present, of all workers if ``total`` sums over them, [..., N] -> [...].

    nan where no sample is.
    """
    if present is None:
        present = torch.ones_like(values, dtype=torch.bool)
    return total(torch.where(present, values, 0.0).sum(-1)) / total(present.sum(-1))


def samples_with_modality(setup: Setup, split: str, index: int) -> Tensor:
    """Return the indices of the samples of a split that have the modality at an index, [n]."""
    present = setup.present[split]
    samples = torch.arange(len(setup.target[split]), device=setup.device)
    return samples if present is None else samples[present[index]]


def score_rows(setup: Setup, split: str, loss: Tensor, score: Tensor, epoch: int, step: int) -> list[Row]:
    """Return the rows of a joint loss and score."""
    metric, value = named_metric(setup.task, score.item())
    return [
        Row(epoch, step, split, None, "loss", loss.item()),
        Row(epoch, step, split, None, metric, value),
    ]


def training_rows(setup: Setup, series: dict[str, Tensor], epoch: int, step: int) -> list[Row]:
    """Return the rows of an epoch's training: means over its T steps, [T, ...], and the range of the coefficients.

    Those of a modality are over the steps whose batch has it.
    """
    values: dict[str, Tensor] = {}
    attended = series.get("attended")  # [T, M] bool; None: all modalities in all steps
    metrics = {path.removeprefix("method."): steps for path, steps in series.items() if path != "attended"}
    for name, steps in metrics.items():
        mask = attended if attended is not None and steps.shape == attended.shape else None
        values[name] = steps.mean(0) if mask is None else torch.where(mask, steps, 0.0).sum(0) / mask.sum(0)
        if name == "scale":
            values |= {"scale_min": masked_min(steps, mask), "scale_max": -masked_min(-steps, mask)}
    return tabulate(setup, values, "train", Progress(epoch, step))


def masked_min(values: Tensor, mask: Tensor | None) -> Tensor:
    """Return the minimum over T steps, [T, M] -> [M], of the values in the mask; nan where it has none."""
    if mask is None:
        return values.amin(0)
    return torch.where(mask, values, math.inf).amin(0).masked_fill(~mask.any(0), math.nan)


def tabulate(setup: Setup, values: Mapping[str, Any], split: str, progress: Progress) -> list[Row]:
    """Return metrics as rows: [] of the joint prediction, [M] of the modalities, or [M + 1] with the joint one last."""
    rows = []
    for metric, value in values.items():
        numbers = torch.as_tensor(value, dtype=torch.float64)
        modalities = [*setup.model.encoders, None] if numbers.ndim else [None]
        for modality, number in zip(modalities, numbers.reshape(-1).tolist(), strict=False):
            rows.append(Row(progress.epoch, progress.step, split, modality, metric, number))
    return rows


def evaluate_final(
    setup: Setup, learner: Learner, epoch: int, step: int
) -> tuple[list[Row], dict[str, float], list[Prediction]]:
    """Return rows, final scores and predictions of the trained model; measurements aside, the only reader of test."""
    rows: list[Row] = []
    signals = {split: compute_signals(setup, learner, split, frozenset()) for split in SPLITS[1:]}
    final: dict[str, float] = {}
    predictions: list[Prediction] = []
    for split in SPLITS[1:]:
        criteria = setup.criteria(setup.target[split])
        logits = signals[split].logits
        joint_loss, joint_score = (f(logits).double().mean() for f in (criteria.loss, criteria.score))
        split_rows = score_rows(setup, split, joint_loss, joint_score, epoch, step)
        final |= {f"{split}.{row.metric}": row.value for row in split_rows}
        rows += split_rows if split == "test" else []  # the validation rows of the last epoch are recorded already
        predictions.append(Prediction(split, logits.float().cpu().numpy(), setup.target[split].cpu().numpy()))
    return rows, final, predictions


def weights_hash(learner: Learner) -> str:
    """Return a hash of the bits of all parameters and buffers."""
    digest = hashlib.sha256()
    for tensor in tree_leaves((learner.params, learner.buffers)):
        digest.update(tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()
