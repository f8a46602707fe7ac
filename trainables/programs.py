"""Programs: the C functions that a compiled step calls, without the Python between the calls.

What torch compiles for a CPU is a Python function that allocates memory and calls some fifty C functions: kernels of
its own and those of `native`. In a step of a few small models that Python takes as long as the arithmetic. A program
has the calls, recorded once with their arguments, as graphs of a GPU are, and makes them from C++ (`programs.cpp`), in
memory that it keeps.
"""

import ctypes
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from types import BuiltinFunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import Graph
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_unflatten

from trainables import native, products, updates
from trainables.native import INDEX, POINTER, Call, load_kernel

aten = torch.ops.aten
MAX_ARGUMENTS = 128  # of a function, as in programs.cpp
ALIGNMENT = 64  # bytes
OPERATORS = products.OPERATOR, updates.OPERATOR  # each makes one call
VIEWS = aten.detach.default, aten.alias.default, aten.as_strided.default
LIBRARY_OPERATIONS = (
    aten.mm.default, aten.addmm.default, aten.bmm.default, aten.baddbmm.default, aten.convolution.default,
    aten.convolution_backward.default, aten.cumsum.default, aten.sort.default,
)  # fmt: skip
LITERAL, ARENA, OUTPUTS, FIRST_INPUT = -1, 0, 1, 2  # slots: the addresses that arguments are relative to
SIGNATURE = POINTER, INDEX, POINTER, POINTER, INDEX, POINTER, INDEX
MESSAGE_SIZE = 1000  # characters of an error's message
NOWHERE = -1  # the memory of an argument that is no pointer
Located = tuple[int, int]  # which memory, and the distance from its start
load_run_program = partial(load_kernel, "programs", "run_program", SIGNATURE)


class UnrecordableError(Exception):
    """A step does more than call C functions on known memory."""


class Input(NamedTuple):
    """An input that a program uses."""

    number: int  # among the inputs
    stride: int  # bytes from what a block uses to what the next uses


class Output(NamedTuple):
    """An output of a program."""

    shape: torch.Size  # in a block
    strides: tuple[int, ...]
    dtype: torch.dtype
    offset: int  # in the outputs of a block, in bytes


class Program(NamedTuple):
    """Calls of C functions on memory of inputs that are given with each run."""

    code: "array[int]"  # as in programs.cpp
    calls: int
    inputs: list[Input]  # in the order of their slots
    arena: Tensor  # memory of intermediate results
    outputs: list[Output]
    output_size: int  # bytes of the outputs of a block
    structure: TreeSpec  # of the outputs
    constants: list[Tensor]

    def run(self, inputs: Sequence[Tensor], blocks: int) -> Any:
        """Make the calls for each block, and return the tree of outputs, [blocks, ...].

        ``inputs`` have the types, strides and shapes of those that it was recorded with, but the length of stacked
        ones, which are as long as all blocks are. This is not checked. Two threads must not run a program at once.

        Raises:
            RuntimeError: a function throws, as for indices out of bounds.
        """
        results = torch.empty(blocks * self.output_size, dtype=torch.uint8)
        addresses = [x.data_ptr() for x in (self.arena, results, *(inputs[i] for i, _ in self.inputs))]
        slots, strides = array("q", addresses), array("q", [0, self.output_size, *(x.stride for x in self.inputs)])
        error = ctypes.create_string_buffer(MESSAGE_SIZE)
        run_program: Any = load_run_program()
        run_program(
            start(self.code), self.calls, start(slots), start(strides), blocks, ctypes.addressof(error), MESSAGE_SIZE
        )
        if error.value:
            raise RuntimeError(error.value.decode(errors="replace"))
        return tree_unflatten([self.view_output(results, output, blocks) for output in self.outputs], self.structure)

    def view_output(self, results: Tensor, output: Output, blocks: int) -> Tensor:
        """Return an output of all blocks from the bytes of all outputs."""
        shape, strides = (blocks, *output.shape), (self.output_size // output.dtype.itemsize, *output.strides)
        return results.view(output.dtype).as_strided(shape, strides, output.offset // output.dtype.itemsize)


def start(numbers: "array[int]") -> int:
    """Return the address of an array."""
    return numbers.buffer_info()[0]


class Recorder(TorchDispatchMode):
    """Records, within it, what compiled code calls and allocates; other operations raise UnrecordableError."""

    def __init__(self) -> None:
        """Begin."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Call] = []
        self.allocated: list[Tensor] = []  # kept, so that no two have the same memory

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Let compiled code run."""
        return True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and record its call."""
        if func in VIEWS:
            return func(*args, **(kwargs or {}))
        if func.name() not in OPERATORS:
            raise UnrecordableError(f"{func} is no call of a C function")
        count = len(self.calls)
        with native.record_calls(self.calls):
            result = func(*args, **(kwargs or {}))
        pointers = {pointer for call in self.calls[count:] for pointer, is_pointer in call.arguments if is_pointer}
        if len(self.calls) != count + 1 or pointers - {0, *(x.data_ptr() for x in tensors((args, result)))}:
            raise UnrecordableError(f"{func} does more than one call on its arguments and result")
        self.allocated += [] if result is None else [result]
        return result

    def allocate(self, function: Callable[..., Tensor], *args: Any) -> Tensor:
        """Allocate memory as compiled code does, by a function of torch."""
        self.allocated.append(function(*args))
        return self.allocated[-1]

    def call(self, kernel: BuiltinFunctionType, *args: Any) -> None:
        """Call a kernel of torch's compiler."""
        if not all(isinstance(arg, Tensor) for arg in args):
            raise UnrecordableError("a kernel takes what is no tensor")
        self.calls.append(Call(kernel_address(kernel), [(arg.data_ptr(), True) for arg in args]))
        kernel(*args)

    @contextmanager
    def watch_compiled_code(self) -> Iterator[list[Tensor]]:
        """Let compiled code of torch call and allocate through this; yield the constants of that code."""
        compiled = import_module("torch._inductor.codecache").PyCodeCache.modules  # torch imports it when it compiles
        originals = [(vars(module), dict(vars(module))) for module in compiled]
        try:
            for module, names in originals:
                for name, value in names.items():
                    if name == "empty_strided_cpu":
                        module[name] = partial(self.allocate, value)
                    elif isinstance(value, BuiltinFunctionType) and value.__name__ == "kernel":
                        module[name] = partial(self.call, value)
            yield [value for _, names in originals for value in names.values() if isinstance(value, Tensor)]
        finally:
            for module, names in originals:
                module.update(names)


def is_recordable(graph: Graph) -> bool:
    """Return whether no operation of a traced step is known to do more than call C functions when it is compiled."""
    operations: list[Any] = [node.target for node in graph.nodes if isinstance(node.target, OpOverload)]
    return all(x.name() in OPERATORS or (x.namespace != "ablate" and x not in LIBRARY_OPERATIONS) for x in operations)


def tensors(tree: Any) -> list[Tensor]:
    """Return the tensors of a tree."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def kernel_address(kernel: Any) -> int:
    """Return the address of the C function behind a kernel of torch's compiler."""
    library = ctypes.CDLL(kernel.__self__.__file__)
    return native.function_address(getattr(library, kernel.__name__))


def record_program(
    step: Callable[[], Any], inputs: Sequence[Tensor], strides: Sequence[int], constants: Sequence[Tensor]
) -> Program:
    """Run a compiled step on these inputs, and return a program that does the same.

    Args:
        step: returns a tree of outputs.
        inputs: of the step.
        strides: of each the bytes from what a block uses to what the next uses.
        constants: other tensors that it reads.

    Raises:
        UnrecordableError: it does more than call C functions on inputs, constants and memory that it allocates.
    """
    recorder = Recorder()
    with recorder.watch_compiled_code() as own_constants, recorder:
        outputs, structure = tree_flatten(step())
    constants = list({tensor.data_ptr(): tensor for tensor in (*constants, *own_constants)}.values())
    extents = [memory_extent(tensor) for tensor in (*recorder.allocated, *inputs, *constants)]
    calls = [(function, [locate(extents, *pair) for pair in arguments]) for function, arguments in recorder.calls]
    if any(len(arguments) > MAX_ARGUMENTS for _, arguments in calls):
        raise UnrecordableError("a function takes too many arguments")
    results = [locate(extents, output.data_ptr(), is_pointer=True) for output in outputs]
    first_input, first_constant = len(recorder.allocated), len(extents) - len(constants)
    if not all(0 <= memory < first_input for memory, _ in results):
        raise UnrecordableError("an output is not in memory that the step allocates")
    sizes, lifetimes = [end - begin for begin, end in extents], find_lifetimes(calls)
    kept, output_size = pack_memory(sizes, {memory: (0, len(calls)) for memory, _ in results})
    temporary = {i: lifetime for i, lifetime in lifetimes.items() if 0 <= i < first_input and i not in kept}
    offsets, arena_size = pack_memory(sizes, temporary)
    used = [i for i in sorted(lifetimes) if first_input <= i < first_constant]
    places = (
        {NOWHERE: (LITERAL, 0)}
        | {i: (OUTPUTS, offset) for i, offset in kept.items()}
        | {i: (ARENA, offset) for i, offset in offsets.items()}
        | {i: (FIRST_INPUT + number, 0) for number, i in enumerate(used)}
        | {i: (LITERAL, extents[i][0]) for i in range(first_constant, len(extents))}
    )
    return Program(
        encode(calls, places), len(calls), [Input(i - first_input, strides[i - first_input]) for i in used],
        torch.empty(arena_size, dtype=torch.uint8),
        [
            Output(output.shape, output.stride(), output.dtype, kept[i] + distance)
            for output, (i, distance) in zip(outputs, results, strict=True)
        ],
        output_size, structure, [constants[i - first_constant] for i in lifetimes if i >= first_constant],
    )  # fmt: skip


def memory_extent(tensor: Tensor) -> tuple[int, int]:
    """Return the addresses of a tensor's first element and of the end of its last."""
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    begin = tensor.data_ptr()
    return begin, begin + ((last + 1) * tensor.element_size() if tensor.numel() else 0)


def locate(extents: Sequence[tuple[int, int]], argument: int, is_pointer: bool) -> Located:
    """Return which memory an argument points to, and where; of one that is no pointer, NOWHERE and itself.

    Raises:
        UnrecordableError: it points to none, or to several.
    """
    if not is_pointer or argument == 0:
        return NOWHERE, argument
    found = [(i, argument - begin) for i, (begin, end) in enumerate(extents) if begin <= argument < end]
    if len(found) != 1:
        raise UnrecordableError("an argument points to unknown memory")
    return found[0]


def find_lifetimes(calls: Sequence[tuple[int, list[Located]]]) -> dict[int, tuple[int, int]]:
    """Return the first and the last call that takes each memory."""
    lifetimes: dict[int, tuple[int, int]] = {}
    for number, (_, arguments) in enumerate(calls):
        for i, _ in arguments:
            lifetimes[i] = lifetimes.get(i, (number, number))[0], number
    return lifetimes


def pack_memory(sizes: Sequence[int], lifetimes: Mapping[int, tuple[int, int]]) -> tuple[dict[int, int], int]:
    """Return offsets at which no two that live at once overlap, and the end of the last; the largest come first."""
    offsets: dict[int, int] = {}
    for i in sorted(lifetimes, key=lambda i: -sizes[i]):
        first, last = lifetimes[i]
        taken = sorted((offsets[j], sizes[j]) for j in offsets if lifetimes[j][0] <= last and first <= lifetimes[j][1])
        offset = 0
        for begin, size in taken:
            if offset + sizes[i] <= begin:
                break
            offset = max(offset, align(begin + size))
        offsets[i] = offset
    return offsets, align(max((offset + sizes[i] for i, offset in offsets.items()), default=0))


def align(size: int) -> int:
    """Return a number of bytes, rounded up to whole lines of the cache."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def encode(calls: Sequence[tuple[int, list[Located]]], places: Mapping[int, tuple[int, int]]) -> "array[int]":
    """Return calls as `programs.cpp` reads them, with the slots and offsets of their arguments."""
    code = array("q")
    for function, arguments in calls:
        code.extend((function, len(arguments)))
        for i, distance in arguments:
            slot, offset = places[i]
            code.extend((slot, offset + distance))
    return code
