"""Trials of one shape as one: stacked along a leading axis K, and trained by one pass of `torch.func.vmap`.

A pack of one is the same code without that axis: its learner and its tensors are as they are. Its numbers are in its
configuration, but where its steps are compiled, which take them as tensors: another trial of the shape may follow.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils._pytree import tree_map

from trainables.compilation import PLAIN, Traced, Way, Ways, traced
from trainables.differentiation import Differentiate, eager, pure
from trainables.precision import parameter_dtype
from trainables.setup import Setup, alike
from trainables.shape import Path, numbers, replaced, shape


class Pack(NamedTuple):
    """Trials that train together, and what tells them apart."""

    members: tuple[Setup, ...]
    numbers: dict[Path, Tensor]  # [K] each, and on the host their seeds; of one [], or nothing where it is plain
    ways: Ways  # to make its steps
    traced: dict[Any, Traced]  # those that it has made so far, by what they are `over` of and the shapes of that

    @property
    def compile_seconds(self) -> float:
        """Return the seconds that went into tracing and compiling its steps."""
        return sum(one.seconds for one in self.traced.values())

    @property
    def differentiate(self) -> Differentiate:
        """Return how a step of this pack differentiates.

        Eager autograd cannot stack backward passes in which workers meet, as they do where they normalise by a batch.
        """
        first = self.members[0]
        meet = first.crew.size > 1 and first.model.has_batch_norm
        return pure if len(self.members) > 1 or meet else eager

    def told(self, number: int) -> int | Tensor:
        """Return the number of a step as a plain one of this pack takes it: on the host, which draws by it."""
        return number if len(self.members) == 1 else torch.tensor(number)


def pack(members: Sequence[Setup], ways: Ways = PLAIN) -> Pack:
    """Return trials of one shape as a pack."""
    first = members[0]
    if len(members) == 1 and "compiled" not in ways:
        return Pack(tuple(members), {}, ways, {})
    dtype = parameter_dtype(first.trial["train"]["dtype"])
    trees = [{path: torch.tensor(n, dtype=dtype) for path, n in numbers(setup.trial).items()} for setup in members]
    differing = {path: values.to(first.device) for path, values in stack(trees).items()}
    seeds = stack([torch.tensor(setup.trial["seed"]) for setup in members])
    return Pack(tuple(members), differing | {("seed",): seeds}, ways, {})


def over(pack: Pack, f: Callable[..., Any], *args: Any, shared: tuple[Any, ...] = ()) -> Any:
    """Return ``f(setup, *args, *shared)`` of every member, stacked.

    ``args`` are stacked trees of tensors, or None for all; ``shared`` are the same for all members.
    """
    if len(pack.members) == 1:
        return f(pack.members[0], *args, *shared)
    return stacked(pack, f, args, shared)(pack.members[0].data, pack.numbers, *args, *shared)


def over_traced(pack: Pack, f: Callable[..., Any], learner: Any, *args: Any, number: int, how: Way) -> Any:
    """Return `over` of step ``number``, traced or compiled when it is first made; plain where that fails.

    ``f`` returns the next learner, which a compiled step may write over the one that is given, and metrics.
    """
    first, alone = pack.members[0], len(pack.members) == 1
    now = torch.tensor(number)
    given = first.data, pack.numbers, learner, *args, now
    key = f, *(None if arg is None else arg.shape for arg in args)
    if key not in pack.traced:
        step = stacked(pack, f, (learner, *args), (now,))
        data = first.task, first.gaps, first.zero  # the rest is given
        kind = f, type(first.method), *data, shape({**first.trial, "data": None})
        pack.traced[key] = traced(step, given, kind, how, alone=alone)
    fast = pack.traced[key].step
    return over(pack, f, learner, *args, shared=(pack.told(number),)) if fast is None else fast(*given)


def stacked(pack: Pack, f: Callable[..., Any], args: tuple[Any, ...], shared: tuple[Any, ...]) -> Callable[..., Any]:
    """Return a function of the pack's data and numbers, ``args`` and ``shared`` that does what `over` does."""
    first = pack.members[0]

    def one(data: Any, differing: dict[Path, Tensor], *own: Any) -> Any:
        return f(alike(first.on(data), replaced(first.trial, differing)), *own)

    if len(pack.members) == 1:
        return one
    axes = [None if arg is None else 0 for arg in args]
    return vmap(one, in_dims=(None, 0, *axes, *[None] * len(shared)))


def stack(trees: Sequence[Any]) -> Any:
    """Return trees of tensors as one, with a leading axis; one tree stays as it is."""
    return trees[0] if len(trees) == 1 else tree_map(lambda *tensors: torch.stack(tensors), *trees)


def unstack(tree: Any, count: int) -> list[Any]:
    """Return the trees that `stack` has made one, as views; by itself, as pytrees take ten times as long."""
    if count == 1:
        return [tree]
    if isinstance(tree, Tensor):
        return list(tree.unbind())
    parts = list(tree.values() if isinstance(tree, dict) else tree)
    rows = list(zip(*(unstack(part, count) for part in parts), strict=True)) if parts else [()] * count
    if isinstance(tree, dict):
        return [dict(zip(tree, row, strict=True)) for row in rows]
    return [tree._make(row) if hasattr(tree, "_make") else type(tree)(row) for row in rows]
