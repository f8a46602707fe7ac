"""Encoders: pure functions from one modality's input to its feature, with parameters and buffers passed in.

Letters in shapes: B samples (or B, L positions), H hidden units. Buffers are the running statistics of batch
normalisation; an encoder returns them updated in training mode and as they were in evaluation mode.
"""

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from trainables.convolution import convolve
from trainables.layers import (
    Draw,
    Mode,
    affine,
    attend,
    convolution,
    drop,
    layer_norm,
    linear,
    normalise,
    normed,
    positions,
    recur,
)
from trainables.signals import Group, placed


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
        """Return zero means and unit variances of both layers, if normalised by the batch."""
        return normed(self.norm, {"0": self.width, "1": self.width})[1]

    def __call__(self, params: Group, buffers: Group, x: Tensor, mode: Mode) -> tuple[Tensor, Group]:
        """Encode [B, *shape] -> [B, H]."""
        h, updated = x.flatten(2 if self.dense else 1), dict(buffers)
        for layer in ("0", "1"):
            h = torch.relu(normalise(affine(params, layer, h), -1, params, updated, layer, mode))
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
        """Return zero means and unit variances of both convolutions, if normalised by the batch."""
        return normed(self.norm, {"0": 16, "1": 32})[1]

    def __call__(self, params: Group, buffers: Group, x: Tensor, mode: Mode) -> tuple[Tensor, Group]:
        """Encode [B, *shape] -> [B, H]."""
        h, updated = x if len(self.shape) == 3 else x[:, None], dict(buffers)
        for layer, padding in (("0", 2), ("1", 1)):
            h = convolve(h, params[f"{layer}.weight"], params[f"{layer}.bias"], stride=2, padding=padding)
            h = torch.relu(normalise(h, 1, params, updated, layer, mode))
            h = drop(h, self.dropout, layer, mode)
        h = torch.relu(affine(params, "2", h.flatten(1)))
        return drop(h, self.dropout, "2", mode), updated


class GRU(NamedTuple):
    """One layer of gated recurrent units over [time, channels], as torch.nn.GRU.

    The feature is the last hidden state (every hidden state, if ``dense``). The recurrence is written out, because
    torch's own has no rule for `vmap`; it costs 1.1 times as much.
    """

    shape: tuple[int, ...]
    width: int = 64
    dense: bool = False
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
        """Encode [B, time, channels] -> [B, H], or [B, time, H] if dense."""
        states = recur(params, x)
        h = torch.stack(states, 1) if self.dense else states[-1]
        return drop(h, self.dropout, "states", mode), buffers


class Transformer(NamedTuple):
    """Self-attention over [time, channels] or the rows of an image [C, H, W].

    A linear layer and sinusoidal positions (Vaswani et al., NeurIPS 2017, https://arxiv.org/abs/1706.03762, 3.5),
    then layers as torch.nn.TransformerEncoderLayer with ``norm_first``, and a last normalisation. Dropout is on what
    each half of a layer adds. The feature is the mean token (every token, if ``dense``).
    """

    shape: tuple[int, ...]
    width: int = 64
    dense: bool = False
    dropout: float | Tensor = 0.0
    layers: int = 2

    def init(self, draw: Draw) -> Group:
        """Return weights and biases as torch.nn.Linear draws them, and scales of 1 and shifts of 0."""
        params = linear(draw, "in", math.prod(self.shape) // self.shape[-2], self.width)
        for layer in range(self.layers):
            params |= normed("layer", {f"{layer}.attend": self.width})[0]
            params |= linear(draw, f"{layer}.qkv", self.width, 3 * self.width)
            params |= linear(draw, f"{layer}.mix", self.width, self.width)
            params |= normed("layer", {f"{layer}.feed": self.width})[0]
            params |= linear(draw, f"{layer}.up", self.width, 2 * self.width)
            params |= linear(draw, f"{layer}.down", 2 * self.width, self.width)
        return params | normed("layer", {"out": self.width})[0]

    def buffers(self) -> Group:
        """Return nothing: no running statistics."""
        return {}

    def __call__(self, params: Group, buffers: Group, x: Tensor, mode: Mode) -> tuple[Tensor, Group]:
        """Encode [B, *shape] -> [B, H], or [B, time, H] if dense."""
        tokens = x.transpose(1, 2).flatten(2) if len(self.shape) == 3 else x
        h = affine(params, "in", tokens) + placed(tokens.device, positions, tokens.shape[1], self.width).to(tokens)
        for layer in range(self.layers):
            unit = layer_norm(h, -1, params, f"{layer}.attend")
            attended = affine(params, f"{layer}.mix", attend(affine(params, f"{layer}.qkv", unit)))
            h = h + drop(attended, self.dropout, f"{layer}.attend", mode)
            unit = layer_norm(h, -1, params, f"{layer}.feed")
            fed = affine(params, f"{layer}.down", torch.relu(affine(params, f"{layer}.up", unit)))
            h = h + drop(fed, self.dropout, f"{layer}.feed", mode)
        h = layer_norm(h, -1, params, "out")
        return h if self.dense else h.mean(1), buffers
