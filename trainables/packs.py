"""Packs: trials of one shape, stacked along a leading axis K and trained in one pass of `torch.func.vmap`.

A pack of one trial is the same code without that axis. Its numeric settings are read from its configuration, unless its
steps are compiled: these take them as tensors, so that another trial of the shape can use the same step.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils._pytree import tree_map

from trainables.block_steps import Blocks, BlockStep
from trainables.compilation import PLAIN, StepMode, StepModes, TracedStep, trace_or_compile
from trainables.differentiation import Differentiate, eager, functional
from trainables.precision import parameter_dtype
from trainables.setup import Setup, replace_trial
from trainables.shape import Path, numeric_settings, pack_shape, replace_values


class Pack(NamedTuple):
    """Trials that train together, and the numbers in which they differ."""

    members: tuple[Setup, ...]
    numbers: dict[Path, Tensor]  # numeric settings and, on the host, seeds: [K] each, [] of one trial, or none if plain
    step_modes: StepModes
    traced_steps: dict[Any, TracedStep]  # so far, by the function that is mapped and the shapes of its arguments
    blocks: Blocks  # in which programs train them

    @property
    def compile_seconds(self) -> float:
        """Return the seconds spent on tracing and compiling its steps."""
        return sum(step.seconds for step in self.traced_steps.values())

    @property
    def differentiate(self) -> Differentiate:
        """Return how a step of this pack differentiates.

        Eager autograd cannot stack backward passes that contain an all-reduce, as batch normalisation over several
        workers does.
        """
        first = self.members[0]
        reduces = first.workers.size > 1 and first.model.has_batch_norm
        return functional if len(self.members) > 1 or reduces else eager

    @property
    def uses_native_products(self) -> bool:
        """Return whether its whole batches are multiplied by `trainables.products`, and so its evaluations."""
        return self.step_modes.full_batch in ("native", "compiled")

    def step_number(self, number: int) -> int | Tensor:
        """Return a step number as a plain step of this pack takes it, to draw by: an int, or a tensor on the host."""
        return number if len(self.members) == 1 else torch.tensor(number)


def build_pack(members: Sequence[Setup], step_modes: StepModes = PLAIN) -> Pack:
    """Return a pack of trials of one shape."""
    first = members[0]
    if len(members) == 1 and "compiled" not in step_modes:
        return Pack(tuple(members), {}, step_modes, {}, Blocks(1))
    dtype = parameter_dtype(first.trial["train"]["dtype"])
    settings = [numeric_settings(setup.trial) for setup in members]
    trees = [{path: torch.tensor(value, dtype=dtype) for path, value in values.items()} for values in settings]
    numbers = {path: values.to(first.device) for path, values in stack(trees).items()}
    seeds = stack([torch.tensor(setup.trial["seed"]) for setup in members])
    return Pack(tuple(members), numbers | {("seed",): seeds}, step_modes, {}, Blocks(len(members)))


def map_members(pack: Pack, f: Callable[..., Any], *args: Any, shared: tuple[Any, ...] = ()) -> Any:
    """Return ``f(setup, *args, *shared)`` of every member, stacked.

    ``args`` are stacked trees of tensors, or None for all members; ``shared`` is the same for all members.
    """
    if len(pack.members) == 1:
        return f(pack.members[0], *args, *shared)
    return vectorise(pack, f, args, shared)(pack.members[0].data, pack.numbers, *args, *shared)


def map_members_traced(pack: Pack, f: Callable[..., Any], learner: Any, *args: Any, number: int, mode: StepMode) -> Any:
    """Return `map_members` for step ``number``, traced or compiled on first use; plain where that fails.

    ``f`` returns the next learner and metrics; a compiled step may overwrite the learner it is given.
    """
    step = traced_step(pack, f, learner, *args, number=number, mode=mode)
    return map_members(pack, f, learner, *args, shared=(pack.step_number(number),)) if step is None else step()


def traced_step(
    pack: Pack, f: Callable[..., Any], learner: Any, *args: Any, number: int, mode: StepMode | Literal["program"]
) -> Callable[[], Any] | None:
    """Return what makes step ``number``, as `map_members_traced`; None where that fails."""
    first, is_single = pack.members[0], len(pack.members) == 1
    number_tensor = torch.tensor(number)
    inputs = first.data, pack.numbers, learner, *args, number_tensor
    key = f, *(None if arg is None else arg.shape for arg in args)
    known = pack.traced_steps.get(key)
    if known is None or (isinstance(known.step, BlockStep) and not known.step.accepts(learner)):
        untraced = vectorise(pack, f, (learner, *args), (number_tensor,))
        data = first.task, first.gaps, first.target_zero  # all else of the data is in the inputs
        kind = f, type(first.method), *data, pack_shape({**first.trial, "data": None})
        made = trace_or_compile(untraced, inputs, kind, mode, blocks=None if is_single else pack.blocks)
        known = made._replace(seconds=made.seconds + (known.seconds if known else 0.0))
        pack.traced_steps[key] = known
    return None if known.step is None else partial(known.step, *inputs)


def vectorise(pack: Pack, f: Callable[..., Any], args: tuple[Any, ...], shared: tuple[Any, ...]) -> Callable[..., Any]:
    """Return `map_members` as a function of the pack's data and numbers, ``args`` and ``shared``."""
    first = pack.members[0]

    def single(data: Any, numbers: dict[Path, Tensor], *inputs: Any) -> Any:
        return f(replace_trial(first.with_data(data), replace_values(first.trial, numbers)), *inputs)

    if len(pack.members) == 1:
        return single
    axes = [None if arg is None else 0 for arg in args]
    return vmap(single, in_dims=(None, 0, *axes, *[None] * len(shared)))


def stack(trees: Sequence[Any]) -> Any:
    """Return trees of tensors as one tree whose tensors have a leading axis; a single tree stays as it is."""
    return trees[0] if len(trees) == 1 else tree_map(lambda *tensors: torch.stack(tensors), *trees)


def unstack(tree: Any, count: int) -> list[Any]:
    """Return the trees of which `stack` made one, as views; recursively, as torch's pytrees take ten times as long."""
    if count == 1:
        return [tree]
    if isinstance(tree, Tensor):
        return list(tree.unbind())
    parts = list(tree.values() if isinstance(tree, dict) else tree)
    rows = list(zip(*(unstack(part, count) for part in parts), strict=True)) if parts else [()] * count
    if isinstance(tree, dict):
        return [dict(zip(tree, row, strict=True)) for row in rows]
    return [tree._make(row) if hasattr(tree, "_make") else type(tree)(row) for row in rows]
