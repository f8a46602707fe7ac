"""What is odd about a data set: it trains, and there is little to learn from it."""

import numpy as np

from trainables.data.dataset import Dataset


def oddities(dataset: Dataset) -> list[str]:
    """Return a sentence for a target and for each modality that teach nothing, and for classes unknown in training."""
    training, *others = (split.target for split in (dataset.train, dataset.validation, dataset.test))
    if dataset.task == "segmentation":  # of the positions that have a label
        training, *others = (target[target >= 0] for target in (training, *others))
    found = []
    if np.ptp(training) == 0:
        found.append("all training samples have the same target")
    elif dataset.task != "regression":
        unknown = sorted(set(np.unique(np.concatenate([t.ravel() for t in others]))) - set(np.unique(training)))
        if unknown:
            listed = ", ".join(map(str, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
            plural = "classes" if len(unknown) > 1 else "class"
            found.append(f"no training sample is of {plural} {listed}, which validation or test have")
    for modality, inputs in dataset.train.inputs.items():
        known = inputs[dataset.train.present.get(modality, slice(None))]
        if not len(known):
            found.append(f"{modality} is missing in all training samples")
        elif not np.ptp(known, axis=0).any():
            found.append(f"{modality} is the same in all training samples")
    return [f"data: {sentence}." for sentence in found]
