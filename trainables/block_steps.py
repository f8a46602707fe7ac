"""Blocks: a compiled step trains a few members of a pack after the others, by a program (`programs`).

What it computes of a few members stays in the second-level cache, where that of a whole pack does not, and the calls of
a program cost next to nothing.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from trainables.programs import Program, tensors

MAX_SIZE = 8  # members of a block


def block_size(members: int) -> int:
    """Return the number of members in a block: of the fewest blocks of at most MAX_SIZE, those that lack the fewest."""
    blocks = -(-members // MAX_SIZE)
    return -(-members // blocks)


def first_members(tree: Any, count: int) -> Any:
    """Return the first members of a stacked tree; None stays."""
    return tree_map(lambda x: x if x is None else x[:count].contiguous(), tree)


class Blocks:
    """The members of a pack in blocks; if they do not fill the last one, its last member fills it up, trained again."""

    def __init__(self, members: int) -> None:
        """Begin with the number of members."""
        self.members, self.size = members, block_size(members)
        self.count = -(-members // self.size)
        self.learner: Any = None  # the last copy, one for all steps
        self.filled: list[Tensor] = []  # its tensors
        self.layout: tuple[Any, ...] = ()

    def fill_up(self, stacked: list[Tensor]) -> list[Tensor]:
        """Return stacked tensors, contiguous, with the last member repeated until the last block is full."""
        lacking = self.count * self.size - self.members
        if not lacking:
            return [x.contiguous() for x in stacked]
        return [torch.cat([x, x[-1:].expand(lacking, *x.shape[1:])]) for x in stacked]

    def copy(self, learner: Any) -> Any:
        """Return a copy of a learner that steps may overwrite: a view of whole blocks, in contiguous memory."""
        self.learner, self.filled, layout = None, [], shapes_and_dtypes(learner)
        self.layout = self.layout if layout == self.layout else layout  # one object, which is compared in no time
        leaves, structure = tree_flatten(learner)
        pairs = zip(self.fill_up(leaves), leaves, strict=True)
        self.filled = [filled.clone() if filled is leaf else filled for filled, leaf in pairs]
        self.learner = tree_unflatten([x[: self.members] for x in self.filled], structure)
        return self.learner

    def find_layout(self, learner: Any) -> tuple[Any, ...]:
        """Return `shapes_and_dtypes`, which is known of the last copy."""
        return self.layout if learner is self.learner else shapes_and_dtypes(learner)


class BlockStep:
    """A step of a pack that runs the program of a block for each of its blocks, on a copy of a learner that is new."""

    def __init__(self, program: Program, blocks: Blocks, data: Any, numbers: Any, learner: Any) -> None:
        """Take the program of a block, the blocks, data and numbers of a pack, and a learner as all that will come."""
        self.program, self.blocks = program, blocks
        self.fixed = [*tensors(data), *blocks.fill_up(tensors(numbers))]
        self.layout = blocks.find_layout(learner)

    def accepts(self, learner: Any) -> bool:
        """Return whether a learner has the structure, types and shapes of those for which this was made."""
        layout = self.blocks.find_layout(learner)
        return layout is self.layout or layout == self.layout

    def __call__(self, data: Any, numbers: Any, learner: Any, *inputs: Any) -> Any:
        """Return the learner and the metrics after a step; ``data`` and ``numbers`` are those of the pack."""
        blocks, (*stacked, number) = self.blocks, inputs
        if learner is not blocks.learner:
            blocks.copy(learner)
        filled = [*blocks.filled, *blocks.fill_up([x for x in stacked if x is not None])]
        metrics = self.program.run([*self.fixed, *filled, number], blocks.count)
        return blocks.learner, tree_map(lambda x: x.flatten(0, 1)[: blocks.members], metrics)


def shapes_and_dtypes(tree: Any) -> tuple[Any, ...]:
    """Return the structure of a tree, the shapes and dtypes of its tensors, and its other leaves."""
    leaves, structure = tree_flatten(tree)
    return str(structure), *((tuple(x.shape), x.dtype) if isinstance(x, Tensor) else x for x in leaves)
