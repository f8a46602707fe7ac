"""The authors' tiny networks, read from the names of their parameters and put together from this project's parts."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.encoders import normalise
from trainables.fusions import Concat, Early, Fusion, Sum
from trainables.model import Buffers, Model
from trainables.optim import Optimizer
from trainables.setup import Learner, Setup
from trainables.signals import Method, Params, Task, needs
from trainables.tasks import classification

Group = dict[str, Tensor]
KINDS = {"audio": "audio", "visual": "visual", "text": "text", "enc_x": "text", "enc_y": "audio"}
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class Chain(NamedTuple):
    """Affine layers (linear, or 1x1 convolution), each with its batch normalisation if it has one, and tanh."""

    layers: tuple[tuple[str, str | None], ...]  # (affine layer, its normalisation)

    def __call__(self, params: Group, buffers: Group, x: Tensor, *, training: bool) -> tuple[Tensor, Group]:
        h, updated = x, dict(buffers)
        for layer, norm in self.layers:
            weight, bias = params[f"{layer}.weight"], params.get(f"{layer}.bias")
            h = F.linear(h, weight.flatten(1), bias)  # a 1x1 convolution of one position is a linear layer
            if norm is not None:
                named = {f"{norm}.norm.weight": params[f"{norm}.weight"], f"{norm}.norm.bias": params[f"{norm}.bias"]}
                h = normalise(h, 1, named, updated, norm, training=training)
            h = torch.tanh(h)
        return h, updated


class Net(NamedTuple):
    """A network of an oracle: the project's model, its parameters, and their official names."""

    model: Model
    params: Params
    buffers: Buffers
    names: dict[str, Callable[[Params], Tensor]]  # official name -> the same tensor in `Params`

    def inputs(self, recorded: dict[str, Any]) -> dict[str, Tensor]:
        held = recorded.get("inputs", recorded)
        return {m: torch.tensor(held[m], dtype=torch.float64) for m in self.model.encoders}

    def task(
        self,
        recorded: dict[str, Any],
        *,
        active: bool,
        reduction: str = "mean",
        noise: Callable[[str, Tensor], Tensor] = lambda purpose, like: torch.zeros_like(like),
    ) -> Task:
        label = torch.tensor(recorded.get("inputs", recorded)["label"]).flatten()
        loss, score = classification(label)
        return Task(loss, score, noise, torch.tensor(active), len(label), reduction)

    def setup(
        self, method: Method, optimizer: Optimizer, *, clip: float | None = None, trigger: float | None = None
    ) -> Setup:
        trial = {"train": {"clip": clip, "clip_trigger": trigger}}
        return Setup(trial, "classification", self.model, method, needs(method), optimizer, {}, {})

    def compare_params(self, when: object, learner: Learner, theirs: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
        for name, value in theirs.items():
            if name in self.names:
                yield f"{when}.{name}", self.names[name](learner.params).detach(), value

    def compare_statistics(
        self, number: int, learner: Learner, theirs: dict[str, Any]
    ) -> Iterator[tuple[str, Any, Any]]:
        for key, recorded in theirs.items():
            for name, value in recorded.items() if isinstance(recorded, dict) else ():
                modality, (layer, _, kind) = modality_of(name), name.removeprefix("net.").rpartition(".")
                if modality and kind in STATISTICS[:2]:
                    ours = learner.buffers[modality][f"{layer}.norm.{kind.removeprefix('running_')}"]
                    yield f"{number}.{key}.{name}", ours, value

    def compare_grads(
        self, number: int, key: str, grads: Params, theirs: dict[str, Any]
    ) -> Iterator[tuple[str, Any, Any]]:
        for name, value in theirs[key].items():
            if name in self.names and value is not None:
                yield f"{number}.{key}.{name}", self.names[name](grads).detach(), value


def read(case: dict[str, Any]) -> Net:
    """Build the network of a case."""
    values = {name: torch.tensor(v, dtype=torch.float64) for name, v in case["init_params"].items()}
    owner = {name: modality_of(name) for name in values}
    order = list(dict.fromkeys(m for m in owner.values() if m))
    groups: dict[str, Group] = {m: {} for m in order}
    shared: Group = {}
    buffers: Buffers = {m: {} for m in order}
    names: dict[str, Callable[[Params], Tensor]] = {}
    for name, value in values.items():
        modality = owner[name]
        if modality is None:
            ours = shared_name(name, order)
            shared[ours] = value
            names[name] = lambda p, ours=ours: p.shared[ours]
        elif not name.endswith(STATISTICS):
            local = name.removeprefix("net.")
            groups[modality][local] = value
            names[name] = lambda p, m=modality, local=local: p.encoders[m][local]
    encoders = {m: Chain(layers(group, buffers[m])) for m, group in groups.items()}
    fusion: Fusion = Concat()
    if "mix.weight" in shared:
        fusion = Early(activation=torch.tanh)
        shared = {name: shared[name] for name in ("mix.weight", "mix.bias", "head.weight", "head.bias")}
    elif "head.weight" not in shared:
        fusion = Sum()
    model = Model(encoders, fusion, len(shared[next(n for n in shared if n.startswith("head"))]))  # type: ignore[arg-type]
    return Net(model, Params(groups, shared, {}), buffers, names)


def modality_of(name: str) -> str | None:
    """Return whose encoder a parameter belongs to; None for fusion and head."""
    local = name.removeprefix("net.").removeprefix("modality_encoder.")
    if "_cls." in local:
        return None
    return next((modality for key, modality in KINDS.items() if local.startswith(key)), None)


def shared_name(name: str, order: list[str]) -> str:
    """Return this project's name for a parameter of the fusion or the head."""
    kind = name.rsplit(".", 1)[1]
    if "mm_encoder" in name or ".mix." in name:
        return f"mix.{kind}"
    for key, modality in {"fc_x": "audio", "fc_y": "visual", **{f"{m}_cls": m for m in order}}.items():
        if key in name:
            return f"head.{modality}.{kind}"
    return f"head.{kind}"


def layers(group: Group, buffers: Group) -> tuple[tuple[str, str | None], ...]:
    """Return the affine layers of an encoder in order, each with the normalisation that follows it."""
    found: list[tuple[str, str | None]] = []
    for layer in dict.fromkeys(name.rsplit(".", 1)[0] for name in group):
        weight = group[f"{layer}.weight"]
        if weight.ndim == 1:
            found[-1] = (found[-1][0], layer)
            buffers |= {f"{layer}.norm.mean": torch.zeros_like(weight), f"{layer}.norm.var": torch.ones_like(weight)}
        else:
            found.append((layer, None))
    return tuple(found)
