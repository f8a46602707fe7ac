"""Further scores of the joint prediction: macro F1, correlation, Dice and IoU."""

import numpy as np
from numpy.typing import NDArray

from trainables.evaluation import Progress, Row, compute_signals
from trainables.setup import SPLITS, Learner, Setup


def rows(setup: Setup, known: tuple[()], learner: Learner, progress: Progress) -> list[Row]:
    """Return the scores on validation, and at the last moment on test."""
    found = []
    for split in SPLITS[1:] if progress.last else SPLITS[1:2]:
        logits = compute_signals(setup, learner, split, frozenset()).logits.double().cpu().numpy()
        target = setup.target[split].cpu().numpy()
        values = regression(logits, target) if setup.task == "regression" else classes(logits.argmax(-1), target)
        if setup.task == "classification":
            values = {"f1": values["dice"]}  # the same, of samples in place of positions
        elif setup.task == "segmentation":
            values = {"dice": values["dice"], "iou": values["iou"]}
        found += [Row(progress.epoch, progress.step, split, None, name, value) for name, value in values.items()]
    return found


def regression(prediction: NDArray[np.float64], target: NDArray[np.float64]) -> dict[str, float]:
    """Return Pearson's correlation of all numbers; nan where either is constant."""
    x, y = prediction.ravel(), target.ravel().astype(float)
    constant = np.ptp(x) == 0 or np.ptp(y) == 0 or not np.isfinite(x).all()
    return {"correlation": float("nan") if constant else float(np.corrcoef(x, y)[0, 1])}


def classes(predicted: NDArray[np.int64], target: NDArray[np.int64]) -> dict[str, float]:
    """Return the mean over classes, those that are neither predicted nor there aside, of 2 TP / (2 TP + FP + FN), IoU.

    Over all samples and positions together, those that have a label; the first is Dice, and F1 where a sample has one.
    """
    predicted, target = predicted[target >= 0], target[target >= 0]
    dice, iou = [], []
    for one in np.union1d(predicted, target):
        hit, either = ((predicted == one) & (target == one)).sum(), ((predicted == one) | (target == one)).sum()
        iou.append(hit / either)
        dice.append(2 * hit / (hit + either))
    return {"dice": float(np.mean(dice)), "iou": float(np.mean(iou))}
