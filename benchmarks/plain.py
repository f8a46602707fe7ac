"""Training as a plain PyTorch script does it, which `benchmarks.throughput` puts into Ray Tune's trials.

A network of torch.nn, torch.optim.SGD and a DataLoader; AGM as its authors write it, with one forward pass for each
masked modality and a hook on each share (CREMAD_net.py, CREMAD_main.py). Only the initial weights and the
order of the samples come from this project, so that the accuracies are its own up to rounding.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from trainables.data import Dataset
from trainables.data.dataset import Split
from trainables.setup import Setup, build_setup, init_learner
from trainables.step import sample_order


class Network(nn.Module):
    """A two-layer encoder for each modality, and a linear head on the concatenated features."""

    def __init__(self, sizes: list[int], outputs: int, width: int) -> None:
        """Create the layers for flattened inputs of these sizes."""
        super().__init__()
        self.encoders = nn.ModuleList(
            nn.Sequential(nn.Flatten(), nn.Linear(size, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
            for size in sizes
        )
        self.head = nn.Linear(len(sizes) * width, outputs)

    def forward(self, inputs: list[Tensor]) -> Tensor:
        """Return the logits of a batch, [B, C]."""
        features = [encoder(x) for encoder, x in zip(self.encoders, inputs, strict=True)]
        logits: Tensor = self.head(torch.cat(features, 1))
        return logits


class AGM:
    """AGM for two modalities, with the cumulative reference."""

    def __init__(self, alpha: float, cap: float) -> None:
        """Start without history."""
        self.alpha, self.cap, self.scores, self.steps = alpha, cap, [0.0, 0.0], 0

    def loss(self, network: Network, inputs: list[Tensor], target: Tensor) -> Tensor:
        """Return the loss of a batch, whose gradient reaches each modality's share scaled by its coefficient."""
        a, b = inputs
        full = network(inputs)
        only_a, only_b = network([a, torch.zeros_like(b)]), network([torch.zeros_like(a), b])
        shares = [(full - only_b + only_a) / 2, (full - only_a + only_b) / 2]
        for share, scale in zip(shares, self.coefficients(shares, target), strict=True):
            share.register_hook(lambda gradient, scale=scale: gradient * scale)
        return F.cross_entropy(shares[0] + shares[1], target)

    def coefficients(self, shares: list[Tensor], target: Tensor) -> list[float]:
        """Return the coefficient of each modality, and add the scores of this batch to the history."""
        rows = torch.arange(len(target))
        scores = [-share.detach().softmax(1)[rows, target].clamp(min=1e-8).log().mean().item() for share in shares]
        means = [total / max(self.steps, 1) for total in self.scores]
        self.scores, self.steps = [total + s for total, s in zip(self.scores, scores, strict=True)], self.steps + 1
        difference = torch.tensor([means[1] - means[0], means[0] - means[1]]).exp()
        difference -= torch.tensor([scores[1] - scores[0], scores[0] - scores[1]]).exp()
        coefficients: list[float] = torch.exp(self.alpha * difference.clamp(max=self.cap)).tolist()
        return coefficients


def load_initial_weights(network: Network, setup: Setup) -> None:
    """Load the weights with which this project starts the trial."""
    params = init_learner(setup).params
    weights = {
        f"encoders.{i}.{2 * int(layer) + 1}.{kind}": tensor
        for i, group in enumerate(params.encoders.values())
        for layer, kind, tensor in ((*name.split("."), tensor) for name, tensor in group.items())
    }
    network.load_state_dict(weights | params.shared)


def tensors(split: Split) -> TensorDataset:
    """Return a split as PyTorch's data set."""
    return TensorDataset(*(torch.from_numpy(x) for x in split.inputs.values()), torch.from_numpy(split.target))


@torch.no_grad()
def accuracy(network: Network, split: Split) -> float:
    """Return the share of a split's samples that are classified correctly."""
    *inputs, target = tensors(split).tensors
    return float((network(inputs).argmax(1) == target).double().mean())


def train(trial: Mapping[str, Any], dataset: Dataset) -> float:
    """Train a trial of `joint` or `agm`, evaluate it after every epoch, and return its accuracy on validation."""
    torch.set_num_threads(1)
    settings, setup = trial["train"], build_setup(trial, dataset)
    sizes = [x[0].size for x in dataset.train.inputs.values()]
    network = Network(sizes, dataset.outputs, trial["model"]["hidden"])
    load_initial_weights(network, setup)
    optimizer = torch.optim.SGD(
        network.parameters(), settings["lr"], settings["momentum"], weight_decay=settings["weight_decay"]
    )
    agm = AGM(trial["settings"]["alpha"], trial["settings"]["cap"]) if trial["settings"] else None
    samples, score = tensors(dataset.train), 0.0
    for epoch in range(1, settings["epochs"] + 1):
        order = sample_order(setup, epoch).tolist()
        for *inputs, target in DataLoader(samples, settings["batch_size"], sampler=order):
            optimizer.zero_grad()
            loss = agm.loss(network, inputs, target) if agm else F.cross_entropy(network(inputs), target)
            loss.backward()
            optimizer.step()
        score = accuracy(network, dataset.validation)
    return score
