"""The classifiers of CGGM: small networks on the modalities' detached features, discarded after training.

The layers of all modalities' classifiers are stacked, because many small products cost more than few large
ones. Letters in shapes: M modalities, B samples (or B, L positions), T tokens, H features of the widest
modality, D hidden units, P inputs of the joint head, C outputs.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.fusions import Features
from trainables.layers import Initializer, init_linear, init_norm, self_attention, sinusoidal_positions
from trainables.signals import Group, placed

FEED_FORWARD_RATIO = 4  # hidden units of the feed-forward network, in units of D (modules/transformer.py:80)


class Classifier(NamedTuple):
    """``layers`` hidden layers of ``width`` D, a projection to P with ReLU, then the joint head's shape.

    In the release (models/msamodel.py:77-94) the hidden layers are self-attention encoder layers, whose first
    position is read; the projection is one P x P layer applied *twice* with ReLU only after the second
    time (:91-92), together an affine map.

    - ``heads=0`` (ours, cheap): a hidden layer is linear with ReLU, on every position of a dense feature, because
      attention over the single position of a vector is linear. The affine map is one layer.
    - ``heads>0``: encoder layers as in the release, D rounded up to a multiple of ``heads``; every position
      of a dense feature is read. A vector becomes ``heads`` tokens (ours), each a segment of it and zeros elsewhere.
      If D = P, the projection is one layer applied twice.

    ``layers=0`` leaves projection and output. ``width=0``: D = P. The release's dropout is left out, so that
    the metric of a classifier has no noise of its own. Features narrower than the widest are padded with
    zeros, and so are the weights of the padding, which therefore stay 0.
    """

    layers: int = 2
    width: int = 32
    heads: int = 0

    def init(self, widths: dict[str, int], fused: int, outputs: int, draw: Initializer) -> Group:
        """Return the initial parameters; a modality's depend on its name, not on the other modalities.

        Weights are [M, size, width] and all others [M, 1, width], the layout of the products and their gradients; the
        weight of the output layer is [M, C, P], with which the product takes a third of the time.
        """
        widest = max(widths.values())

        def init_group(modality: str) -> Group:
            def scoped_draw(name: str, shape: tuple[int, ...], bound: float) -> Tensor:
                return draw(f"{modality}.{name}", shape, bound)

            group = self.init_modality(widths[modality], fused, outputs, scoped_draw)
            first = next(iter(group))
            group[first] = F.pad(group[first], (0, widest - widths[modality]))
            transposed = {name: tensor.mT if tensor.ndim == 2 else tensor[None] for name, tensor in group.items()}
            return transposed | {"out.weight": group["out.weight"]}

        groups = [init_group(modality) for modality in widths]
        return {name: torch.stack([group[name] for group in groups]) for name in groups[0]}

    def init_modality(self, width: int, fused: int, outputs: int, draw: Initializer) -> Group:
        """Return the initial parameters of one modality's classifier; the first is the weight on its feature."""
        heads, hidden = max(self.heads, 1), self.width or fused
        hidden = -(-hidden // heads) * heads
        params: Group = {}
        if self.heads and self.layers:
            params |= init_linear(draw, "in", width, hidden) | init_norm("layer", {"last": hidden})[0]
        for layer in range(self.layers):
            if self.heads:
                params |= init_norm("layer", {f"{layer}.attend": hidden, f"{layer}.feed": hidden})[0]
                params |= init_linear(draw, f"{layer}.qkv", hidden, 3 * hidden)
                params |= init_linear(draw, f"{layer}.mix", hidden, hidden)
                params |= init_linear(draw, f"{layer}.up", hidden, FEED_FORWARD_RATIO * hidden)
                params |= init_linear(draw, f"{layer}.down", FEED_FORWARD_RATIO * hidden, hidden)
            else:
                params |= init_linear(draw, f"{layer}", hidden if layer else width, hidden)
        last = hidden if self.layers else width
        return params | init_linear(draw, "proj", last, fused) | init_linear(draw, "out", fused, outputs)

    def __call__(self, params: Group, features: Features) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return predictions [M, B, C], and the inputs [M, B, P] and weights [M, C, P] of the output layers."""
        widest = max(h.shape[-1] for h in features.values())
        padded = [F.pad(h, (0, widest - h.shape[-1])) if h.shape[-1] < widest else h for h in features.values()]
        h = torch.stack(padded)
        if self.heads and self.layers:
            h = self.encode_tokens(params, h)
            rows, columns = params["proj.weight"].shape[-2:]
            h = affine(params, "proj", h) if rows == columns else h
        else:
            for layer in range(self.layers):
                h = torch.relu(affine(params, f"{layer}", h))
        h = torch.relu(affine(params, "proj", h))
        weight, bias = params["out.weight"], params["out.bias"]
        logits = torch.baddbmm(bias.mT, weight, h.flatten(1, -2).mT).mT
        return logits.view(*h.shape[:-1], weight.shape[-2]), (h, weight)

    def encode_tokens(self, params: Group, h: Tensor) -> Tensor:
        """Apply the encoder layers (modules/transformer.py:37-101), [M, B, H] -> [M, B, D]."""
        is_vector = h.ndim == 3
        x = affine(params, "in", split_into_tokens(h, self.heads) if is_vector else h)  # [M, B, T, D]
        x = math.sqrt(x.shape[-1]) * x + placed(x.device, sinusoidal_positions, *x.shape[-2:]).to(x)
        for layer in range(self.layers):
            qkv = affine(params, f"{layer}.qkv", layer_norm(params, f"{layer}.attend", x))
            x = x + affine(params, f"{layer}.mix", self_attention(qkv, self.heads))
            up = torch.relu(affine(params, f"{layer}.up", layer_norm(params, f"{layer}.feed", x)))
            x = x + affine(params, f"{layer}.down", up)
        x = layer_norm(params, "last", x)
        return x[:, :, 0] if is_vector else x


def affine(params: Group, layer: str, x: Tensor) -> Tensor:
    """Apply each modality's linear layer, [M, ..., size] -> [M, ..., width]."""
    weight, bias = params[f"{layer}.weight"], params[f"{layer}.bias"]
    if x.ndim == 3:
        return torch.baddbmm(bias, x, weight)
    return torch.baddbmm(bias, x.flatten(1, -2), weight).view(*x.shape[:-1], weight.shape[-1])


def layer_norm(params: Group, layer: str, x: Tensor) -> Tensor:
    """Apply each modality's layer normalisation, [M, B, T, D] -> [M, B, T, D]."""
    scale, shift = (params[f"{layer}.norm.{kind}"][:, None] for kind in ("weight", "bias"))
    return scale * F.layer_norm(x, x.shape[-1:]) + shift


def split_into_tokens(h: Tensor, count: int) -> Tensor:
    """Return ``count`` tokens, each a segment of a vector and zeros elsewhere, [..., H] -> [..., count, H]."""
    width = h.shape[-1]
    segment = torch.arange(width, device=h.device) * count // width
    return h[..., None, :] * (segment == torch.arange(count, device=h.device)[:, None]).to(h)
