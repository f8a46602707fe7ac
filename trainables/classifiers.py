"""The classifiers of CGGM: a small network on each modality's detached feature, discarded after training."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.encoders import Draw, linear
from trainables.fusions import Features
from trainables.signals import Group


class Classifier(NamedTuple):
    """``layers`` hidden layers of ``width``, then an output layer with the shape of the joint head."""

    layers: int = 2
    width: int = 64
    heads: int = 0

    def init(self, width: int, fused: int, outputs: int, draw: Draw) -> Group:
        """Return one modality's initial parameters, from its feature to the width of the joint head and the outputs."""
        return linear(draw, "in", width, fused) | linear(draw, "out", fused, outputs)

    def __call__(self, params: dict[str, Group], features: Features) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return predictions [M, B, C], and the inputs [M, B, P] and weights [M, C, P] of the output layers."""
        seen = {m: torch.relu(F.linear(h, params[m]["in.weight"], params[m]["in.bias"])) for m, h in features.items()}
        predicted = [F.linear(z, params[m]["out.weight"], params[m]["out.bias"]) for m, z in seen.items()]
        weights = [params[m]["out.weight"] for m in seen]
        return torch.stack(predicted), (torch.stack(list(seen.values())), torch.stack(weights))
