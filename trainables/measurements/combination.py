"""The rule by which BOGC combines evidence, beside Dempster's by its definition (METHODS.md 8.2); blind to the run."""

from typing import Any

import torch
from torch import Tensor

from trainables.diagnostics.dempster import Masses, Subset, dempster
from trainables.evaluation import Progress, Row, tabulate
from trainables.evidence import combine
from trainables.randomness import stream
from trainables.setup import Learner, Setup

SOURCES = (2, 3, 4, 5)
DIMENSIONS = 4  # that are compared by the frame `dims`
BELIEFS = (0.1, 0.5, 0.9, 0.99)  # of each of two sources that contradict each other
WRONG = (1.0, 1e2, 1e4, 1e6)  # evidence of a source that is wrong, beside one that is right and has 1


def rows(setup: Setup, known: tuple[()], learner: Learner, progress: Progress) -> list[Row]:
    """Return how far the method's `frame` and `k` are from the definition, and how the rule behaves.

    The evidence is drawn from 1e-6 to 1e6, and 0. ``combination_conflict_B`` is the conflict that the rule leaves out
    where two sources believe B each in themselves; ``combination_certain_E`` the weight of a source of evidence 1
    beside one that is wrong and has E.
    """
    method: Any = setup.method
    frame, k = getattr(method, "frame", "modality"), float(getattr(method, "k", 1.0))
    values = {"combination_error": error(frame, k, setup.trial["seed"])}
    for belief in BELIEFS:
        e = torch.full((2, 1), belief / (1 - belief), dtype=torch.float64)
        values[f"combination_conflict_{belief:g}"] = dempster(modality(e[:, 0], 1.0))[1]
    for wrong in WRONG:
        e = torch.tensor([[1.0], [wrong]], dtype=torch.float64)
        values[f"combination_certain_{wrong:g}"] = combine(e, 2 * k).weights[0, 0].item()
    return tabulate(setup, values, "validation", progress)


def error(frame: str, k: float, seed: int) -> float:
    """Return the largest distance of belief and uncertainty from their definition, over some drawn evidence."""
    largest = 0.0
    for count in SOURCES:
        random = stream(seed, "combination", count)
        shape = (count, DIMENSIONS)
        e = torch.from_numpy(10.0 ** random.uniform(-6, 6, shape) * (random.random(shape) > 0.1))
        weights, uncertainty = combine(e, k * count, frame)
        ours = [weights.sum(0) / DIMENSIONS, uncertainty[:1]] if frame == "dims" else [weights, uncertainty[None]]
        if frame == "reliability":
            ours[0] = weights.sum(0, keepdim=True)
        largest = max(largest, float((torch.cat(ours) - defined(e, k * count, frame)).abs().max()))
    return largest


def defined(evidence: Tensor, k: float, frame: str) -> Tensor:
    """Return beliefs, and the uncertainty last, by Dempster's rule: [S + 1, D], [2, D], or [D + 1] of frame `dims`."""
    if frame == "dims":
        return numbers(dims(evidence), evidence.shape[1])
    opinions = modality if frame == "modality" else reliability
    among = len(evidence) if frame == "modality" else 1
    return torch.stack([numbers(opinions(e, k), among) for e in evidence.unbind(1)], 1)


def numbers(opinions: list[Masses], among: int) -> Tensor:
    """Return what opinions combine to: the masses of the first singletons, and what is left to ignorance."""
    masses, _ = dempster(opinions)
    beliefs = [masses.get(frozenset({i}), 0.0) for i in range(among)]
    return torch.tensor([*beliefs, 1 - sum(beliefs)], dtype=torch.float64)


def modality(evidence: Tensor, k: float) -> list[Masses]:
    """Return opinions [S] of which each supports its own source among all."""
    every = whole(len(evidence))
    return [{frozenset({s}): e / (e + k), every: k / (e + k)} for s, e in enumerate(evidence.tolist())]


def reliability(evidence: Tensor, k: float) -> list[Masses]:
    """Return opinions [S] that all support the same of two: that the dimension can be trusted."""
    return [{frozenset({0}): e / (e + k), frozenset({0, 1}): k / (e + k)} for e in evidence.tolist()]


def dims(evidence: Tensor) -> list[Masses]:
    """Return opinions [S, D] that each support every dimension by its evidence, among all of them."""
    count = evidence.shape[1]
    totals = [sum(row) + count for row in evidence.tolist()]
    return [
        {frozenset({d}): e / total for d, e in enumerate(row)} | {whole(count): count / total}
        for row, total in zip(evidence.tolist(), totals, strict=True)
    ]


def whole(count: int) -> Subset:
    """Return the frame itself, complete ignorance."""
    return frozenset(range(count))
