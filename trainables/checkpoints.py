"""Where a pack stands between two epochs, and how that is written down: as tensors and plain containers alone.

A pack that goes on from there ends with the bits of one that was never interrupted. What depends on the
configurations alone, such as the concepts that a measurement compares with, is made again.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from trainables.compilation import Ways
from trainables.measure import Outcome, Prediction, Row
from trainables.observation import Stepwise, begin
from trainables.packs import Pack, pack, stack, unstack
from trainables.setup import Learner, Setup


class Member(NamedTuple):
    """A trial while it trains in a pack."""

    setup: Setup
    learner: Learner  # at the end of the last epoch
    snapshots: list[Learner]  # one a modality, for a method that acts between epochs; else none
    watching: dict[str, Any]  # the state of each measurement of its steps


class Standing(NamedTuple):
    """Where a pack stands: all that its further epochs depend on."""

    members: dict[int, Member]  # that still train, by their place
    packed: Pack
    learner: Learner  # theirs, stacked
    number: int  # of epochs so far
    steps: int


class Record(NamedTuple):
    """What is known of the trials of a pack so far, by their place."""

    rows: list[list[Row]]
    seconds: list[float]
    outcomes: dict[int, Outcome]  # of those that have ended


class Memory(Protocol):
    """Where a pack's state is kept while it trains."""

    def due(self) -> bool:
        """Say whether it is time to write."""

    def write(self, state: dict[str, Any]) -> None:
        """Keep a state in place of the one before."""

    def read(self) -> dict[str, Any]:
        """Return what was written last; raise any exception if there is nothing that can be read."""


def written(standing: Standing, record: Record) -> dict[str, Any]:
    """Return a state as `restored` takes it; the stacked tensors as they lie in memory, which sums may depend on."""
    return {
        "number": standing.number,
        "steps": standing.steps,
        "ways": list(standing.packed.ways),
        "learner": tree_leaves(standing.learner),
        "members": {i: (snapped(one), tree_leaves(one.watching)) for i, one in standing.members.items()},
        "rows": [list(map(tuple, rows)) for rows in record.rows],
        "seconds": record.seconds,
        "outcomes": {i: plain(outcome) for i, outcome in record.outcomes.items()},
    }


def snapped(member: Member) -> list[list[Any]]:
    """Return the snapshots of a trial without those of its companions, whose memory they share."""
    return [[x.clone() if isinstance(x, Tensor) else x for x in tree_leaves(one)] for one in member.snapshots]


def plain(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome in plain containers."""
    predictions = [(p.split, torch.from_numpy(p.outputs), torch.from_numpy(p.target)) for p in outcome.predictions]
    return {**outcome._asdict(), "rows": list(map(tuple, outcome.rows)), "predictions": predictions}


def restored(state: dict[str, Any], setups: Sequence[Setup], learners: Sequence[Learner]) -> tuple[Standing, Record]:
    """Return what was written of trials, given what they are made of, and their untrained learners."""
    members = state["members"]
    learner = refilled(stack([learners[i] for i in members]), state["learner"])
    training = {
        i: Member(setups[i], own, [refilled(own, one) for one in snapshots], watched(setups[i], watching))
        for (i, (snapshots, watching)), own in zip(members.items(), unstack(learner, len(members)), strict=True)
    }
    packed = pack([setups[i] for i in members], Ways(*state["ways"]))
    standing = Standing(training, packed, learner, state["number"], state["steps"])
    rows = [[Row(*row) for row in rows] for rows in state["rows"]]
    return standing, Record(rows, state["seconds"], {i: rebuilt(one) for i, one in state["outcomes"].items()})


def refilled(like: Any, leaves: list[Any]) -> Any:
    """Return a tree of the structure and on the devices of another, with other leaves."""
    old, structure = tree_flatten(like)
    pairs = zip(leaves, old, strict=True)
    return tree_unflatten([a.to(b.device) if isinstance(a, Tensor) else a for a, b in pairs], structure)


def watched(setup: Setup, leaves: list[Any]) -> dict[str, Any]:
    """Return the states of the measurements of a trial's steps, in the worker that measures."""
    fresh = begin(setup, Stepwise)
    return fresh and refilled(fresh, leaves)


def rebuilt(outcome: dict[str, Any]) -> Outcome:
    """Return an outcome from plain containers."""
    predictions = [Prediction(split, *(x.numpy() for x in arrays)) for split, *arrays in outcome["predictions"]]
    return Outcome(**{**outcome, "rows": [Row(*row) for row in outcome["rows"]], "predictions": predictions})


def resumed(memory: Memory, setups: Sequence[Setup], learners: Sequence[Learner]) -> tuple[Standing, Record] | None:
    """Return where trials stood when they were interrupted; None: at the beginning, or nobody can tell.

    Several workers go on from there if all of them can.
    """
    found = None
    with suppress(Exception):  # whatever is wrong with it: it is an aid, and will be written again
        found = restored(memory.read(), setups, learners)
    crew = setups[0].crew
    ready = crew.total(torch.tensor(float(found is not None), device=setups[0].device))
    return found if ready == crew.size else None
