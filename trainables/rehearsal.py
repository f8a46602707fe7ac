"""A short training in float64 on synthetic data, for checks: what it computes is real, what it learns is not."""

from collections.abc import Mapping
from typing import Any

from torch.utils._pytree import tree_leaves

from trainables.data import load
from trainables.train import Learner, Row, epochs, prepare, start

DATA = {"name": "synthetic", "modalities": 3, "samples": [160, 40, 40]}
MODEL = {"fusion": "concat", "encoder": "mlp", "hidden": 16, "norm": "none"}
TRAINING = {
    "batch_size": 16, "optimizer": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.0, "loss": "mse",
    "reduction": "mean", "clip": None, "clip_trigger": None, "dtype": "float64",
}  # fmt: skip


def rehearse(method: str, settings: Mapping[str, Any], steps: int) -> tuple[Learner, float]:
    """Train a method (as ``module:attribute``) for about ``steps`` steps; return the learner and its last loss."""
    epochs_needed = -(-steps * TRAINING["batch_size"] // DATA["samples"][0])
    trial = {
        "method": method, "settings": dict(settings), "start": 1, "end": float("inf"), "modality": None,
        "model": MODEL, "train": {**TRAINING, "epochs": epochs_needed}, "measure": [], "seed": 0,
    }  # fmt: skip
    setup = prepare(trial, load(DATA))
    learner, rows = start(setup), list[Row]()
    for _, learner, _, rows in epochs(setup, learner):
        pass
    return learner, next(row.value for row in rows if row.metric == "loss" and row.split == "train")


def distance(one: Learner, other: Learner) -> float:
    """Return the largest difference between the parameters of encoders, fusion and joint head."""
    pairs = zip(tree_leaves(one.params[:2]), tree_leaves(other.params[:2]), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)
