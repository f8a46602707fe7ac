"""Steps that are traced and compiled: where that is worth it, what this process has made, and what if it fails."""

import os
import sys
import sysconfig
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from shutil import which
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import Graph, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map

from trainables.logarithms import DECOMPOSITIONS

aten = torch.ops.aten
Step = Callable[..., Any]  # of data, numbers, learner and more; returns the next learner, and metrics
Way = Literal["plain", "traced", "compiled"]

MANY = 150  # steps, from which tracing costs less than it saves
WORTH = 5e12  # operations, from which compiling does
REPAID = 30_000  # steps of a trial alone, from which it does, too: it saves half a millisecond and more of each
VIEWS = {aten.view.default, aten._unsafe_view.default, aten.expand.default, aten.detach.default, aten.alias.default}
CACHE: dict[Any, Step | None] = {}  # what this process has made last; None: it could not
MOST = 32  # of them


class Traced(NamedTuple):
    """What became of a step that was to be traced or compiled."""

    step: Step | None  # None: it cannot be
    seconds: float  # that this took


class Ways(NamedTuple):
    """How the steps of a pack are made."""

    whole: Way = "plain"  # those of whole batches
    short: Way = "plain"  # that which ends an epoch with what is left


PLAIN = Ways()


def way(compiling: str, operations: float, steps: int, *, alone: bool = False) -> Way:
    """Return how to make steps of one kind: compiled as a study says (on, off), or by the work before them (auto).

    Many that are not compiled are traced, which changes no bit: what is left are their operations on tensors, without
    the code that led to them. Of a trial ``alone`` that saves little, as most of that code is `torch.func.vmap`. This
    depends on no clock, so that the same study trains in the same way. Without a C++ compiler nothing is compiled.
    """
    worth = operations >= WORTH or (alone and steps >= REPAID)
    if (compiling == "on" or (compiling == "auto" and worth)) and compiler() is not None:
        return "compiled"
    return "traced" if steps >= MANY and not alone else "plain"


def compiler() -> str | None:
    """Return the C++ compiler that torch would use, if there is one, and Python's headers, which it needs."""
    if sys.platform != "darwin" and not Path(sysconfig.get_path("include"), "Python.h").exists():
        return None
    return next((name for name in (os.environ.get("CXX"), "c++", "g++", "clang++") if name and which(name)), None)


def traced(step: Step, given: tuple[Any, ...], kind: tuple[Any, ...], how: Way, *, alone: bool = False) -> Traced:
    """Return a step, traced or compiled for arguments of the shapes of those given, if it can be.

    What is not a tensor must not change, nor a shape: where a learner grows, its steps stay plain. ``kind`` is all that
    tells it from other steps but its arguments. That of a trial ``alone`` is not traced, and compiled of parts where
    that pays (`logarithms.DECOMPOSITIONS`). Tracing takes half a second. Compiling takes some twenty, a few where its
    cache (TORCHINDUCTOR_CACHE_DIR) knows the result. What this process has done before takes none.
    """
    began, key = time.perf_counter(), (*kind, how, signature(given))
    if key not in CACHE:
        if len(CACHE) == MOST:
            CACHE.pop(next(iter(CACHE)))
        fast = None
        if lasts(step, given):
            fast = compiled(step, given, DECOMPOSITIONS if alone else {}) if how == "compiled" else None
            fast = lean(step, given) if fast is None and not alone else fast
        CACHE[key] = fast
    return Traced(CACHE[key], time.perf_counter() - began)


def lasts(step: Step, given: tuple[Any, ...]) -> bool:
    """Say whether a step leaves a learner as it is given: the same tree, with tensors of the same shapes and types.

    It is made once, plain, so that the tables that all steps share are there, and no traced step makes them.
    """
    with suppress(Exception):
        after, _ = step(*given)
        return shapes(after) == shapes(given[2])
    return False


def shapes(tree: Any) -> tuple[Any, ...]:
    """Return what does not change of a tree of tensors from step to step."""
    leaves, structure = tree_flatten(tree)
    return str(structure), *((tuple(x.shape), x.dtype) if isinstance(x, Tensor) else x for x in leaves)


def compiled(step: Step, given: tuple[Any, ...], parts: dict[OpOverload, Callable[..., Any]]) -> Step | None:
    """Return a step, compiled, that writes the new learner over the one it is given; or one that does not; or None.

    Operations with ``parts`` are taken apart.

    Before each step torch asks of the shapes, types and strides of what it is given, and of nothing else, as what was
    traced reads nothing else: that takes 0.02 instead of 0.1 ms. Writing over saves a quarter of what a step moves.
    Torch 2.13 fails to compile that for some small tensors, and a machine may lack what compiling needs; but for
    rounding and time a step is the same.
    """
    for one in (partial(written_over, step), step):
        with suppress(Exception):
            trial = (*given[:2], cloned(given[2]), *given[3:])
            fast: Step = torch.compile(
                make_fx(one, parts)(*trial),
                dynamic=False,
                options={"guard_filter_fn": torch.compiler.keep_tensor_guards_unsafe},
            )
            fast(*trial)
            return fast
    return None


def lean(step: Step, given: tuple[Any, ...]) -> Step | None:
    """Return a step, traced, without what does nothing, is done twice or is not read: it has the same bits.

    None: it cannot be traced. What is written into stays as it is, and what is random, or read from the former.
    """
    with suppress(Exception):
        traced: Any = make_fx(step)(*given)
        kept, known = touched(traced.graph), dict[Any, Node]()
        for node in traced.graph.nodes:
            if node.op == "call_function" and not kept & {node, *node.all_input_nodes} and not drawn(node):
                what = node.target, repr(node.args), repr(node.kwargs)  # 1, 1.0 and True are equal, and make others
                same = node.args[0] if idle(node) else known.setdefault(what, node)
                if same is not node:
                    node.replace_all_uses_with(same)
                    traced.graph.erase_node(node)
        traced.graph.eliminate_dead_code()
        traced.recompile()
        return cast("Step", traced)
    return None


def idle(node: Node) -> bool:
    """Say whether an operation returns its argument as it is."""
    if node.target not in VIEWS:
        return False
    before, after = node.args[0].meta["val"], node.meta["val"]  # type: ignore[union-attr]
    return (before.shape, before.stride()) == (after.shape, after.stride())


def drawn(node: Node) -> bool:
    """Say whether an operation draws random numbers."""
    return isinstance(node.target, OpOverload) and torch.Tag.nondeterministic_seeded in node.target.tags


def touched(graph: Graph) -> set[Node]:
    """Return what is written into, with all that shares its memory."""
    memory: dict[Node, Node] = {}  # node -> the first that has its memory
    changed = set()
    for node in graph.nodes:
        memory[node] = node
        for argument, writes in sharing(node):
            memory[node] = memory[argument]
            changed |= {memory[argument]} if writes else set()
    return {node for node, first in memory.items() if first in changed}


def sharing(node: Node) -> list[tuple[Node, bool]]:
    """Return the arguments whose memory an operation may return or change, and whether it changes them."""
    if not isinstance(node.target, OpOverload) or node.target in VIEWS:
        return [(argument, False) for argument in node.all_input_nodes]
    schema = node.target._schema.arguments
    given = dict(zip((one.name for one in schema), node.args, strict=False)) | node.kwargs
    aliases = {one.name: one.alias_info.is_write for one in schema if one.alias_info is not None}
    pairs = ((argument, writes) for name, writes in aliases.items() for argument in tree_leaves(given.get(name)))
    return [(argument, writes) for argument, writes in pairs if isinstance(argument, Node)]


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
