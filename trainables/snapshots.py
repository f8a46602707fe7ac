"""Snapshots: what a method keeps of a learner at the end of an epoch, and goes back to, whole or of one modality."""

from typing import Any

from trainables.setup import Learner
from trainables.signals import Control, Params


def obey(learner: Learner, control: Control, snapshots: list[Learner]) -> Learner:
    """Keep the snapshots that a method asks for, then go back to those it wants restored."""
    for m, save in enumerate(control.save.tolist()):
        if save:
            snapshots[m] = learner
    for m, restore in enumerate(control.restore.tolist()):
        if restore and control.scope == "whole":
            learner = snapshots[m]._replace(state=control.state)
        elif restore:
            modality = list(learner.params.encoders)[m]
            parts = [graft(a, b, modality) for a, b in zip(learner[:3], snapshots[m][:3], strict=True)]
            learner = Learner(parts[0], parts[1], parts[2], control.state)
    return learner


def graft(now: Any, old: Any, modality: str) -> Any:
    """Return parameters, buffers or moments with one modality's branch as it was."""
    if isinstance(now, Params):
        encoders, readouts = (graft(getattr(now, k), getattr(old, k), modality) for k in ("encoders", "readouts"))
        return now._replace(encoders=encoders, readouts=readouts)
    if isinstance(now, dict):
        return {m: old[m] if m == modality else group for m, group in now.items()}
    if isinstance(now, tuple):
        parts = [graft(a, b, modality) for a, b in zip(now, old, strict=True)]
        return type(now)(*parts) if hasattr(now, "_fields") else tuple(parts)
    return now  # what all branches share, such as a count of steps
