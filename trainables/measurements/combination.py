"""BOGC's rule of combination against Dempster's rule by its definition (METHODS.md 8.2); independent of the run."""

from typing import Any

import torch
from torch import Tensor

from trainables.diagnostics.dempster import Masses, Subset, dempster
from trainables.evaluation import Progress, Row, tabulate
from trainables.evidence import combine
from trainables.randomness import stream
from trainables.setup import Learner, Setup

SOURCES = (2, 3, 4, 5)
DIMENSIONS = 4  # of the evidence; under the frame `dims` they compete
BELIEFS = (0.1, 0.5, 0.9, 0.99)  # of each of two contradicting sources in itself
WRONG_EVIDENCE = (1.0, 1e2, 1e4, 1e6)  # of a source that is wrong, against evidence 1 of one that is right


def rows(setup: Setup, state: tuple[()], learner: Learner, progress: Progress) -> list[Row]:
    """Return the error of the rule under the method's `frame` and `k`, and values that show how it behaves.

    The evidence is drawn between 1e-6 and 1e6, some of it 0. ``combination_conflict_B`` is the conflict that the rule
    leaves out if two sources each have belief B in themselves; ``combination_certain_E`` the weight of a source with
    evidence 1 combined with a wrong one with evidence E.
    """
    method: Any = setup.method
    frame, k = getattr(method, "frame", "modality"), float(getattr(method, "k", 1.0))
    values = {"combination_error": combination_error(frame, k, setup.trial["seed"])}
    for belief in BELIEFS:
        e = torch.full((2, 1), belief / (1 - belief), dtype=torch.float64)
        values[f"combination_conflict_{belief:g}"] = dempster(modality_opinions(e[:, 0], 1.0))[1]
    for wrong in WRONG_EVIDENCE:
        e = torch.tensor([[1.0], [wrong]], dtype=torch.float64)
        values[f"combination_certain_{wrong:g}"] = combine(e, 2 * k).weights[0, 0].item()
    return tabulate(setup, values, "validation", progress)


def combination_error(frame: str, k: float, seed: int) -> float:
    """Return the largest error of belief and uncertainty over random evidence."""
    largest = 0.0
    for count in SOURCES:
        random = stream(seed, "combination", count)
        shape = (count, DIMENSIONS)
        e = torch.from_numpy(10.0 ** random.uniform(-6, 6, shape) * (random.random(shape) > 0.1))
        weights, uncertainty = combine(e, k * count, frame)
        beliefs = [weights.sum(0) / DIMENSIONS, uncertainty[:1]] if frame == "dims" else [weights, uncertainty[None]]
        if frame == "reliability":
            beliefs[0] = weights.sum(0, keepdim=True)
        largest = max(largest, float((torch.cat(beliefs) - reference_beliefs(e, k * count, frame)).abs().max()))
    return largest


def reference_beliefs(evidence: Tensor, k: float, frame: str) -> Tensor:
    """Return beliefs, and the uncertainty last, by Dempster's rule: [S + 1, D], [2, D], or [D + 1] for frame `dims`."""
    if frame == "dims":
        return combined_beliefs(dims_opinions(evidence), evidence.shape[1])
    opinions = modality_opinions if frame == "modality" else reliability_opinions
    count = len(evidence) if frame == "modality" else 1
    return torch.stack([combined_beliefs(opinions(e, k), count) for e in evidence.unbind(1)], 1)


def combined_beliefs(opinions: list[Masses], count: int) -> Tensor:
    """Return the beliefs in the first ``count`` singletons by the combined opinions, and the remaining uncertainty."""
    masses, _ = dempster(opinions)
    beliefs = [masses.get(frozenset({i}), 0.0) for i in range(count)]
    return torch.tensor([*beliefs, 1 - sum(beliefs)], dtype=torch.float64)


def modality_opinions(evidence: Tensor, k: float) -> list[Masses]:
    """Return one opinion for each source [S], which supports the source itself."""
    frame = full_frame(len(evidence))
    return [{frozenset({s}): e / (e + k), frame: k / (e + k)} for s, e in enumerate(evidence.tolist())]


def reliability_opinions(evidence: Tensor, k: float) -> list[Masses]:
    """Return one opinion for each source [S], which supports the first of two hypotheses: the dimension is reliable."""
    return [{frozenset({0}): e / (e + k), frozenset({0, 1}): k / (e + k)} for e in evidence.tolist()]


def dims_opinions(evidence: Tensor) -> list[Masses]:
    """Return one opinion for each source [S, D], which supports every dimension by its evidence."""
    count = evidence.shape[1]
    totals = [sum(row) + count for row in evidence.tolist()]
    return [
        {frozenset({d}): e / total for d, e in enumerate(row)} | {full_frame(count): count / total}
        for row, total in zip(evidence.tolist(), totals, strict=True)
    ]


def full_frame(count: int) -> Subset:
    """Return the whole frame, whose mass is uncertainty."""
    return frozenset(range(count))
