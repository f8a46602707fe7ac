"""Programs and blocks: the bits of the compiled step, for any number of blocks, or none where it does more than call."""

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.trainables.test_packs import relative_differences, tiny
from tests.trainables.test_products import single_precision
from trainables import native
from trainables.blocks import MAX_SIZE, BlockStep, block_size, first_members
from trainables.compilation import clone_contiguous, compile_program
from trainables.programs import ALIGNMENT, Program, pack_memory
from trainables.train import fit_pack

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's compiler about itself
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
    return BlockStep(program, data, stacked[0], members)
