"""What is measured of every trial: rows of an epoch, the final scores and predictions, and a hash of the weights."""

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from trainables.differentiation import gathered
from trainables.parallel import alone
from trainables.setup import SPLITS, Learner, Setup, strength
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


class Moment(NamedTuple):
    """Where training stands."""

    epoch: int
    step: int
    last: bool = False  # after the last epoch, when the test split may be read


class Prediction(NamedTuple):
    """The final outputs on a split."""

    split: str
    outputs: np.ndarray  # [N, ..., C] float32
    target: np.ndarray  # [N, ...], -1 where a position has no label


class Outcome(NamedTuple):
    """What a trial leaves behind."""

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
def outputs(setup: Setup, learner: Learner, split: str, wanted: frozenset[str], rows: slice | None = None) -> Signals:
    """Return the signals of a whole split, or of some rows of it, in evaluation mode."""
    pieces = []
    target = setup.target[split]
    for chunk in torch.split(torch.arange(len(target), device=target.device)[rows or slice(None)], CHUNK):
        inputs = {m: x[chunk] for m, x in setup.inputs[split].items()}
        pieces.append(setup.model(learner.params, learner.buffers, inputs, wanted, training=False)[0])
    return pieces[0] if len(pieces) == 1 else gathered(pieces)


def validate(setup: Setup, learner: Learner, epoch: int) -> Validation:
    """Return losses and scores on the validation split; by modality only where the method acts between epochs."""
    return dated(setup, judge(setup, learner), epoch)


def judge(setup: Setup, learner: Learner) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return loss and score on the validation split, [M] by modality and [] joint, as in `Validation`."""
    by_modality = frozenset({"unimodal_values"}) if isinstance(setup.method, EpochMethod) else frozenset[str]()
    target, present = setup.target["validation"], setup.present["validation"] if by_modality else None
    total, rows = setup.crew.total, setup.crew.rows(len(target))
    seen = outputs(setup, learner, "validation", by_modality, rows)
    if rows is not None:
        target, present = target[rows], None if present is None else present[:, rows]
    held = setup.against(target)
    parts = seen.unimodal if by_modality else seen.logits[None]
    by_loss, by_score = (heard(present, measured(parts).double(), total) for measured in (held.loss, held.score))
    joint_loss, joint_score = (
        heard(None, measured(seen.logits).double(), total) for measured in (held.loss, held.score)
    )
    return by_loss, by_score, joint_loss, joint_score


def dated(setup: Setup, judged: tuple[Tensor, Tensor, Tensor, Tensor], epoch: int) -> Validation:
    """Return what was judged after an epoch as the method's `Validation`."""
    return Validation(*judged, torch.tensor(epoch), torch.tensor(strength(setup.trial, epoch), dtype=torch.float64))


def heard(present: Tensor | None, values: Tensor, total: Callable[[Tensor], Tensor] = alone) -> Tensor:
    """Average over the samples that are present, of all workers where ``total`` sums over them, [..., N] -> [...].

    nan where none is.
    """
    if present is None:
        present = torch.ones_like(values, dtype=torch.bool)
    return total(torch.where(present, values, 0.0).sum(-1)) / total(present.sum(-1))


def having(setup: Setup, split: str, place: int) -> Tensor:
    """Return the indices of the samples of a split that have the modality at a place, [n]."""
    present = setup.present[split]
    samples = torch.arange(len(setup.target[split]), device=setup.device)
    return samples if present is None else samples[present[place]]


def scores(setup: Setup, split: str, loss: Tensor, score: Tensor, epoch: int, number: int) -> list[Row]:
    """Return the rows of a joint loss and score."""
    name, value = named_metric(setup.task, score.item())
    return [
        Row(epoch, number, split, None, "loss", loss.item()),
        Row(epoch, number, split, None, name, value),
    ]


def summarise(setup: Setup, series: dict[str, Tensor], epoch: int, number: int) -> list[Row]:
    """Return the rows of an epoch's training: means over its T steps, [T, ...], and the range of the coefficients.

    Of a modality they are over the steps whose batch has it.
    """
    wanted: dict[str, Tensor] = {}
    attended = series.get("attended")  # [T, M] bool; None: all in all
    told = {path.removeprefix("method."): values for path, values in series.items() if path != "attended"}
    for name, values in told.items():
        heard = attended if attended is not None and values.shape == attended.shape else None
        wanted[name] = values.mean(0) if heard is None else torch.where(heard, values, 0.0).sum(0) / heard.sum(0)
        if name == "scale":
            wanted |= {"scale_min": least(values, heard), "scale_max": -least(-values, heard)}
    return tabulate(setup, wanted, "train", Moment(epoch, number))


def least(values: Tensor, heard: Tensor | None) -> Tensor:
    """Return the least of T numbers of each modality, [T, M] -> [M], of those that were heard; nan where none was."""
    if heard is None:
        return values.amin(0)
    return torch.where(heard, values, math.inf).amin(0).masked_fill(~heard.any(0), math.nan)


def tabulate(setup: Setup, values: Mapping[str, Any], split: str, moment: Moment) -> list[Row]:
    """Return metrics as rows: [] of the joint prediction, [M], or [M + 1] with the joint one last."""
    rows = []
    for metric, value in values.items():
        numbers = torch.as_tensor(value, dtype=torch.float64)
        owners = [*setup.model.encoders, None] if numbers.ndim else [None]
        for modality, number in zip(owners, numbers.reshape(-1).tolist(), strict=False):
            rows.append(Row(moment.epoch, moment.step, split, modality, metric, number))
    return rows


def conclude(
    setup: Setup, learner: Learner, epoch: int, number: int
) -> tuple[list[Row], dict[str, float], list[Prediction]]:
    """Score the trained model: rows, final scores and predictions; beside a probe, the one reader of the test split."""
    rows: list[Row] = []
    seen = {split: outputs(setup, learner, split, frozenset()) for split in SPLITS[1:]}
    final: dict[str, float] = {}
    predictions: list[Prediction] = []
    for split in SPLITS[1:]:
        held = setup.against(setup.target[split])
        logits = seen[split].logits
        joint_loss, joint_score = (measured(logits).double().mean() for measured in (held.loss, held.score))
        measured = scores(setup, split, joint_loss, joint_score, epoch, number)
        final |= {f"{split}.{row.metric}": row.value for row in measured}
        rows += measured if split == "test" else []  # the validation rows of the last epoch are there already
        predictions.append(Prediction(split, logits.float().cpu().numpy(), setup.target[split].cpu().numpy()))
    return rows, final, predictions


def digest(learner: Learner) -> str:
    """Return a hash of the bits of all parameters and buffers."""
    found = hashlib.sha256()
    for tensor in tree_leaves((learner.params, learner.buffers)):
        found.update(tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy())
    return found.hexdigest()
