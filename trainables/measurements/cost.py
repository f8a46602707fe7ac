"""What a step of the method costs beside one of joint training, at the end of the run and of the same model."""

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

REPEATS = 15  # steps of each, in turns, so that both meet the same machine
Look = Callable[[], object]


def rows(setup: Setup, known: tuple[()], learner: Learner, progress: Progress) -> list[Row]:
    """Return a step's seconds and the bytes its backward passes keep, both also in joint training's, and the state's.

    Medians of single steps on the first batch, of one trial and one thread; they differ from run to run and machine to
    machine, as everything timed does.
    """
    plain = without_method(setup)
    ours, theirs = look(setup, learner), look(plain, init_learner(plain))
    times = [(timed(ours, setup.device), timed(theirs, setup.device)) for _ in range(REPEATS)]
    seconds, joint = (median(each) for each in zip(*times, strict=True))
    bytes_, joint_bytes = kept(ours), kept(theirs)
    state = sum(t.numel() * t.element_size() for t in tree_leaves(learner.state) if isinstance(t, Tensor))
    values = {
        "seconds_per_step": seconds,
        "step_ratio": seconds / joint,
        "kept_bytes": bytes_,
        "kept_ratio": bytes_ / joint_bytes,
        "state_bytes": state,
    }
    return tabulate(setup, values, "train", progress)


def without_method(setup: Setup) -> Setup:
    """Return the same training by no method."""
    rule = setup.optimizer.model if isinstance(setup.optimizer, SplitOptimizer) else setup.optimizer
    model = setup.model._replace(classifier=None)
    return setup._replace(method=Joint(), needs=frozenset(), optimizer=rule, model=model)


def look(setup: Setup, learner: Learner) -> Look:
    """Return what makes a step on the first batch, and leaves the learner as it is."""
    indices = batches(setup, 1)[0]
    inputs = batch_inputs(setup, indices)
    task = batch_task(setup, indices, setup.trial["train"]["epochs"], 1)
    return lambda: step(setup, learner, inputs, task)


def timed(one: Look, device: torch.device) -> float:
    """Return how many seconds something takes, until all is computed that it leaves to a device."""
    finish(device)
    began = time.perf_counter()
    one()
    finish(device)
    return time.perf_counter() - began


def finish(device: torch.device) -> None:
    """Wait for a GPU; a CPU has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def kept(one: Look) -> int:
    """Return how many bytes of tensors are kept for backward passes while something runs."""
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        one()
    return sum(sizes.values())
