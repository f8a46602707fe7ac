"""The state of a pack between two epochs, and its conversion to and from a checkpoint of tensors and plain containers.

A pack that resumes from a checkpoint ends with the same bits as one that was never interrupted. What follows from the
configurations alone, such as the concepts that a measurement compares with, is computed again instead of saved.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from trainables.compilation import StepModes
from trainables.evaluation import Outcome, Prediction, Row
from trainables.observation import StepMeasurement, begin_measurements
from trainables.packs import Pack, build_pack, stack, unstack
from trainables.setup import Learner, Setup


class Member(NamedTuple):
    """A trial of a pack that is still training."""

    setup: Setup
    learner: Learner  # at the end of the last epoch
    snapshots: list[Learner]  # one per modality, for a method that acts between epochs; else none
    measurement_states: dict[str, Any]  # of each measurement of its steps


class PackState(NamedTuple):
    """The state of a pack: all that its further epochs depend on."""

    members: dict[int, Member]  # trials that are still training, by their index
    pack: Pack
    learner: Learner  # of the members, stacked
    epoch: int  # the last that ended; 0 at first
    steps: int  # made so far


class PackResults(NamedTuple):
    """The results of all trials of a pack so far, by their index."""

    rows: list[list[Row]]
    seconds: list[float]
    outcomes: dict[int, Outcome]  # of the trials that have ended


class CheckpointStore(Protocol):
    """Storage for the checkpoint of one pack."""

    def is_due(self) -> bool:
        """Return whether it is time to write a checkpoint."""

    def write(self, state: dict[str, Any]) -> None:
        """Write a checkpoint in place of the one before."""

    def read(self) -> dict[str, Any]:
        """Return the last checkpoint; raise any exception if there is none that can be read."""


def dump_state(state: PackState, results: PackResults) -> dict[str, Any]:
    """Return a checkpoint for `load_state`; stacked tensors keep their memory layout, on which sums may depend."""
    return {
        "number": state.epoch,
        "steps": state.steps,
        "ways": list(state.pack.step_modes),
        "learner": tree_leaves(state.learner),
        "members": {
            i: (snapshot_leaves(member), tree_leaves(member.measurement_states)) for i, member in state.members.items()
        },
        "rows": [list(map(tuple, rows)) for rows in results.rows],
        "seconds": results.seconds,
        "outcomes": {i: outcome_to_dict(outcome) for i, outcome in results.outcomes.items()},
    }


def snapshot_leaves(member: Member) -> list[list[Any]]:
    """Return copies of a trial's snapshots, as these are views of tensors that hold the whole pack."""
    return [[x.clone() if isinstance(x, Tensor) else x for x in tree_leaves(tree)] for tree in member.snapshots]


def outcome_to_dict(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as tensors and plain containers."""
    predictions = [(p.split, torch.from_numpy(p.outputs), torch.from_numpy(p.target)) for p in outcome.predictions]
    return {**outcome._asdict(), "rows": list(map(tuple, outcome.rows)), "predictions": predictions}


def load_state(
    checkpoint: dict[str, Any], setups: Sequence[Setup], learners: Sequence[Learner]
) -> tuple[PackState, PackResults]:
    """Return the state and results of a checkpoint, given the trials' setups and their untrained learners."""
    members = checkpoint["members"]
    stacked = replace_leaves(stack([learners[i] for i in members]), checkpoint["learner"])
    training = {
        i: Member(
            setups[i],
            learner,
            [replace_leaves(learner, leaves) for leaves in snapshots],
            load_measurement_states(setups[i], states),
        )
        for (i, (snapshots, states)), learner in zip(members.items(), unstack(stacked, len(members)), strict=True)
    }
    pack = build_pack([setups[i] for i in members], StepModes(*checkpoint["ways"]))
    state = PackState(training, pack, stacked, checkpoint["number"], checkpoint["steps"])
    rows = [[Row(*row) for row in rows] for rows in checkpoint["rows"]]
    outcomes = {i: outcome_from_dict(outcome) for i, outcome in checkpoint["outcomes"].items()}
    return state, PackResults(rows, checkpoint["seconds"], outcomes)


def replace_leaves(like: Any, leaves: list[Any]) -> Any:
    """Return a tree with the structure and devices of ``like`` and the given leaves."""
    old, structure = tree_flatten(like)
    pairs = zip(leaves, old, strict=True)
    return tree_unflatten([a.to(b.device) if isinstance(a, Tensor) else a for a, b in pairs], structure)


def load_measurement_states(setup: Setup, leaves: list[Any]) -> dict[str, Any]:
    """Return the states of the measurements of a trial's steps, in the worker that measures."""
    states = begin_measurements(setup, StepMeasurement)
    return states and replace_leaves(states, leaves)


def outcome_from_dict(outcome: dict[str, Any]) -> Outcome:
    """Return the outcome from which `outcome_to_dict` made this."""
    predictions = [Prediction(split, *(x.numpy() for x in arrays)) for split, *arrays in outcome["predictions"]]
    return Outcome(**{**outcome, "rows": [Row(*row) for row in outcome["rows"]], "predictions": predictions})


def resume(
    checkpoints: CheckpointStore, setups: Sequence[Setup], learners: Sequence[Learner]
) -> tuple[PackState, PackResults] | None:
    """Return state and results of the last checkpoint; None: there is none that can be read.

    Several workers resume only if all of them can.
    """
    loaded = None
    with suppress(Exception):  # a bad checkpoint only costs time: the pack starts again and writes another
        loaded = load_state(checkpoints.read(), setups, learners)
    workers = setups[0].workers
    readers = workers.total(torch.tensor(float(loaded is not None), device=setups[0].device))
    return loaded if readers == workers.size else None
