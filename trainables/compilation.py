"""Traced and compiled steps: when they pay, how they are made, and the cache of this process."""

import gc
import sys
import sysconfig
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map

from trainables import native, products
from trainables.block_steps import Blocks, BlockStep, first_members, shapes_and_dtypes
from trainables.logarithms import DECOMPOSITIONS
from trainables.products import replace_products
from trainables.programs import Program, is_recordable, load_run_program, record_program, tensors
from trainables.updates import fuse_updates

aten = torch.ops.aten
StepFunction = Callable[..., Any]  # (data, numbers, learner, ...) -> (next learner, metrics)
StepMode = Literal["plain", "traced", "native", "compiled"]  # native: traced, with the kernel of `products`

MIN_TRACED_STEPS = 150  # from which tracing costs less than it saves
MIN_NATIVE_OPERATIONS = 5e11  # from which loading the kernel of products costs less than it saves
MIN_COMPILED_OPERATIONS = 5e12  # from which compiling costs less than it saves
MIN_COMPILED_STEPS = 30_000  # of a single trial, from which it does, too: it saves half a millisecond or more of each
VIEWS = {aten.view.default, aten._unsafe_view.default, aten.expand.default, aten.detach.default, aten.alias.default}
CACHE: dict[Any, Any] = {}  # the last steps and programs that this process made; None: that could not be made
CACHE_SIZE = 32


class TracedStep(NamedTuple):
    """The result of tracing or compiling a step."""

    step: StepFunction | None  # None: it failed
    seconds: float  # that it took


class StepModes(NamedTuple):
    """How the steps of a pack are run."""

    full_batch: StepMode = "plain"
    short_batch: StepMode = "plain"  # the last of an epoch, if its batch is smaller


PLAIN = StepModes()


def choose_step_mode(compile_mode: str, operations: float, steps: int, *, is_single: bool = False) -> StepMode:
    """Return how to run steps: compiled as a study requests (on, off), or by the remaining work (auto).

    Many steps that are not compiled are traced, which changes no bit: their operations on tensors remain, without the
    Python code around them. If they multiply much, small products are computed by `trainables.products`. For a single
    trial tracing saves little, as most of that code is `torch.func.vmap`. The choice depends on no clock, so that the
    same study trains in the same way. Without a C++ compiler nothing is compiled, nor is that kernel.
    """
    may_compile = compile_mode != "off" and find_compiler() is not None
    pays = operations >= MIN_COMPILED_OPERATIONS or (is_single and steps >= MIN_COMPILED_STEPS)
    if may_compile and (compile_mode == "on" or pays):
        return "compiled"
    if is_single or steps < MIN_TRACED_STEPS:
        return "plain"
    return "native" if may_compile and operations >= MIN_NATIVE_OPERATIONS else "traced"


def find_compiler() -> str | None:
    """Return the C++ compiler that torch would use; None without one, or without Python's headers, which it needs."""
    if sys.platform != "darwin" and not Path(sysconfig.get_path("include"), "Python.h").exists():
        return None
    return native.find_cxx()


def trace_or_compile(
    step: StepFunction,
    inputs: tuple[Any, ...],
    kind: tuple[Any, ...],
    mode: StepMode | Literal["program"],
    *,
    blocks: Blocks | None,
) -> TracedStep:
    """Return a step, traced or compiled for inputs of these shapes, if that is possible.

    What is not a tensor must not change, nor a shape: where a learner grows, its steps stay plain. ``kind`` is all that
    distinguishes the step from others but its inputs. ``blocks`` are those of a pack, whose compiled steps are programs
    if they can be, and its traced ones traced; without them the step is that of a single trial, which is not traced,
    and compiled with operations decomposed where that pays (`logarithms.DECOMPOSITIONS`). In the mode ``program`` it is
    a program or none. Tracing takes half a second. Compiling takes some twenty, a few where its cache
    (TORCHINDUCTOR_CACHE_DIR) knows the result. What this process has done before takes none.
    """
    began, fast = time.perf_counter(), None
    if mode in ("native", "compiled", "program"):
        native.set_enabled(True)
    if mode in ("compiled", "program") and blocks is not None:
        fast = make_block_step(step, inputs, kind, blocks)
    if fast is None and mode != "program":
        key, is_single = (*kind, mode, signature(inputs)), blocks is None
        fast = make_once(key, lambda: make_step(step, inputs, mode, is_single=is_single), compiles=mode == "compiled")
    return TracedStep(fast, time.perf_counter() - began)


def make_block_step(
    step: StepFunction, inputs: tuple[Any, ...], kind: tuple[Any, ...], blocks: Blocks
) -> StepFunction | None:
    """Return a compiled step of a pack on the CPU that trains a block of members after the other; None: it fails."""
    data, numbers, learner, *args, number = inputs
    if load_run_program() is None or any(x.device.type != "cpu" for x in tensors(learner)):
        return None
    block = data, *first_members((numbers, learner, *args), blocks.size), number
    program = make_once((*kind, signature(block)), lambda: compile_program(step, block), compiles=True)
    return None if program is None else BlockStep(program, blocks, data, numbers, learner)


def make_step(step: StepFunction, inputs: tuple[Any, ...], mode: StepMode, *, is_single: bool) -> StepFunction | None:
    """Return a compiled or traced step; None: it can be neither."""
    if not is_shape_stable(step, inputs):
        return None
    fast = compile_step(step, inputs, DECOMPOSITIONS if is_single else {}) if mode == "compiled" else None
    return trace_step(step, inputs, mode) if fast is None and not is_single else fast


def make_once(key: Any, make: Callable[[], Any], *, compiles: bool) -> Any:
    """Return what this process has made for a key, or make it now, which may leave what a compiler leaves."""
    if key in CACHE:
        CACHE[key] = CACHE.pop(key)  # the first are the first to go
    else:
        if len(CACHE) == CACHE_SIZE:
            CACHE.pop(next(iter(CACHE)))
        CACHE[key] = make()
        if compiles:
            exempt_from_collection()
    return CACHE[key]


def exempt_from_collection() -> None:
    """Let Python's garbage collector ignore the objects that exist, until this is called again.

    Compiling leaves half a million, among which each full collection searches for 0.3 s: a sixth of a short training.
    What becomes garbage by a cycle of references meanwhile is freed by the next call.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def is_shape_stable(step: StepFunction, inputs: tuple[Any, ...]) -> bool:
    """Return whether a step keeps the structure of the learner and the shapes and dtypes of its tensors.

    This runs the step once, plain, so that the tables that all steps share exist before one is traced.
    """
    with suppress(Exception):
        learner, _ = step(*inputs)
        return shapes_and_dtypes(learner) == shapes_and_dtypes(inputs[2])
    return False


def compile_step(
    step: StepFunction, inputs: tuple[Any, ...], decompositions: dict[OpOverload, Callable[..., Any]]
) -> StepFunction | None:
    """Return a compiled step that overwrites the learner; if that fails, one that does not; if that fails, None.

    Overwriting saves a quarter of the memory traffic of a step. Torch 2.13 fails to compile it for some small tensors,
    and a machine may lack what compiling needs; apart from rounding and time all these steps are the same.
    """
    for candidate in (partial(update_in_place, step), step):
        with suppress(Exception):
            example = with_own_learner(inputs)
            compiled = compile_graph(fuse_updates(replace_products(make_fx(candidate, decompositions)(*example))))
            compiled(*example)
            return compiled
    return None


def compile_program(step: StepFunction, inputs: tuple[Any, ...]) -> Program | None:
    """Return the program of a compiled step for a block of members that overwrites their learners; None: it has none.

    It is returned only if it leaves the bits that the compiled step does.
    """
    with suppress(Exception):
        if not is_shape_stable(step, inputs):
            return None
        example = with_own_learner(inputs)
        traced = make_fx(partial(update_in_place, step), products.DECOMPOSITIONS)(*example)
        graph = fuse_updates(replace_products(traced, in_program=True))
        if is_recordable(graph.graph):
            compiled = compile_graph(graph)
            compiled(*example)
            constants = [getattr(graph, str(node.target)) for node in graph.graph.nodes if node.op == "get_attr"]
            data, *stacked, _ = example
            block_sizes = [x.numel() * x.element_size() for x in tensors(stacked)]
            strides = [*[0] * len(tensors(data)), *block_sizes, 0]
            program = record_program(lambda: compiled(*example)[1], tensors(example), strides, constants)
            return program if computes_same(program, compiled, inputs) else None
    return None


def computes_same(program: Program, step: StepFunction, inputs: tuple[Any, ...]) -> bool:
    """Return whether a program leaves the bits that a step does, whatever its own memory held."""
    expected, given = with_own_learner(inputs), with_own_learner(inputs)
    program.arena.fill_(0xFF)
    results = step(*expected)[1], program.run(tensors(given), 1)
    pairs = zip(tensors((expected[2], results[0])), tensors((given[2], results[1])), strict=True)
    return all(torch.equal(bits(x), bits(y)) for x, y in pairs)


def compile_graph(graph: GraphModule) -> StepFunction:
    """Return a traced step that is compiled when it is first called.

    Before each call torch checks shapes, dtypes and strides of the inputs and nothing else, as what was traced reads
    nothing else: that takes 0.02 instead of 0.1 ms.
    """
    compiled: StepFunction = torch.compile(
        graph,
        dynamic=False,
        options={
            "guard_filter_fn": torch.compiler.keep_tensor_guards_unsafe,
            "size_asserts": False,
            "alignment_asserts": False,
        },
    )
    return compiled


def with_own_learner(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the inputs of a step with a copy of the learner."""
    return *inputs[:2], clone_contiguous(inputs[2]), *inputs[3:]


def bits(x: Tensor) -> Tensor:
    """Return the bytes of a tensor."""
    return x.contiguous().reshape(-1).view(torch.uint8)


def trace_step(step: StepFunction, inputs: tuple[Any, ...], mode: StepMode = "traced") -> StepFunction | None:
    """Return a traced step without no-ops, repeated operations and dead code; None: it fails.

    Its results have the same bits, except those of small products if it is not only to be ``traced``. Operations that
    draw random numbers, write into memory or share memory that is written into are kept as they are.
    """
    with suppress(Exception):
        traced: Any = make_fx(step)(*inputs)
        mutated, known = mutated_nodes(traced.graph), dict[Any, Node]()
        for node in traced.graph.nodes:
            if node.op == "call_function" and not mutated & {node, *node.all_input_nodes} and not is_random(node):
                key = node.target, repr(node.args), repr(node.kwargs)  # by repr: 1, 1.0 and True are equal, but differ
                equal = node.args[0] if is_no_op(node) else known.setdefault(key, node)
                if equal is not node:
                    node.replace_all_uses_with(equal)
                    traced.graph.erase_node(node)
        traced.graph.eliminate_dead_code()
        traced.recompile()
        traced = traced if mode == "traced" else replace_products(traced)
        return cast("StepFunction", traced)
    return None


def is_no_op(node: Node) -> bool:
    """Return whether an operation returns its argument as it is."""
    if node.target not in VIEWS:
        return False
    before, after = node.args[0].meta["val"], node.meta["val"]  # type: ignore[union-attr]
    return (before.shape, before.stride()) == (after.shape, after.stride())


def is_random(node: Node) -> bool:
    """Return whether an operation draws random numbers."""
    return isinstance(node.target, OpOverload) and torch.Tag.nondeterministic_seeded in node.target.tags


def mutated_nodes(graph: Graph) -> set[Node]:
    """Return the nodes that are written into, with all that share their memory."""
    owners: dict[Node, Node] = {}  # node -> the first node with its memory
    written = set()
    for node in graph.nodes:
        owners[node] = node
        for argument, writes in aliased_arguments(node):
            owners[node] = owners[argument]
            written |= {owners[argument]} if writes else set()
    return {node for node, owner in owners.items() if owner in written}


def aliased_arguments(node: Node) -> list[tuple[Node, bool]]:
    """Return the arguments whose memory an operation may return or write into, and whether it writes."""
    if not isinstance(node.target, OpOverload) or node.target in VIEWS:
        return [(argument, False) for argument in node.all_input_nodes]
    schema = node.target._schema.arguments
    values = dict(zip((argument.name for argument in schema), node.args, strict=False)) | node.kwargs
    aliases = {argument.name: argument.alias_info.is_write for argument in schema if argument.alias_info is not None}
    pairs = ((argument, writes) for name, writes in aliases.items() for argument in tree_leaves(values.get(name)))
    return [(argument, writes) for argument, writes in pairs if isinstance(argument, Node)]


def update_in_place(step: StepFunction, data: Any, numbers: Any, learner: Any, *inputs: Any) -> Any:
    """Return the learner, overwritten with the next, and the metrics; those that alias the old one are copied first.

    Raises:
        ValueError: the next learner's tensors are of other shapes or types, or one of them is another's old value:
            torch 2.13 compiles a copy of that so that it is made when it has been overwritten.
    """
    old = tree_leaves(learner)
    owners = {tensor.untyped_storage()._cdata: tensor for tensor in old}
    next_learner, metrics = step(data, numbers, learner, *inputs)
    metrics = tree_map(lambda x: x.clone() if x.untyped_storage()._cdata in owners else x, metrics)
    for tensor, new in zip(old, tree_leaves(next_learner), strict=True):
        if (tensor.shape, tensor.dtype) != (new.shape, new.dtype):
            raise ValueError("a step changes the shape or the type of a tensor")
        owner = owners.get(new.untyped_storage()._cdata)
        if owner is None:
            tensor.copy_(new)
        elif owner is not tensor or (new.storage_offset(), new.stride()) != (tensor.storage_offset(), tensor.stride()):
            raise ValueError("a step keeps an old value as another's")
    return learner, metrics


def signature(tree: Any) -> tuple[Any, ...]:
    """Return what a compiled function assumes of a tree: structure, shapes, strides, dtypes, devices, other leaves."""
    leaves, structure = tree_flatten(tree)
    kinds = [(tuple(x.shape), x.stride(), x.dtype, x.device) if isinstance(x, Tensor) else x for x in leaves]
    return str(structure), *kinds


def clone_contiguous(tree: Any) -> Any:
    """Return a copy of a tree of tensors in contiguous memory layout."""
    return tree_map(lambda tensor: tensor.clone(memory_format=torch.contiguous_format), tree)
