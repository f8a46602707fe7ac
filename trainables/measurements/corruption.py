"""How the trained model does on test where one modality is noisy, partly blank, or missing in some samples."""

from collections.abc import Callable

import torch
from torch import Tensor

from trainables.evaluation import Progress, Row, compute_signals, samples_with_modality
from trainables.randomness import stream
from trainables.setup import Learner, Setup
from trainables.tasks import named_metric

Draw = Callable[..., Tensor]
LEVELS = {"noise": (0.5, 1.0, 2.0, 4.0), "blank": (0.25, 0.5, 0.75, 1.0), "missing": (0.25, 0.5, 0.75, 1.0)}


def rows(setup: Setup, known: tuple[()], learner: Learner, progress: Progress) -> list[Row]:
    """Return the score on test at each level of each corruption of each modality; after the last epoch alone.

    ``noise_accuracy_2`` is that with normal noise of deviation 2 added, in units of the standardised input;
    ``blank_accuracy_0.5`` with half of the features of every sample set to 0, the mean of training;
    ``missing_accuracy_0.5`` with half of the samples without the modality. What is drawn depends on the trial's seed,
    and a higher level spoils what a lower one does and more.
    """
    if not progress.last:
        return []
    name, found = named_metric(setup.task, 0.0)[0], []
    for place, (modality, clean) in enumerate(setup.inputs["test"].items()):
        own = samples_with_modality(setup, "test", place)
        for kind, levels in LEVELS.items():
            for level in levels:
                spoilt = clean.clone()  # a sample without the modality stays so
                spoilt[own] = spoil(clean, kind, level, setup.trial["seed"], modality)[own]
                value = score(setup, learner, setup.inputs["test"] | {modality: spoilt})
                metric = f"{kind}_{name}_{level:g}"
                found.append(Row(progress.epoch, progress.step, "test", modality, metric, value))
    return found


def spoil(clean: Tensor, kind: str, level: float, seed: int, modality: str) -> Tensor:
    """Return a corrupted modality, [N, ...]."""
    random = stream(seed, "corruption", kind, modality)
    if kind == "noise":
        return clean + level * torch.from_numpy(random.standard_normal(clean.shape)).to(clean)
    shape = clean.shape if kind == "blank" else (len(clean), *[1] * (clean.ndim - 1))
    gone = torch.from_numpy(random.random(shape)) < level
    return torch.where(gone.to(clean.device), 0.0, clean)


def score(setup: Setup, learner: Learner, inputs: dict[str, Tensor]) -> float:
    """Return the score of the joint prediction of other inputs of the test split."""
    seen = compute_signals(setup._replace(inputs=setup.inputs | {"test": inputs}), learner, "test", frozenset())
    held = setup.criteria(setup.target["test"])
    return named_metric(setup.task, held.score(seen.logits).double().mean().item())[1]
