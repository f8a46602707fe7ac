"""An encoder of your own: a torch module, called with the shape of a sample."""

import math

import torch
from torch import nn


class Net(nn.Module):
    """Encodes one modality, [B, *shape] -> [B, 32].

    Its weights are drawn from the seed of each trial. A pass draws no random numbers: dropout is `model.dropout`.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        """Make the layers for samples of this shape."""
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 32), nn.Tanh(), nn.Linear(32, 32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features of a batch; the fusion accepts any number of them."""
        features: torch.Tensor = self.layers(x)
        return features
