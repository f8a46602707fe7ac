"""Layers of the networks: pure functions that take parameters and running statistics as arguments.

Letters in shapes: B samples (or B, L positions), H hidden units.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.parallel import identity
from trainables.precision import upcast
from trainables.signals import Group, scalar

Initializer = Callable[[str, tuple[int, ...], float], Tensor]  # (name, shape, bound) -> initial weights
Noise = Callable[[str, Tensor], Tensor]  # (purpose, like) -> standard normal


class Mode(NamedTuple):
    """Training or evaluation: only ``training`` normalises by batch statistics and applies dropout."""

    training: bool | Tensor = False  # a tensor [] where it is known only at run time
    noise: Noise | None = None  # source of the dropout masks
    present: Tensor | None = None  # [B] bool, the samples that have the modality; None: all
    sum_workers: Callable[[Tensor], Tensor] | None = None  # of normalisation statistics; None: one worker


EVALUATION = Mode()


def init_linear(draw: Initializer, name: str, size: int, width: int) -> Group:
    """Return the initial parameters of a linear layer, [size] -> [width]."""
    bound = 1 / math.sqrt(size)
    return {
        f"{name}.weight": draw(f"{name}.weight", (width, size), bound),
        f"{name}.bias": draw(f"{name}.bias", (width,), bound),
    }


def affine(params: Group, layer: str, h: Tensor) -> Tensor:
    """Apply a linear layer, [..., size] -> [..., width]."""
    return F.linear(h, params[f"{layer}.weight"], params[f"{layer}.bias"])


def init_convolution(draw: Initializer, name: str, channels: int, width: int, side: int) -> Group:
    """Return the initial parameters of a convolution with a square kernel."""
    bound = 1 / math.sqrt(channels * side * side)
    shape = (width, channels, side, side)
    return {
        f"{name}.weight": draw(f"{name}.weight", shape, bound),
        f"{name}.bias": draw(f"{name}.bias", (width,), bound),
    }


def gru_states(params: Group, x: Tensor) -> list[Tensor]:
    """Return the hidden state of a GRU layer after each time step, [B, time, channels] -> a list of [B, H]."""
    weight, bias = params["weight_hh"], params["bias_hh"]
    width = weight.shape[-1]
    projected = upcast(F.linear(x.transpose(0, 1), params["weight_ih"], params["bias_ih"]))
    input_gates, input_candidates = (part.unbind() for part in torch.split(projected, [2 * width, width], -1))
    h, states = x.new_zeros(len(x), width), []
    for input_gate, input_candidate in zip(input_gates, input_candidates, strict=True):
        gate, candidate = torch.split(upcast(F.linear(h, weight, bias)), [2 * width, width], -1)
        reset, update = torch.sigmoid(input_gate + gate).chunk(2, -1)
        h = torch.lerp(torch.tanh(torch.addcmul(input_candidate, reset, candidate)), h, update)
        states.append(h)
    return states


def self_attention(qkv: Tensor, max_heads: int = 4) -> Tensor:
    """Return the output of multi-head self-attention over T tokens, [..., T, 3 H] -> [..., T, H].

    ``qkv`` holds queries, keys and values, as torch.nn.MultiheadAttention packs them; the number of heads is the
    largest divisor of H up to ``max_heads``.
    """
    width = qkv.shape[-1] // 3
    heads = next(count for count in range(max_heads, 0, -1) if width % count == 0)
    split = qkv.view(*qkv.shape[:-1], 3, heads, width // heads)
    queries, keys, values = split.movedim(-4, -2).unbind(-4)  # [..., heads, T, H / heads]
    weights = torch.softmax(upcast(queries @ keys.mT) / math.sqrt(width // heads), -1)
    return (weights @ values).transpose(-3, -2).flatten(-2)


@cache
def sinusoidal_positions(length: int, width: int) -> Tensor:
    """Return sinusoidal position encodings, [length, width]: sines in even columns, cosines in odd ones."""
    column = torch.arange(width, dtype=torch.float64)
    rate = 10_000 ** -((column - column % 2) / width)
    return torch.sin(torch.arange(length)[:, None] * rate + column % 2 * math.pi / 2)


def init_norm(norm: str, widths: dict[str, int]) -> tuple[Group, Group]:
    """Return initial scales and shifts, and running statistics, of the named layers (norm: none, batch or layer)."""
    if norm == "none":
        return {}, {}
    params: Group = {}
    buffers: Group = {}
    for name, width in widths.items():
        params |= {f"{name}.norm.weight": torch.ones(width), f"{name}.norm.bias": torch.zeros(width)}
        if norm == "batch":
            buffers |= {f"{name}.norm.mean": torch.zeros(width), f"{name}.norm.var": torch.ones(width)}
    return params, buffers


def normalise(h: Tensor, channel: int, params: Group, buffers: Group, layer: str, mode: Mode) -> Tensor:
    """Apply the layer's normalisation, if any: batch normalisation if ``buffers`` has its running statistics."""
    if f"{layer}.norm.weight" not in params:
        return h
    if f"{layer}.norm.mean" not in buffers:
        return layer_norm(h, channel, params, layer)
    return batch_norm(h, channel, params, buffers, layer, mode)


def layer_norm(h: Tensor, channel: int, params: Group, layer: str) -> Tensor:
    """Normalise each sample by itself, with features along axis ``channel``.

    As torch.nn.LayerNorm where they are the last axis, -1; where they are axis 1, as torch.nn.GroupNorm with one group.
    """
    h, scale, shift = upcast(h), params[f"{layer}.norm.weight"], params[f"{layer}.norm.bias"]
    return F.layer_norm(h, scale.shape, scale, shift) if channel == -1 else F.group_norm(h, 1, scale, shift)


def batch_norm(h: Tensor, channel: int, params: Group, buffers: Group, layer: str, mode: Mode) -> Tensor:
    """Apply batch normalisation along axis ``channel``, and update ``buffers`` in training.

    As torch.nn.BatchNorm with momentum 0.1: biased variance for the batch, unbiased for the running statistics. Both
    are over the samples that have the modality; with fewer than two values, the running statistics are used.
    """
    h, scale, shift = upcast(h), params[f"{layer}.norm.weight"], params[f"{layer}.norm.bias"]
    mean, var = buffers[f"{layer}.norm.mean"], buffers[f"{layer}.norm.var"]
    if mode.training is not False:
        training, (batch_var, batch_mean, count) = mode.training, batch_statistics(h, channel, mode)
        training = training & (count > 1)
        count = count.clamp(min=2) if isinstance(count, Tensor) else max(count, 2)
        unbiased = batch_var.detach() * (count / (count - 1))
        buffers[f"{layer}.norm.mean"] = select_by_mode(training, torch.lerp(mean, batch_mean.detach(), 0.1), mean)
        buffers[f"{layer}.norm.var"] = select_by_mode(training, torch.lerp(var, unbiased, 0.1), var)
        mean, var = select_by_mode(training, batch_mean, mean), select_by_mode(training, batch_var, var)
    shape = [1] * h.ndim
    shape[channel] = -1
    unit = (h - mean.view(shape)) * torch.rsqrt(var.view(shape) + 1e-5)
    return unit * scale.view(shape) + shift.view(shape)


def batch_statistics(h: Tensor, channel: int, mode: Mode) -> tuple[Tensor, Tensor, Any]:
    """Return variance, mean and count of each channel, over the samples of all workers that have the modality."""
    axes = [axis for axis in range(h.ndim) if axis != channel % h.ndim]
    positions = math.prod(h.shape[1:]) // h.shape[channel]
    if mode.present is None and mode.sum_workers is None:
        return *torch.var_mean(h, axes, correction=0), len(h) * positions
    total = mode.sum_workers or identity
    weights = (h.new_ones(len(h)) if mode.present is None else mode.present.to(h)).view(-1, *[1] * (h.ndim - 1))
    count = total(weights.sum()) * positions
    shape = [1] * h.ndim
    shape[channel] = -1
    mean = total((weights * h).sum(axes)) / count.clamp(min=1)
    var = total((weights * (h - mean.view(shape)).square()).sum(axes)) / count.clamp(min=1)
    return var, mean, count


def dropout(h: Tensor, rate: float | Tensor, layer: str, mode: Mode) -> Tensor:
    """Set a random share of the units to zero in training and scale the others, as torch.nn.Dropout."""
    if mode.training is False or mode.noise is None or (not isinstance(rate, Tensor) and rate == 0):
        return h
    h = upcast(h)
    rate = scalar(rate, h)
    mask = mode.noise(layer, h) > torch.special.ndtri(rate)
    return select_by_mode(mode.training, torch.where(mask, h / (1 - rate), 0.0), h)


def select_by_mode(training: bool | Tensor, in_training: Tensor, in_evaluation: Tensor) -> Tensor:
    """Return the tensor of the current mode; ``training`` may be a tensor [] bool."""
    if isinstance(training, Tensor):
        return torch.where(training, in_training, in_evaluation)
    return in_training if training else in_evaluation
