"""Data-parallel training of one pack: each worker has its share of every batch, and all have the same numbers.

What a method or a layer sums over a batch is summed over the workers before it is used (METHODS.md 13), and so are the
gradients, which each worker has for its own samples' part of the loss. N workers with B / N samples each compute what
one computes with B.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from trainables.signals import Params, Pull, each, leaves


def all_reduce(x: Tensor) -> Tensor:
    """Return the sum over all workers, with the same bits on each."""
    y = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(y)
    return y


class Total(torch.autograd.Function):
    """The sum over the workers of a number from which all compute the same, such as a loss.

    Its derivative is 1: each worker's gradient is that of its own samples, and the gradients are summed afterwards.
    """

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        """Sum over the workers."""
        return all_reduce(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        """Save nothing."""

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Return the gradient as it is."""
        return gradients[0]

    @staticmethod
    def vmap(info: Any, axes: tuple[int | None, ...], x: Tensor) -> tuple[Tensor, int | None]:
        """Sum stacked numbers at once."""
        return total(x), axes[0]


class Statistic(Total):
    """The sum over the workers of a number that each applies to its own samples, such as a mean that normalises them.

    Every worker's loss depends on it, so the derivative is summed over the workers, too.
    """

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Return the sum of the workers' gradients."""
        return statistic(gradients[0])

    @staticmethod
    def vmap(info: Any, axes: tuple[int | None, ...], x: Tensor) -> tuple[Tensor, int | None]:
        """Sum stacked numbers at once."""
        return statistic(x), axes[0]


def total(x: Tensor) -> Tensor:
    """Return the sum over all workers by `Total`."""
    y: Tensor = Total.apply(x)  # type: ignore[no-untyped-call]
    return y


def statistic(x: Tensor) -> Tensor:
    """Return the sum over all workers by `Statistic`."""
    y: Tensor = Statistic.apply(x)  # type: ignore[no-untyped-call]
    return y


class WorkerGroup(NamedTuple):
    """The workers that train a pack together, and the rank of this process; by default a single worker."""

    rank: int = 0
    size: int = 1

    @property
    def total(self) -> Callable[[Tensor], Tensor]:
        """Return the function that sums over the workers as `Total`."""
        return total if self.size > 1 else identity

    @property
    def statistic(self) -> Callable[[Tensor], Tensor] | None:
        """Return the function that sums over the workers as `Statistic`; None: there is one worker."""
        return statistic if self.size > 1 else None

    def local_slice(self, count: int) -> slice | None:
        """Return this worker's contiguous share of ``count`` samples, of nearly equal size on all; None: all."""
        if self.size == 1:
            return None
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def summed_pull(self, pull: Pull) -> Pull:
        """Return ``pull`` with its gradients summed over the workers, in one all-reduce per pull."""
        return pull if self.size == 1 else lambda f: sum_gradients(pull(f))


def identity(x: Tensor) -> Tensor:
    """Return the argument, which is its sum over one worker."""
    return x


def sum_gradients(tree: Params) -> Params:
    """Return the sum of the workers' trees."""
    row = total(torch.cat([tensor.flatten() for tensor in leaves(tree)]))
    parts = iter(torch.split(row, [tensor.numel() for tensor in leaves(tree)]))
    return each(lambda tensor: next(parts).view_as(tensor), tree)


def current_workers() -> WorkerGroup:
    """Return the workers of the process group that this process has joined, else a single worker."""
    return WorkerGroup(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else WorkerGroup()
