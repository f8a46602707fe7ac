"""The model: encoders, a fusion and heads become the signals that a method asks for, and only those.

Muting a modality means a zero input through its encoder (METHODS.md 1), in evaluation mode, while the joint
prediction is made in training mode (METHODS.md 6.2). What can be shared between the passes is computed once:
the encoders run once where they do not depend on the mode, a silent encoder runs on one sample, and a fusion that
adds up its modalities predicts every coalition from the same 2 M products (METHODS.md 12).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.encoders import CNN, GRU, MLP, Draw, Encoder, linear
from trainables.fusions import Additive, Concat, Early, Features, Fusion, Sum
from trainables.signals import Group, Params, Signals, mix

Buffers = dict[str, Group]  # modality -> running statistics


class Pass(NamedTuple):
    """A forward pass that was made, for those that build on it."""

    params: Params
    buffers: Buffers  # as the pass left them
    inputs: dict[str, Tensor]
    features: Features
    logits: Tensor
    training: bool


class Model(NamedTuple):
    """The architecture, without its weights."""

    encoders: dict[str, Encoder]
    fusion: Fusion
    outputs: int

    def init(self, draw: Draw, needs: frozenset[str]) -> tuple[Params, Buffers]:
        """Return initial parameters and buffers; a modality's weights depend on its name, not on its company."""
        encoders = {m: encoder.init(scoped(draw, m)) for m, encoder in self.encoders.items()}
        widths = {m: encoder.width for m, encoder in self.encoders.items()}
        shared = self.fusion.init(widths, self.outputs, scoped(draw, "shared"))
        heads = {}
        if "heads" in needs:
            heads = {m: linear(scoped(draw, f"{m}.own"), "head", width, self.outputs) for m, width in widths.items()}
        return Params(encoders, shared, heads), {m: encoder.buffers() for m, encoder in self.encoders.items()}

    def __call__(
        self,
        params: Params,
        buffers: Buffers,
        inputs: dict[str, Tensor],
        needs: frozenset[str],
        *,
        coalitions: Tensor | None = None,
        training: bool = True,
    ) -> tuple[Signals, Buffers]:
        """Predict a batch and return the signals in ``needs``, and the updated buffers.

        ``inputs`` maps each modality to [B, ...]; ``coalitions`` [S, M] bool are those that `muted` is about.
        """
        features, buffers = self.encode(params, buffers, inputs, training=training)
        fused = self.fusion.fuse(params.shared, features)
        made = Pass(params, buffers, inputs, features, self.fusion.head(params.shared, fused), training)
        return Signals(
            logits=made.logits,
            fused=fused if "fused" in needs else (),
            features=features if "features" in needs else (),
            unimodal=self.split(made) if "unimodal" in needs else (),
            heads=own(params, features) if "heads" in needs else (),
            muted=self.mute(made, coalitions) if "muted" in needs and coalitions is not None else (),
        ), buffers

    def encode(
        self, params: Params, buffers: Buffers, inputs: dict[str, Tensor], *, training: bool
    ) -> tuple[Features, Buffers]:
        """Return every modality's feature, [B, H_m], and the updated buffers."""
        encoded = {
            m: encoder(params.encoders[m], buffers[m], inputs[m], training=training)
            for m, encoder in self.encoders.items()
        }
        return {m: h for m, (h, _) in encoded.items()}, {m: b for m, (_, b) in encoded.items()}

    def split(self, made: Pass) -> Tensor:
        """Return each modality's part of the joint prediction, [M, B, C].

        Of a fusion that adds up: its product with the head and its share of the bias (METHODS.md 2.1). Of any
        other: the prediction when all other modalities are silent (METHODS.md 5.5).
        """
        if isinstance(self.fusion, Additive):
            products, biases = self.fusion.parts(made.params.shared, made.features)
            return torch.stack([u + b for u, b in zip(products, biases, strict=True)])
        return self.mute(made, torch.eye(len(made.features), dtype=torch.bool, device=made.logits.device))

    def mute(self, made: Pass, coalitions: Tensor) -> Tensor:
        """Return the joint prediction of each coalition, [S, B, C]; that of all modalities is the pass itself."""
        shared, heard, coalitions = made.params.shared, made.features, coalitions.to(made.logits.device)
        mode_matters = made.training and any(made.buffers.values())  # batch normalisation
        if mode_matters:
            heard, _ = self.encode(made.params, made.buffers, made.inputs, training=False)
        nothing = {m: torch.zeros_like(x[:1]) for m, x in made.inputs.items()}
        silent, _ = self.encode(made.params, made.buffers, nothing, training=False)
        if isinstance(self.fusion, Additive):
            said, biases = self.fusion.parts(shared, heard)
            unsaid, _ = self.fusion.parts(shared, silent)
            muted = blend(coalitions, said, unsaid) + torch.stack(biases).sum(0)
        else:
            mixed = {
                m: torch.where(per_coalition(coalitions[:, i], heard[m]), heard[m], silent[m])
                for i, m in enumerate(heard)
            }
            muted = self.fusion.head(shared, self.fusion.fuse(shared, mixed))
        if mode_matters:
            muted = torch.where(per_coalition(coalitions.all(-1), made.logits), made.logits, muted)
        return muted


def own(params: Params, features: Features) -> Tensor:
    """Return the predictions of the modalities' own heads, [M, B, C]."""
    heads = params.heads.values()
    return torch.stack(
        [F.linear(h, p["head.weight"], p["head.bias"]) for h, p in zip(features.values(), heads, strict=True)]
    )


def blend(coalitions: Tensor, heard: list[Tensor], quiet: list[Tensor]) -> Tensor:
    """Return, for each coalition, the sum of what its members say and what the others say in silence, [S, B, C]."""
    unsaid = torch.stack(quiet)  # [M, 1, C]
    return mix(coalitions.to(unsaid), torch.stack(heard) - unsaid) + unsaid.sum(0)


def per_coalition(flags: Tensor, like: Tensor) -> Tensor:
    """Return flags [S] shaped to broadcast over tensors of the shape of ``like``."""
    return flags.view(-1, *[1] * like.ndim)


def scoped(draw: Draw, scope: str) -> Draw:
    """Return ``draw`` with names under ``scope``."""
    return lambda name, shape, bound: draw(f"{scope}.{name}", shape, bound)


def build(settings: Mapping[str, Any], shapes: dict[str, tuple[int, ...]], outputs: int, *, dense: bool) -> Model:
    """Return the model that a study describes, for samples of these shapes.

    Args:
        settings: ``fusion``, ``hidden``, ``norm`` and ``encoder`` (a name, or a mapping modality -> name).
        shapes: modality -> shape of one sample.
        outputs: classes, or 1 in regression.
        dense: the target has positions; encoders then act on each.

    Raises:
        ValueError: an encoder cannot read a modality of this shape.
    """
    hidden, kinds = settings["hidden"], settings["encoder"]
    encoders: dict[str, Encoder] = {}
    for modality, shape in shapes.items():
        kind = kinds if isinstance(kinds, str) else kinds.get(modality, "mlp")
        dimensions = {"mlp": (1, 2, 3, 4), "cnn": (2, 3), "gru": (2,)}[kind]
        if len(shape) not in dimensions or (dense and kind != "mlp"):
            raise ValueError(f"{kind} cannot read modality {modality!r} with samples of shape {shape}")
        norm = settings["norm"]
        if kind == "gru":
            encoders[modality] = GRU(shape, hidden)
        else:
            encoders[modality] = CNN(shape, hidden, norm) if kind == "cnn" else MLP(shape, hidden, norm, dense)
    fusions: dict[str, Fusion] = {"concat": Concat(), "sum": Sum(), "early": Early(hidden)}
    return Model(encoders, fusions[settings["fusion"]], outputs)
