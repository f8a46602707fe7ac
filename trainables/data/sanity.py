"""Warnings about a data set that can be trained on, but from which little can be learned."""

import numpy as np

from trainables.data.dataset import Dataset


def dataset_warnings(dataset: Dataset) -> list[str]:
    """Return a sentence for a constant target, for classes absent from training, and for each constant modality."""
    training, *others = (split.target for split in (dataset.train, dataset.validation, dataset.test))
    if dataset.task == "segmentation":  # labelled positions only
        training, *others = (target[target >= 0] for target in (training, *others))
    warnings = []
    if np.ptp(training) == 0:
        warnings.append("all training samples have the same target")
    elif dataset.task != "regression":
        unknown = sorted(set(np.unique(np.concatenate([t.ravel() for t in others]))) - set(np.unique(training)))
        if unknown:
            listing = ", ".join(map(str, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
            plural = "classes" if len(unknown) > 1 else "class"
            warnings.append(f"no training sample has {plural} {listing}, which validation or test contain")
    for modality, inputs in dataset.train.inputs.items():
        present = inputs[dataset.train.present.get(modality, slice(None))]
        if not len(present):
            warnings.append(f"{modality} is missing in all training samples")
        elif not np.ptp(present, axis=0).any():
            warnings.append(f"{modality} is the same in all training samples")
    return [f"data: {sentence}." for sentence in warnings]
