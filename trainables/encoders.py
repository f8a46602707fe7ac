"""Encoders: pure functions from one modality's input to its feature, with parameters and buffers passed in.

Letters in shapes: B samples (or B, L positions), H hidden units. Buffers are the running statistics of batch
normalisation; an encoder returns them updated in training mode and as they were in evaluation mode.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.signals import Group

Draw = Callable[[str, tuple[int, ...], float], Tensor]  # (name, shape, bound) -> initial weights
Noise = Callable[[str, Tensor], Tensor]  # (purpose, like) -> standard normal


class Mode(NamedTuple):
    """How an encoder runs: ``training`` normalises by the batch and drops units, evaluation does neither."""

    training: bool | Tensor = False  # a tensor [] where only the run knows
    noise: Noise | None = None  # what dropout draws from


EVALUATION = Mode()


class Encoder(Protocol):
    """One modality's network, without its weights."""

    @property
    def width(self) -> int:
        """Return the number of features, H."""

    def init(self, draw: Draw) -> Group:
        """Return the initial parameters."""

    def buffers(self) -> Group:
        """Return the initial running statistics, empty where there are none."""

    @property
    def dropout(self) -> float | Tensor:
        """Return the share of hidden units that training leaves out."""

    def __call__(self, params: Group, buffers: Group, x: Tensor, mode: Mode) -> tuple[Tensor, Group]:
        """Encode a batch, [B, ...] -> [B, H]; also return the buffers."""


class MLP(NamedTuple):
    """Two layers with ReLU on the flattened sample (on every position, if ``dense``)."""

    shape: tuple[int, ...]
    width: int = 64
    norm: str = "none"
    dense: bool = False
    dropout: float | Tensor = 0.0

    def init(self, draw: Draw) -> Group:
        """Return weights and biases as torch.nn.Linear draws them."""
        size = math.prod(self.shape[1:] if self.dense else self.shape)
        params = linear(draw, "0", size, self.width) | linear(draw, "1", self.width, self.width)
        return params | normed(self.norm, {"0": self.width, "1": self.width})[0]

    def buffers(self) -> Group:
        """Return zero means and unit variances of both layers, if normalised."""
        return normed(self.norm, {"0": self.width, "1": self.width})[1]

    def __call__(self, params: Group, buffers: Group, x: Tensor, mode: Mode) -> tuple[Tensor, Group]:
        """Encode [B, *shape] -> [B, H]."""
        h, updated = x.flatten(2 if self.dense else 1), dict(buffers)
        for layer in ("0", "1"):
            h = F.linear(h, params[f"{layer}.weight"], params[f"{layer}.bias"])
            h = torch.relu(normalise(h, -1, params, updated, layer, mode.training))
            h = drop(h, self.dropout, layer, mode)
        return h, updated


class CNN(NamedTuple):
    """Two strided convolutions and a linear layer, for images [H, W] or [C, H, W] and spectrograms."""

    shape: tuple[int, ...]
    width: int = 64
    norm: str = "none"
    dropout: float | Tensor = 0.0

    def init(self, draw: Draw) -> Group:
        """Return weights and biases as torch.nn draws them."""
        height, width = (-(-side // 4) for side in self.shape[-2:])
        params = convolution(draw, "0", self.shape[0] if len(self.shape) == 3 else 1, 16, 5)
        params |= convolution(draw, "1", 16, 32, 3)
        params |= linear(draw, "2", 32 * height * width, self.width)
        return params | normed(self.norm, {"0": 16, "1": 32})[0]

    def buffers(self) -> Group:
        """Return zero means and unit variances of both convolutions, if normalised."""
        return normed(self.norm, {"0": 16, "1": 32})[1]

    def __call__(self, params: Group, buffers: Group, x: Tensor, mode: Mode) -> tuple[Tensor, Group]:
        """Encode [B, *shape] -> [B, H]."""
        h, updated = x if len(self.shape) == 3 else x[:, None], dict(buffers)
        for layer, padding in (("0", 2), ("1", 1)):
            h = F.conv2d(h, params[f"{layer}.weight"], params[f"{layer}.bias"], stride=2, padding=padding)
            h = torch.relu(normalise(h, 1, params, updated, layer, mode.training))
            h = drop(h, self.dropout, layer, mode)
        h = torch.relu(F.linear(h.flatten(1), params["2.weight"], params["2.bias"]))
        return drop(h, self.dropout, "2", mode), updated


class GRU(NamedTuple):
    """One layer of gated recurrent units over [time, channels]; the feature is the last hidden state."""

    shape: tuple[int, ...]
    width: int = 64
    dropout: float | Tensor = 0.0

    def init(self, draw: Draw) -> Group:
        """Return weights and biases as torch.nn.GRU draws them."""
        bound = 1 / math.sqrt(self.width)
        shapes = {
            "weight_ih": (3 * self.width, self.shape[-1]),
            "weight_hh": (3 * self.width, self.width),
            "bias_ih": (3 * self.width,),
            "bias_hh": (3 * self.width,),
        }
        return {name: draw(name, shape, bound) for name, shape in shapes.items()}

    def buffers(self) -> Group:
        """Return nothing: no running statistics."""
        return {}

    def __call__(self, params: Group, buffers: Group, x: Tensor, mode: Mode) -> tuple[Tensor, Group]:
        """Encode [B, time, channels] -> [B, H]."""
        start = x.new_zeros(1, len(x), self.width)
        states, _ = torch.gru(x, start, list(params.values()), True, 1, 0.0, True, False, True)
        return drop(states[:, -1], self.dropout, "states", mode), buffers


def linear(draw: Draw, name: str, size: int, width: int) -> Group:
    """Return the parameters of a linear layer."""
    bound = 1 / math.sqrt(size)
    return {
        f"{name}.weight": draw(f"{name}.weight", (width, size), bound),
        f"{name}.bias": draw(f"{name}.bias", (width,), bound),
    }


def convolution(draw: Draw, name: str, channels: int, width: int, side: int) -> Group:
    """Return the parameters of a square convolution."""
    bound = 1 / math.sqrt(channels * side * side)
    shape = (width, channels, side, side)
    return {
        f"{name}.weight": draw(f"{name}.weight", shape, bound),
        f"{name}.bias": draw(f"{name}.bias", (width,), bound),
    }


def normed(norm: str, widths: dict[str, int]) -> tuple[Group, Group]:
    """Return scales and shifts, and running statistics, of the batch normalisation of the named layers."""
    if norm == "none":
        return {}, {}
    params: Group = {}
    buffers: Group = {}
    for name, width in widths.items():
        params |= {f"{name}.norm.weight": torch.ones(width), f"{name}.norm.bias": torch.zeros(width)}
        buffers |= {f"{name}.norm.mean": torch.zeros(width), f"{name}.norm.var": torch.ones(width)}
    return params, buffers


def normalise(h: Tensor, channel: int, params: Group, buffers: Group, layer: str, training: bool | Tensor) -> Tensor:
    """Apply batch normalisation along axis ``channel`` where the layer has it, and update ``buffers`` in training.

    As torch.nn.BatchNorm with momentum 0.1: biased variance for the batch, unbiased for the running statistics.
    """
    scale = params.get(f"{layer}.norm.weight")
    if scale is None:
        return h
    mean, var = buffers[f"{layer}.norm.mean"], buffers[f"{layer}.norm.var"]
    if training is not False:
        axes = [axis for axis in range(h.ndim) if axis != channel % h.ndim]
        count = h.numel() // h.shape[channel]
        batch_var, batch_mean = torch.var_mean(h, axes, correction=0)
        unbiased = batch_var.detach() * (count / (count - 1))
        buffers[f"{layer}.norm.mean"] = chosen(training, torch.lerp(mean, batch_mean.detach(), 0.1), mean)
        buffers[f"{layer}.norm.var"] = chosen(training, torch.lerp(var, unbiased, 0.1), var)
        mean, var = chosen(training, batch_mean, mean), chosen(training, batch_var, var)
    shape = [1] * h.ndim
    shape[channel] = -1
    unit = (h - mean.view(shape)) * torch.rsqrt(var.view(shape) + 1e-5)
    return unit * scale.view(shape) + params[f"{layer}.norm.bias"].view(shape)


def drop(h: Tensor, rate: float | Tensor, layer: str, mode: Mode) -> Tensor:
    """Leave out a share of the units in training and scale the rest, as torch.nn.Dropout."""
    if mode.training is False or mode.noise is None or (not isinstance(rate, Tensor) and rate == 0):
        return h
    rate = torch.as_tensor(rate, dtype=h.dtype, device=h.device)
    kept = mode.noise(layer, h) > torch.special.ndtri(rate)
    return chosen(mode.training, torch.where(kept, h / (1 - rate), 0.0), h)


def chosen(training: bool | Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """Return the one or the other, as the mode says."""
    return torch.where(training, yes, no) if isinstance(training, Tensor) else yes
