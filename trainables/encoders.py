"""Encoders: pure functions from one modality's input to its feature, given parameters and buffers.

Letters in shapes: B samples (or B, L positions), H hidden units. Buffers are the running statistics of batch
normalisation; an encoder returns them updated in training mode and unchanged in evaluation mode.
"""

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from trainables.convolution import convolve
from trainables.layers import (
    Initializer,
    Mode,
    affine,
    dropout,
    gru_states,
    init_convolution,
    init_linear,
    init_norm,
    layer_norm,
    normalise,
    self_attention,
    sinusoidal_positions,
)
from trainables.signals import Group, placed


class Encoder(Protocol):
    """The architecture of one modality's network; weights are passed to it."""

    @property
    def width(self) -> int:
        """Return the number of features, H."""

    def init(self, draw: Initializer) -> Group:
        """Return the initial parameters."""

    def buffers(self) -> Group:
        """Return the initial running statistics, empty where there are none."""

    @property
    def dropout(self) -> float | Tensor:
        """Return the dropout rate."""

    def __call__(self, params: Group, buffers: Group, x: Tensor, mode: Mode) -> tuple[Tensor, Group]:
        """Return the features of a batch, [B, ...] -> [B, H], and the updated buffers."""


class MLP(NamedTuple):
    """Two linear layers with ReLU on the flattened sample (on every position, if ``dense``)."""

    shape: tuple[int, ...]
    width: int = 64
    norm: str = "none"
    dense: bool = False
    dropout: float | Tensor = 0.0

    def init(self, draw: Initializer) -> Group:
        """Return weights and biases as torch.nn.Linear draws them."""
        size = math.prod(self.shape[1:] if self.dense else self.shape)
        params = init_linear(draw, "0", size, self.width) | init_linear(draw, "1", self.width, self.width)
        return params | init_norm(self.norm, {"0": self.width, "1": self.width})[0]

    def buffers(self) -> Group:
        """Return zero means and unit variances of both layers, if normalised by the batch."""
        return init_norm(self.norm, {"0": self.width, "1": self.width})[1]

    def __call__(self, params: Group, buffers: Group, x: Tensor, mode: Mode) -> tuple[Tensor, Group]:
        """Encode [B, *shape] -> [B, H]."""
        h, updated = x.flatten(2 if self.dense else 1), dict(buffers)
        for layer in ("0", "1"):
            h = torch.relu(normalise(affine(params, layer, h), -1, params, updated, layer, mode))
            h = dropout(h, self.dropout, layer, mode)
        return h, updated


class CNN(NamedTuple):
    """Two strided convolutions and a linear layer, for images [H, W] or [C, H, W] and spectrograms."""

    shape: tuple[int, ...]
    width: int = 64
    norm: str = "none"
    dropout: float | Tensor = 0.0

    def init(self, draw: Initializer) -> Group:
        """Return weights and biases as torch.nn draws them."""
        height, width = (-(-side // 4) for side in self.shape[-2:])
        params = init_convolution(draw, "0", self.shape[0] if len(self.shape) == 3 else 1, 16, 5)
        params |= init_convolution(draw, "1", 16, 32, 3)
        params |= init_linear(draw, "2", 32 * height * width, self.width)
        return params | init_norm(self.norm, {"0": 16, "1": 32})[0]

    def buffers(self) -> Group:
        """Return zero means and unit variances of both convolutions, if normalised by the batch."""
        return init_norm(self.norm, {"0": 16, "1": 32})[1]

    def __call__(self, params: Group, buffers: Group, x: Tensor, mode: Mode) -> tuple[Tensor, Group]:
        """Encode [B, *shape] -> [B, H]."""
        h, updated = x if len(self.shape) == 3 else x[:, None], dict(buffers)
        for layer, padding in (("0", 2), ("1", 1)):
            h = convolve(h, params[f"{layer}.weight"], params[f"{layer}.bias"], stride=2, padding=padding)
            h = torch.relu(normalise(h, 1, params, updated, layer, mode))
            h = dropout(h, self.dropout, layer, mode)
        h = torch.relu(affine(params, "2", h.flatten(1)))
        return dropout(h, self.dropout, "2", mode), updated


class GRU(NamedTuple):
    """One layer of gated recurrent units over [time, channels], as torch.nn.GRU.

    The feature is the last hidden state (every hidden state, if ``dense``). The recurrence is written out, because
    torch.nn.GRU has no rule for `vmap`; it costs 1.1 times as much.
    """

    shape: tuple[int, ...]
    width: int = 64
    dense: bool = False
    dropout: float | Tensor = 0.0

    def init(self, draw: Initializer) -> Group:
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
        states = gru_states(params, x)
        h = torch.stack(states, 1) if self.dense else states[-1]
        return dropout(h, self.dropout, "states", mode), buffers


class Transformer(NamedTuple):
    """Self-attention over [time, channels] or the rows of an image [C, H, W].

    A linear layer and sinusoidal positions (Vaswani et al., NeurIPS 2017, https://arxiv.org/abs/1706.03762, 3.5),
    then layers as torch.nn.TransformerEncoderLayer with ``norm_first``, and a last normalisation. Dropout is applied to
    the output of attention and of the feed-forward network. The feature is the mean token (every token, if ``dense``).
    """

    shape: tuple[int, ...]
    width: int = 64
    dense: bool = False
    dropout: float | Tensor = 0.0
    layers: int = 2

    def init(self, draw: Initializer) -> Group:
        """Return weights and biases as torch.nn.Linear draws them, and scales of 1 and shifts of 0."""
        params = init_linear(draw, "in", math.prod(self.shape) // self.shape[-2], self.width)
        for layer in range(self.layers):
            params |= init_norm("layer", {f"{layer}.attend": self.width})[0]
            params |= init_linear(draw, f"{layer}.qkv", self.width, 3 * self.width)
            params |= init_linear(draw, f"{layer}.mix", self.width, self.width)
            params |= init_norm("layer", {f"{layer}.feed": self.width})[0]
            params |= init_linear(draw, f"{layer}.up", self.width, 2 * self.width)
            params |= init_linear(draw, f"{layer}.down", 2 * self.width, self.width)
        return params | init_norm("layer", {"out": self.width})[0]

    def buffers(self) -> Group:
        """Return nothing: no running statistics."""
        return {}

    def __call__(self, params: Group, buffers: Group, x: Tensor, mode: Mode) -> tuple[Tensor, Group]:
        """Encode [B, *shape] -> [B, H], or [B, time, H] if dense."""
        tokens = x.transpose(1, 2).flatten(2) if len(self.shape) == 3 else x
        positions = placed(tokens.device, sinusoidal_positions, tokens.shape[1], self.width).to(tokens)
        h = affine(params, "in", tokens) + positions
        for layer in range(self.layers):
            normed = layer_norm(h, -1, params, f"{layer}.attend")
            attention = affine(params, f"{layer}.mix", self_attention(affine(params, f"{layer}.qkv", normed)))
            h = h + dropout(attention, self.dropout, f"{layer}.attend", mode)
            normed = layer_norm(h, -1, params, f"{layer}.feed")
            feed_forward = affine(params, f"{layer}.down", torch.relu(affine(params, f"{layer}.up", normed)))
            h = h + dropout(feed_forward, self.dropout, f"{layer}.feed", mode)
        h = layer_norm(h, -1, params, "out")
        return h if self.dense else h.mean(1), buffers
