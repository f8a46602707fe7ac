"""Targets: labels checked against the classes of the datasheet, and numbers in units of their own spread."""

from typing import Any

import numpy as np

from trainables.data.dataset import DataError

Targets = tuple[np.ndarray, ...]  # train, validation, test


def check_classes(targets: Targets, stated: Any, task: str, owner: str, ignored: int | None = None) -> int:
    """Return the number of classes; raises DataError where a label is none of them or has the wrong shape.

    `stated` is what the datasheet says: a count, a list of names, or None, when the labels are counted. `ignored` is
    the label of positions that have none.
    """
    axes, shape = (2, "[N, L]") if task == "segmentation" else (1, "[N]")
    for target in targets:
        if target.ndim != axes or target.dtype.kind not in "biu":
            raise DataError(
                f"data: labels of {owner} ({task}) must be integers {shape}, got {target.dtype} {target.shape}."
            )
    labels = targets if ignored is None else [target[target != ignored] for target in targets]
    lowest, highest = min(int(t.min()) for t in labels), max(int(t.max()) for t in labels)
    if stated is None and highest < 1:
        raise DataError(f"data: the labels of {owner} must be of two classes at least, all are {highest}.")
    classes = highest + 1 if stated is None else len(stated) if isinstance(stated, list) else stated
    if not isinstance(classes, int) or classes < 2:
        raise DataError(f"data: `classes` of {owner} must be a list of names or a count above 1, got {classes!r}.")
    if lowest < 0 or highest >= classes:
        raise DataError(f"data: labels of {owner} must lie in [0, {classes - 1}], got {lowest} to {highest}.")
    return classes


def classes(target: np.ndarray, ignored: int | None) -> np.ndarray:
    """Return labels as int64, -1 where a position has none."""
    labels = target.astype(np.int64)
    return labels if ignored is None else np.where(target == ignored, -1, labels)


def regression(
    targets: Targets, unit: np.ndarray, transform: str, standardise: bool, owner: str
) -> tuple[Targets, float]:
    """Return numbers [N] or [N, 1] as [N, 1] float32, standardised if asked to, and where their 0 lies then.

    `unit` holds those whose mean and deviation are 0 and 1: the training samples of the file.
    """
    if any(target.ndim > 2 or target[0].size != 1 or target.dtype.kind not in "biuf" for target in targets):
        raise DataError(
            f"data: the target of {owner} must be one number a sample, got {targets[0].dtype} {targets[0].shape}."
        )
    numbers = [target.reshape(-1, 1).astype(np.float64) for target in targets]
    if not all(np.isfinite(n).all() for n in numbers):
        raise DataError(f"data: the target of {owner} must be known for every sample, but holds NaN or infinity.")
    if transform == "log1p":
        if min(n.min() for n in numbers) <= -1:
            raise DataError(f"data.transform: log1p needs targets above -1, {owner} has lower ones.")
        numbers = [np.log1p(n) for n in numbers]
    numbers.append(np.zeros((1, 1)))
    if standardise:
        known = np.log1p(unit.astype(np.float64)) if transform == "log1p" else unit.astype(np.float64)
        mean, std = known.mean(), known.std()
        numbers = [(n - mean) / (std if std > 0 else 1.0) for n in numbers]
    *made, zero = (n.astype(np.float32) for n in numbers)
    return tuple(made), zero.item()
