"""The model: encoders, a fusion and heads become the signals that a method asks for, and only those.

Muting a modality means a zero input through its encoder (METHODS.md 1), in evaluation mode, while the joint
prediction is made in training mode (METHODS.md 6.2). What can be shared between the passes is computed once:
where encoders do not depend on the mode they run once, with silence as one more sample; a fusion that adds up its
modalities predicts every coalition from the same 2 M products (METHODS.md 12); one that sees them through a sum
makes every coalition's sum from the same 2 M terms.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.classifiers import Classifier
from trainables.encoders import CNN, GRU, MLP, Encoder, Transformer
from trainables.fusions import Attention, Concat, Early, Features, FiLM, Fusion, Gated, Sum, adds_up, sums
from trainables.layers import EVALUATION, Draw, Mode, Noise, linear
from trainables.modules import Module, attribute, module
from trainables.signals import Group, Params, Signals, mix

Buffers = dict[str, Group]  # modality -> running statistics, and what else its encoder has of a trial's seed
LISTENING = frozenset({"muted", "muted_values"})  # what coalitions of the modalities predict
READABLE = {"mlp": (1, 2, 3, 4), "cnn": (2, 3), "gru": (2,), "transformer": (2, 3)}  # dimensions of a sample
POSITIONED = {"mlp": (2, 3, 4), "cnn": (), "gru": (2,), "transformer": (2,)}  # the same where the target is dense


class Parts(NamedTuple):
    """What a prediction adds up from."""

    said: Tensor  # [M, B, C] each modality's product with the head
    unsaid: Tensor  # [M, 1, C] that of its silence
    biases: Tensor  # [M, C] each modality's share of the bias
    bias: Tensor  # [C]


class Pass(NamedTuple):
    """A forward pass that was made, for those that build on it."""

    params: Params
    buffers: Buffers  # as the pass left them
    inputs: dict[str, Tensor]
    features: Features
    silent: Features | None  # of silence, [1, H_m], where the pass has made them
    logits: Tensor
    parts: Parts | None  # of the prediction, where the pass has made them
    training: bool  # not in evaluation mode


class Model(NamedTuple):
    """The architecture, without its weights."""

    encoders: dict[str, Encoder]
    fusion: Fusion
    outputs: int
    classifier: Classifier | None = None  # of a `Guided` method
    silence: Mapping[str, Tensor | None] = {}  # modality -> input [1, ...] that mutes it; None: a feature of zeros

    def init(self, draw: Draw, needs: frozenset[str]) -> tuple[Params, Buffers]:
        """Return initial parameters and buffers; a modality's weights depend on its name, not on its company.

        Raises:
            ValueError: a method reads features through the joint head, and the fusion mixes them before that.
        """
        if "readers" in needs and not adds_up(self.fusion):
            raise ValueError("the method needs a fusion that adds up its modalities: concat or sum")
        encoders = {m: encoder.init(scoped(draw, m)) for m, encoder in self.encoders.items()}
        widths = {m: encoder.width for m, encoder in self.encoders.items()}
        readouts, shared = self.fusion.init(widths, self.outputs, scoped(draw, "shared"))
        params = Params(encoders, readouts, shared, {})
        heads: dict[str, Group] = {}
        if self.classifier is not None:
            fused = self.fusion.head(params)[0].shape[-1]
            heads = {"classifiers": self.classifier.init(widths, fused, self.outputs, scoped(draw, "classifiers"))}
        elif "heads" in needs:
            heads = {m: linear(scoped(draw, f"{m}.own"), "head", width, self.outputs) for m, width in widths.items()}
        return params._replace(heads=heads), {m: kept(e, scoped(draw, m)) for m, e in self.encoders.items()}

    def __call__(
        self,
        params: Params,
        buffers: Buffers,
        inputs: dict[str, Tensor],
        needs: frozenset[str],
        *,
        coalitions: Tensor | None = None,
        training: bool | Tensor = True,
        noise: Noise | None = None,
        present: Tensor | None = None,
        statistic: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Signals, Buffers]:
        """Predict a batch and return the signals in ``needs``, and the updated buffers.

        ``inputs`` maps each modality to [B, ...]; ``coalitions`` [S, M] bool are those that `muted` is about;
        ``training`` [M] bool says which encoders train, ``noise`` is what dropout draws from, ``present`` [M, B]
        bool says who is heard in which sample (None: all in all), and ``statistic`` sums over the workers what their
        samples are normalised by (None: there is one).
        """
        mode: dict[str, Any] = {"training": training, "noise": noise, "present": present, "statistic": statistic}
        silent: Features | None = None
        parts: Parts | None = None
        fused: Any = ()
        moody = training is not False and self.moody(buffers)
        if needs & LISTENING and not moody and None not in self.silence.values():
            rows = {m: joined(x, self.hushed(m, x)) for m, x in inputs.items()}
            everything, buffers = self.encode(params, buffers, rows, **mode)
            features, silent = {m: h[:-1] for m, h in everything.items()}, {m: h[-1:] for m, h in everything.items()}
        else:
            features, buffers = self.encode(params, buffers, inputs, **mode)
        if silent and adds_up(self.fusion) and "muted" in needs and not needs & {"fused", "features"}:
            parts = self.part(params, everything)
            logits = parts.said.sum(0) + parts.bias
        else:
            fused = self.fusion.fuse(params, features)
            logits = F.linear(fused, *self.fusion.head(params))
        made = Pass(params, buffers, inputs, features, silent, logits, parts, training is not False)
        classified: Any = ()
        classifiers: Any = ()
        if self.classifier is not None and "classified" in needs:
            apart = {m: h.detach() for m, h in features.items()}
            classified, classifiers = self.classifier(params.heads["classifiers"], apart)
        return Signals(
            logits=made.logits,
            fused=fused if "fused" in needs else (),
            weight=self.fusion.head(params)[0] if "weight" in needs else (),
            features=features if "features" in needs else (),
            unimodal=revealed("unimodal", needs, lambda: self.split(made)),
            muted=revealed("muted", needs, lambda: self.mute(made, coalitions)) if coalitions is not None else (),
            heads=own(params, features) if "heads" in needs else (),
            readers=readers(params) if "readers" in needs else (),
            classified=classified,
            classifiers=classifiers,
        ), buffers

    def encode(
        self,
        params: Params,
        buffers: Buffers,
        inputs: dict[str, Tensor],
        *,
        training: bool | Tensor,
        noise: Noise | None = None,
        present: Tensor | None = None,
        statistic: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Features, Buffers]:
        """Return every modality's feature, [B, H_m], and the updated buffers."""
        features: Features = {}
        updated: Buffers = {}
        for i, (m, encoder) in enumerate(self.encoders.items()):
            mode = EVALUATION
            if training is not False:
                own = None if noise is None else heard_by(noise, m)
                trains = training[i] if isinstance(training, Tensor) else training
                mode = Mode(trains, own, None if present is None else present[i], statistic)
            features[m], updated[m] = encoder(params.encoders[m], buffers[m], inputs[m], mode)
        return features, updated

    def part(self, params: Params, features: Features) -> Parts:
        """Return the parts of the prediction from features of which the last is that of silence, [B + 1, H_m]."""
        products, biases, bias = self.fusion.parts(params, features)  # type: ignore[attr-defined]
        return Parts(products[:, :-1], products[:, -1:], biases, bias)

    def split(self, made: Pass) -> Tensor:
        """Return each modality's part of the joint prediction, [M, B, C].

        Of a fusion that adds up: its product with the head and its share of the bias (METHODS.md 2.1). Of any
        other: the prediction when all other modalities are silent (METHODS.md 5.5).
        """
        if adds_up(self.fusion):
            products, biases, _ = self.fusion.parts(made.params, made.features)
            return products + biases.view(len(biases), *[1] * (products.ndim - 2), -1)
        return self.mute(made, torch.eye(len(made.features), dtype=torch.bool, device=made.logits.device))

    def mute(self, made: Pass, coalitions: Tensor) -> Tensor:
        """Return the joint prediction of each coalition, [S, B, C]; that of all modalities is the pass itself."""
        params, heard, coalitions = made.params, made.features, coalitions.to(made.logits.device)
        mode_matters = made.training and self.moody(made.buffers)
        if mode_matters:
            heard, _ = self.encode(params, made.buffers, made.inputs, training=False)
        silent = made.silent or self.hush(made)
        if made.parts:
            muted = blend(coalitions, made.parts.said, made.parts.unsaid) + made.parts.bias
        elif adds_up(self.fusion):
            said, _, bias = self.fusion.parts(params, heard)
            muted = blend(coalitions, said, self.fusion.parts(params, silent)[0]) + bias
        else:
            muted = F.linear(self.cross(params, heard, silent, coalitions), *self.fusion.head(params))
        if mode_matters:
            muted = torch.where(per_coalition(coalitions.all(-1), made.logits), made.logits, muted)
        return muted

    def cross(self, params: Params, heard: Features, silent: Features, coalitions: Tensor) -> Tensor:
        """Return the input of the head for each coalition, [S, B, P]."""
        if sums(self.fusion):
            said, unsaid = (self.fusion.terms(params, features) for features in (heard, silent))
            return self.fusion.join(params, blend(coalitions, said, unsaid))
        members = dict(zip(heard, coalitions.unbind(-1), strict=True))
        mixed = {m: torch.where(per_coalition(members[m], h), h, silent[m]) for m, h in heard.items()}
        return self.fusion.fuse(params, mixed)

    def hush(self, made: Pass) -> Features:
        """Return the feature of every modality when it is muted, [1, H_m]."""
        features: Features = {}
        for m in self.encoders:
            x = made.inputs[m]
            if self.silence.get(m, x) is None:
                features[m] = torch.zeros_like(made.features[m][:1])
            else:
                encoder, params = self.encoders[m], made.params.encoders[m]
                features[m], _ = encoder(params, made.buffers[m], self.hushed(m, x), EVALUATION)
        return features

    def hushed(self, modality: str, like: Tensor) -> Tensor:
        """Return the input that mutes a modality, [1, ...]: zeros, if nothing else is stated."""
        stated = self.silence.get(modality)
        return torch.zeros_like(like[:1]) if stated is None else stated

    @property
    def normalised(self) -> bool:
        """Say whether an encoder normalises by the batch."""
        return any(encoder.buffers() for encoder in self.encoders.values())

    def moody(self, buffers: Buffers) -> bool:
        """Say whether training and evaluation differ: batch normalisation, dropout."""
        return any(
            changing(encoder, buffers[m]) or isinstance(encoder.dropout, Tensor) or encoder.dropout > 0
            for m, encoder in self.encoders.items()
        )


def kept(encoder: Encoder, draw: Draw) -> Group:
    """Return the initial buffers of an encoder, and the constants that it draws."""
    return encoder.buffers() | (encoder.constants(draw) if isinstance(encoder, Module) else {})


def changing(encoder: Encoder, buffers: Group) -> bool:
    """Say whether training changes any of an encoder's buffers."""
    return bool(encoder.changing if isinstance(encoder, Module) else buffers)


def joined(inputs: Tensor, more: Tensor) -> Tensor:
    """Return samples of any shape one after another.

    They are joined flat, because a compiler takes a single image for one whose channels come last, and orders all so.
    """
    return torch.cat([inputs.flatten(1), more.flatten(1)]).view(-1, *inputs.shape[1:])


def revealed(name: str, needs: frozenset[str], reveal: Callable[[], Tensor]) -> Any:
    """Return a signal, with gradients if ``needs`` has its name and without if it has its values; else nothing."""
    if name in needs:
        return reveal()
    if f"{name}_values" not in needs:
        return ()
    with torch.no_grad():
        return reveal()


def own(params: Params, features: Features) -> Tensor:
    """Return the predictions of the modalities' own heads, [M, B, C]."""
    heads = params.heads.values()
    return torch.stack(
        [F.linear(h, p["head.weight"], p["head.bias"]) for h, p in zip(features.values(), heads, strict=True)]
    )


def readers(params: Params) -> dict[str, Tensor]:
    """Return weight and bias of the modalities' own heads, [C, H_m + 1]."""
    return {m: torch.cat([p["head.weight"], p["head.bias"][:, None]], -1) for m, p in params.heads.items()}


def blend(coalitions: Tensor, heard: Tensor, quiet: Tensor) -> Tensor:
    """Return each coalition's sum of what members say [M, B, C] and the others say in silence [M, 1, C], [S, B, C]."""
    return mix(coalitions.to(quiet), heard - quiet) + quiet.sum(0)


def per_coalition(flags: Tensor, like: Tensor) -> Tensor:
    """Return flags [S] shaped to broadcast over tensors of the shape of ``like``."""
    return flags.view(-1, *[1] * like.ndim)


def heard_by(noise: Noise, modality: str) -> Noise:
    """Return the noise of one modality's dropout."""
    return lambda layer, like: noise(f"dropout.{modality}.{layer}", like)


def scoped(draw: Draw, scope: str) -> Draw:
    """Return ``draw`` with names under ``scope``."""
    return lambda name, shape, bound: draw(f"{scope}.{name}", shape, bound)


def build(settings: Mapping[str, Any], shapes: dict[str, tuple[int, ...]], outputs: int, *, dense: bool) -> Model:
    """Return the model that a study describes, for samples of these shapes.

    Args:
        settings: ``fusion``, ``hidden``, ``norm``, ``dropout`` and ``encoder`` (a name, or a mapping modality -> name).
        shapes: modality -> shape of one sample.
        outputs: classes, or 1 in regression.
        dense: the target has positions; encoders then act on each.

    Raises:
        ValueError: an encoder cannot read a modality of this shape.
    """
    encoders = {modality: encoder_of(settings, modality, shape, dense=dense) for modality, shape in shapes.items()}
    hidden = settings["hidden"]
    fusions: dict[str, Fusion] = {
        "concat": Concat(), "sum": Sum(), "early": Early(hidden),
        "gated": Gated(hidden), "film": FiLM(hidden), "attention": Attention(hidden),
    }  # fmt: skip
    return Model(encoders, fusions[settings["fusion"]], outputs)


def encoder_of(settings: Mapping[str, Any], modality: str, shape: tuple[int, ...], *, dense: bool) -> Encoder:
    """Return the encoder that a study describes for one modality."""
    hidden, kinds, norm, dropout = (settings[key] for key in ("hidden", "encoder", "norm", "dropout"))
    kind = kinds if isinstance(kinds, str) else kinds.get(modality, "mlp")
    if ":" in kind:
        try:
            return module(partial(attribute(kind), shape), shape, dropout, dense=dense)
        except ValueError as error:
            raise ValueError(f"{kind} of modality {modality!r} {error}") from None
    if len(shape) not in (POSITIONED if dense else READABLE)[kind]:
        where = " and a target with positions" if dense else ""
        raise ValueError(f"{kind} cannot read modality {modality!r} with samples of shape {shape}{where}")
    encoders: dict[str, Encoder] = {
        "mlp": MLP(shape, hidden, norm, dense, dropout),
        "cnn": CNN(shape, hidden, norm, dropout),
        "gru": GRU(shape, hidden, dense, dropout),
        "transformer": Transformer(shape, hidden, dense, dropout),
    }
    return encoders[kind]
