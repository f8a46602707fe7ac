"""Fusions: pure functions from the modalities' features to the joint prediction.

Letters in shapes: M modalities, B samples (and coalitions and positions: all leading dimensions), H_m features of
modality m, P inputs of the head, C outputs, Q numbers of a modality's term or projection.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.layers import Draw, affine, attend, layer_norm, linear, normed
from trainables.signals import Group, Params

Features = dict[str, Tensor]  # modality -> [B, H_m]


class Fusion(Protocol):
    """How features become a prediction, without the weights; its head is one linear layer on what it fused."""

    def init(self, widths: dict[str, int], outputs: int, draw: Draw) -> tuple[dict[str, Group], Group]:
        """Return the initial readouts and shared parameters for features of these widths."""

    def fuse(self, params: Params, features: Features) -> Tensor:
        """Return the input of the head, [B, P]."""

    def head(self, params: Params) -> tuple[Tensor, Tensor]:
        """Return the weight [C, P] and the bias [C] of the head."""


class Additive(Fusion, Protocol):
    """A fusion whose prediction is a sum over the modalities."""

    def parts(self, params: Params, features: Features) -> tuple[Tensor, Tensor, Tensor]:
        """Return each modality's product with the head, [M, B, C], its share of the bias, [M, C], and the bias, [C]."""


class Summing(Fusion, Protocol):
    """A fusion that knows its modalities by a sum over them."""

    def terms(self, params: Params, features: Features) -> Tensor:
        """Return each modality's term, [M, B, Q]."""

    def join(self, params: Params, total: Tensor) -> Tensor:
        """Return the input of the head from the sum of the terms, [..., B, Q] -> [..., B, P]."""


def adds_up(fusion: Fusion) -> TypeGuard[Additive]:
    """Say whether a fusion is `Additive`; asked in every step, so not by the slow check of a protocol."""
    return hasattr(fusion, "parts")


def sums(fusion: Fusion) -> TypeGuard[Summing]:
    """Say whether a fusion is `Summing`."""
    return hasattr(fusion, "terms")


def shared_head(params: Params) -> tuple[Tensor, Tensor]:
    """Return the weight and the bias of the head that all modalities share."""
    return params.shared["head.weight"], params.shared["head.bias"]


def multiplied(features: Features, weights: Tensor) -> Tensor:
    """Return each modality's feature times its weight, [M, B, C], all at once; weights are [M, H, C]."""
    stacked = torch.stack(list(features.values()))
    if stacked.ndim == 3:
        return torch.bmm(stacked, weights)  # at a third of the cost of matmul
    return stacked @ weights.view(len(weights), *[1] * (stacked.ndim - 3), *weights.shape[1:])


def one_by_one(features: Features, weights: Sequence[Tensor]) -> Tensor:
    """Return each modality's feature times its weight [C, H_m], [M, B, C]."""
    return torch.stack([F.linear(h, w) for h, w in zip(features.values(), weights, strict=True)])


class Concat(NamedTuple):
    """Concatenated features and one linear head."""

    def init(self, widths: dict[str, int], outputs: int, draw: Draw) -> tuple[dict[str, Group], Group]:
        """Return the head, drawn as torch.nn.Linear does."""
        return {m: {} for m in widths}, linear(draw, "head", sum(widths.values()), outputs)

    def fuse(self, params: Params, features: Features) -> Tensor:
        """Concatenate."""
        return torch.cat(list(features.values()), -1)

    def head(self, params: Params) -> tuple[Tensor, Tensor]:
        """Return the shared head."""
        return shared_head(params)

    def parts(self, params: Params, features: Features) -> tuple[Tensor, Tensor, Tensor]:
        """Return each modality's product with its slice of the head, its share of the bias, b / M, and the bias."""
        weight, bias = shared_head(params)
        widths = [h.shape[-1] for h in features.values()]
        if len(set(widths)) == 1:
            products = multiplied(features, weight.view(len(bias), len(widths), -1).permute(1, 2, 0))
        else:
            products = one_by_one(features, torch.split(weight, widths, -1))
        return products, (bias / len(features)).expand(len(features), -1), bias


class Sum(NamedTuple):
    """One linear head a modality, its readout; their predictions are added."""

    def init(self, widths: dict[str, int], outputs: int, draw: Draw) -> tuple[dict[str, Group], Group]:
        """Return the readouts, drawn as torch.nn.Linear does."""

        def renamed(modality: str, width: int) -> Group:
            drawn = linear(draw, f"head.{modality}", width, outputs)
            return {name.removeprefix(f"head.{modality}."): tensor for name, tensor in drawn.items()}

        return {m: renamed(m, width) for m, width in widths.items()}, {}

    def fuse(self, params: Params, features: Features) -> Tensor:
        """Concatenate: side by side the readouts are one matrix on that."""
        return torch.cat([features[m] for m in params.readouts], -1)

    def head(self, params: Params) -> tuple[Tensor, Tensor]:
        """Return the readouts as one matrix, and the sum of their biases."""
        readouts = params.readouts.values()
        return torch.cat([r["weight"] for r in readouts], -1), torch.stack([r["bias"] for r in readouts]).sum(0)

    def parts(self, params: Params, features: Features) -> tuple[Tensor, Tensor, Tensor]:
        """Return each modality's product with its readout, its own bias, and the sum of the biases."""
        readouts = [params.readouts[m] for m in features]
        weights, biases = [r["weight"] for r in readouts], torch.stack([r["bias"] for r in readouts])
        alike = len({w.shape[-1] for w in weights}) == 1
        products = multiplied(features, torch.stack(weights).mT) if alike else one_by_one(features, weights)
        return products, biases, biases.sum(0)


class Early(NamedTuple):
    """A hidden layer over the concatenated features, then one linear head."""

    hidden: int = 64
    activation: Callable[[Tensor], Tensor] = torch.relu

    def init(self, widths: dict[str, int], outputs: int, draw: Draw) -> tuple[dict[str, Group], Group]:
        """Return the hidden layer and the head, drawn as torch.nn.Linear does."""
        mix = linear(draw, "mix", sum(widths.values()), self.hidden)
        return {m: {} for m in widths}, mix | linear(draw, "head", self.hidden, outputs)

    def fuse(self, params: Params, features: Features) -> Tensor:
        """Mix the modalities."""
        return self.join(params, self.terms(params, features).sum(0))

    def head(self, params: Params) -> tuple[Tensor, Tensor]:
        """Return the shared head."""
        return shared_head(params)

    def terms(self, params: Params, features: Features) -> Tensor:
        """Return each modality's product with its slice of the hidden layer."""
        slices = torch.split(params.shared["mix.weight"], [h.shape[-1] for h in features.values()], -1)
        return torch.stack([F.linear(h, w) for h, w in zip(features.values(), slices, strict=True)])

    def join(self, params: Params, total: Tensor) -> Tensor:
        """Add the bias and activate."""
        return self.activation(total + params.shared["mix.bias"])


class Gated(NamedTuple):
    r"""Modalities gate each other (Kiela et al., AAAI 2018, https://arxiv.org/abs/1802.02892).

    .. math:: z = \operatorname{mean}_{m \ne j} (U_m h_m + b_m) \odot \sigma(V_j h_j + c_j)

    For two modalities that is the gate of OGM-GE's GatedFusion, read both ways; for more, the mean over all ordered
    pairs. A modality alone gates itself.
    """

    hidden: int = 64

    def init(self, widths: dict[str, int], outputs: int, draw: Draw) -> tuple[dict[str, Group], Group]:
        """Return value and gate of each modality, as one layer, and the head, drawn as torch.nn.Linear."""
        layers = projections(draw, widths, 2 * self.hidden)
        return {m: {} for m in widths}, layers | linear(draw, "head", self.hidden, outputs)

    def fuse(self, params: Params, features: Features) -> Tensor:
        """Gate the modalities."""
        return self.join(params, self.terms(params, features).sum(0))

    def head(self, params: Params) -> tuple[Tensor, Tensor]:
        """Return the shared head."""
        return shared_head(params)

    def terms(self, params: Params, features: Features) -> Tensor:
        """Return each modality's value, gate and their product, [M, B, 3 P]."""
        value, gate = project(params, features).chunk(2, -1)
        return with_product(value, torch.sigmoid(gate))

    def join(self, params: Params, total: Tensor) -> Tensor:
        """Return the mean gated value."""
        value, gate, product = total.chunk(3, -1)
        return over_pairs(value, gate, product, len(params.encoders))


class FiLM(NamedTuple):
    r"""Modalities scale and shift each other (Perez et al., AAAI 2018, https://arxiv.org/abs/1709.07871).

    .. math:: z = \operatorname{mean}_{m \ne j} \gamma_j(h_j) \odot (U_m h_m + b_m) + \beta_j(h_j)

    with linear :math:`\gamma` and :math:`\beta`. For two modalities that is OGM-GE's FiLM, read both ways and on
    values of one width; for more, the mean over all ordered pairs. A modality alone conditions itself.
    """

    hidden: int = 64

    def init(self, widths: dict[str, int], outputs: int, draw: Draw) -> tuple[dict[str, Group], Group]:
        """Return shift, value and scale of each modality, as one layer, and the head, as torch.nn.Linear."""
        layers = projections(draw, widths, 3 * self.hidden)
        return {m: {} for m in widths}, layers | linear(draw, "head", self.hidden, outputs)

    def fuse(self, params: Params, features: Features) -> Tensor:
        """Let the modalities condition each other."""
        return self.join(params, self.terms(params, features).sum(0))

    def head(self, params: Params) -> tuple[Tensor, Tensor]:
        """Return the shared head."""
        return shared_head(params)

    def terms(self, params: Params, features: Features) -> Tensor:
        """Return each modality's shift, value, scale and the product of the two, [M, B, 4 P]."""
        shift, value, scale = project(params, features).chunk(3, -1)
        return torch.cat([shift, with_product(value, scale)], -1)

    def join(self, params: Params, total: Tensor) -> Tensor:
        """Return the mean conditioned value."""
        shift, value, scale, product = total.chunk(4, -1)
        count = len(params.encoders)
        return over_pairs(value, scale, product, count) + shift / count


class Attention(NamedTuple):
    """The mean token after self-attention over one token a modality, pre-norm and with a residual connection.

    The first half of a layer of the `Transformer` (Vaswani et al., NeurIPS 2017, https://arxiv.org/abs/1706.03762,
    3.2), without positions: what tells modalities apart is the projection of each.
    """

    hidden: int = 64

    def init(self, widths: dict[str, int], outputs: int, draw: Draw) -> tuple[dict[str, Group], Group]:
        """Return each modality's projection, the attention and the head, drawn as torch.nn.Linear does."""
        layers = projections(draw, widths, self.hidden) | normed("layer", {"token": self.hidden})[0]
        layers |= linear(draw, "qkv", self.hidden, 3 * self.hidden)
        layers |= linear(draw, "mix", self.hidden, self.hidden)
        return {m: {} for m in widths}, layers | linear(draw, "head", self.hidden, outputs)

    def fuse(self, params: Params, features: Features) -> Tensor:
        """Let the modalities attend to each other."""
        tokens = project(params, features)
        unit = layer_norm(tokens.movedim(0, -2), -1, params.shared, "token")
        read = attend(affine(params.shared, "qkv", unit)).mean(-2)
        return tokens.mean(0) + affine(params.shared, "mix", read)

    def head(self, params: Params) -> tuple[Tensor, Tensor]:
        """Return the shared head."""
        return shared_head(params)


def projections(draw: Draw, widths: dict[str, int], size: int) -> Group:
    """Return a linear layer for each modality, named by it, from its feature to one size."""
    layers: Group = {}
    for m, width in widths.items():
        layers |= linear(draw, f"project.{m}", width, size)
    return layers


def project(params: Params, features: Features) -> Tensor:
    """Apply each modality's projection, M times [B, H_m] -> [M, B, Q]."""
    return torch.stack([affine(params.shared, f"project.{m}", h) for m, h in features.items()])


def with_product(one: Tensor, other: Tensor) -> Tensor:
    """Return two tensors and their product side by side, [..., P] and [..., P] -> [..., 3 P]."""
    return torch.cat([one, other, one * other], -1)


def over_pairs(one: Tensor, other: Tensor, product: Tensor, count: int) -> Tensor:
    r"""Return the mean of :math:`a_m b_j` over all ordered pairs of modalities; of one modality, its own product.

    The arguments are the sums of a, b and a b over the modalities:
    :math:`\sum_{m \ne j} a_m b_j = \sum_m a_m \sum_j b_j - \sum_m a_m b_m`.
    """
    return product if count == 1 else (one * other - product) / (count * (count - 1))
