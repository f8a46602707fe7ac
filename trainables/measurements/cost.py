"""Cost of a training step of the method relative to joint training of the same model, at the end of the run."""

import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from trainables.evaluation import Progress, Row, tabulate
from trainables.methods.joint import Joint
from trainables.optim import SplitOptimizer
from trainables.setup import Learner, Setup, init_learner
from trainables.step import batch_inputs, batch_task, batches, step

REPEATS = 15  # steps of each, alternating, so that the load of the machine affects both alike
StepCall = Callable[[], object]


def rows(setup: Setup, state: tuple[()], learner: Learner, progress: Progress) -> list[Row]:
    """Return the seconds of a step, the bytes saved for its backward passes, and those of the method's state.

    Seconds and saved bytes are also given as ratios to joint training. They are medians of single steps on the first
    batch, for one trial and one thread; like all timings they vary between runs and machines.
    """
    joint = joint_setup(setup)
    method_step, joint_step = make_step(setup, learner), make_step(joint, init_learner(joint))
    times = [(seconds_of(method_step, setup.device), seconds_of(joint_step, setup.device)) for _ in range(REPEATS)]
    seconds, joint_seconds = (median(series) for series in zip(*times, strict=True))
    saved, joint_saved = saved_bytes(method_step), saved_bytes(joint_step)
    state_bytes = sum(t.numel() * t.element_size() for t in tree_leaves(learner.state) if isinstance(t, Tensor))
    values = {
        "seconds_per_step": seconds,
        "step_ratio": seconds / joint_seconds,
        "kept_bytes": saved,
        "kept_ratio": saved / joint_saved,
        "state_bytes": state_bytes,
    }
    return tabulate(setup, values, "train", progress)


def joint_setup(setup: Setup) -> Setup:
    """Return the setup of joint training with the same settings."""
    optimizer = setup.optimizer.model if isinstance(setup.optimizer, SplitOptimizer) else setup.optimizer
    model = setup.model._replace(classifier=None)
    return setup._replace(method=Joint(), needs=frozenset(), optimizer=optimizer, model=model)


def make_step(setup: Setup, learner: Learner) -> StepCall:
    """Return a function that takes a step on the first batch and leaves the learner unchanged."""
    indices = batches(setup, 1)[0]
    inputs = batch_inputs(setup, indices)
    task = batch_task(setup, indices, setup.trial["train"]["epochs"], 1)
    return lambda: step(setup, learner, inputs, task)


def seconds_of(call: StepCall, device: torch.device) -> float:
    """Return the seconds that a call takes, including the work that it queues on a device."""
    synchronize(device)
    started = time.perf_counter()
    call()
    synchronize(device)
    return time.perf_counter() - started


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has finished its work; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def saved_bytes(call: StepCall) -> int:
    """Return the bytes of all tensors that autograd saves for backward passes during a call."""
    sizes: dict[int, int] = {}

    def record(tensor: Tensor) -> Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        call()
    return sum(sizes.values())
