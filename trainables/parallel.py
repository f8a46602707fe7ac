"""Several workers that train one pack: each sees its share of every batch, and all have the same numbers, bit for bit.

What a method or a layer takes over a batch is summed over the workers before it is used (METHODS.md 13), and so are
gradients, which the workers' own losses add up to: N workers do with B / N samples each what one does with B.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from trainables.signals import Params, Pull, each, leaves


def reduced(x: Tensor) -> Tensor:
    """Return the sum over all workers, the same bits on each."""
    y = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(y)
    return y


class Total(torch.autograd.Function):
    """The sum over the workers in what they all compute alike, such as a loss.

    Its derivative is 1: each worker's gradient is its own samples' part, and the parts are summed afterwards.
    """

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        """Add up."""
        return reduced(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        """Keep nothing."""

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Return the gradient as it is."""
        return gradients[0]

    @staticmethod
    def vmap(info: Any, axes: tuple[int | None, ...], x: Tensor) -> tuple[Tensor, int | None]:
        """Add up stacked numbers at once."""
        return total(x), axes[0]


class Statistic(Total):
    """The sum over the workers in what each goes on to use for its own samples, such as a mean that normalises them.

    What all of them make of it comes back: the derivative is summed over the workers, too.
    """

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Return the sum of the workers' gradients."""
        return statistic(gradients[0])

    @staticmethod
    def vmap(info: Any, axes: tuple[int | None, ...], x: Tensor) -> tuple[Tensor, int | None]:
        """Add up stacked numbers at once."""
        return statistic(x), axes[0]


def total(x: Tensor) -> Tensor:
    """Return the sum over all workers as `Total`."""
    y: Tensor = Total.apply(x)  # type: ignore[no-untyped-call]
    return y


def statistic(x: Tensor) -> Tensor:
    """Return the sum over all workers as `Statistic`."""
    y: Tensor = Statistic.apply(x)  # type: ignore[no-untyped-call]
    return y


class Crew(NamedTuple):
    """The workers that train a pack together, and which of them this process is; by default one alone."""

    rank: int = 0
    size: int = 1

    @property
    def total(self) -> Callable[[Tensor], Tensor]:
        """Return how a number that all compute alike is summed over the workers."""
        return total if self.size > 1 else alone

    @property
    def statistic(self) -> Callable[[Tensor], Tensor] | None:
        """Return how a number that each uses for its own samples is summed; None: there is one worker."""
        return statistic if self.size > 1 else None

    def rows(self, count: int) -> slice | None:
        """Return which of so many samples are this worker's: like numbers of neighbours; None: all."""
        if self.size == 1:
            return None
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def summing(self, pull: Pull) -> Pull:
        """Return ``pull`` with gradients summed over the workers, all of a pull at once."""
        return pull if self.size == 1 else lambda f: summed(pull(f))


def alone(x: Tensor) -> Tensor:
    """Return what is the sum over one worker."""
    return x


def summed(tree: Params) -> Params:
    """Return the sum of the workers' trees."""
    row = total(torch.cat([tensor.flatten() for tensor in leaves(tree)]))
    parts = iter(torch.split(row, [tensor.numel() for tensor in leaves(tree)]))
    return each(lambda tensor: next(parts).view_as(tensor), tree)


def crew() -> Crew:
    """Return the workers of the process group that this process has joined."""
    return Crew(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else Crew()
