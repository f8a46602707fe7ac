"""The model: the signals that it returns, and that its shortcuts change nothing."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainables.helpers import FUSIONS, batch, max_difference, network, stack
from trainables.encoders import CNN, GRU, MLP, Encoder, Transformer
from trainables.model import Model, build_model
from trainables.randomness import normal, uniform
from trainables.signals import Params, all_subsets, each, leaves

SHAPES: dict[str, tuple[int, ...]] = {"mlp": (5,), "cnn": (9, 7), "gru": (6, 3), "transformer": (6, 3)}
KINDS = [(kind, norm) for kind in ("mlp", "cnn") for norm in ("none", "batch", "layer")]
KINDS += [("gru", "none"), ("transformer", "none")]
EVERYTHING = frozenset({"fused", "features", "unimodal", "heads", "muted"})


def random_weights(
    model: Model, needs: frozenset[str] = EVERYTHING, seed: int = 0
) -> tuple[Params, dict[str, dict[str, Tensor]]]:
    params, buffers = model.init(lambda name, shape, bound: uniform(seed, name, shape, bound), needs)
    return each(lambda p: p.double(), params), {m: {n: b.double() for n, b in g.items()} for m, g in buffers.items()}


def mixed_network(
    kind: str, fusion: str, norm: str = "none", dropout: float = 0.0, *, dense: bool = False
) -> tuple[Model, dict[str, Tensor]]:
    shape = (6, 3) if dense else SHAPES[kind]
    encoder: Encoder = {
        "mlp": MLP(shape, 8, norm, dense, dropout),
        "cnn": CNN(shape, 8, norm, dropout),
        "gru": GRU(shape, 8, dense, dropout),
        "transformer": Transformer(shape, 8, dense, dropout, 1),
    }[kind]
    encoders = dict.fromkeys(("one", "two", "three"), encoder)
    draw = torch.Generator().manual_seed(1)
    inputs = {m: torch.randn(10, *shape, generator=draw, dtype=torch.float64) for m in encoders}
    return Model(encoders, FUSIONS[fusion], 4), inputs


def noise(purpose: str, like: Tensor) -> Tensor:
    return normal(tuple(like.shape), 0, purpose).to(like)


def mute_inputs(inputs: dict[str, Tensor], members: list[bool]) -> dict[str, Tensor]:
    return {m: x if h else torch.zeros_like(x) for (m, x), h in zip(inputs.items(), members, strict=True)}


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize(
    ("kind", "norm", "dense"),
    [*((*pair, False) for pair in KINDS), ("mlp", "batch", True), ("gru", "none", True), ("transformer", "none", True)],
)
def test_muting_is_a_zero_input_through_the_whole_network(
    kind: str, norm: str, dense: bool, fusion: str, dropout: float
) -> None:
    """The separate passes of METHODS.md 6.2: the joint pass in training mode, every other coalition in evaluation mode.

    Evaluation is by the running statistics as the joint pass left them.
    """
    model, inputs = mixed_network(kind, fusion, norm, dropout, dense=dense)
    params, buffers = random_weights(model)
    signals, after = model(params, buffers, inputs, EVERYTHING, coalitions=all_subsets(3), noise=noise)
    for s, members in enumerate(all_subsets(3).tolist()[:-1]):
        slow = model(params, after, mute_inputs(inputs, members), frozenset(), training=False)[0].logits
        assert torch.allclose(signals.muted[s], slow, rtol=1e-12, atol=1e-12)
    assert torch.allclose(signals.muted[-1], signals.logits, rtol=1e-12, atol=1e-12)
    evaluated = model(params, after, inputs, frozenset(), training=False)[0].logits
    assert torch.allclose(evaluated, signals.logits) == (norm != "batch" and dropout == 0)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize(
    ("kind", "norm"), [("mlp", "none"), ("mlp", "batch"), ("gru", "none"), ("transformer", "none")]
)
def test_gradients_of_the_shortcut_are_those_of_separate_passes(kind: str, norm: str, fusion: str) -> None:
    model, inputs = mixed_network(kind, fusion, norm, dropout=0.4)
    params, buffers = random_weights(model)
    params = each(lambda p: p.requires_grad_(), params)
    weights = torch.linspace(-1, 1, 7, dtype=torch.float64)
    signals, after = model(params, buffers, inputs, frozenset({"muted"}), coalitions=all_subsets(3), noise=noise)
    fast = torch.autograd.grad((weights @ signals.muted.square().sum((1, 2))), leaves(params), allow_unused=True)
    slow = weights[-1] * model(params, buffers, inputs, frozenset(), noise=noise)[0].logits.square().sum()
    for weight, members in zip(weights[:-1], all_subsets(3).tolist(), strict=False):
        muted = model(params, after, mute_inputs(inputs, members), frozenset(), training=False)[0].logits
        slow = slow + weight * muted.square().sum()
    for a, b in zip(fast, torch.autograd.grad(slow, leaves(params), allow_unused=True), strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_eight_models_in_one_pack_are_eight_models(fusion: str, training: bool) -> None:
    """All that a method may ask for, and its gradient, under `vmap`."""
    model, inputs = mixed_network("mlp", fusion, "batch", 0.4)
    members = [random_weights(model, seed=seed) for seed in range(8)]

    def compute_signals(params: Params, buffers: dict[str, dict[str, Tensor]]) -> tuple[Tensor, Any]:
        mode = {"training": training, "noise": noise}
        signals, after = model(params, buffers, inputs, EVERYTHING, coalitions=all_subsets(3), **mode)
        return signals.muted.square().sum() + signals.unimodal.sum(), (signals, after)

    gradients = torch.func.grad(compute_signals, has_aux=True)
    stacked = stack(members)
    for f in (gradients, compute_signals):
        assert max_difference(torch.func.vmap(f)(*stacked), stack([f(*one) for one in members])) < 1e-9


@pytest.mark.parametrize("fusion", ["concat", "sum"])
def test_the_parts_of_an_additive_fusion_sum_to_the_prediction(fusion: str) -> None:
    model = network(4, fusion)
    params, buffers = random_weights(model)
    signals, _ = model(params, buffers, batch(model, 0)[0], EVERYTHING, coalitions=all_subsets(4))
    assert torch.allclose(signals.unimodal.sum(0), signals.logits, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("needs", [{"fused"}, {"features"}, {"unimodal"}, {"heads"}, {"muted"}, set()])
def test_only_the_needed_signals_are_returned(needs: set[str]) -> None:
    model = network(2)
    params, buffers = random_weights(model, frozenset(needs))
    signals, _ = model(params, buffers, batch(model, 0)[0], frozenset(needs), coalitions=all_subsets(2))
    returned = {name for name, value in signals._asdict().items() if not isinstance(value, tuple)}
    assert returned == needs | {"logits"}
    assert bool(params.heads) == ("heads" in needs)


@pytest.mark.parametrize("modalities", [1, 2, 7, 20])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_any_number_of_modalities_is_fused(modalities: int, fusion: str) -> None:
    model = network(modalities, fusion)
    params, buffers = random_weights(model)
    inputs, target = batch(model, 0)
    logits = model(params, buffers, inputs, frozenset())[0].logits
    assert logits.shape == (len(target), 3)
    assert logits.isfinite().all()


def test_initial_weights_depend_on_the_seed_and_not_on_other_modalities() -> None:
    alone, together = network(1), network(3)
    assert max_difference(random_weights(alone)[0].encoders["m0"], random_weights(together)[0].encoders["m0"]) == 0
    assert max_difference(random_weights(alone)[0].encoders["m0"], random_weights(alone, seed=1)[0].encoders["m0"]) > 0
    with_heads, without = random_weights(together)[0], random_weights(together, frozenset())[0]
    assert max_difference(with_heads._replace(heads={}), without) == 0


def test_initial_weights_have_the_spread_of_torch() -> None:
    settings = {"fusion": "concat", "encoder": "mlp", "hidden": 64, "norm": "none", "dropout": 0.0}
    model = build_model(settings, {"a": (400,)}, 10, dense=False)
    weight = random_weights(model)[0].encoders["a"]["0.weight"]
    reference = torch.nn.Linear(400, 64).weight.detach()
    assert weight.abs().max() <= 1 / 20
    assert float(weight.std()) == pytest.approx(float(reference.std()), rel=0.05)


@pytest.mark.parametrize(
    ("kind", "shape", "dense"),
    [
        ("cnn", (12,), False), ("gru", (12,), False), ("gru", (3, 12, 12), False), ("transformer", (12,), False),
        ("mlp", (12,), True), ("cnn", (12, 3), True), ("gru", (12,), True), ("transformer", (3, 12, 12), True),
    ],
)  # fmt: skip
def test_an_encoder_refuses_shapes_that_it_cannot_read(kind: str, shape: tuple[int, ...], dense: bool) -> None:
    settings = {"fusion": "concat", "encoder": {"a": kind}, "hidden": 8, "norm": "none", "dropout": 0.0}
    message = f"{kind} cannot read modality 'a' with samples of shape {shape}"
    with pytest.raises(ValueError, match=re.escape(message) + (" and a target with positions$" if dense else "$")):
        build_model(settings, {"a": shape}, 3, dense=dense)
