"""Fusions: pure functions from the modalities' features to the joint prediction.

Letters in shapes: M modalities, B samples (and coalitions and positions: all leading dimensions), H_m features of
modality m, P inputs of the head, C outputs, Q width of a modality's term or projection.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.layers import Initializer, affine, init_linear, init_norm, layer_norm, self_attention
from trainables.signals import Group, Params

Features = dict[str, Tensor]  # modality -> [B, H_m]


class Fusion(Protocol):
    """The architecture from features to prediction: fused features, then a linear head; weights are passed to it."""

    def init(self, widths: dict[str, int], outputs: int, draw: Initializer) -> tuple[dict[str, Group], Group]:
        """Return the initial readouts and shared parameters for features of these widths."""

    def fuse(self, params: Params, features: Features) -> Tensor:
        """Return the input of the head, [B, P]."""

    def head(self, params: Params) -> tuple[Tensor, Tensor]:
        """Return the weight [C, P] and the bias [C] of the head."""


class Additive(Fusion, Protocol):
    """A fusion whose prediction is a sum over the modalities."""

    def contributions(self, params: Params, features: Features) -> tuple[Tensor, Tensor, Tensor]:
        """Return each modality's product with the head, [M, B, C], its share of the bias, [M, C], and the bias, [C]."""


class SumPooling(Fusion, Protocol):
    """A fusion that is a function of a sum of one term per modality."""

    def terms(self, params: Params, features: Features) -> Tensor:
        """Return each modality's term, [M, B, Q]."""

    def fuse_total(self, params: Params, total: Tensor) -> Tensor:
        """Return the input of the head from the sum of the terms, [..., B, Q] -> [..., B, P]."""


def is_additive(fusion: Fusion) -> TypeGuard[Additive]:
    """Return whether a fusion is `Additive`; called in every step, and `isinstance` of a protocol is slow."""
    return hasattr(fusion, "contributions")


def is_sum_pooling(fusion: Fusion) -> TypeGuard[SumPooling]:
    """Return whether a fusion is `SumPooling`."""
    return hasattr(fusion, "terms")


def shared_head(params: Params) -> tuple[Tensor, Tensor]:
    """Return the weight and the bias of the head that all modalities share."""
    return params.shared["head.weight"], params.shared["head.bias"]


def batched_products(features: Features, weights: Tensor) -> Tensor:
    """Return each modality's feature times its weight, [M, B, C], as one batched product; weights are [M, H, C]."""
    stacked = torch.stack(list(features.values()))
    if stacked.ndim == 3:
        return torch.bmm(stacked, weights)  # at a third of the cost of matmul
    return stacked @ weights.view(len(weights), *[1] * (stacked.ndim - 3), *weights.shape[1:])


def separate_products(features: Features, weights: Sequence[Tensor]) -> Tensor:
    """Return each modality's feature times its weight [C, H_m], [M, B, C], as one product a modality."""
    return torch.stack([F.linear(h, w) for h, w in zip(features.values(), weights, strict=True)])


class Concat(NamedTuple):
    """Concatenated features and one linear head."""

    def init(self, widths: dict[str, int], outputs: int, draw: Initializer) -> tuple[dict[str, Group], Group]:
        """Return the head, drawn as torch.nn.Linear does."""
        return {m: {} for m in widths}, init_linear(draw, "head", sum(widths.values()), outputs)

    def fuse(self, params: Params, features: Features) -> Tensor:
        """Concatenate."""
        return torch.cat(list(features.values()), -1)

    def head(self, params: Params) -> tuple[Tensor, Tensor]:
        """Return the shared head."""
        return shared_head(params)

    def contributions(self, params: Params, features: Features) -> tuple[Tensor, Tensor, Tensor]:
        """Return each modality's product with its slice of the head, its share of the bias, b / M, and the bias."""
        weight, bias = shared_head(params)
        widths = [h.shape[-1] for h in features.values()]
        if len(set(widths)) == 1:
            products = batched_products(features, weight.view(len(bias), len(widths), -1).permute(1, 2, 0))
        else:
            products = separate_products(features, torch.split(weight, widths, -1))
        return products, (bias / len(features)).expand(len(features), -1), bias


class Sum(NamedTuple):
    """One linear head per modality, its readout; the prediction is their sum."""

    def init(self, widths: dict[str, int], outputs: int, draw: Initializer) -> tuple[dict[str, Group], Group]:
        """Return the readouts, drawn as torch.nn.Linear does."""

        def init_readout(modality: str, width: int) -> Group:
            readout = init_linear(draw, f"head.{modality}", width, outputs)
            return {name.removeprefix(f"head.{modality}."): tensor for name, tensor in readout.items()}

        return {m: init_readout(m, width) for m, width in widths.items()}, {}

    def fuse(self, params: Params, features: Features) -> Tensor:
        """Concatenate: the concatenated readouts are one matrix on the concatenated features."""
        return torch.cat([features[m] for m in params.readouts], -1)

    def head(self, params: Params) -> tuple[Tensor, Tensor]:
        """Return the concatenated readouts, and the sum of their biases."""
        readouts = params.readouts.values()
        return torch.cat([r["weight"] for r in readouts], -1), torch.stack([r["bias"] for r in readouts]).sum(0)

    def contributions(self, params: Params, features: Features) -> tuple[Tensor, Tensor, Tensor]:
        """Return each modality's product with its readout, its own bias, and the sum of the biases."""
        readouts = [params.readouts[m] for m in features]
        weights, biases = [r["weight"] for r in readouts], torch.stack([r["bias"] for r in readouts])
        equal_widths = len({w.shape[-1] for w in weights}) == 1
        if equal_widths:
            products = batched_products(features, torch.stack(weights).mT)
        else:
            products = separate_products(features, weights)
        return products, biases, biases.sum(0)


class Early(NamedTuple):
    """A hidden layer over the concatenated features, then one linear head."""

    hidden: int = 64
    activation: Callable[[Tensor], Tensor] = torch.relu

    def init(self, widths: dict[str, int], outputs: int, draw: Initializer) -> tuple[dict[str, Group], Group]:
        """Return the hidden layer and the head, drawn as torch.nn.Linear does."""
        mix = init_linear(draw, "mix", sum(widths.values()), self.hidden)
        return {m: {} for m in widths}, mix | init_linear(draw, "head", self.hidden, outputs)

    def fuse(self, params: Params, features: Features) -> Tensor:
        """Mix the modalities."""
        return self.fuse_total(params, self.terms(params, features).sum(0))

    def head(self, params: Params) -> tuple[Tensor, Tensor]:
        """Return the shared head."""
        return shared_head(params)

    def terms(self, params: Params, features: Features) -> Tensor:
        """Return each modality's product with its slice of the hidden layer."""
        slices = torch.split(params.shared["mix.weight"], [h.shape[-1] for h in features.values()], -1)
        return torch.stack([F.linear(h, w) for h, w in zip(features.values(), slices, strict=True)])

    def fuse_total(self, params: Params, total: Tensor) -> Tensor:
        """Add the bias and activate."""
        return self.activation(total + params.shared["mix.bias"])


class Gated(NamedTuple):
    r"""Modalities gate each other (Kiela et al., AAAI 2018, https://arxiv.org/abs/1802.02892).

    .. math:: z = \operatorname{mean}_{m \ne j} (U_m h_m + b_m) \odot \sigma(V_j h_j + c_j)

    For two modalities that is the gate of OGM-GE's GatedFusion, in both directions; for more, the mean over all ordered
    pairs. A single modality gates itself.
    """

    hidden: int = 64

    def init(self, widths: dict[str, int], outputs: int, draw: Initializer) -> tuple[dict[str, Group], Group]:
        """Return value and gate of each modality, as one layer, and the head, drawn as torch.nn.Linear."""
        layers = init_projections(draw, widths, 2 * self.hidden)
        return {m: {} for m in widths}, layers | init_linear(draw, "head", self.hidden, outputs)

    def fuse(self, params: Params, features: Features) -> Tensor:
        """Gate the modalities."""
        return self.fuse_total(params, self.terms(params, features).sum(0))

    def head(self, params: Params) -> tuple[Tensor, Tensor]:
        """Return the shared head."""
        return shared_head(params)

    def terms(self, params: Params, features: Features) -> Tensor:
        """Return each modality's value, gate and their product, [M, B, 3 P]."""
        value, gate = project(params, features).chunk(2, -1)
        return append_product(value, torch.sigmoid(gate))

    def fuse_total(self, params: Params, total: Tensor) -> Tensor:
        """Return the mean gated value."""
        value, gate, product = total.chunk(3, -1)
        return mean_over_pairs(value, gate, product, len(params.encoders))


class FiLM(NamedTuple):
    r"""Modalities scale and shift each other (Perez et al., AAAI 2018, https://arxiv.org/abs/1709.07871).

    .. math:: z = \operatorname{mean}_{m \ne j} \gamma_j(h_j) \odot (U_m h_m + b_m) + \beta_j(h_j)

    with linear :math:`\gamma` and :math:`\beta`. For two modalities that is OGM-GE's FiLM, in both directions and on
    values of one width; for more, the mean over all ordered pairs. A single modality conditions itself.
    """

    hidden: int = 64

    def init(self, widths: dict[str, int], outputs: int, draw: Initializer) -> tuple[dict[str, Group], Group]:
        """Return shift, value and scale of each modality, as one layer, and the head, as torch.nn.Linear."""
        layers = init_projections(draw, widths, 3 * self.hidden)
        return {m: {} for m in widths}, layers | init_linear(draw, "head", self.hidden, outputs)

    def fuse(self, params: Params, features: Features) -> Tensor:
        """Condition the modalities on each other."""
        return self.fuse_total(params, self.terms(params, features).sum(0))

    def head(self, params: Params) -> tuple[Tensor, Tensor]:
        """Return the shared head."""
        return shared_head(params)

    def terms(self, params: Params, features: Features) -> Tensor:
        """Return each modality's shift, value, scale and the product of the two, [M, B, 4 P]."""
        shift, value, scale = project(params, features).chunk(3, -1)
        return torch.cat([shift, append_product(value, scale)], -1)

    def fuse_total(self, params: Params, total: Tensor) -> Tensor:
        """Return the mean conditioned value."""
        shift, value, scale, product = total.chunk(4, -1)
        count = len(params.encoders)
        return mean_over_pairs(value, scale, product, count) + shift / count


class Attention(NamedTuple):
    """The mean token after self-attention over one token per modality, pre-norm and with a residual connection.

    The first half of a layer of the `Transformer` (Vaswani et al., NeurIPS 2017, https://arxiv.org/abs/1706.03762,
    3.2), without position encodings: modalities are distinguished by their projections.
    """

    hidden: int = 64

    def init(self, widths: dict[str, int], outputs: int, draw: Initializer) -> tuple[dict[str, Group], Group]:
        """Return each modality's projection, the attention and the head, drawn as torch.nn.Linear does."""
        layers = init_projections(draw, widths, self.hidden) | init_norm("layer", {"token": self.hidden})[0]
        layers |= init_linear(draw, "qkv", self.hidden, 3 * self.hidden)
        layers |= init_linear(draw, "mix", self.hidden, self.hidden)
        return {m: {} for m in widths}, layers | init_linear(draw, "head", self.hidden, outputs)

    def fuse(self, params: Params, features: Features) -> Tensor:
        """Apply self-attention over the modalities."""
        tokens = project(params, features)
        normed = layer_norm(tokens.movedim(0, -2), -1, params.shared, "token")
        attention = self_attention(affine(params.shared, "qkv", normed)).mean(-2)
        return tokens.mean(0) + affine(params.shared, "mix", attention)

    def head(self, params: Params) -> tuple[Tensor, Tensor]:
        """Return the shared head."""
        return shared_head(params)


def init_projections(draw: Initializer, widths: dict[str, int], size: int) -> Group:
    """Return the initial linear layers, one per modality and named by it, from its feature to a common size."""
    layers: Group = {}
    for m, width in widths.items():
        layers |= init_linear(draw, f"project.{m}", width, size)
    return layers


def project(params: Params, features: Features) -> Tensor:
    """Apply each modality's projection, M times [B, H_m] -> [M, B, Q]."""
    return torch.stack([affine(params.shared, f"project.{m}", h) for m, h in features.items()])


def append_product(a: Tensor, b: Tensor) -> Tensor:
    """Concatenate two tensors and their product, [..., P] and [..., P] -> [..., 3 P]."""
    return torch.cat([a, b, a * b], -1)


def mean_over_pairs(a: Tensor, b: Tensor, product: Tensor, count: int) -> Tensor:
    r"""Return the mean of :math:`a_m b_j` over all ordered pairs of modalities; of a single modality, its product.

    The arguments are the sums of a, b and a b over the modalities:
    :math:`\sum_{m \ne j} a_m b_j = \sum_m a_m \sum_j b_j - \sum_m a_m b_m`.
    """
    return product if count == 1 else (a * b - product) / (count * (count - 1))
