"""What is measured of a trial: rows of an epoch, and the final scores, probes and predictions."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from trainables.diagnostics import linear_probe
from trainables.setup import SPLITS, Learner, Setup, strength
from trainables.signals import EpochMethod, Signals, Validation
from trainables.tasks import against, report

CHUNK = 2048  # samples of one evaluation pass


class Row(NamedTuple):
    """One measured number."""

    epoch: int
    step: int
    split: str
    modality: str | None  # None: the joint prediction
    metric: str
    value: float


class Prediction(NamedTuple):
    """The final outputs on a split."""

    split: str
    outputs: np.ndarray  # [N, ..., C] float32
    target: np.ndarray  # [N, ...]


@torch.no_grad()
def outputs(setup: Setup, learner: Learner, split: str, wanted: frozenset[str]) -> Signals:
    """Return the signals of a whole split in evaluation mode."""
    pieces = []
    for chunk in torch.split(torch.arange(len(setup.target[split])), CHUNK):
        inputs = {m: x[chunk] for m, x in setup.inputs[split].items()}
        pieces.append(setup.model(learner.params, learner.buffers, inputs, wanted, training=False)[0])
    if len(pieces) == 1:
        return pieces[0]
    samples = {"logits": 0, "fused": 0, "features": 0, "unimodal": 1}  # which axis of each signal
    joined = {
        name: tree_map(lambda *parts, axis=axis: torch.cat(parts, axis), *[getattr(p, name) for p in pieces])
        for name, axis in samples.items()
    }
    return Signals(**joined)


def validate(setup: Setup, learner: Learner, epoch: int) -> Validation:
    """Return losses and scores on the validation split; by modality only where the method acts between epochs."""
    by_modality = frozenset({"unimodal"}) if isinstance(setup.method, EpochMethod) else frozenset[str]()
    seen = outputs(setup, learner, "validation", by_modality)
    held = against(setup.task, setup.target["validation"], setup.trial["train"]["loss"])
    parts = seen.unimodal if by_modality else seen.logits[None]
    present = setup.present["validation"] if by_modality else None
    by_loss, by_score = (over(present, measured(parts).double()) for measured in (held.loss, held.score))
    joint_loss, joint_score = (measured(seen.logits).double().mean() for measured in (held.loss, held.score))
    moment = torch.tensor(epoch), strength(setup.trial, epoch)
    return Validation(by_loss, by_score, joint_loss, joint_score, *moment)


def over(present: Tensor | None, values: Tensor) -> Tensor:
    """Average a number of each modality over the samples that have it, [M, N] -> [M]."""
    if present is None:
        return values.mean(-1)
    return torch.where(present, values, 0.0).sum(-1) / present.sum(-1).clamp(min=1)


def scores(setup: Setup, split: str, loss: Tensor, score: Tensor, epoch: int, number: int) -> list[Row]:
    """Return the rows of a joint loss and score."""
    name, value = report(setup.task, score.item())
    return [
        Row(epoch, number, split, None, "loss", loss.item()),
        Row(epoch, number, split, None, name, value),
    ]


def summarise(setup: Setup, measured: list[dict[str, Tensor]], epoch: int, number: int) -> list[Row]:
    """Return the rows of an epoch's training: means over its steps, and the range of the coefficients."""
    series = {name: torch.stack([metrics[name] for metrics in measured]) for name in measured[0]}
    rows = [Row(epoch, number, "train", None, "loss", series.pop("loss").mean().item())]
    for path, values in series.items():
        name = path.removeprefix("method.")
        wanted = {name: values.mean(0)}
        if name == "scale":
            wanted |= {"scale_min": values.amin(0), "scale_max": values.amax(0)}
        for metric, value in wanted.items():
            owners = list(setup.model.encoders) if value.ndim else [None]
            for modality, each in zip(owners, value.reshape(-1).tolist(), strict=True):
                rows.append(Row(epoch, number, "train", modality, metric, each))
    return rows


def conclude(
    setup: Setup, learner: Learner, epoch: int, number: int
) -> tuple[list[Row], dict[str, float], list[Prediction]]:
    """Measure the trained model: rows, final scores and predictions; the one place where the test split is read."""
    rows: list[Row] = []
    probing = "probe" in setup.trial["measure"]
    splits = SPLITS if probing else SPLITS[1:]
    seen = {split: outputs(setup, learner, split, frozenset({"features"})) for split in splits}
    final: dict[str, float] = {}
    predictions: list[Prediction] = []
    for split in SPLITS[1:]:
        held = against(setup.task, setup.target[split], setup.trial["train"]["loss"])
        logits = seen[split].logits
        joint_loss, joint_score = (measured(logits).double().mean() for measured in (held.loss, held.score))
        measured = scores(setup, split, joint_loss, joint_score, epoch, number)
        final |= {f"{split}.{row.metric}": row.value for row in measured}
        rows += measured if split == "test" else []  # the validation rows of the last epoch are there already
        predictions.append(Prediction(split, logits.float().numpy(), setup.target[split].numpy()))
    if probing:
        rows += probes(setup, seen, epoch, number)
    return rows, final, predictions


def probes(setup: Setup, seen: dict[str, Signals], epoch: int, number: int) -> list[Row]:
    """Return how well a linear model reads the target off each encoder's features."""
    targets = {split: setup.target[split].numpy() for split in seen}
    metric = f"probe_{report(setup.task, 0.0)[0]}"
    rows = []
    for modality in setup.model.encoders:
        features = {split: signals.features[modality].numpy() for split, signals in seen.items()}
        for split, value in sorted(linear_probe(features, targets, setup.task).items()):
            rows.append(Row(epoch, number, split, modality, metric, value))
    return rows
