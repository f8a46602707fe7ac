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


@runtime_checkable
class Additive(Protocol):
    """A fusion whose prediction is a sum over the modalities."""

    def parts(self, params: Params, features: Features) -> tuple[list[Tensor], list[Tensor]]:
        """Return each modality's product with the head, M times [B, C], and its share of the bias, M times [C]."""


def shared_head(params: Params) -> tuple[Tensor, Tensor]:
    """Return the weight and the bias of the head that all modalities share."""
    return params.shared["head.weight"], params.shared["head.bias"]


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

    def parts(self, params: Params, features: Features) -> tuple[list[Tensor], list[Tensor]]:
        """Return each modality's product with its slice of the head, and its share of the bias, b / M."""
        weight, bias = shared_head(params)
        slices = torch.split(weight, [h.shape[-1] for h in features.values()], -1)
        products = [F.linear(h, w) for h, w in zip(features.values(), slices, strict=True)]
        return products, [bias / len(features)] * len(features)


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

    def parts(self, params: Params, features: Features) -> tuple[list[Tensor], list[Tensor]]:
        """Return each modality's product with its readout, and its own bias."""
        products = [F.linear(h, params.readouts[m]["weight"]) for m, h in features.items()]
        return products, [params.readouts[m]["bias"] for m in features]


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
        joined = torch.cat(list(features.values()), -1)
        return self.activation(F.linear(joined, params.shared["mix.weight"], params.shared["mix.bias"]))

    def head(self, params: Params) -> tuple[Tensor, Tensor]:
        """Return the shared head."""
        return shared_head(params)
