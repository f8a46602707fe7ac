"""Snapshots: training states that a method saves after an epoch and restores later, whole or of one modality."""

from typing import Any

from trainables.setup import Learner
from trainables.signals import Control, Params


def apply_control(learner: Learner, control: Control, snapshots: list[Learner]) -> Learner:
    """Save the snapshots that a method requests, in place, and return the learner with those it restores."""
    for m, save in enumerate(control.save.tolist()):
        if save:
            snapshots[m] = learner
    for m, restore in enumerate(control.restore.tolist()):
        if restore and control.scope == "whole":
            learner = snapshots[m]._replace(state=control.state)
        elif restore:
            modality = list(learner.params.encoders)[m]
            parts = [restore_branch(a, b, modality) for a, b in zip(learner[:3], snapshots[m][:3], strict=True)]
            learner = Learner(parts[0], parts[1], parts[2], control.state)
    return learner


def restore_branch(current: Any, saved: Any, modality: str) -> Any:
    """Return parameters, buffers or moments with one modality's branch as it was saved."""
    if isinstance(current, Params):
        encoders, readouts = (
            restore_branch(getattr(current, k), getattr(saved, k), modality) for k in ("encoders", "readouts")
        )
        return current._replace(encoders=encoders, readouts=readouts)
    if isinstance(current, dict):
        return {m: saved[m] if m == modality else group for m, group in current.items()}
    if isinstance(current, tuple):
        parts = [restore_branch(a, b, modality) for a, b in zip(current, saved, strict=True)]
        return type(current)(*parts) if hasattr(current, "_fields") else tuple(parts)
    return current  # what all branches share, such as a count of steps
