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


class BlockStep:
    """A step of a pack that runs the program of a block for each of its blocks, and overwrites the learner.

    If the members do not fill the last block, its last member fills it up, trained there again.
    """

    def __init__(self, program: Program, data: Any, numbers: Any, members: int) -> None:
        """Take the program of a block of `block_size` members, and the data and numbers of the pack."""
        self.program, self.members, self.size = program, members, block_size(members)
        self.blocks = -(-members // self.size)
        self.fixed = [*tensors(data), *self.fill_up(tensors(numbers))]
        self.learner: Any = None  # the last one
        self.filled: list[Tensor] = []  # its tensors

    def __call__(self, data: Any, numbers: Any, learner: Any, *inputs: Any) -> Any:
        """Return the learner and the metrics after a step; ``data`` and ``numbers`` are those of the pack."""
        if learner is not self.learner:
            leaves, structure = tree_flatten(learner)
            self.filled = self.fill_up(leaves)
            self.learner = tree_unflatten([x[: self.members] for x in self.filled], structure)
        *stacked, number = inputs
        filled = self.fill_up([x for x in stacked if x is not None])
        metrics = self.program.run([*self.fixed, *self.filled, *filled, number], self.blocks)
        return self.learner, tree_map(lambda x: x.flatten(0, 1)[: self.members], metrics)

    def fill_up(self, stacked: list[Tensor]) -> list[Tensor]:
        """Return stacked tensors, contiguous, with the last member repeated until the last block is full."""
        lacking = self.blocks * self.size - self.members
        if not lacking:
            return [x.contiguous() for x in stacked]
        return [torch.cat([x, x[-1:].expand(lacking, *x.shape[1:])]) for x in stacked]
