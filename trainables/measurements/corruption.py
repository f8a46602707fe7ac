"""Test scores of the trained model with one modality noisy, partly blank, or missing in some samples."""

import torch
from torch import Tensor

from trainables.evaluation import Progress, Row, compute_signals, samples_with_modality
from trainables.randomness import stream
from trainables.setup import Learner, Setup
from trainables.tasks import named_metric

LEVELS = {"noise": (0.5, 1.0, 2.0, 4.0), "blank": (0.25, 0.5, 0.75, 1.0), "missing": (0.25, 0.5, 0.75, 1.0)}


def rows(setup: Setup, state: tuple[()], learner: Learner, progress: Progress) -> list[Row]:
    """Return the test score for each modality, kind and level of corruption; only after the last epoch.

    ``noise_accuracy_2`` is the score with normal noise of standard deviation 2 added, in units of the standardised
    input; ``blank_accuracy_0.5`` with half of the features of every sample set to 0, the mean of training;
    ``missing_accuracy_0.5`` with the modality removed from half of the samples. The random draws depend on the trial's
    seed; what a level corrupts, every higher level corrupts, too.
    """
    if not progress.last:
        return []
    name, table = named_metric(setup.task, 0.0)[0], []
    for index, (modality, clean) in enumerate(setup.inputs["test"].items()):
        present = samples_with_modality(setup, "test", index)
        for kind, levels in LEVELS.items():
            for level in levels:
                corrupted = clean.clone()  # samples without the modality are left as they are
                corrupted[present] = corrupt(clean, kind, level, setup.trial["seed"], modality)[present]
                value = score(setup, learner, setup.inputs["test"] | {modality: corrupted})
                metric = f"{kind}_{name}_{level:g}"
                table.append(Row(progress.epoch, progress.step, "test", modality, metric, value))
    return table


def corrupt(clean: Tensor, kind: str, level: float, seed: int, modality: str) -> Tensor:
    """Return the corrupted inputs of a modality, [N, ...]."""
    random = stream(seed, "corruption", kind, modality)
    if kind == "noise":
        return clean + level * torch.from_numpy(random.standard_normal(clean.shape)).to(clean)
    shape = clean.shape if kind == "blank" else (len(clean), *[1] * (clean.ndim - 1))
    mask = torch.from_numpy(random.random(shape)) < level
    return torch.where(mask.to(clean.device), 0.0, clean)


def score(setup: Setup, learner: Learner, inputs: dict[str, Tensor]) -> float:
    """Return the score of the joint prediction with other inputs in the test split."""
    signals = compute_signals(setup._replace(inputs=setup.inputs | {"test": inputs}), learner, "test", frozenset())
    criteria = setup.criteria(setup.target["test"])
    return named_metric(setup.task, criteria.score(signals.logits).double().mean().item())[1]
