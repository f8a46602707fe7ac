"""The model: runs encoders, fusion and heads, and returns the signals that a method needs.

Muting a modality means a zero input through its encoder (METHODS.md 1), in evaluation mode, while the joint
prediction is made in training mode (METHODS.md 6.2). What the passes share is computed once: encoders that do not
depend on the mode run once, with the muting input as one more sample; an additive fusion predicts every coalition
from the same 2 M products (METHODS.md 12); a fusion that pools its modalities by a sum makes every coalition's sum
from the same 2 M terms.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.classifiers import Classifier
from trainables.encoders import CNN, GRU, MLP, Encoder, Transformer
from trainables.fusions import Attention, Concat, Early, Features, FiLM, Fusion, Gated, Sum, is_additive, is_sum_pooling
from trainables.layers import EVALUATION, Initializer, Mode, Noise, init_linear
from trainables.modules import ModuleEncoder, build_module_encoder, import_attribute
from trainables.signals import Group, Params, Signals, mix

Buffers = dict[str, Group]  # modality -> running statistics, and the constants that its encoder draws from the seed
COALITION_SIGNALS = frozenset({"muted", "muted_values"})  # predictions of coalitions of the modalities
SAMPLE_NDIMS = {"mlp": (1, 2, 3, 4), "cnn": (2, 3), "gru": (2,), "transformer": (2, 3)}  # that an encoder accepts
DENSE_SAMPLE_NDIMS = {"mlp": (2, 3, 4), "cnn": (), "gru": (2,), "transformer": (2,)}  # the same for a dense target


class Contributions(NamedTuple):
    """The summands of an additive prediction."""

    products: Tensor  # [M, B, C] each modality's product with the head
    muted_products: Tensor  # [M, 1, C] the same for the muting input
    biases: Tensor  # [M, C] each modality's share of the bias
    bias: Tensor  # [C]


class ForwardPass(NamedTuple):
    """Intermediate results of the joint pass, from which other signals are computed."""

    params: Params
    buffers: Buffers  # after the pass
    inputs: dict[str, Tensor]
    features: Features
    muted_features: Features | None  # of the muting inputs, [1, H_m]; None: not computed by the pass
    logits: Tensor
    contributions: Contributions | None  # to the prediction; None: not computed by the pass
    training: bool  # not in evaluation mode


class Model(NamedTuple):
    """The architecture; weights are passed to it."""

    encoders: dict[str, Encoder]
    fusion: Fusion
    outputs: int
    classifier: Classifier | None = None  # of a `Guided` method
    mute_inputs: Mapping[str, Tensor | None] = {}  # modality -> input [1, ...] that mutes it; None: a feature of zeros

    def init(self, draw: Initializer, needs: frozenset[str]) -> tuple[Params, Buffers]:
        """Return initial parameters and buffers; a modality's weights depend on its name, not on the other modalities.

        Raises:
            ValueError: a method reads features through the joint head, and the fusion mixes them before that.
        """
        if "readers" in needs and not is_additive(self.fusion):
            raise ValueError("the method needs an additive fusion: concat or sum")
        encoders = {m: encoder.init(scoped_draw(draw, m)) for m, encoder in self.encoders.items()}
        widths = {m: encoder.width for m, encoder in self.encoders.items()}
        readouts, shared = self.fusion.init(widths, self.outputs, scoped_draw(draw, "shared"))
        params = Params(encoders, readouts, shared, {})
        heads: dict[str, Group] = {}
        if self.classifier is not None:
            fused = self.fusion.head(params)[0].shape[-1]
            heads = {"classifiers": self.classifier.init(widths, fused, self.outputs, scoped_draw(draw, "classifiers"))}
        elif "heads" in needs:
            heads = {
                m: init_linear(scoped_draw(draw, f"{m}.own"), "head", width, self.outputs)
                for m, width in widths.items()
            }
        buffers = {m: init_buffers(encoder, scoped_draw(draw, m)) for m, encoder in self.encoders.items()}
        return params._replace(heads=heads), buffers

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
        sum_workers: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Signals, Buffers]:
        """Return the signals in ``needs`` for a batch, and the updated buffers.

        Args:
            params: of the model.
            buffers: of the encoders.
            inputs: modality -> [B, ...].
            needs: names of `Signals`.
            coalitions: [S, M] bool, for which `muted` is computed.
            training: [M] bool, which encoders are in training mode.
            noise: source of the dropout masks.
            present: [M, B] bool, which modalities each sample has; None: all.
            sum_workers: sums normalisation statistics over the workers; None: one worker.
        """
        mode: dict[str, Any] = {
            "training": training, "noise": noise, "present": present, "sum_workers": sum_workers
        }  # fmt: skip
        muted_features: Features | None = None
        contributions: Contributions | None = None
        fused: Any = ()
        mode_matters = training is not False and self.depends_on_mode(buffers)
        if needs & COALITION_SIGNALS and not mode_matters and None not in self.mute_inputs.values():
            rows = {m: concatenate_samples(x, self.mute_input(m, x)) for m, x in inputs.items()}
            all_features, buffers = self.encode(params, buffers, rows, **mode)
            features = {m: h[:-1] for m, h in all_features.items()}
            muted_features = {m: h[-1:] for m, h in all_features.items()}
        else:
            features, buffers = self.encode(params, buffers, inputs, **mode)
        if muted_features and is_additive(self.fusion) and "muted" in needs and not needs & {"fused", "features"}:
            contributions = self.contributions(params, all_features)
            logits = contributions.products.sum(0) + contributions.bias
        else:
            fused = self.fusion.fuse(params, features)
            logits = F.linear(fused, *self.fusion.head(params))
        forward = ForwardPass(
            params, buffers, inputs, features, muted_features, logits, contributions, training is not False
        )
        classified, classifiers = self.classify(params, features) if "classified" in needs else ((), ())
        unimodal = compute_if_needed("unimodal", needs, lambda: self.unimodal_predictions(forward))
        muted: Any = ()
        if coalitions is not None:
            muted = compute_if_needed("muted", needs, lambda: self.coalition_predictions(forward, coalitions))
        return Signals(
            logits=forward.logits,
            fused=fused if "fused" in needs else (),
            weight=self.fusion.head(params)[0] if "weight" in needs else (),
            features=features if "features" in needs else (),
            unimodal=unimodal,
            muted=muted,
            heads=head_predictions(params, features) if "heads" in needs else (),
            readers=head_weights(params) if "readers" in needs else (),
            classified=classified,
            classifiers=classifiers,
        ), buffers

    def classify(self, params: Params, features: Features) -> tuple[Any, Any]:
        """Return what `Classifier` returns for the detached features; () twice without classifiers."""
        if self.classifier is None:
            return (), ()
        return self.classifier(params.heads["classifiers"], {m: h.detach() for m, h in features.items()})

    def encode(
        self,
        params: Params,
        buffers: Buffers,
        inputs: dict[str, Tensor],
        *,
        training: bool | Tensor,
        noise: Noise | None = None,
        present: Tensor | None = None,
        sum_workers: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Features, Buffers]:
        """Return every modality's feature, [B, H_m], and the updated buffers."""
        features: Features = {}
        updated: Buffers = {}
        for i, (m, encoder) in enumerate(self.encoders.items()):
            mode = EVALUATION
            if training is not False:
                encoder_noise = None if noise is None else modality_noise(noise, m)
                trains = training[i] if isinstance(training, Tensor) else training
                mode = Mode(trains, encoder_noise, None if present is None else present[i], sum_workers)
            features[m], updated[m] = encoder(params.encoders[m], buffers[m], inputs[m], mode)
        return features, updated

    def contributions(self, params: Params, features: Features) -> Contributions:
        """Return the summands of the prediction; the last of the features [B + 1, H_m] is that of the muting input."""
        products, biases, bias = self.fusion.contributions(params, features)  # type: ignore[attr-defined]
        return Contributions(products[:, :-1], products[:, -1:], biases, bias)

    def unimodal_predictions(self, forward: ForwardPass) -> Tensor:
        """Return each modality's part of the joint prediction, [M, B, C].

        Of an additive fusion: its product with the head and its share of the bias (METHODS.md 2.1). Of any other: the
        prediction when all other modalities are muted (METHODS.md 5.5).
        """
        if is_additive(self.fusion):
            products, biases, _ = self.fusion.contributions(forward.params, forward.features)
            return products + biases.view(len(biases), *[1] * (products.ndim - 2), -1)
        singletons = torch.eye(len(forward.features), dtype=torch.bool, device=forward.logits.device)
        return self.coalition_predictions(forward, singletons)

    def coalition_predictions(self, forward: ForwardPass, coalitions: Tensor) -> Tensor:
        """Return the joint prediction of each coalition, [S, B, C]; that of all modalities is the joint pass itself."""
        params, features, coalitions = forward.params, forward.features, coalitions.to(forward.logits.device)
        mode_matters = forward.training and self.depends_on_mode(forward.buffers)
        if mode_matters:
            features, _ = self.encode(params, forward.buffers, forward.inputs, training=False)
        muted_features = forward.muted_features or self.muted_features(forward)
        if forward.contributions:
            products, muted_products, _, bias = forward.contributions
            predictions = coalition_sums(coalitions, products, muted_products) + bias
        elif is_additive(self.fusion):
            products, _, bias = self.fusion.contributions(params, features)
            muted_products, _, _ = self.fusion.contributions(params, muted_features)
            predictions = coalition_sums(coalitions, products, muted_products) + bias
        else:
            fused = self.fuse_coalitions(params, features, muted_features, coalitions)
            predictions = F.linear(fused, *self.fusion.head(params))
        if mode_matters:
            full = broadcast_flags(coalitions.all(-1), forward.logits)
            predictions = torch.where(full, forward.logits, predictions)
        return predictions

    def fuse_coalitions(
        self, params: Params, features: Features, muted_features: Features, coalitions: Tensor
    ) -> Tensor:
        """Return the input of the head for each coalition, [S, B, P]."""
        if is_sum_pooling(self.fusion):
            terms, muted_terms = (self.fusion.terms(params, h) for h in (features, muted_features))
            return self.fusion.fuse_total(params, coalition_sums(coalitions, terms, muted_terms))
        members = dict(zip(features, coalitions.unbind(-1), strict=True))
        mixed = {m: torch.where(broadcast_flags(members[m], h), h, muted_features[m]) for m, h in features.items()}
        return self.fusion.fuse(params, mixed)

    def muted_features(self, forward: ForwardPass) -> Features:
        """Return the feature of every modality when it is muted, [1, H_m]."""
        features: Features = {}
        for m in self.encoders:
            x = forward.inputs[m]
            if self.mute_inputs.get(m, x) is None:
                features[m] = torch.zeros_like(forward.features[m][:1])
            else:
                encoder, params = self.encoders[m], forward.params.encoders[m]
                features[m], _ = encoder(params, forward.buffers[m], self.mute_input(m, x), EVALUATION)
        return features

    def mute_input(self, modality: str, like: Tensor) -> Tensor:
        """Return the input that mutes a modality, [1, ...]: zeros, unless `mute_inputs` has another."""
        x = self.mute_inputs.get(modality)
        return torch.zeros_like(like[:1]) if x is None else x

    @property
    def has_batch_norm(self) -> bool:
        """Return whether an encoder normalises by batch statistics."""
        return any(encoder.buffers() for encoder in self.encoders.values())

    def depends_on_mode(self, buffers: Buffers) -> bool:
        """Return whether training and evaluation mode differ: batch normalisation, dropout."""
        return any(
            has_changing_buffers(encoder, buffers[m]) or isinstance(encoder.dropout, Tensor) or encoder.dropout > 0
            for m, encoder in self.encoders.items()
        )


def init_buffers(encoder: Encoder, draw: Initializer) -> Group:
    """Return the initial buffers of an encoder, and the constants that it draws."""
    return encoder.buffers() | (encoder.constants(draw) if isinstance(encoder, ModuleEncoder) else {})


def has_changing_buffers(encoder: Encoder, buffers: Group) -> bool:
    """Return whether training changes any of an encoder's buffers."""
    return bool(encoder.updated_buffers if isinstance(encoder, ModuleEncoder) else buffers)


def concatenate_samples(inputs: Tensor, more: Tensor) -> Tensor:
    """Return the samples of two batches as one batch.

    They are concatenated flat, because a compiler takes a single image for one in channels-last layout, and lays out
    all samples so.
    """
    return torch.cat([inputs.flatten(1), more.flatten(1)]).view(-1, *inputs.shape[1:])


def compute_if_needed(name: str, needs: frozenset[str], compute: Callable[[], Tensor]) -> Any:
    """Return a signal: with gradients if ``needs`` has its name, without if it has ``{name}_values``, else ()."""
    if name in needs:
        return compute()
    if f"{name}_values" not in needs:
        return ()
    with torch.no_grad():
        return compute()


def head_predictions(params: Params, features: Features) -> Tensor:
    """Return the predictions of the modalities' unimodal heads, [M, B, C]."""
    heads = params.heads.values()
    return torch.stack(
        [F.linear(h, p["head.weight"], p["head.bias"]) for h, p in zip(features.values(), heads, strict=True)]
    )


def head_weights(params: Params) -> dict[str, Tensor]:
    """Return weight and bias of the modalities' unimodal heads, [C, H_m + 1]."""
    return {m: torch.cat([p["head.weight"], p["head.bias"][:, None]], -1) for m, p in params.heads.items()}


def coalition_sums(coalitions: Tensor, terms: Tensor, muted_terms: Tensor) -> Tensor:
    """Return each coalition's sum of its members' terms [M, B, C] and the others' muted terms [M, 1, C], [S, B, C]."""
    return mix(coalitions.to(muted_terms), terms - muted_terms) + muted_terms.sum(0)


def broadcast_flags(flags: Tensor, like: Tensor) -> Tensor:
    """Return flags [S] shaped to broadcast over tensors of the shape of ``like``."""
    return flags.view(-1, *[1] * like.ndim)


def modality_noise(noise: Noise, modality: str) -> Noise:
    """Return the noise of one modality's dropout."""
    return lambda layer, like: noise(f"dropout.{modality}.{layer}", like)


def scoped_draw(draw: Initializer, scope: str) -> Initializer:
    """Return ``draw`` with parameter names prefixed by ``scope``."""
    return lambda name, shape, bound: draw(f"{scope}.{name}", shape, bound)


def build_model(settings: Mapping[str, Any], shapes: dict[str, tuple[int, ...]], outputs: int, *, dense: bool) -> Model:
    """Return the model of a study's settings, for samples of these shapes.

    Args:
        settings: ``fusion``, ``hidden``, ``norm``, ``dropout`` and ``encoder`` (a name, or a mapping modality -> name).
        shapes: modality -> shape of one sample.
        outputs: classes, or 1 in regression.
        dense: the target has positions, and encoders are applied to each.

    Raises:
        ValueError: an encoder cannot read a modality of this shape.
    """
    encoders = {modality: build_encoder(settings, modality, shape, dense=dense) for modality, shape in shapes.items()}
    hidden = settings["hidden"]
    fusions: dict[str, Fusion] = {
        "concat": Concat(), "sum": Sum(), "early": Early(hidden),
        "gated": Gated(hidden), "film": FiLM(hidden), "attention": Attention(hidden),
    }  # fmt: skip
    return Model(encoders, fusions[settings["fusion"]], outputs)


def build_encoder(settings: Mapping[str, Any], modality: str, shape: tuple[int, ...], *, dense: bool) -> Encoder:
    """Return the encoder of a study's settings for one modality."""
    hidden, names, norm, dropout = (settings[key] for key in ("hidden", "encoder", "norm", "dropout"))
    name = names if isinstance(names, str) else names.get(modality, "mlp")
    if ":" in name:
        try:
            return build_module_encoder(partial(import_attribute(name), shape), shape, dropout, dense=dense)
        except ValueError as error:
            raise ValueError(f"{name} of modality {modality!r} {error}") from None
    if len(shape) not in (DENSE_SAMPLE_NDIMS if dense else SAMPLE_NDIMS)[name]:
        suffix = " and a target with positions" if dense else ""
        raise ValueError(f"{name} cannot read modality {modality!r} with samples of shape {shape}{suffix}")
    encoders: dict[str, Encoder] = {
        "mlp": MLP(shape, hidden, norm, dense, dropout),
        "cnn": CNN(shape, hidden, norm, dropout),
        "gru": GRU(shape, hidden, dense, dropout),
        "transformer": Transformer(shape, hidden, dense, dropout),
    }
    return encoders[name]
