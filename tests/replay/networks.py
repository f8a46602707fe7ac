"""The small networks of the oracles, rebuilt from the names of their parameters with this project's modules."""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.fusions import Concat, Early, Fusion, Sum
from trainables.layers import Mode, normalise
from trainables.model import Buffers, Model
from trainables.optim import Optimizer
from trainables.setup import Learner, Setup
from trainables.signals import Method, Params, Task, needs
from trainables.tasks import classification, regression

Group = dict[str, Tensor]
Pairs = Iterator[tuple[str, Any, Any]]  # (what, ours, theirs)
STATISTICS = {"running_mean": "mean", "running_var": "var"}
BEFORE = {"params_before_step", "classifier_params_before_step"}
NOT_INPUTS = BEFORE | {"official", "epoch", "step_in_epoch", "label", "inputs"}


class AffineChain(NamedTuple):
    """Affine layers (linear, or 1x1 convolution), each with its batch normalisation if it has one, and tanh."""

    layers: tuple[tuple[str, str | None], ...]  # (affine layer, its normalisation)
    dropout: float = 0.0

    def __call__(self, params: Group, buffers: Group, x: Tensor, mode: Mode) -> tuple[Tensor, Group]:
        h, updated = x, dict(buffers)
        for layer, norm in self.layers:
            weight, bias = params[f"{layer}.weight"], params.get(f"{layer}.bias")
            h = F.linear(h, weight.flatten(1), bias)  # a 1x1 convolution of one position is a linear layer
            if norm is not None:
                named = {f"{norm}.norm.weight": params[f"{norm}.weight"], f"{norm}.norm.bias": params[f"{norm}.bias"]}
                h = normalise(h, 1, named, updated, norm, mode)
            h = torch.tanh(h)
        return h, updated


class Net(NamedTuple):
    """A network of an oracle: the project's model, its parameters, and their official names."""

    model: Model
    params: Params
    buffers: Buffers
    names: dict[str, Callable[[Params], Tensor]]  # official name -> the same tensor in `Params`
    modality_of: Callable[[str], str]  # official name -> modality

    def inputs(self, recorded: dict[str, Any]) -> dict[str, Tensor]:
        values = recorded.get("inputs", recorded)
        return {m: torch.tensor(values[m], dtype=torch.float64) for m in self.model.encoders}

    def task(
        self,
        recorded: dict[str, Any],
        *,
        active: bool,
        reduction: str = "mean",
        noise: Callable[[str, Tensor], Tensor] = lambda purpose, like: torch.zeros_like(like),
        loss: str | None = None,
    ) -> Task:
        label = torch.tensor(recorded.get("inputs", recorded)["label"]).flatten()
        strength = torch.tensor(float(active), dtype=torch.float64)
        values = regression(label[:, None].double(), loss) if loss else classification(label)
        return Task(*values, noise, strength, len(label), reduction=reduction)

    def setup(
        self, method: Method, optimizer: Optimizer, *, clip: float | None = None, trigger: float | None = None
    ) -> Setup:
        trial = {"train": {"clip": clip, "clip_before": None, "clip_trigger": trigger, "accumulate": 1}}
        return Setup(trial, "classification", self.model, method, needs(method), optimizer, {}, {}, {})

    def compare_params(self, when: object, learner: Learner, theirs: dict[str, Any]) -> Pairs:
        for name, value in theirs.items():
            yield from self.compare(f"{when}.{name}", name, learner.params, learner.buffers, value)

    def compare_grads(self, number: int, key: str, grads: Params, theirs: dict[str, Any]) -> Pairs:
        for name, value in theirs[key].items():
            if value is not None:
                yield from self.compare(f"{number}.{key}.{name}", name, grads, {}, value)

    def compare(self, what: str, name: str, params: Params, buffers: Buffers, theirs: Any) -> Pairs:
        """Compare a tensor by its official name; an unknown one has an infinite deviation."""
        layer, _, kind = name.rpartition(".")
        if name in self.names:
            yield what, self.names[name](params).detach(), theirs
        elif kind in STATISTICS:
            modality, local = self.modality_of(layer), layer.removeprefix("net.")
            yield what, buffers[modality][f"{local}.norm.{STATISTICS[kind]}"], theirs
        elif kind != "num_batches_tracked":
            yield f"{what} is unknown here", float("inf"), 0.0


def build_network(case: dict[str, Any]) -> Net:
    """Build the network of a case."""
    values = {name: torch.tensor(v, dtype=torch.float64) for name, v in case["init_params"].items()}
    order = ordered_modalities(case)
    owners = {name: encoder_modality(name, case) for name in values}
    groups: dict[str, Group] = {m: {} for m in order}
    readouts: dict[str, Group] = {m: {} for m in order}
    shared: Group = {}
    buffers: Buffers = {m: {} for m in order}
    names: dict[str, Callable[[Params], Tensor]] = {}
    for name, value in values.items():
        modality, (layer, _, kind) = owners[name], name.removeprefix("net.").rpartition(".")
        if modality is None:
            branch, ours = head_parameter(name, order)
            (readouts[branch] if branch else shared)[ours] = value
            names[name] = lambda p, branch=branch, ours=ours: (p.readouts[branch] if branch else p.shared)[ours]
        elif kind in STATISTICS:
            buffers[modality][f"{layer}.norm.{STATISTICS[kind]}"] = value
        elif kind != "num_batches_tracked":
            groups[modality][f"{layer}.{kind}"] = value
            names[name] = lambda p, m=modality, local=f"{layer}.{kind}": p.encoders[m][local]
    encoders = {m: AffineChain(affine_layers(group, buffers[m])) for m, group in groups.items()}
    fusion: Fusion = Concat()
    if "mix.weight" in shared:
        fusion = Early(activation=torch.tanh)
    elif "head.weight" not in shared:
        fusion = Sum()
    params = Params(groups, readouts, shared, {})
    model = Model(encoders, fusion, len(fusion.head(params)[1]))  # type: ignore[arg-type]
    return Net(model, params, buffers, names, lambda name: str(encoder_modality(name, case)))


def ordered_modalities(case: dict[str, Any]) -> list[str]:
    """Return the modalities in the order in which the case concatenates their features."""
    if "modalities" in case["hyper"]:
        return list(case["hyper"]["modalities"])
    step = case["steps"][0]
    found = [name for name in step.get("inputs", step) if name not in NOT_INPUTS]
    ordered = re.search(r"\border (\w+(?:, \w+)+)", case["arch"])
    if ordered is not None:
        return ordered.group(1).split(", ")
    written = re.search(r"\[[^\]]*;[^\]]*\]", case["arch"])
    if written is None:
        return sorted(found)  # the releases put audio first, then visual
    parts = written.group(0).split(";")
    letters = dict(re.findall(r"\b([xyz]) = (\w+)", case["arch"]))
    named = [re.findall(r"(?:h_|enc_|_|^)([a-z])\b", part.strip("[] "))[0] for part in parts]
    return [letters.get(letter) or next(m for m in found if m[0] == letter) for letter in named]


def encoder_modality(name: str, case: dict[str, Any]) -> str | None:
    """Return the modality whose encoder a parameter belongs to; None for fusion and head."""
    if re.search(r"_cls\b|fusion_module|\bfusion\b|\bhead\b|\bproj\b|\bmix\b|mm_encoder|out_layer", name):
        return None
    numbered = re.search(r"\bencoders\.(\d+)\b", name)
    if numbered is not None:
        return ordered_modalities(case)[int(numbered.group(1))]
    letters = dict(re.findall(r"\b([xyz]) = (\w+)", case["arch"]))
    for modality in ordered_modalities(case):
        ends = [modality[0], *(letter for letter, meant in letters.items() if meant == modality)]
        if modality in name or any(re.search(rf"_{letter}\b", name) for letter in ends):
            return modality
    return None


def head_parameter(name: str, order: list[str]) -> tuple[str | None, str]:
    """Return the modality whose readout a parameter belongs to (None: fusion or shared head), and its name here."""
    kind = name.rpartition(".")[2]
    if re.search(r"mm_encoder|\bmix\b|\bfusion\b", name):
        return None, f"mix.{kind}"
    named = {"fc_x": order[0], "fc_y": order[-1], **{f"{m}_cls": m for m in order}}
    modality = next((m for key, m in named.items() if key in name), None)
    return (modality, kind) if modality else (None, f"head.{kind}")


def affine_layers(group: Group, buffers: Group) -> tuple[tuple[str, str | None], ...]:
    """Return the affine layers of an encoder in order, each with the normalisation that follows it, which has its width.

    Raises:
        ValueError: a normalisation follows no layer of its width.
    """
    found: list[tuple[str, str | None]] = []
    for name in dict.fromkeys(name.rpartition(".")[0] for name in group):
        weight = group[f"{name}.weight"]
        if weight.ndim > 1:
            found.append((name, None))
            continue
        if not found or found[-1][1] or len(group[f"{found[-1][0]}.weight"]) != len(weight):
            raise ValueError(f"{name} normalises no layer of {len(weight)} outputs before it")
        found[-1] = found[-1][0], name
        buffers.setdefault(f"{name}.norm.mean", torch.zeros_like(weight))
        buffers.setdefault(f"{name}.norm.var", torch.ones_like(weight))
    return tuple(found)
