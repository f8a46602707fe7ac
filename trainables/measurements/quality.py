"""Further metrics of the joint prediction: macro F1, correlation, Dice and IoU."""

import numpy as np
from numpy.typing import NDArray

from trainables.evaluation import Progress, Row, compute_signals
from trainables.setup import SPLITS, Learner, Setup


def rows(setup: Setup, state: tuple[()], learner: Learner, progress: Progress) -> list[Row]:
    """Return the metrics on validation and, after the last epoch, on test."""
    table = []
    for split in SPLITS[1:] if progress.last else SPLITS[1:2]:
        logits = compute_signals(setup, learner, split, frozenset()).logits.double().cpu().numpy()
        target = setup.target[split].cpu().numpy()
        if setup.task == "regression":
            values = correlation(logits, target)
        else:
            values = overlap_metrics(logits.argmax(-1), target)
        if setup.task == "classification":
            values = {"f1": values["dice"]}  # Dice over samples in place of positions
        elif setup.task == "segmentation":
            values = {"dice": values["dice"], "iou": values["iou"]}
        table += [Row(progress.epoch, progress.step, split, None, name, value) for name, value in values.items()]
    return table


def correlation(prediction: NDArray[np.float64], target: NDArray[np.float64]) -> dict[str, float]:
    """Return Pearson's correlation of all numbers; nan if either is constant."""
    x, y = prediction.ravel(), target.ravel().astype(float)
    constant = np.ptp(x) == 0 or np.ptp(y) == 0 or not np.isfinite(x).all()
    return {"correlation": float("nan") if constant else float(np.corrcoef(x, y)[0, 1])}


def overlap_metrics(predicted: NDArray[np.int64], target: NDArray[np.int64]) -> dict[str, float]:
    """Return the means over classes of Dice, 2 TP / (2 TP + FP + FN), and IoU, TP / (TP + FP + FN).

    Classes that are neither predicted nor present are left out. All labelled samples and positions are pooled; if a
    sample has one label, Dice is F1.
    """
    predicted, target = predicted[target >= 0], target[target >= 0]
    dice, iou = [], []
    for label in np.union1d(predicted, target):
        in_prediction, in_target = predicted == label, target == label
        intersection, union = (in_prediction & in_target).sum(), (in_prediction | in_target).sum()
        iou.append(intersection / union)
        dice.append(2 * intersection / (intersection + union))
    return {"dice": float(np.mean(dice)), "iou": float(np.mean(iou))}
