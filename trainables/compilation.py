"""Steps that are compiled: where that is worth it, what this process has compiled, and what is done where it fails."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from shutil import which
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map

Step = Callable[..., Any]  # of data, numbers, learner and more; returns the next learner, and metrics

WORTH = 5e12  # operations of a pack, from which compiling costs less than it saves
CACHE: dict[Any, Step | None] = {}  # what this process has compiled last; None: it could not
MOST = 32  # of them


class Compiled(NamedTuple):
    """A compiled step."""

    step: Step
    seconds: float  # that compiling took


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


def compiled(step: Step, given: tuple[Any, ...], kind: tuple[Any, ...]) -> Compiled:
    """Return a step, compiled for arguments of the shapes of those given; as it is where it cannot be compiled.

    It is traced once, so what is not a tensor must not change; ``kind`` is all that tells it from other steps but its
    arguments. Compiling takes some twenty seconds, a few where its cache (TORCHINDUCTOR_CACHE_DIR) knows the result,
    none where this process has done it before.
    """
    began, key = time.perf_counter(), (*kind, signature(given))
    if key not in CACHE:
        if len(CACHE) == MOST:
            CACHE.pop(next(iter(CACHE)))
        CACHE[key] = attempted(step, given)
    fast = CACHE[key]
    return Compiled(step if fast is None else fast, time.perf_counter() - began)


def attempted(step: Step, given: tuple[Any, ...]) -> Step | None:
    """Return a step, compiled, that writes the new learner over the one it is given; or one that does not; or None.

    Writing over saves a quarter of what a step moves. Torch 2.13 fails to compile that for some small tensors, and a
    machine may lack what compiling needs; but for rounding and time a step is the same.
    """
    for attempt in (partial(written_over, step), step):
        trial = (*given[:2], cloned(given[2]), *given[3:])
        with suppress(Exception):
            fast: Step = torch.compile(make_fx(attempt)(*trial), dynamic=False)
            fast(*trial)
            return fast
    return None


def written_over(step: Step, data: Any, differing: Any, learner: Any, *given: Any) -> Any:
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
