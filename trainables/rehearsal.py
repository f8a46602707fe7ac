"""A short training in float64 on synthetic data, for checks: what it computes is real, what it learns is not."""

from collections.abc import Mapping
from typing import Any

import torch

from trainables.data import load
from trainables.setup import Learner, prepare, start
from trainables.signals import Task, leaves
from trainables.tasks import classification
from trainables.train import epochs

SAMPLES, BATCH = 160, 16
DATA = {"name": "synthetic", "modalities": 3, "samples": [SAMPLES, 40, 40]}
MODEL = {"fusion": "concat", "encoder": "mlp", "hidden": 16, "norm": "none", "dropout": 0.0}
TRAINING = {
    "batch_size": BATCH, "optimizer": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.0, "loss": "mse",
    "reduction": "mean", "order": "shuffled", "schedule": "constant",
    "clip": None, "clip_before": None, "clip_trigger": None, "accumulate": 1, "dtype": "float64",
}  # fmt: skip


def rehearse(method: str, settings: Mapping[str, Any], steps: int) -> tuple[Learner, float]:
    """Train a method (as ``module:attribute``) for at least ``steps`` steps; return the learner and its last loss."""
    trial = {
        "method": method, "settings": dict(settings), "start": 1, "end": float("inf"), "warmup": 0, "modality": None,
        "model": MODEL, "train": {**TRAINING, "epochs": -(-steps * BATCH // SAMPLES)}, "measure": {}, "seed": 0,
    }  # fmt: skip
    setup = prepare(trial, load(DATA))
    *_, last = epochs(setup, start(setup))
    return last.learner, next(row.value for row in last.rows if row.metric == "loss" and row.split == "train")


def silent() -> Task:
    """Return a task of one sample and no noise, for what a method says before it trains."""
    held = classification(torch.zeros(1, dtype=torch.int64))
    return Task(*held, lambda purpose, like: torch.zeros_like(like), torch.tensor(1.0), 1)


def distance(one: Learner, other: Learner) -> float:
    """Return the largest difference between the parameters of encoders, fusion and joint head."""
    pairs = zip(leaves(one.params._replace(heads={})), leaves(other.params._replace(heads={})), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)
