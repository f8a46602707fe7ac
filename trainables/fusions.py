"""Fusions: pure functions from the modalities' features to the joint prediction.

Letters in shapes: B samples, H_m features of modality m, P inputs of the head, C outputs. Leading dimensions of
features broadcast, so that the features of a silent modality may come as one sample.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.encoders import Draw, linear
from trainables.signals import Group

Features = dict[str, Tensor]  # modality -> [B, H_m]


class Fusion(Protocol):
    """How features become a prediction, without the weights."""

    def init(self, widths: dict[str, int], outputs: int, draw: Draw) -> Group:
        """Return the initial parameters for features of these widths."""

    def fuse(self, params: Group, features: Features) -> Tensor:
        """Return the input of the head, [B, P]."""

    def head(self, params: Group, fused: Tensor) -> Tensor:
        """Return the joint prediction, [B, P] -> [B, C]."""


@runtime_checkable
class Additive(Protocol):
    """A fusion whose prediction is a sum over the modalities."""

    def parts(self, params: Group, features: Features) -> tuple[list[Tensor], list[Tensor]]:
        """Return each modality's product with the head, M times [B, C], and its share of the bias, M times [C]."""


class Concat(NamedTuple):
    """Concatenated features and one linear head."""

    def init(self, widths: dict[str, int], outputs: int, draw: Draw) -> Group:
        """Return the head, drawn as torch.nn.Linear does."""
        return linear(draw, "head", sum(widths.values()), outputs)

    def fuse(self, params: Group, features: Features) -> Tensor:
        """Concatenate."""
        return torch.cat(list(features.values()), -1)

    def head(self, params: Group, fused: Tensor) -> Tensor:
        """Apply the head."""
        return F.linear(fused, params["head.weight"], params["head.bias"])

    def parts(self, params: Group, features: Features) -> tuple[list[Tensor], list[Tensor]]:
        """Return each modality's product with its slice of the head, and its share of the bias, b / M."""
        slices = torch.split(params["head.weight"], [h.shape[-1] for h in features.values()], -1)
        products = [F.linear(h, w) for h, w in zip(features.values(), slices, strict=True)]
        return products, [params["head.bias"] / len(features)] * len(features)


class Sum(NamedTuple):
    """One linear head a modality; their predictions are added."""

    def init(self, widths: dict[str, int], outputs: int, draw: Draw) -> Group:
        """Return the heads, drawn as torch.nn.Linear does."""
        params: Group = {}
        for modality, width in widths.items():
            params |= linear(draw, f"head.{modality}", width, outputs)
        return params

    def fuse(self, params: Group, features: Features) -> Tensor:
        """Concatenate in the order of the heads: side by side they are one matrix on that."""
        return torch.cat([features[name.split(".")[1]] for name in params if name.endswith("weight")], -1)

    def head(self, params: Group, fused: Tensor) -> Tensor:
        """Apply the heads, as one matrix, and all biases."""
        weights = [p for name, p in params.items() if name.endswith("weight")]
        biases = [p for name, p in params.items() if name.endswith("bias")]
        return F.linear(fused, torch.cat(weights, -1), torch.stack(biases).sum(0))

    def parts(self, params: Group, features: Features) -> tuple[list[Tensor], list[Tensor]]:
        """Return each modality's product with its head, and its own bias."""
        products = [F.linear(h, params[f"head.{m}.weight"]) for m, h in features.items()]
        return products, [params[f"head.{m}.bias"] for m in features]


class Early(NamedTuple):
    """A hidden layer over the concatenated features, then one linear head."""

    hidden: int = 64
    activation: Callable[[Tensor], Tensor] = torch.relu

    def init(self, widths: dict[str, int], outputs: int, draw: Draw) -> Group:
        """Return the hidden layer and the head, drawn as torch.nn.Linear does."""
        return linear(draw, "mix", sum(widths.values()), self.hidden) | linear(draw, "head", self.hidden, outputs)

    def fuse(self, params: Group, features: Features) -> Tensor:
        """Mix the modalities."""
        joined = torch.cat(list(features.values()), -1)
        return self.activation(F.linear(joined, params["mix.weight"], params["mix.bias"]))

    def head(self, params: Group, fused: Tensor) -> Tensor:
        """Apply the head."""
        return F.linear(fused, params["head.weight"], params["head.bias"])
