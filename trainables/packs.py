"""Trials of one shape as one: stacked along a leading axis K, and trained by one pass of `torch.func.vmap`.

A pack of one is the same code without that axis: its learner and its tensors are as they are.
"""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from shutil import which
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from trainables.differentiation import Differentiate, eager, pure
from trainables.precision import kept
from trainables.setup import Setup, alike
from trainables.shape import Path, numbers, replaced, shape

WORTH = 5e12  # operations of a pack, from which compiling costs less than it saves
STEPS: dict[Any, Callable[..., Any] | None] = {}  # that this process has compiled last; None: it could not
MOST = 32  # of them


class Fast(NamedTuple):
    """A compiled step."""

    step: Callable[..., Any]
    seconds: float  # that compiling took


class Pack(NamedTuple):
    """Trials that train together, and what tells them apart."""

    members: tuple[Setup, ...]
    numbers: dict[Path, Tensor]  # [K] each, with their seeds; empty for a pack of one
    fast: dict[bool, Fast] | None = None  # compiled steps; None: it does not compile

    @property
    def compile_seconds(self) -> float:
        """Return the seconds that went into compiling its steps."""
        return sum(fast.seconds for fast in (self.fast or {}).values())

    @property
    def differentiate(self) -> Differentiate:
        """Return how a step of this pack differentiates.

        Eager autograd cannot stack backward passes in which workers meet, as they do where they normalise by a batch.
        """
        first = self.members[0]
        meet = first.crew.size > 1 and first.model.normalised
        return pure if len(self.members) > 1 or meet else eager

    def told(self, number: int) -> int | Tensor:
        """Return a number that all members share, as a step of this pack takes it."""
        return number if len(self.members) == 1 else torch.tensor(number, device=self.members[0].device)


def pack(members: Sequence[Setup], *, compiles: bool = False) -> Pack:
    """Return trials of one shape as a pack; one of several may compile its steps."""
    if len(members) == 1:
        return Pack(tuple(members), {})
    first = members[0]
    found = [numbers(setup.trial) for setup in members]
    dtype, device = kept(first.trial["train"]["dtype"]), first.device
    stacked = {p: torch.tensor([each[p] for each in found], dtype=dtype, device=device) for p in found[0]}
    stacked["seed",] = torch.tensor([setup.trial["seed"] for setup in members], device=device)
    return Pack(tuple(members), stacked, {} if compiles else None)


def worthwhile(compiling: str, operations: float) -> bool:
    """Say whether to compile the steps of a pack: as a study says (on, off), or by the work that lies before it (auto).

    That depends on no clock, so that the same study compiles the same packs. Without a C++ compiler none is compiled.
    """
    if compiling == "off" or (compiling == "auto" and operations < WORTH):
        return False
    return compiler() is not None


def compiler() -> str | None:
    """Return the C++ compiler that torch would use, if there is one."""
    return next((name for name in (os.environ.get("CXX"), "c++", "g++", "clang++") if name and which(name)), None)


def over(pack: Pack, f: Callable[..., Any], *args: Any, shared: tuple[Any, ...] = ()) -> Any:
    """Return ``f(setup, *args, *shared)`` of every member, stacked.

    ``args`` are stacked trees of tensors, or None for all; ``shared`` are the same for all members.
    """
    if len(pack.members) == 1:
        return f(pack.members[0], *args, *shared)
    return stacked(pack, f, args, shared)(pack.members[0].data, pack.numbers, *args, *shared)


def stacked(pack: Pack, f: Callable[..., Any], args: tuple[Any, ...], shared: tuple[Any, ...]) -> Callable[..., Any]:
    """Return a function of the pack's data and numbers, ``args`` and ``shared`` that does what `over` does."""
    first = pack.members[0]

    def one(data: Any, differing: dict[Path, Tensor], *own: Any) -> Any:
        return f(alike(first.on(data), replaced(first.trial, differing)), *own)

    axes = [None if arg is None else 0 for arg in args]
    return vmap(one, in_dims=(None, 0, *axes, *[None] * len(shared)))


def compiled(pack: Pack, f: Callable[..., Any], learner: Any, *args: Any, shared: tuple[Any, ...]) -> Fast:
    """Return `over` of a step, compiled for arguments of the shapes of these; called with learner, args and shared.

    It is traced once, so what is not a tensor must not change. Compiling takes some twenty seconds, a few where its
    cache (TORCHINDUCTOR_CACHE_DIR) knows the result, none where this process has done it for another pack of the shape.
    """
    began, first, step = time.perf_counter(), pack.members[0], stacked(pack, f, (learner, *args), shared)
    given = first.data, pack.numbers, learner, *args, *shared
    key = f, type(first.method), first.task, shape(first.trial), signature(given)
    if key not in STEPS:
        if len(STEPS) == MOST:
            STEPS.pop(next(iter(STEPS)))
        STEPS[key] = compile_step(step, given)
    fast = STEPS[key]
    made = partial(step if fast is None else fast, first.data, pack.numbers)
    return Fast(made, time.perf_counter() - began)


def compile_step(step: Callable[..., Any], given: tuple[Any, ...]) -> Callable[..., Any] | None:
    """Return a step, compiled, that writes the new learner over the one it is given; or one that does not; or None.

    Writing over saves a quarter of what a step moves. Torch 2.13 fails to compile that for some small tensors, and a
    machine may lack what compiling needs; but for rounding and time a step is the same.
    """
    for attempt in (partial(written_over, step), step):
        trial = (*given[:2], cloned(given[2]), *given[3:])
        with suppress(Exception):
            fast: Callable[..., Any] = torch.compile(make_fx(attempt)(*trial), dynamic=False)
            fast(*trial)
            return fast
    return None


def written_over(step: Callable[..., Any], data: Any, differing: Any, learner: Any, *given: Any) -> Any:
    """Return the learner, with the numbers of the next, and the metrics; what is part of the old one is copied first.

    Raises:
        ValueError: the next learner's tensors are of other shapes or types.
    """
    old = tree_leaves(learner)
    held = {tensor.untyped_storage()._cdata for tensor in old}
    after, metrics = tree_map(
        lambda tensor: tensor.clone() if tensor.untyped_storage()._cdata in held else tensor,
        step(data, differing, learner, *given),
    )
    for tensor, new in zip(old, tree_leaves(after), strict=True):
        if (tensor.shape, tensor.dtype) != (new.shape, new.dtype):
            raise ValueError("a step changes the shape or the type of a tensor")
        tensor.copy_(new)
    return learner, metrics


def signature(tree: Any) -> tuple[Any, ...]:
    """Return what a compiled function takes for granted of a tree of tensors."""
    leaves, structure = tree_flatten(tree)
    kinds = [(tuple(x.shape), x.stride(), x.dtype, x.device) if isinstance(x, Tensor) else x for x in leaves]
    return str(structure), *kinds


def cloned(tree: Any) -> Any:
    """Return a copy of a tree of tensors whose elements lie in their order."""
    return tree_map(lambda tensor: tensor.clone(memory_format=torch.contiguous_format), tree)


def stack(trees: Sequence[Any]) -> Any:
    """Return trees of tensors as one, with a leading axis; one tree stays as it is."""
    return trees[0] if len(trees) == 1 else tree_map(lambda *tensors: torch.stack(tensors), *trees)


def unstack(tree: Any, count: int) -> list[Any]:
    """Return the trees that `stack` has made one, as views."""
    if count == 1:
        return [tree]
    leaves, structure = tree_flatten(tree)
    columns = [leaf.unbind() for leaf in leaves]
    return [tree_unflatten([column[i] for column in columns], structure) for i in range(count)]
