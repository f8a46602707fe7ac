"""Targets: class labels, checked against the datasheet, and standardised regression targets."""

from typing import Any

import numpy as np

from trainables.data.dataset import DataError

Targets = tuple[np.ndarray, ...]  # train, validation, test
TOO_LARGE = f"too large for single precision, beyond {np.finfo(np.float32).max:.1e}"


def count_classes(targets: Targets, stated: Any, task: str, owner: str, ignore_index: int | None = None) -> int:
    """Return the number of classes; raises DataError where a label is out of range or the labels have the wrong shape.

    `stated` is the entry of the datasheet: a count, a list of names, or None, where the number follows from the labels.
    `ignore_index` marks unlabelled positions.
    """
    axes, shape = (2, "[N, L]") if task == "segmentation" else (1, "[N]")
    for target in targets:
        if target.ndim != axes or target.dtype.kind not in "biu":
            raise DataError(
                f"data: labels of {owner} ({task}) must be integers {shape}, got {target.dtype} {target.shape}."
            )
    labels = targets if ignore_index is None else [target[target != ignore_index] for target in targets]
    lowest, highest = min(int(t.min()) for t in labels), max(int(t.max()) for t in labels)
    if stated is None and highest < 1:
        raise DataError(f"data: the labels of {owner} must have at least two classes, all are {highest}.")
    count = highest + 1 if stated is None else len(stated) if isinstance(stated, list) else stated
    if not isinstance(count, int) or count < 2:
        raise DataError(f"data: `classes` of {owner} must be a list of names or a count above 1, got {count!r}.")
    if lowest < 0 or highest >= count:
        raise DataError(f"data: labels of {owner} must lie in [0, {count - 1}], got {lowest} to {highest}.")
    return count


def class_labels(target: np.ndarray, ignore_index: int | None) -> np.ndarray:
    """Return labels as int64, with -1 at unlabelled positions."""
    labels = target.astype(np.int64)
    return labels if ignore_index is None else np.where(target == ignore_index, -1, labels)


def regression_targets(
    targets: Targets, reference: np.ndarray, transform: str, standardise: bool, owner: str
) -> tuple[Targets, float]:
    """Return targets [N] or [N, 1] as [N, 1] float32, standardised on request, and the value of a raw target of 0.

    `reference` holds the targets that mean and standard deviation are taken from: the training samples of the file.
    """
    if any(target.ndim > 2 or target[0].size != 1 or target.dtype.kind not in "biuf" for target in targets):
        raise DataError(
            f"data: the target of {owner} must be one number per sample, got {targets[0].dtype} {targets[0].shape}."
        )
    numbers = [target.reshape(-1, 1).astype(np.float64) for target in targets]
    if not all(np.isfinite(n).all() for n in numbers):
        raise DataError(f"data: the target of {owner} must be known for every sample, but holds NaN or infinity.")
    if transform == "log1p":
        if min(n.min() for n in numbers) <= -1:
            raise DataError(f"data.transform: log1p needs targets above -1, {owner} has targets of -1 or below.")
        numbers = [np.log1p(n) for n in numbers]
    numbers.append(np.zeros((1, 1)))
    if standardise:
        reference = np.log1p(reference.astype(np.float64)) if transform == "log1p" else reference.astype(np.float64)
        mean, std = reference.mean(), reference.std()
        numbers = [(n - mean) / (std if std > 0 else 1.0) for n in numbers]
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
        *results, zero = (n.astype(np.float32) for n in numbers)
    if not all(np.isfinite(result).all() for result in results):
        raise DataError(f"data: the target of {owner} is {TOO_LARGE}.")
    return tuple(results), zero.item()
