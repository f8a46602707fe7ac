"""Competition strength as AGM's authors compute it from saved features and concepts."""

from collections.abc import Callable

from tests.replay.recorder import Case, Pairs
from trainables.diagnostics import competition_strength

PROBE, EVALUATION, OFFICIAL = "dep_concept_", "test_concept_", "competition_strength_"


def select_replay(case: Case) -> Callable[[Case], Pairs] | None:
    """Return the function that replays a case of fused features and concepts; None for other cases."""
    return replay_release if {"dep_features", "test_features"} <= case.keys() and modalities(case) else None


def replay_release(case: Case) -> Pairs:
    """The strengths as the release logs them: pseudo-inverse from 1e-15 on, predictions in float32."""
    fused, alpha = (case["dep_features"], case["test_features"]), case["hyper"].get("ridge_alpha", 120)
    known = {
        m: competition_strength(
            fused, (case[PROBE + m], case[EVALUATION + m]), alpha, rcond=1e-15, single=True
        ).strength
        for m in modalities(case)
    }
    for key, theirs in case["official"].items():
        name = key.removeprefix(OFFICIAL)  # audio_ra: the modality, and the variable of the release
        yield key, known.get(name, known.get(name.rpartition("_")[0])), theirs


def modalities(case: Case) -> list[str]:
    """Return the modalities with a concept on both splits."""
    names = [key.removeprefix(PROBE) for key in case if key.startswith(PROBE)]
    return [m for m in names if EVALUATION + m in case]
