"""A run as its measurements see it: pure functions that read what training passes by and hand nothing back to it."""

from importlib import import_module
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from trainables.measure import Moment, Row, tabulate
from trainables.setup import Learner, Setup
from trainables.signals import Task


class Batch(NamedTuple):
    """What the step to come trains on."""

    indices: Tensor  # [B] of the training split
    inputs: dict[str, Tensor]  # modality -> [B, ...]
    task: Task
    number: int  # of the step, from 1
    rate: Tensor | None = None  # [] share of the learning rate by its schedule; None: all of it


Looks = dict[str, dict[str, Tensor]]  # measurement -> what it saw in one step; empty where it was not due


@runtime_checkable
class Stepwise(Protocol):
    """A measurement on training batches, before the step: a module of these, and of `begin` if it has a state."""

    def step(
        self, setup: Setup, state: Any, learner: Learner, batch: Batch, *, due: bool
    ) -> tuple[Any, dict[str, Tensor]]:
        """Return the new state, and what was measured if that is due, else nothing."""

    def summary(self, series: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the metrics of an epoch from what was measured in its T steps, [T, ...], as `tabulate` takes them."""


@runtime_checkable
class Epochwise(Protocol):
    """A measurement after an epoch: a module of this, and of `begin` if all epochs need what is made once."""

    def rows(self, setup: Setup, known: Any, learner: Learner, moment: Moment) -> list[Row]:
        """Return what is measured of the learner; the test split may be read at the last moment alone."""


def begin(setup: Setup, kind: type[Stepwise] | type[Epochwise]) -> dict[str, Any]:
    """Return what each measurement of a kind, `Stepwise` or `Epochwise`, begins with, in the worker that measures."""
    if setup.crew.rank > 0:
        return {}
    modules = {name: module(name) for name in setup.trial["measure"]}
    return {
        name: one.begin(setup.whole) if hasattr(one, "begin") else ()
        for name, one in modules.items()
        if isinstance(one, kind)
    }


def module(name: str) -> Any:
    """Return the module of a measurement."""
    return import_module(f"trainables.measurements.{name}")


def observe(setup: Setup, states: dict[str, Any], learner: Learner, batch: Batch) -> tuple[dict[str, Any], Looks]:
    """Return the states after a step, and what was measured; of every k steps, the first is measured."""
    after: dict[str, Any] = {}
    seen: Looks = {}
    for name, state in states.items():
        due = (batch.number - 1) % setup.trial["measure"][name] == 0
        after[name], seen[name] = module(name).step(setup, state, learner, batch, due=due)
    return after, seen


def gather(setup: Setup, looks: list[Looks], moment: Moment) -> list[Row]:
    """Return the rows of what was measured in the steps of an epoch."""
    rows: list[Row] = []
    for name in looks[0] if looks else ():
        taken = [look[name] for look in looks if look[name]]
        if taken:
            series = {key: torch.stack([values[key] for values in taken]) for key in taken[0]}
            rows += tabulate(setup, module(name).summary(series), "train", moment)
    return rows


def survey(setup: Setup, known: dict[str, Any], learner: Learner, moment: Moment) -> list[Row]:
    """Return the rows of the measurements that are due after an epoch; after the last one all are."""
    rows: list[Row] = []
    for name, made in known.items():
        every = setup.trial["measure"][name]
        if moment.last or (every and moment.epoch % every == 0):
            rows += module(name).rows(setup, made, learner, moment)
    return rows
