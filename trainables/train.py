"""Trials of one shape, trained in one pass: from their configurations and a data set to their numbers.

A trial's numbers depend on its configuration and the data alone, but for rounding where its company changes how
products are made. It computes with one thread, because the number of threads changes the last bits.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from trainables.checkpoints import Member, Memory, Record, Standing, resumed, written
from trainables.compilation import PLAIN, Ways, cloned, way
from trainables.data.dataset import Dataset
from trainables.differentiation import Differentiate
from trainables.measure import Moment, Outcome, Row, conclude, dated, digest, judge, scores, summarise, validate
from trainables.observation import Batch, Epochwise, Looks, Stepwise, begin, gather, observe, survey
from trainables.packs import Pack, over, over_traced, pack, stack, unstack
from trainables.parallel import Crew
from trainables.precision import set_tf32
from trainables.setup import ALONE, Learner, Setup, alike, pace, prepare, start, strength
from trainables.signals import EpochMethod, leaves
from trainables.snapshots import obey
from trainables.step import drawn, order, parted, pose, taught

# (epoch, trial -> metric -> value on validation) -> the trials that end here
Prune = Callable[[int, dict[int, dict[str, float]]], set[int]]


class Epoch(NamedTuple):
    """Where a trial stands after an epoch."""

    number: int  # from 1
    steps: int  # made so far
    learner: Learner
    rows: list[Row]  # what was measured in it
    last: bool  # of the trial, which has done all that it was to do
    error: str | None = None  # why it cannot go on
    pruned: bool = False  # it was told to end here

    @property
    def over(self) -> bool:
        """Say whether the trial ends here."""
        return self.last or self.pruned or self.error is not None


class Lesson(NamedTuple):
    """What the steps of an epoch leave of one trial."""

    learner: Learner
    series: dict[str, Tensor]  # metrics of each of T steps, [T, ...], on the host
    looks: list[Looks]  # measurements of each step, if there are any
    watching: dict[str, Any]


def fit(trial: Mapping[str, Any], dataset: Dataset) -> Outcome:
    """Train one trial and measure it.

    Args:
        trial: ``method`` (as ``module:attribute``), ``settings``, ``start``, ``end``, ``modality``, ``model``,
            ``train``, ``measure`` (name -> every how many steps or epochs) and ``seed``, all resolved.
        dataset: standardised arrays; the test split is read once, at the end.
    """
    return fit_pack([trial], dataset)[0]


def fit_pack(
    trials: Sequence[Mapping[str, Any]],
    dataset: Dataset,
    prune: Prune | None = None,
    compiling: str = "off",
    crew: Crew = ALONE,
    device: str = "cpu",
    memory: Memory | None = None,
) -> list[Outcome]:
    """Train trials of one shape (`trainables.shape`) in one pass; return their outcomes, in their order.

    ``compiling`` says which packs of one worker compile their steps: on, off, or auto, those that are long enough. Of
    several workers each calls it with the same; the outcomes of the first are complete, the others measure less.
    ``memory`` holds what the same trials had done before they were interrupted, and is written as they train.
    """
    torch.set_num_threads(1)
    with threadpool_limits(1), set_tf32(allowed=False):  # the threads of numpy and scikit-learn
        first = prepare(trials[0], dataset, crew, device)
        setups = [first, *(alike(first, trial) for trial in trials[1:])]
        return train(setups, prune, compiling, memory)


def train(
    setups: Sequence[Setup], prune: Prune | None = None, compiling: str = "off", memory: Memory | None = None
) -> list[Outcome]:
    """Train and measure what was set up, in one pass."""
    began = time.perf_counter()
    prune = prune and led(prune, setups[0])
    standing, record = opened(setups, prune, compiling, memory)
    size = sum(p.numel() for p in leaves(next(iter(standing.members.values())).learner.params))
    known = [begin(setup, Epochwise) for setup in setups]
    while standing.members:
        packed, before = standing.packed, standing.packed.compile_seconds
        ended, standing = proceed(standing, prune, compiling)
        began += packed.compile_seconds - before
        for i, epoch in ended.items():
            record.rows[i].extend(epoch.rows)
            if epoch.error is None:
                moment = Moment(epoch.number, epoch.steps, epoch.last)
                record.rows[i].extend(survey(setups[i].whole, known[i], epoch.learner, moment))
            if epoch.over:
                record.outcomes[i] = concluded(setups[i], epoch, record.rows[i], size)
        now = time.perf_counter()
        for i in ended:
            record.seconds[i] += (now - began) / len(ended)
        began = now
        if memory and standing.members and setups[0].crew.rank == 0 and memory.due():
            memory.write(written(standing, record))
    return [record.outcomes[i]._replace(seconds=spent) for i, spent in enumerate(record.seconds)]


def opened(
    setups: Sequence[Setup], prune: Prune | None, compiling: str, memory: Memory | None
) -> tuple[Standing, Record]:
    """Return where trials stand at first: at their beginning, or where they were when they were interrupted."""
    learners = [start(setup) for setup in setups]
    found = resumed(memory, setups, learners) if memory else None
    if found is None:
        return outset(setups, learners, compiling), Record([[] for _ in setups], [0.0 for _ in setups], {})
    if prune:
        remind(prune, *found)
    return found


def concluded(setup: Setup, epoch: Epoch, rows: list[Row], size: int) -> Outcome:
    """Return the outcome of a trial whose last epoch this was; only one that is done is scored on test."""
    if not epoch.last or epoch.error is not None:
        status = "pruned" if epoch.pruned else "diverged"
        return Outcome(status, epoch.error, 0.0, epoch.steps, size, {}, rows, [])
    measured, final, predictions = conclude(setup, epoch.learner, epoch.number, epoch.steps)
    weights = digest(epoch.learner)
    return Outcome("done", None, 0.0, epoch.steps, size, final, rows + measured, predictions, weights)


def epochs(setup: Setup, learner: Learner) -> Iterator[Epoch]:
    """Train one trial epoch by epoch, and yield after each."""
    standing = outset([setup], [learner])
    while standing.members:
        ended, standing = proceed(standing)
        yield ended[0]


def outset(setups: Sequence[Setup], learners: Sequence[Learner], compiling: str = "off") -> Standing:
    """Return trials of one shape as a pack before its first epoch."""
    slots = len(setups[0].model.encoders) if isinstance(setups[0].method, EpochMethod) else 0
    members = {
        i: Member(setup, learner, [learner] * slots, begin(setup, Stepwise))
        for i, (setup, learner) in enumerate(zip(setups, learners, strict=True))
    }
    return Standing(members, pack(setups, ways(members.values(), compiling)), stack(learners), 0, 0)


def proceed(
    standing: Standing, prune: Prune | None = None, compiling: str = "off"
) -> tuple[dict[int, Epoch], Standing]:
    """Train a pack for an epoch.

    Return where each of its trials stands, by its place, and the pack without those that end.
    """
    before, packed, number = standing.members, standing.packed, standing.number + 1
    watching = [member.watching for member in before.values()]
    with set_tf32(allowed=packed.members[0].dtype == "tf32"):
        learner, steps, lessons = drill(packed, standing.learner, watching, number, standing.steps)
    judged = unstack(over(packed, judge, learner), len(before))
    closing = zip(before.items(), lessons, judged, strict=True)
    closed = {i: close(member, lesson, seen, number, steps) for (i, member), lesson, seen in closing}
    ended = pruned({i: epoch for i, (_, epoch) in closed.items()}, prune)
    left = {i: closed[i][0] for i, epoch in ended.items() if not epoch.over}
    if left and len(left) < len(before):
        packed = pack([m.setup for m in left.values()], ways(left.values(), compiling, number))
    if left and (len(left) < len(before) or isinstance(packed.members[0].method, EpochMethod)):
        learner = stack([m.learner for m in left.values()])
    return ended, Standing(left, packed, learner, number, steps)


def ways(members: Iterable[Member], compiling: str, after: int = 0) -> Ways:
    """Return how to make the steps of trials after an epoch, by what they still have to do.

    That are as many steps as the longest of them has, and six operations a parameter and sample of each. Those of
    several workers are plain: where they meet is no operation on tensors alone, and would be lost in what is traced.
    """
    members, worth, epochs = list(members), 0.0, 0
    for setup, learner, *_ in members:
        left = setup.trial["train"]["epochs"] - after
        worth += 6.0 * sum(p.numel() for p in leaves(learner.params)) * left
        epochs = max(epochs, left)
    if setup.crew.size > 1:
        return PLAIN
    settings, samples = setup.trial["train"], len(setup.target["train"])
    if settings["order"] == "stream":  # the epochs share them out among them
        samples //= settings["epochs"]
    size = settings["batch_size"]
    count, rest = divmod(samples, size)
    kinds, alone = ((worth * count * size, epochs * count), (worth * rest, epochs)), len(members) == 1
    return Ways(*(way(compiling, work, steps, alone=alone) for work, steps in kinds))


def drill(
    packed: Pack, learner: Learner, watching: list[dict[str, Any]], epoch: int, steps: int
) -> tuple[Learner, int, list[Lesson]]:
    """Make the steps of an epoch; return the learner, the steps made so far, and what they leave of every trial."""
    setups, count = packed.members, len(packed.members)
    share = [strength(setup.trial, epoch) for setup in setups]
    if "compiled" in packed.ways:  # such a step writes over its own, of one layout
        learner = cloned(learner)
    rates = branch_rates(setups, learner)
    paces = numbered(setups, [pace(setup.trial, epoch) for setup in setups])
    paced = None if setups[0].trial["train"]["schedule"] == "constant" else paces
    strengths = numbered(setups, share)
    measured: list[dict[str, Tensor]] = []
    looks: list[list[Looks]] = [[] for _ in setups]
    for chosen in stacked_batches(setups, epoch):
        steps += 1
        if any(watching):
            for i, (one, indices) in enumerate(zip(unstack(learner, count), unstack(chosen, count), strict=True)):
                setup = setups[i].whole
                rate = paced if paced is None or count == 1 else paced[i]
                batch = Batch(indices, drawn(setup, indices), pose(setup, indices, epoch, steps), steps, rate)
                watching[i], look = observe(setup, watching[i], one, batch)
                looks[i].append(look)
        given = chosen, strengths, rates, paced
        learner, metrics = advance(packed, learner, given, steps, full=min(share) == 1)
        measured.append(metrics)
    along = 0 if count == 1 else 1
    series = {name: torch.stack([metrics[name] for metrics in measured], along).cpu() for name in measured[0]}
    parts = zip(unstack(learner, count), unstack(series, count), looks, watching, strict=True)
    return learner, steps, [Lesson(*part) for part in parts]


def numbered(setups: Sequence[Setup], values: Sequence[float]) -> Tensor:
    """Return a number of each member, stacked, where they compute."""
    made: Tensor = stack([torch.tensor(value, dtype=torch.float64) for value in values])
    return made.to(setups[0].device)


def stacked_batches(setups: Sequence[Setup], epoch: int) -> tuple[Tensor, ...]:
    """Return the indices of each batch of an epoch of all members, stacked."""
    return parted(setups[0], stack([order(setup, epoch) for setup in setups]).to(setups[0].device))


def branch_rates(setups: Sequence[Setup], learner: Learner) -> Tensor | None:
    """Return the members' factors on the update of each branch in the epoch to come, stacked; None: all 1."""
    methods = [setup.method for setup in setups if isinstance(setup.method, EpochMethod)]
    if not methods:
        return None
    factors = [one.rates(state) for one, state in zip(methods, unstack(learner.state, len(setups)), strict=True)]
    return stack(factors) if factors[0] is not None else None


def exercises(packed: Pack, learner: Learner) -> Iterator[tuple[Tensor | None, ...]]:
    """Yield what the steps of a first epoch are given, for `advance`, with the method at full strength."""
    members = packed.members
    shares = stack([torch.ones((), dtype=torch.float64, device=setup.device) for setup in members])
    rates = branch_rates(members, learner)
    for chosen in stacked_batches(members, 1):
        yield chosen, shares, rates, None


def advance(packed: Pack, learner: Learner, given: tuple[Tensor | None, ...], number: int, *, full: bool) -> Any:
    """Return learner and metrics after one step of all members, made as the pack makes it.

    ``given`` are the stacked arguments of `taught`, the samples' indices first. A compiled step may write its learner
    over the one that it is given.
    """
    short = given[0] is not None and given[0].shape[-1] < packed.members[0].trial["train"]["batch_size"]
    how = packed.ways.short if short else packed.ways.whole
    lesson = teaching(packed.differentiate, full=full)
    if how == "plain":
        return over(packed, lesson, learner, *given, shared=(packed.told(number),))
    return over_traced(packed, lesson, learner, *given, number=number, how=how)


@cache
def teaching(differentiate: Differentiate, *, full: bool) -> Callable[..., Any]:
    """Return `taught` that differentiates in this way."""
    return partial(taught, full=full, differentiate=differentiate)


def close(
    member: Member, lesson: Lesson, judged: tuple[Tensor, Tensor, Tensor, Tensor], number: int, steps: int
) -> tuple[Member, Epoch]:
    """End an epoch of one trial: what its method decides, and what was measured."""
    setup, learner, stop = member.setup, lesson.learner, False
    rows = summarise(setup, lesson.series, number, steps) + gather(setup, lesson.looks, Moment(number, steps))
    validation = dated(setup, judged, number)
    if isinstance(setup.method, EpochMethod):
        control = setup.method.epoch(learner.state, validation)
        learner, stop = obey(learner._replace(state=control.state), control, member.snapshots), bool(control.stop)
        if control.restore.any():  # the rows are about the model that goes on
            validation = validate(setup, learner, number)
    rows += scores(setup, "validation", validation.joint_loss, validation.joint_score, number, steps)
    broken = next((row for row in rows if row.metric == "loss" and not math.isfinite(row.value)), None)
    error = broken and f"the {broken.split} loss was {broken.value} in epoch {number}"
    last = stop or number == setup.trial["train"]["epochs"]
    return member._replace(learner=learner, watching=lesson.watching), Epoch(number, steps, learner, rows, last, error)


def pruned(ended: dict[int, Epoch], prune: Prune | None) -> dict[int, Epoch]:
    """Return epochs in which those are marked that the trials are to end with, by their scores on validation."""
    running = {i: epoch for i, epoch in ended.items() if not epoch.over}
    if prune is None or not running:
        return ended
    number = next(iter(running.values())).number
    stops = prune(number, {i: validated(epoch.rows, number) for i, epoch in running.items()})
    return {i: epoch._replace(pruned=i in stops) for i, epoch in ended.items()}


def validated(rows: list[Row], epoch: int) -> dict[str, float]:
    """Return what was measured of the joint prediction on validation after an epoch, by metric."""
    found = (row for row in rows if row.epoch == epoch and row.split == "validation" and row.modality is None)
    return {row.metric: row.value for row in found}


def remind(prune: Prune, standing: Standing, record: Record) -> None:
    """Tell again what was told of trials before they were interrupted; what came of it is known.

    A trial is asked about after each epoch but its last, which is that in which it was ended, if it was.
    """
    ends = {i: outcome.rows[-1].epoch + (outcome.status == "pruned") for i, outcome in record.outcomes.items()}
    for epoch in range(1, standing.number + 1):
        told = {i: validated(rows, epoch) for i, rows in enumerate(record.rows) if epoch < ends.get(i, math.inf)}
        if told:
            prune(epoch, told)


def led(prune: Prune, setup: Setup) -> Prune:
    """Return ``prune`` as the first of several workers answers it."""

    def asked(epoch: int, scores: dict[int, dict[str, float]]) -> set[int]:
        stops = prune(epoch, scores) if setup.crew.rank == 0 else set()
        flags = torch.tensor([i in stops for i in scores], dtype=torch.uint8, device=setup.device)
        return {i for i, flag in zip(scores, setup.crew.total(flags).tolist(), strict=True) if flag}

    return asked
