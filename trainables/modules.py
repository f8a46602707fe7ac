"""User-defined encoders: a `torch.nn.Module` becomes pure functions of its parameters and buffers.

The class is called with the shape of a sample and encodes [B, *shape] -> [B, H], or [B, L, H] where the target has
positions. It initialises itself, from a seed that is drawn like other weights; constants that depend on the seed, such
as random features or weights without gradient, belong to the trial as well. A forward pass must be repeatable: random
numbers in it are refused, because a trial must not depend on its pack, and so is a sample's feature that depends on
other samples.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call

from trainables.layers import Initializer, Mode, dropout, select_by_mode
from trainables.signals import Group

SAMPLES = 3  # in the batch that a module is checked on
SEEDS = 4  # with which it is initialised, to find what depends on the seed
TOLERANCE = 1e-4  # relative, for rounding in float32


class ModuleEncoder(NamedTuple):
    """A module as an encoder; weights are passed to it."""

    net: torch.nn.Module
    make: Callable[[], torch.nn.Module]
    width: int
    updated_buffers: frozenset[str]  # names of buffers that training changes, such as running statistics
    seeded_constants: frozenset[str]  # names of constants that depend on the seed, such as random features
    dropout: float | Tensor = 0.0

    def init(self, draw: Initializer) -> Group:
        """Return the initial weights; parameters without gradient are constants instead."""
        net = self.make_net(draw)
        return {name: tensor.detach() for name, tensor in net.named_parameters() if tensor.requires_grad}

    def buffers(self) -> Group:
        """Return the initial values of the buffers that training changes."""
        named = self.net.named_buffers()
        return {name: value.detach().clone() for name, value in named if name in self.updated_buffers}

    def constants(self, draw: Initializer) -> Group:
        """Return the constants that depend on the seed; they are stored among a trial's buffers."""
        named = constants(self.make_net(draw)).items()
        return {name: value for name, value in named if name in self.seeded_constants}

    def make_net(self, draw: Initializer) -> torch.nn.Module:
        """Return the initialised module; its seed of 48 bits comes from ``draw``."""
        high, low = ((draw("seed", (2,), 1.0).double() + 1) * 2**23).long().tolist()
        return make_seeded(self.make, high * 2**24 + low)

    def __call__(self, params: Group, buffers: Group, x: Tensor, mode: Mode) -> tuple[Tensor, Group]:
        """Encode [B, *shape] -> [B, H]; batch statistics include samples that lack the modality."""
        if isinstance(mode.training, Tensor):
            trained, evaluated = (self.run(params, buffers, x, training=training) for training in (True, False))
            h = select_by_mode(mode.training, trained[0], evaluated[0])
            updated = {name: select_by_mode(mode.training, trained[1][name], value) for name, value in buffers.items()}
        else:
            h, updated = self.run(params, buffers, x, training=mode.training)
        return dropout(h, self.dropout, "module", mode), updated

    def run(self, params: Group, buffers: Group, x: Tensor, *, training: bool) -> tuple[Tensor, Group]:
        """Return the module's output for a batch, and its buffers after the pass."""
        varying = self.updated_buffers | self.seeded_constants
        fixed = {name: cast_like(value, x) for name, value in constants(self.net).items() if name not in varying}
        state = {name: value.clone() for name, value in buffers.items()}
        h: Tensor = functional_call(self.net.train(training), (params, fixed | state), (x,))
        return h, {name: value.detach() for name, value in state.items()}


def constants(net: torch.nn.Module) -> Group:
    """Return what is not trained: buffers, and parameters without gradient."""
    frozen = {name: value.detach() for name, value in net.named_parameters() if not value.requires_grad}
    return dict(net.named_buffers()) | frozen


def import_attribute(path: str) -> Any:
    """Return the object at ``module:attribute``."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def cast_like(value: Tensor, x: Tensor) -> Tensor:
    """Return a constant on the device of a batch, and in its dtype if it is a floating-point number."""
    return value.to(x) if value.is_floating_point() else value.to(x.device)


def build_module_encoder(
    make: Callable[[], torch.nn.Module], shape: tuple[int, ...], dropout: float, *, dense: bool
) -> ModuleEncoder:
    """Return the encoder that a module is for samples of a shape.

    Raises:
        ValueError: it cannot encode them, draws random numbers in a pass, or mixes samples without running statistics.
    """
    x = torch.randn(SAMPLES, *shape, generator=torch.Generator().manual_seed(0))
    try:
        net, others = make_seeded(make, 0), [constants(make_seeded(make, seed)) for seed in range(1, SEEDS)]
        before = {name: value.clone() for name, value in net.named_buffers()}
        runs = (run_seeded(net, before, *arguments) for arguments in ((x, 1), (x, 2), (x[:-1], 1)))
        (h, after), (reseeded, _), (partial, _) = runs
        evaluated = [run_seeded(net, before, samples, 1, training=False)[0] for samples in (x, x[:-1])]
    except Exception as error:
        raise ValueError(f"cannot encode samples of shape {shape}: {type(error).__name__}: {error}") from None
    if not isinstance(h, Tensor) or h.ndim != 2 + dense or len(h) != SAMPLES:
        expected = "[B, L, H], as the target has positions" if dense else "[B, H]"
        shape_or_type = tuple(h.shape) if isinstance(h, Tensor) else type(h).__name__
        raise ValueError(f"must encode {SAMPLES} samples of shape {shape} as {expected}, got {shape_or_type}")
    if not torch.equal(h, reseeded):
        raise ValueError(
            "draws random numbers in training, so trials would not be reproducible; use model.dropout instead"
        )
    updated = frozenset(name for name, value in before.items() if not torch.equal(value, after[name]))
    if outputs_differ(*evaluated) or (not updated and outputs_differ(h, partial)):
        raise ValueError("mixes the samples of a batch without running statistics for evaluation")
    fixed = {name: value for name, value in constants(net).items() if name not in updated}
    seeded = frozenset(name for name, value in fixed.items() if not all(torch.equal(value, o[name]) for o in others))
    return ModuleEncoder(net, make, h.shape[-1], updated, seeded, dropout)


def make_seeded(make: Callable[[], torch.nn.Module], seed: int) -> torch.nn.Module:
    """Return a module whose weights are drawn from a seed; the global random state is restored."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def run_seeded(
    net: torch.nn.Module, buffers: Group, x: Tensor, seed: int, *, training: bool = True
) -> tuple[Any, Group]:
    """Return a module's output for a batch, and its buffers after the pass; the module itself is not changed."""
    state = {name: value.clone() for name, value in buffers.items()}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        return functional_call(net.train(training), (state,), (x,)), state


def outputs_differ(full: Tensor, partial: Tensor) -> bool:
    """Return whether outputs of a batch without its last samples differ from the full batch's by more than rounding."""
    return not torch.allclose(full[: len(partial)], partial, rtol=TOLERANCE, atol=TOLERANCE * float(full.abs().max()))
