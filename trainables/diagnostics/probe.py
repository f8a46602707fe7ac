"""Linear probes: how much of the target is linearly decodable from encoder features."""

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

Array = NDArray[np.generic]


def linear_probe(
    features: dict[str, Array],  # split -> [N, H]
    targets: dict[str, Array],  # split -> [N] classes, [N, L] with -1 where there is no label, or [N, 1] values
    task: str,
) -> dict[str, float]:
    """Return the score of a linear model on frozen features, for every split but the training one.

    The model, logistic regression with an L2 penalty on standardised features or ridge regression, is fitted on the
    training split: it measures what the encoder has learnt, independently of the joint head (METHODS.md 10.6). The
    score is accuracy, or mean absolute error in regression. Labelled positions of a dense target count as samples; a
    split without any has no score.
    """
    flat = {split: f.reshape(-1, f.shape[-1]) for split, f in features.items()}
    labels = {split: t.reshape(-1) for split, t in targets.items()}
    if task == "segmentation":
        flat = {split: f[labels[split] != -1] for split, f in flat.items()}
        labels = {split: t[t != -1] for split, t in labels.items()}
    if task != "regression" and len(np.unique(labels["train"])) < 2:
        return {}  # a single class cannot be fitted
    model = Ridge(alpha=1.0) if task == "regression" else LogisticRegression(C=1.0, max_iter=200)
    probe = make_pipeline(StandardScaler(), model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(flat["train"], labels["train"])
    scores = {}
    for split in [s for s in features.keys() - {"train"} if len(labels[s])]:
        prediction = probe.predict(flat[split])
        if task == "regression":
            scores[split] = float(np.abs(prediction - labels[split]).mean())
        else:
            scores[split] = float((prediction == labels[split]).mean())
    return scores
