"""How a trial is measured while it trains: pure functions that read batches and learners and change neither."""

from importlib import import_module
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from trainables.evaluation import Progress, Row, tabulate
from trainables.setup import Learner, Setup
from trainables.signals import Task


class Batch(NamedTuple):
    """The batch of the coming step."""

    indices: Tensor  # [B] of the training split
    inputs: dict[str, Tensor]  # modality -> [B, ...]
    task: Task
    number: int  # of the step, from 1
    lr_factor: Tensor | None = None  # [] factor of the learning rate's schedule; None: 1


StepValues = dict[str, dict[str, Tensor]]  # measurement -> its values in one step; empty where it was not due


@runtime_checkable
class StepMeasurement(Protocol):
    """A measurement on training batches, before the step: a module of these functions, and `begin` if it has state."""

    def step(
        self, setup: Setup, state: Any, learner: Learner, batch: Batch, *, due: bool
    ) -> tuple[Any, dict[str, Tensor]]:
        """Return the new state, and the measured values if the measurement is due, else none."""

    def summary(self, series: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the metrics of an epoch from the values of its T steps, [T, ...], as `tabulate` takes them."""


@runtime_checkable
class EpochMeasurement(Protocol):
    """A measurement after an epoch: a module of this function, and `begin` if epochs share what is computed once."""

    def rows(self, setup: Setup, reference: Any, learner: Learner, progress: Progress) -> list[Row]:
        """Return the measured rows, given what `begin` returned; only after the last epoch may test be read."""


def begin_measurements(setup: Setup, kind: type[StepMeasurement] | type[EpochMeasurement]) -> dict[str, Any]:
    """Return what `begin` of each measurement of a kind returns, in the worker that measures; () if it has none."""
    if setup.workers.rank > 0:
        return {}
    modules = {name: measurement_module(name) for name in setup.trial["measure"]}
    return {
        name: module.begin(setup.on_single_worker) if hasattr(module, "begin") else ()
        for name, module in modules.items()
        if isinstance(module, kind)
    }


def measurement_module(name: str) -> Any:
    """Return the module of a measurement."""
    return import_module(f"trainables.measurements.{name}")


def measure_step(
    setup: Setup, states: dict[str, Any], learner: Learner, batch: Batch
) -> tuple[dict[str, Any], StepValues]:
    """Return the states of the measurements after a step, and their values; of every k steps, the first is measured."""
    new_states: dict[str, Any] = {}
    values: StepValues = {}
    for name, state in states.items():
        due = (batch.number - 1) % setup.trial["measure"][name] == 0
        new_states[name], values[name] = measurement_module(name).step(setup, state, learner, batch, due=due)
    return new_states, values


def summarise_steps(setup: Setup, measurements: list[StepValues], progress: Progress) -> list[Row]:
    """Return the rows of the measurements in the steps of an epoch."""
    rows: list[Row] = []
    for name in measurements[0] if measurements else ():
        steps = [step[name] for step in measurements if step[name]]
        if steps:
            series = {key: torch.stack([values[key] for values in steps]) for key in steps[0]}
            rows += tabulate(setup, measurement_module(name).summary(series), "train", progress)
    return rows


def measure_epoch(setup: Setup, references: dict[str, Any], learner: Learner, progress: Progress) -> list[Row]:
    """Return the rows of the measurements that are due after an epoch; after the last one all are.

    ``references`` is what `begin_measurements` returned.
    """
    rows: list[Row] = []
    for name, reference in references.items():
        interval = setup.trial["measure"][name]
        if progress.last or (interval and progress.epoch % interval == 0):
            rows += measurement_module(name).rows(setup, reference, learner, progress)
    return rows
