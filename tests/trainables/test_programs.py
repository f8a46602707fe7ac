"""Programs and blocks: the bits of the compiled step, for any number of blocks, or none where it does more than call."""

import gc
import math
import weakref
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.trainables.test_packs import MODEL, relative_differences, tiny
from tests.trainables.test_products import single_precision
from tests.trainables.test_train import trial
from trainables import native, programs
from trainables.block_steps import MAX_SIZE, Blocks, BlockStep, block_size, first_members
from trainables.compilation import clone_contiguous, compile_program
from trainables.programs import ALIGNMENT, Program, pack_memory
from trainables.signals import Control, Params, Pull, Signals, Step, Task, Validation
from trainables.train import fit_pack

pytestmark = [  # warnings of torch's compiler about itself
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
PROGRAMS = "joint", "joint-uni", "ogm", "mslr", "mses", "cggm"
SAMPLES, BATCH, INPUTS, OUTPUTS = 30, 12, 40, 24


@pytest.fixture(autouse=True)
def kernels(native_kernels: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Skips without kernels, and lets the process use them."""
    monkeypatch.setitem(native._state, "enabled", True)


def descend(data: Any, numbers: Any, learner: Any, indices: Tensor, factor: Tensor | None, number: Tensor) -> Any:
    """A step of a pack, for all its members at once: least squares with momentum, and a count of the steps."""
    x = torch.nn.functional.embedding(indices, data["x"])
    error = torch.bmm(x, learner["weights"]) - torch.tensor([1.0, -1.0, 2.0]).repeat(8)
    gradient = torch.bmm(x.mT, error) / BATCH * (1 if factor is None else factor[:, None, None])
    velocities = numbers["momentum"][:, None, None] * learner["velocities"] + gradient
    weights = learner["weights"] - 0.1 * velocities
    metrics = {"loss": (error * error).mean((1, 2)), "errors": error.abs().amax(1), "number": learner["steps"] * number}
    return {"weights": weights, "velocities": velocities, "steps": learner["steps"] + 1}, metrics


def make_inputs(members: int) -> tuple[Any, ...]:
    """Inputs of a step whose first members are the same for any number of them."""
    torch.manual_seed(0)
    learner = {
        "weights": torch.randn(20, INPUTS, OUTPUTS), "velocities": torch.randn(20, INPUTS, OUTPUTS),
        "steps": torch.arange(20),
    }  # fmt: skip
    numbers = {"momentum": torch.rand(20)}
    stacked = numbers, learner, torch.randint(SAMPLES, (20, BATCH)), torch.rand(20)
    return {"x": torch.randn(SAMPLES, INPUTS)}, *first_members(stacked, members), torch.tensor(3)


def block_step(members: int, step: Callable[..., Any] = descend) -> Callable[..., Any]:
    """A step of a pack by a program for a block."""
    data, *stacked, number = make_inputs(members)
    program = compile_program(step, (data, *first_members(stacked, block_size(members)), number))
    assert isinstance(program, Program)
    return BlockStep(program, Blocks(members), data, *stacked[:2])


@pytest.mark.parametrize("members", [2, 7, 8, 13, 16])
def test_a_step_of_blocks_has_the_numbers_of_all_members_at_once(members: int) -> None:
    data, numbers, learner, indices, factor, number = make_inputs(members)
    step, learner, wanted = block_step(members), clone_contiguous(learner), clone_contiguous(learner)
    for i in range(3):
        batch = torch.roll(indices, i, -1), factor * (1 + i), number + i
        learner, metrics = step(data, numbers, learner, *batch)
        wanted, expected = descend(data, numbers, wanted, *batch)
        assert {**learner, **metrics}.keys() == {**wanted, **expected}.keys()
        for name, value in ({**wanted, **expected}).items():
            torch.testing.assert_close({**learner, **metrics}[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("few", "many"), [(7, 13), (8, 16), (8, 15)])
def test_more_blocks_change_no_bit(few: int, many: int) -> None:
    assert block_size(few) == block_size(many)
    (one, first), (other, second) = (block_step(n)(*inputs) for n in (few, many) if (inputs := make_inputs(n)))
    for name, value in ({**one, **first}).items():
        assert torch.equal(value, {**other, **second}[name][:few])


@pytest.mark.parametrize("members", [13, 16])
def test_a_learner_is_copied_once_and_then_overwritten(members: int) -> None:
    data, numbers, learner, *batch = make_inputs(members)
    step = block_step(members)
    after, _ = step(data, numbers, learner, *batch)
    assert torch.equal(learner["weights"], make_inputs(members)[2]["weights"])
    once = after["weights"].clone()
    twice, _ = step(data, numbers, after, *batch)
    assert twice is after
    assert not torch.equal(twice["weights"], once)
    again, _ = step(data, numbers, learner, *batch)
    assert torch.equal(again["weights"], once)


def test_metrics_of_a_step_outlive_the_next() -> None:
    data, numbers, learner, *batch = make_inputs(13)
    step = block_step(13)
    learner, metrics = step(data, numbers, learner, *batch)
    before = clone_contiguous(metrics)
    _, others = step(data, numbers, learner, *batch)
    assert all(torch.equal(metrics[name], before[name]) for name in before)
    assert not torch.equal(others["loss"], before["loss"])


def test_an_index_out_of_bounds_is_an_error() -> None:
    data, numbers, learner, indices, *batch = make_inputs(8)
    with pytest.raises(RuntimeError, match="out of bounds"):
        block_step(8)(data, numbers, learner, indices + SAMPLES, *batch)


def test_a_learner_of_another_kind_is_not_accepted() -> None:
    """Its memory would be read as that of the recorded one."""
    step, learner = block_step(4), make_inputs(4)[2]
    assert step.accepts(learner)
    assert not step.accepts(dict(reversed(learner.items())))
    assert not step.accepts(learner | {"steps": learner["steps"].double()})
    assert not step.accepts(learner | {"steps": learner["steps"][:, None].repeat(1, 2)})


def test_steps_of_a_pack_share_one_copy_of_a_learner() -> None:
    data, numbers, learner, *batch = make_inputs(13)
    steps, blocks = (block_step(13), block_step(13)), Blocks(13)
    for step in steps:
        step.blocks = blocks
    once, _ = steps[0](data, numbers, learner, *batch)
    twice, _ = steps[1](data, numbers, once, *batch)
    assert twice is once
    copy = weakref.ref(blocks.filled[0])
    steps[0](data, numbers, make_inputs(13)[2], *batch)
    del once, twice
    gc.collect()
    assert copy() is None


def test_arguments_may_be_absent() -> None:
    data, *stacked, number = make_inputs(8)
    stacked[-1] = None
    program = compile_program(descend, (data, *stacked, number))
    assert program is not None
    wanted, _ = descend(data, *stacked, number)
    learner, _ = BlockStep(program, Blocks(8), data, *stacked[:2])(data, *stacked, number)
    torch.testing.assert_close(learner["weights"], wanted["weights"], rtol=1e-4, atol=1e-5)


def after_descent(more: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
    """A step that also returns something of its weights."""

    def step(data: Any, numbers: Any, learner: Any, *inputs: Any) -> Any:
        learner, metrics = descend(data, numbers, learner, *inputs)
        return learner, metrics | {"more": more(learner["weights"])}

    return step


@pytest.mark.parametrize(
    "more",
    [
        lambda w: w.double() @ w.double().mT,  # a product that a library computes
        lambda w: w[0] @ w[1].mT,
        lambda w: torch.sort(w.flatten(1))[0],
        lambda w: w + torch.randn(OUTPUTS),
        lambda w: torch.nn.functional.conv1d(w, torch.ones(3, INPUTS, 3)),
        torch.linalg.svdvals,
        lambda w: 2 ** w.long()[:, 0],
        lambda w: torch.bmm(w, w[:, ::2, ::2].mT[:, ::2, ::2]),  # a factor that the operator copies
        lambda w: w.new_empty(0),  # in no memory
    ],
)
def test_a_step_that_does_more_than_call_is_no_program(more: Callable[[Tensor], Tensor]) -> None:
    assert compile_program(after_descent(more), make_inputs(4)) is None


def test_constants_of_a_step_are_kept() -> None:
    step = block_step(4, after_descent(lambda w: (w * torch.arange(OUTPUTS)).sum((1, 2))))
    gc.collect()
    data, numbers, learner, *batch = make_inputs(4)
    after, metrics = step(data, numbers, learner, *batch)
    torch.testing.assert_close(
        metrics["more"], (after["weights"] * torch.arange(OUTPUTS)).sum((1, 2)), rtol=1e-5, atol=1e-3
    )


@given(st.integers(1, 1000))
def test_blocks_are_few_and_lack_few_members(members: int) -> None:
    size = block_size(members)
    blocks = math.ceil(members / size)
    assert size <= MAX_SIZE
    assert blocks == math.ceil(members / MAX_SIZE)
    assert 0 <= blocks * size - members < blocks


def test_both_languages_know_how_many_arguments_a_function_may_have() -> None:
    source = Path(programs.__file__).with_suffix(".cpp").read_text()
    assert f"MAX_ARGUMENTS = {programs.MAX_ARGUMENTS};" in source


LIFETIMES = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 20), st.integers(0, 20)), max_size=30)


@given(LIFETIMES)
def test_memory_is_shared_only_by_what_lives_apart(drawn: list[tuple[int, int, int]]) -> None:
    sizes = [size for size, _, _ in drawn]
    lifetimes = {i: (min(times), max(times)) for i, (_, *times) in enumerate(drawn)}
    offsets, end = pack_memory(sizes, lifetimes)
    assert all(offset % ALIGNMENT == 0 and offset + sizes[i] <= end for i, offset in offsets.items())
    for i, j in combinations(lifetimes, 2):
        both_live = lifetimes[i][0] <= lifetimes[j][1] and lifetimes[j][0] <= lifetimes[i][1]
        apart = offsets[i] + sizes[i] <= offsets[j] or offsets[j] + sizes[j] <= offsets[i]
        assert apart or not both_live


def test_memory_is_used_again() -> None:
    assert pack_memory([100, 200, 100], {0: (0, 1), 1: (1, 2), 2: (2, 3)}) == ({1: 0, 0: 256, 2: 256}, 384)


class Turning(NamedTuple):
    """A method whose state has another order and type after the first epoch."""

    def init(self, params: Params) -> dict[str, Tensor]:
        return {"scale": torch.ones(()), "other": torch.zeros(())}

    def step(self, state: dict[str, Tensor], signals: Signals, task: Task, pull: Pull) -> Step[dict[str, Tensor]]:
        gradient = pull(lambda s: task.objective(s.logits) * state["scale"].to(s.logits))
        return Step(gradient, state, {name: value.double() for name, value in state.items()})

    def rates(self, state: dict[str, Tensor]) -> None:
        return None

    def epoch(self, state: dict[str, Tensor], validation: Validation) -> Control[dict[str, Tensor]]:
        nothing = torch.zeros(2, dtype=torch.bool)
        turned = {"other": state["other"].double(), "scale": state["scale"].double()}
        return Control(turned, nothing, nothing, torch.tensor(False))


def test_a_method_may_change_the_kind_of_its_state_between_epochs() -> None:
    chosen = [trial(f"{__name__}:Turning", {}, batch_size=13, epochs=2, model=MODEL) | {"seed": i} for i in range(3)]
    fast, dataset = fit_pack(chosen, tiny(), compile_mode="on"), tiny()
    for one, other in zip(fast, fit_pack(chosen, dataset), strict=True):
        assert max(relative_differences(one, other)) < 1e-4


@pytest.mark.parametrize("method", ["agm", *(pytest.param(m, marks=pytest.mark.nightly) for m in PROGRAMS)])
def test_a_pack_trains_and_is_evaluated_by_programs(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine train in blocks of five, as ten do, and as two of them do with others but for rounding."""
    runs: list[int] = []
    run = Program.run

    def counted(program: Program, inputs: Any, blocks: int) -> Any:
        runs.append(blocks)
        return run(program, inputs, blocks)

    monkeypatch.setattr(Program, "run", counted)
    chosen, dataset = [one | {"start": 1, "warmup": 0, "end": 13} for one in single_precision(method, 10)], tiny()
    for one in chosen:
        one["train"]["epochs"] = 1
    nine, ten = (fit_pack(few, dataset, compile_mode="on") for few in (chosen[:9], chosen))
    assert runs.count(2) == 2 * (4 + 1)  # of two packs the steps of an epoch and its evaluation
    assert [one.weights for one in nine] == [one.weights for one in ten[:9]]
    assert repr([one.rows for one in nine]) == repr([one.rows for one in ten[:9]])  # one of CGGM's diverges
    for one, other in zip(ten, fit_pack(chosen, dataset), strict=True):
        if one.status == "done":
            assert 0 < max(relative_differences(one, other)) < 1e-3
