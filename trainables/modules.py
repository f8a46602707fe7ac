"""An encoder of one's own: a `torch.nn.Module`, of which a trial keeps what it learns and what its passes change.

The class is called with the shape of a sample and encodes [B, *shape] -> [B, H], or [B, L, H] where the target has
positions. It initialises itself, from a seed that is drawn as other weights are. Its passes must be repeatable: what
is random in them is refused, as a trial that draws by itself depends on its company.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call

from trainables.layers import Draw, Mode, chosen, drop
from trainables.signals import Group

ROWS = 3  # samples that it is tried with


class Module(NamedTuple):
    """A module without its weights."""

    net: torch.nn.Module
    make: Callable[[], torch.nn.Module]
    width: int
    changing: frozenset[str]  # the buffers that a pass in training changes, such as running statistics
    dropout: float | Tensor = 0.0

    def init(self, draw: Draw) -> Group:
        """Return weights as the module draws them, given a seed of 48 bits."""
        high, low = ((draw("seed", (2,), 1.0).double() + 1) * 2**23).long().tolist()
        return {name: tensor.detach() for name, tensor in seeded(self.make, high * 2**24 + low).named_parameters()}

    def buffers(self) -> Group:
        """Return the buffers that training changes, as the module has them at first."""
        return {name: value.detach().clone() for name, value in self.net.named_buffers() if name in self.changing}

    def __call__(self, params: Group, buffers: Group, x: Tensor, mode: Mode) -> tuple[Tensor, Group]:
        """Encode [B, *shape] -> [B, H]; batch normalisation is over all samples, those that lack it included."""
        if isinstance(mode.training, Tensor):
            learnt, quiet = (self.passed(params, buffers, x, training=training) for training in (True, False))
            h = chosen(mode.training, learnt[0], quiet[0])
            updated = {name: chosen(mode.training, learnt[1][name], value) for name, value in buffers.items()}
        else:
            h, updated = self.passed(params, buffers, x, training=mode.training)
        return drop(h, self.dropout, "module", mode), updated

    def passed(self, params: Group, buffers: Group, x: Tensor, *, training: bool) -> tuple[Tensor, Group]:
        """Return what the module makes of a batch, and its buffers after that."""
        fixed = {name: moved(value, x) for name, value in self.net.named_buffers() if name not in self.changing}
        state = {name: value.clone() for name, value in buffers.items()}
        h: Tensor = functional_call(self.net.train(training), (params, fixed | state), (x,))
        return h, {name: value.detach() for name, value in state.items()}


def attribute(path: str) -> Any:
    """Return what is at ``module:attribute``."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def moved(value: Tensor, x: Tensor) -> Tensor:
    """Return a constant where a batch is, and of its precision if it is no index."""
    return value.to(x) if value.is_floating_point() else value.to(x.device)


def module(make: Callable[[], torch.nn.Module], shape: tuple[int, ...], dropout: float, *, dense: bool) -> Module:
    """Return a module as an encoder of samples of a shape.

    Raises:
        ValueError: it cannot encode them, or draws random numbers in its passes.
    """
    x = torch.randn(ROWS, *shape, generator=torch.Generator().manual_seed(0))
    try:
        net = seeded(make, 0)
        before = {name: value.clone() for name, value in net.named_buffers()}
        (h, after), (other, _) = (trained(net, before, x, seed) for seed in (1, 2))
    except Exception as error:
        raise ValueError(f"cannot encode samples of shape {shape}: {type(error).__name__}: {error}") from None
    if not isinstance(h, Tensor) or h.ndim != 2 + dense or len(h) != ROWS:
        wanted = "[B, L, H], as the target has positions" if dense else "[B, H]"
        found = tuple(h.shape) if isinstance(h, Tensor) else type(h).__name__
        raise ValueError(f"must encode {ROWS} samples of shape {shape} as {wanted}, got {found}")
    if not torch.equal(h, other):
        raise ValueError("draws random numbers in training, which no trial could repeat; take model.dropout instead")
    changing = frozenset(name for name, value in before.items() if not torch.equal(value, after[name]))
    return Module(net, make, h.shape[-1], changing, dropout)


def seeded(make: Callable[[], torch.nn.Module], seed: int) -> torch.nn.Module:
    """Return a module whose weights are drawn from a seed; the process draws on as if nothing had been."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def trained(net: torch.nn.Module, buffers: Group, x: Tensor, seed: int) -> tuple[Any, Group]:
    """Return what a module makes of a batch in training, and its buffers after that; it stays as it is."""
    state = {name: value.clone() for name, value in buffers.items()}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        return functional_call(net.train(), state, (x,)), state
