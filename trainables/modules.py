"""An encoder of one's own: a `torch.nn.Module`, of which a trial keeps what it learns and what its passes change.

The class is called with the shape of a sample and encodes [B, *shape] -> [B, H], or [B, L, H] where the target has
positions. It initialises itself, from a seed that is drawn as other weights are; what it draws and does not learn, such
as random features or weights without gradient, is a trial's as well. Its passes must be repeatable: what is random in
them is refused, as a trial that draws by itself depends on its company, and so is what one sample tells of another.
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
SEEDS = 4  # that it is drawn with, to see what differs
ROUNDING = 1e-4  # relative, of float32


class Module(NamedTuple):
    """A module without its weights."""

    net: torch.nn.Module
    make: Callable[[], torch.nn.Module]
    width: int
    changing: frozenset[str]  # the buffers that a pass in training changes, such as running statistics
    differing: frozenset[str]  # the constants that differ by the seed, such as random features
    dropout: float | Tensor = 0.0

    def init(self, draw: Draw) -> Group:
        """Return weights as the module draws them; those without gradient are no weights, but constants."""
        return {name: tensor.detach() for name, tensor in self.drawn(draw).named_parameters() if tensor.requires_grad}

    def buffers(self) -> Group:
        """Return the buffers that training changes, as the module has them at first."""
        return {name: value.detach().clone() for name, value in self.net.named_buffers() if name in self.changing}

    def constants(self, draw: Draw) -> Group:
        """Return the constants that differ by the seed, as the module draws them; they lie among a trial's buffers."""
        return {name: value for name, value in constants(self.drawn(draw)).items() if name in self.differing}

    def drawn(self, draw: Draw) -> torch.nn.Module:
        """Return the module as it draws itself, given a seed of 48 bits."""
        high, low = ((draw("seed", (2,), 1.0).double() + 1) * 2**23).long().tolist()
        return seeded(self.make, high * 2**24 + low)

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
        own = self.changing | self.differing
        fixed = {name: moved(value, x) for name, value in constants(self.net).items() if name not in own}
        state = {name: value.clone() for name, value in buffers.items()}
        h: Tensor = functional_call(self.net.train(training), (params, fixed | state), (x,))
        return h, {name: value.detach() for name, value in state.items()}


def constants(net: torch.nn.Module) -> Group:
    """Return what a module does not learn: its buffers, and the parameters that have no gradient."""
    frozen = {name: value.detach() for name, value in net.named_parameters() if not value.requires_grad}
    return dict(net.named_buffers()) | frozen


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
        ValueError: it cannot encode them, draws random numbers in its passes, or mixes samples in them.
    """
    x = torch.randn(ROWS, *shape, generator=torch.Generator().manual_seed(0))
    try:
        net, others = seeded(make, 0), [constants(seeded(make, seed)) for seed in range(1, SEEDS)]
        before = {name: value.clone() for name, value in net.named_buffers()}
        (h, after), (other, _), (fewer, _) = (tried(net, before, *how) for how in ((x, 1), (x, 2), (x[:-1], 1)))
        quiet = [tried(net, before, samples, 1, training=False)[0] for samples in (x, x[:-1])]
    except Exception as error:
        raise ValueError(f"cannot encode samples of shape {shape}: {type(error).__name__}: {error}") from None
    if not isinstance(h, Tensor) or h.ndim != 2 + dense or len(h) != ROWS:
        wanted = "[B, L, H], as the target has positions" if dense else "[B, H]"
        found = tuple(h.shape) if isinstance(h, Tensor) else type(h).__name__
        raise ValueError(f"must encode {ROWS} samples of shape {shape} as {wanted}, got {found}")
    if not torch.equal(h, other):
        raise ValueError("draws random numbers in training, which no trial could repeat; take model.dropout instead")
    changing = frozenset(name for name, value in before.items() if not torch.equal(value, after[name]))
    if mixed(*quiet) or (not changing and mixed(h, fewer)):
        raise ValueError("encodes a sample by those beside it, and keeps no running statistics to do without them")
    fixed = {name: value for name, value in constants(net).items() if name not in changing}
    differing = frozenset(name for name, value in fixed.items() if not all(torch.equal(value, o[name]) for o in others))
    return Module(net, make, h.shape[-1], changing, differing, dropout)


def seeded(make: Callable[[], torch.nn.Module], seed: int) -> torch.nn.Module:
    """Return a module whose weights are drawn from a seed; the process draws on as if nothing had been."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def tried(net: torch.nn.Module, buffers: Group, x: Tensor, seed: int, *, training: bool = True) -> tuple[Any, Group]:
    """Return what a module makes of a batch, and its buffers after that; it stays as it is."""
    state = {name: value.clone() for name, value in buffers.items()}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        return functional_call(net.train(training), (state,), (x,)), state


def mixed(whole: Tensor, fewer: Tensor) -> bool:
    """Say whether the first samples of a batch became something else without the last, by more than rounding."""
    return not torch.allclose(whole[: len(fewer)], fewer, rtol=ROUNDING, atol=ROUNDING * float(whole.abs().max()))
