"""The training loop: trials of one shape train in one pass, from configurations and a data set to outcomes.

The numbers of a trial depend on its configuration and the data alone, except for rounding where the size of its pack,
or how much work remains to it, changes how products are computed. Training uses one thread, because the number of
threads changes the last bits.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import cache, partial
from importlib import import_module
from typing import Any, NamedTuple

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from trainables import native
from trainables.checkpoints import CheckpointStore, Member, PackResults, PackState, dump_state, resume
from trainables.compilation import PLAIN, StepModes, choose_step_mode, clone_contiguous
from trainables.data.dataset import Dataset
from trainables.differentiation import Differentiate
from trainables.evaluation import (
    CHUNK,
    Outcome,
    Progress,
    Row,
    build_validation,
    evaluate_final,
    score_rows,
    training_rows,
    validate,
    validation_scores,
    weights_hash,
)
from trainables.observation import (
    Batch,
    EpochMeasurement,
    StepMeasurement,
    StepValues,
    begin_measurements,
    measure_epoch,
    measure_step,
    measurement_module,
    summarise_steps,
)
from trainables.packs import Pack, build_pack, map_members, map_members_traced, stack, traced_step, unstack
from trainables.parallel import WorkerGroup
from trainables.precision import set_tf32
from trainables.products import NativeProducts
from trainables.setup import (
    SINGLE_WORKER,
    Learner,
    Setup,
    build_setup,
    init_learner,
    learning_rate_factor,
    method_strength,
    replace_trial,
)
from trainables.signals import EpochMethod, leaves
from trainables.snapshots import apply_control
from trainables.step import batch_inputs, batch_task, sample_order, split_batches, train_on_indices

# (epoch, trial -> metric -> value on validation) -> the trials to end
PruneCallback = Callable[[int, dict[int, dict[str, float]]], set[int]]


class Epoch(NamedTuple):
    """The state of one trial after an epoch."""

    number: int  # from 1
    steps: int  # made so far
    learner: Learner
    rows: list[Row]  # measured in this epoch
    last: bool  # training is complete
    error: str | None = None  # why it cannot continue
    pruned: bool = False

    @property
    def is_over(self) -> bool:
        """Return whether the trial ends with this epoch."""
        return self.last or self.pruned or self.error is not None


class EpochResult(NamedTuple):
    """The result of the steps of an epoch for one trial."""

    learner: Learner
    series: dict[str, Tensor]  # metrics of each of T steps, [T, ...], on the host
    measurements: list[StepValues]  # of each step, if there are any
    measurement_states: dict[str, Any]


def fit(trial: Mapping[str, Any], dataset: Dataset) -> Outcome:
    """Train one trial and measure it.

    Args:
        trial: ``method`` (as ``module:attribute``), ``settings``, ``start``, ``end``, ``modality``, ``model``,
            ``train``, ``measure`` (name -> interval in steps or epochs) and ``seed``, all resolved.
        dataset: standardised arrays; the test split is read once, at the end.
    """
    return fit_pack([trial], dataset)[0]


def fit_pack(
    trials: Sequence[Mapping[str, Any]],
    dataset: Dataset,
    prune: PruneCallback | None = None,
    compile_mode: str = "off",
    workers: WorkerGroup = SINGLE_WORKER,
    device: str = "cpu",
    checkpoints: CheckpointStore | None = None,
) -> list[Outcome]:
    """Train trials of one shape (`trainables.shape`) in one pass and return their outcomes, in the same order.

    ``compile_mode`` decides whether steps are compiled: on, off, or auto (in packs that train long enough); it acts on
    packs of one worker alone. Each of several workers calls this with the same arguments; the outcomes of the first
    are complete, the others measure less. Training resumes from ``checkpoints`` and writes to it.
    """
    load_libraries(trials[0])
    torch.set_num_threads(1)
    native.set_enabled(False)  # by the steps of this pack, if they are worth it
    with threadpool_limits(1), set_tf32(allowed=False):  # the threads of numpy and scikit-learn
        first = build_setup(trials[0], dataset, workers, device)
        setups = [first, *(replace_trial(first, trial) for trial in trials[1:])]
        return train(setups, prune, compile_mode, checkpoints)


def load_libraries(trial: Mapping[str, Any]) -> None:
    """Import what the first derivative and measurement of a process need: later it would count as time of its pack.

    Only the threads of libraries that are loaded can be limited.
    """
    import_module("torch._dynamo")
    for name in trial["measure"]:
        measurement_module(name)


def train(
    setups: Sequence[Setup],
    prune: PruneCallback | None = None,
    compile_mode: str = "off",
    checkpoints: CheckpointStore | None = None,
) -> list[Outcome]:
    """Train and measure trials of one shape in one pass."""
    began = time.perf_counter()
    prune = prune and broadcast_pruning(prune, setups[0])
    state, results = start_or_resume(setups, prune, compile_mode, checkpoints)
    size = sum(p.numel() for p in leaves(next(iter(state.members.values())).learner.params))
    references = [begin_measurements(setup, EpochMeasurement) for setup in setups]
    while state.members:
        pack, seconds_before = state.pack, state.pack.compile_seconds
        epochs, state = run_epoch(state, prune, compile_mode)
        began += pack.compile_seconds - seconds_before
        for i, epoch in epochs.items():
            results.rows[i].extend(epoch.rows)
            if epoch.error is None:
                progress = Progress(epoch.number, epoch.steps, epoch.last)
                setup = setups[i].on_single_worker
                results.rows[i].extend(measure_epoch(setup, references[i], epoch.learner, progress))
            if epoch.is_over:
                results.outcomes[i] = build_outcome(setups[i], epoch, results.rows[i], size)
        now = time.perf_counter()
        for i in epochs:
            results.seconds[i] += (now - began) / len(epochs)
        began = now
        if checkpoints and state.members and setups[0].workers.rank == 0 and checkpoints.is_due():
            checkpoints.write(dump_state(state, results))
    return [results.outcomes[i]._replace(seconds=seconds) for i, seconds in enumerate(results.seconds)]


def start_or_resume(
    setups: Sequence[Setup], prune: PruneCallback | None, compile_mode: str, checkpoints: CheckpointStore | None
) -> tuple[PackState, PackResults]:
    """Return the state and results from which training continues: the last checkpoint's, or those before epoch 1."""
    learners = [init_learner(setup) for setup in setups]
    resumed = resume(checkpoints, setups, learners) if checkpoints else None
    if resumed is None:
        state = initial_state(setups, learners, compile_mode)
        return state, PackResults([[] for _ in setups], [0.0 for _ in setups], {})
    if prune:
        replay_pruning(prune, *resumed)
    return resumed


def build_outcome(setup: Setup, epoch: Epoch, rows: list[Row], size: int) -> Outcome:
    """Return the outcome of a trial after its last epoch; only a completed trial is evaluated on test."""
    if not epoch.last or epoch.error is not None:
        status = "pruned" if epoch.pruned else "diverged"
        return Outcome(status, epoch.error, 0.0, epoch.steps, size, {}, rows, [])
    final_rows, final, predictions = evaluate_final(setup, epoch.learner, epoch.number, epoch.steps)
    weights = weights_hash(epoch.learner)
    return Outcome("done", None, 0.0, epoch.steps, size, final, rows + final_rows, predictions, weights)


def iterate_epochs(setup: Setup, learner: Learner) -> Iterator[Epoch]:
    """Train one trial and yield its state after each epoch."""
    state = initial_state([setup], [learner])
    while state.members:
        by_index, state = run_epoch(state)
        yield by_index[0]


def initial_state(setups: Sequence[Setup], learners: Sequence[Learner], compile_mode: str = "off") -> PackState:
    """Return the state of a pack before its first epoch."""
    slots = len(setups[0].model.encoders) if isinstance(setups[0].method, EpochMethod) else 0
    members = {
        i: Member(setup, learner, [learner] * slots, begin_measurements(setup, StepMeasurement))
        for i, (setup, learner) in enumerate(zip(setups, learners, strict=True))
    }
    pack = build_pack(setups, choose_step_modes(members.values(), compile_mode))
    return PackState(members, pack, stack(learners), 0, 0)


def run_epoch(
    state: PackState, prune: PruneCallback | None = None, compile_mode: str = "off"
) -> tuple[dict[int, Epoch], PackState]:
    """Train a pack for an epoch and evaluate it on validation.

    Return the epoch of each of its trials, by index, and the state of the pack without the trials that end.
    """
    members, pack, number = state.members, state.pack, state.epoch + 1
    measurement_states = [member.measurement_states for member in members.values()]
    with set_tf32(allowed=pack.members[0].dtype == "tf32"):
        learner, steps, results = train_epoch(pack, state.learner, measurement_states, number, state.steps)
    scores = unstack(score_validation(pack, learner), len(members))
    finished = {
        i: finish_epoch(member, result, score, number, steps)
        for (i, member), result, score in zip(members.items(), results, scores, strict=True)
    }
    epochs = apply_pruning({i: epoch for i, (_, epoch) in finished.items()}, prune)
    remaining = {i: finished[i][0] for i, epoch in epochs.items() if not epoch.is_over}
    if remaining and len(remaining) < len(members):
        pack = build_pack(
            [m.setup for m in remaining.values()], choose_step_modes(remaining.values(), compile_mode, number)
        )
    if remaining and (len(remaining) < len(members) or isinstance(pack.members[0].method, EpochMethod)):
        learner = stack([m.learner for m in remaining.values()])
    return epochs, PackState(remaining, pack, learner, number, steps)


def score_validation(pack: Pack, learner: Learner) -> Any:
    """Return `validation_scores` of every member, stacked; by a program if steps are compiled, and for few samples."""
    step = None
    if pack.step_modes.full_batch == "compiled" and len(pack.members[0].target["validation"]) <= CHUNK:
        step = traced_step(pack, learner_and_scores, learner, number=0, mode="program")
    if step is not None:
        return step()[1]
    with NativeProducts() if pack.uses_native_products else nullcontext():
        return map_members(pack, validation_scores, learner)


def learner_and_scores(setup: Setup, learner: Learner, number: int | Tensor) -> tuple[Learner, tuple[Tensor, ...]]:
    """Return the learner as it is and its `validation_scores`, in the form of a step."""
    return learner, validation_scores(setup, learner)


def choose_step_modes(members: Iterable[Member], compile_mode: str, epoch: int = 0) -> StepModes:
    """Return how to run the steps of trials that have trained for ``epoch`` epochs, by the remaining work.

    The remaining steps are those of the longest trial; the operations, six per parameter and sample of each trial.
    Several workers run plain steps: an all-reduce is not an operation on tensors alone, and tracing would lose it.
    """
    members, operations, epochs = list(members), 0.0, 0
    for setup, learner, *_ in members:
        remaining = setup.trial["train"]["epochs"] - epoch
        operations += 6.0 * sum(p.numel() for p in leaves(learner.params)) * remaining
        epochs = max(epochs, remaining)
    if setup.workers.size > 1:
        return PLAIN
    settings, samples = setup.trial["train"], len(setup.target["train"])
    if settings["order"] == "stream":  # one pass over the data, spread over the epochs
        samples //= settings["epochs"]
    size = settings["batch_size"]
    num_full, short_size = divmod(samples, size)
    work = ((operations * num_full * size, epochs * num_full), (operations * short_size, epochs))
    is_single = len(members) == 1
    return StepModes(*(choose_step_mode(compile_mode, *part, is_single=is_single) for part in work))


def train_epoch(
    pack: Pack, learner: Learner, measurement_states: list[dict[str, Any]], epoch: int, steps: int
) -> tuple[Learner, int, list[EpochResult]]:
    """Run the steps of an epoch; return the stacked learner, the steps made so far, and the result of every trial."""
    setups, count = pack.members, len(pack.members)
    strengths = [method_strength(setup.trial, epoch) for setup in setups]
    if "compiled" in pack.step_modes:  # a compiled step overwrites its learner, and expects one memory layout
        learner = clone_contiguous(learner) if count == 1 else pack.blocks.copy(learner)
    rates = branch_rates(setups, learner)
    lr_factors = stack_numbers(setups, [learning_rate_factor(setup.trial, epoch) for setup in setups])
    lr_factor = None if setups[0].trial["train"]["schedule"] == "constant" else lr_factors
    strength = stack_numbers(setups, strengths)
    step_metrics: list[dict[str, Tensor]] = []
    measurements: list[list[StepValues]] = [[] for _ in setups]
    for indices in stacked_batches(setups, epoch):
        steps += 1
        if any(measurement_states):
            members = zip(unstack(learner, count), unstack(indices, count), strict=True)
            for i, (member_learner, member_indices) in enumerate(members):
                setup = setups[i].on_single_worker
                member_lr_factor = lr_factor if lr_factor is None or count == 1 else lr_factor[i]
                task = batch_task(setup, member_indices, epoch, steps)
                inputs = batch_inputs(setup, member_indices)
                batch = Batch(member_indices, inputs, task, steps, member_lr_factor)
                measurement_states[i], values = measure_step(setup, measurement_states[i], member_learner, batch)
                measurements[i].append(values)
        step_inputs = indices, strength, rates, lr_factor
        learner, metrics = step_pack(pack, learner, step_inputs, steps, full=min(strengths) == 1)
        step_metrics.append(metrics)
    axis = 0 if count == 1 else 1
    series = {name: torch.stack([metrics[name] for metrics in step_metrics], axis).cpu() for name in step_metrics[0]}
    parts = zip(unstack(learner, count), unstack(series, count), measurements, measurement_states, strict=True)
    return learner, steps, [EpochResult(*part) for part in parts]


def stack_numbers(setups: Sequence[Setup], values: Sequence[float]) -> Tensor:
    """Return one number per member as a stacked tensor on their device."""
    numbers: Tensor = stack([torch.tensor(value, dtype=torch.float64) for value in values])
    return numbers.to(setups[0].device)


def stacked_batches(setups: Sequence[Setup], epoch: int) -> tuple[Tensor, ...]:
    """Return the sample indices of each batch of an epoch, stacked over the members."""
    return split_batches(setups[0], stack([sample_order(setup, epoch) for setup in setups]).to(setups[0].device))


def branch_rates(setups: Sequence[Setup], learner: Learner) -> Tensor | None:
    """Return the members' factors on the update of each branch in the coming epoch, stacked; None: all 1."""
    methods = [setup.method for setup in setups if isinstance(setup.method, EpochMethod)]
    if not methods:
        return None
    factors = [method.rates(state) for method, state in zip(methods, unstack(learner.state, len(setups)), strict=True)]
    return stack(factors) if factors[0] is not None else None


def example_step_inputs(pack: Pack, learner: Learner) -> Iterator[tuple[Tensor | None, ...]]:
    """Yield the inputs of `step_pack` for the steps of a first epoch, with the method at full strength."""
    members = pack.members
    strength = stack([torch.ones((), dtype=torch.float64, device=setup.device) for setup in members])
    rates = branch_rates(members, learner)
    for indices in stacked_batches(members, 1):
        yield indices, strength, rates, None


def step_pack(pack: Pack, learner: Learner, inputs: tuple[Tensor | None, ...], number: int, *, full: bool) -> Any:
    """Return the learner and metrics after one step of all members, plain, traced or compiled.

    ``inputs`` are the stacked arguments of `train_on_indices`, the samples' indices first. A compiled step may
    overwrite the learner it is given.
    """
    is_short = inputs[0] is not None and inputs[0].shape[-1] < pack.members[0].trial["train"]["batch_size"]
    mode = pack.step_modes.short_batch if is_short else pack.step_modes.full_batch
    step = step_function(pack.differentiate, full=full)
    if mode == "plain":
        return map_members(pack, step, learner, *inputs, shared=(pack.step_number(number),))
    return map_members_traced(pack, step, learner, *inputs, number=number, mode=mode)


@cache
def step_function(differentiate: Differentiate, *, full: bool) -> Callable[..., Any]:
    """Return `train_on_indices` with these options; cached, as traced steps are known by the function."""
    return partial(train_on_indices, full=full, differentiate=differentiate)


def finish_epoch(
    member: Member, result: EpochResult, scores: tuple[Tensor, Tensor, Tensor, Tensor], number: int, steps: int
) -> tuple[Member, Epoch]:
    """Apply what the method decides after an epoch of one trial, and return the trial and its epoch with all rows."""
    setup, learner, stop = member.setup, result.learner, False
    rows = training_rows(setup, result.series, number, steps)
    rows += summarise_steps(setup, result.measurements, Progress(number, steps))
    validation = build_validation(setup, scores, number)
    if isinstance(setup.method, EpochMethod):
        control = setup.method.epoch(learner.state, validation)
        learner = apply_control(learner._replace(state=control.state), control, member.snapshots)
        stop = bool(control.stop)
        if control.restore.any():  # the rows are about the model that goes on
            validation = validate(setup, learner, number)
    rows += score_rows(setup, "validation", validation.joint_loss, validation.joint_score, number, steps)
    bad = next((row for row in rows if row.metric == "loss" and not math.isfinite(row.value)), None)
    error = bad and f"the {bad.split} loss was {bad.value} in epoch {number}"
    last = stop or number == setup.trial["train"]["epochs"]
    epoch = Epoch(number, steps, learner, rows, last, error)
    return member._replace(learner=learner, measurement_states=result.measurement_states), epoch


def apply_pruning(epochs: dict[int, Epoch], prune: PruneCallback | None) -> dict[int, Epoch]:
    """Return the epochs, with those marked as pruned that ``prune`` ends by their validation scores."""
    running = {i: epoch for i, epoch in epochs.items() if not epoch.is_over}
    if prune is None or not running:
        return epochs
    number = next(iter(running.values())).number
    stops = prune(number, {i: validation_metrics(epoch.rows, number) for i, epoch in running.items()})
    return {i: epoch._replace(pruned=i in stops) for i, epoch in epochs.items()}


def validation_metrics(rows: list[Row], epoch: int) -> dict[str, float]:
    """Return the metrics of the joint prediction on validation after an epoch."""
    joint = (row for row in rows if row.epoch == epoch and row.split == "validation" and row.modality is None)
    return {row.metric: row.value for row in joint}


def replay_pruning(prune: PruneCallback, state: PackState, results: PackResults) -> None:
    """Report the epochs before a checkpoint to the pruner again; what it returns is known, and ignored.

    A trial is reported after each epoch but its last; if it was pruned, after that, too.
    """
    ends = {i: outcome.rows[-1].epoch + (outcome.status == "pruned") for i, outcome in results.outcomes.items()}
    for epoch in range(1, state.epoch + 1):
        metrics = {
            i: validation_metrics(rows, epoch) for i, rows in enumerate(results.rows) if epoch < ends.get(i, math.inf)
        }
        if metrics:
            prune(epoch, metrics)


def broadcast_pruning(prune: PruneCallback, setup: Setup) -> PruneCallback:
    """Return a callback that calls ``prune`` on the first of several workers and sends its result to all."""

    def broadcast(epoch: int, scores: dict[int, dict[str, float]]) -> set[int]:
        stops = prune(epoch, scores) if setup.workers.rank == 0 else set()
        flags = torch.tensor([i in stops for i in scores], dtype=torch.uint8, device=setup.device)
        return {i for i, flag in zip(scores, setup.workers.total(flags).tolist(), strict=True) if flag}

    return broadcast
