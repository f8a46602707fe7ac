"""Steps that are traced and compiled: where that is worth it, what this process has made, and what if it fails."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from shutil import which
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.passes.dialect.common.cse_pass import CSEPass
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map

aten = torch.ops.aten
Step = Callable[..., Any]  # of data, numbers, learner and more; returns the next learner, and metrics
Way = Literal["plain", "traced", "compiled"]

MANY = 150  # steps, from which tracing costs less than it saves
WORTH = 5e12  # operations, from which compiling does
VIEWS = {aten.view.default, aten._unsafe_view.default, aten.expand.default, aten.detach.default, aten.alias.default}
CACHE: dict[Any, Step | None] = {}  # what this process has made last; None: it could not
MOST = 32  # of them


class Traced(NamedTuple):
    """A step that was traced, and compiled where that was asked for and possible."""

    step: Step
    seconds: float  # that this took


class Ways(NamedTuple):
    """How the steps of a pack are made."""

    whole: Way = "plain"  # those of whole batches
    short: Way = "plain"  # that which ends an epoch with what is left


PLAIN = Ways()


def way(compiling: str, operations: float, steps: int) -> Way:
    """Return how to make steps of one kind: compiled as a study says (on, off), or by the work before them (auto).

    Many that are not compiled are traced, which changes no bit: what is left are their operations on tensors, without
    the code that led to them. That depends on no clock, so that the same study trains in the same way. Without a C++
    compiler nothing is compiled.
    """
    if (compiling == "on" or (compiling == "auto" and operations >= WORTH)) and compiler() is not None:
        return "compiled"
    return "traced" if steps >= MANY else "plain"


def compiler() -> str | None:
    """Return the C++ compiler that torch would use, if there is one."""
    return next((name for name in (os.environ.get("CXX"), "c++", "g++", "clang++") if name and which(name)), None)


def traced(step: Step, given: tuple[Any, ...], kind: tuple[Any, ...], *, compiles: bool) -> Traced:
    """Return a step, traced or compiled for arguments of the shapes of those given; as it is where that fails.

    What is not a tensor must not change; ``kind`` is all that tells it from other steps but its arguments. Tracing
    takes a second. Compiling takes some twenty, a few where its cache (TORCHINDUCTOR_CACHE_DIR) knows the result. What
    this process has done before takes none.
    """
    began, key = time.perf_counter(), (*kind, compiles, signature(given))
    if key not in CACHE:
        if len(CACHE) == MOST:
            CACHE.pop(next(iter(CACHE)))
        CACHE[key] = made(step, given, compiles=compiles)
    fast = CACHE[key]
    return Traced(step if fast is None else fast, time.perf_counter() - began)


def made(step: Step, given: tuple[Any, ...], *, compiles: bool) -> Step | None:
    """Return a step, compiled, that writes the new learner over the one it is given; or one that does not; or traced.

    Writing over saves a quarter of what a step moves. Torch 2.13 fails to compile that for some small tensors, and a
    machine may lack what compiling needs; but for rounding and time a step is the same. None: it cannot be traced.
    """
    for one in (partial(written_over, step), step) if compiles else ():
        with suppress(Exception):
            trial = (*given[:2], cloned(given[2]), *given[3:])
            fast: Step = torch.compile(make_fx(one)(*trial), dynamic=False)
            fast(*trial)
            return fast
    with suppress(Exception):
        return lean(make_fx(step)(*given))
    return None


def lean(graph: GraphModule) -> GraphModule:
    """Return a traced step without what does nothing, is done twice or is not read: a third fewer calls, the same bits.

    A step that writes into a tensor may do the same thing twice, to have two tensors: there, all that is done remains.
    """
    for node in graph.graph.nodes:
        if idle(node):
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    if not any(writes(node) for node in graph.graph.nodes):
        arguments = graph.graph._codegen
        graph = CSEPass().call(graph).graph_module
        graph.graph.set_codegen(arguments)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def idle(node: Node) -> bool:
    """Say whether an operation returns its argument as it is."""
    if node.target not in VIEWS:
        return False
    before, after = node.args[0].meta["val"], node.meta["val"]  # type: ignore[union-attr]
    return (before.shape, before.stride()) == (after.shape, after.stride())


def writes(node: Node) -> bool:
    """Say whether an operation changes one of its arguments."""
    return isinstance(node.target, OpOverload) and node.target._schema.is_mutable


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
