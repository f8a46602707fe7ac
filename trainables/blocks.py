"""Blocks: a compiled step trains a few members of a pack after the others, by a program (`programs`).

What it computes of a few members stays in the second-level cache, where that of a whole pack does not, and the calls of
a program cost next to nothing.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

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
        self.fixed = [*tensors(data), *tensors(self.fill_up(numbers))]
        self.learner: Any = None
        self.learner_leaves: list[Tensor] = []

    def __call__(self, data: Any, numbers: Any, learner: Any, *inputs: Tensor | None) -> Any:
        """Return the learner and the metrics after a step; ``data`` and ``numbers`` are those of the pack."""
        if learner is not self.learner:
            filled = self.fill_up(learner)
            self.learner, self.learner_leaves = first_members(filled, self.members), tensors(filled)
        *stacked, number = inputs
        leaves = [*self.fixed, *self.learner_leaves, *tensors(self.fill_up(stacked)), number]
        metrics = self.program.run(leaves, self.blocks)
        return self.learner, tree_map(lambda x: x.flatten(0, 1)[: self.members], metrics)

    def fill_up(self, tree: Any) -> Any:
        """Return a stacked tree, contiguous, with the last member repeated until the last block is full; None stays."""
        lacking = self.blocks * self.size - self.members

        def fill(x: Tensor | None) -> Tensor | None:
            if x is None or not lacking:
                return x if x is None else x.contiguous()
            return torch.cat([x, x[-1:].expand(lacking, *x.shape[1:])])

        return tree_map(fill, tree)

