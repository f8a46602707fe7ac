"""The model: what it reveals, and that its short cuts change nothing."""

import pytest
import torch
from torch import Tensor

from tests.trainables.helpers import FUSIONS, apart, batch, network
from trainables.encoders import CNN, EVALUATION, GRU, MLP, Encoder, Mode
from trainables.model import Model, build
from trainables.randomness import uniform
from trainables.signals import Params, all_subsets, each, leaves

SHAPES: dict[str, tuple[int, ...]] = {"mlp": (5,), "cnn": (9, 7), "gru": (6, 3)}
EVERYTHING = frozenset({"fused", "features", "unimodal", "heads", "muted"})


def drawn(
    model: Model, needs: frozenset[str] = EVERYTHING, seed: int = 0
) -> tuple[Params, dict[str, dict[str, Tensor]]]:
    params, buffers = model.init(lambda name, shape, bound: uniform(seed, name, shape, bound), needs)
    return each(lambda p: p.double(), params), {m: {n: b.double() for n, b in g.items()} for m, g in buffers.items()}


def mixed_network(kind: str, fusion: str, norm: str = "none") -> tuple[Model, dict[str, Tensor]]:
    encoders: dict[str, Encoder] = {}
    for m in ("one", "two", "three"):
        shape = SHAPES[kind]
        encoders[m] = {"mlp": MLP(shape, 8, norm), "cnn": CNN(shape, 8, norm), "gru": GRU(shape, 8)}[kind]
    draw = torch.Generator().manual_seed(1)
    inputs = {m: torch.randn(10, *SHAPES[kind], generator=draw, dtype=torch.float64) for m in encoders}
    return Model(encoders, FUSIONS[fusion], 4), inputs


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize(
    ("kind", "norm"), [("mlp", "none"), ("cnn", "none"), ("gru", "none"), ("mlp", "batch"), ("cnn", "batch")]
)
def test_muting_is_a_zero_input_through_the_whole_network(kind: str, norm: str, fusion: str) -> None:
    """The slow way of METHODS.md 6.2: the joint pass in training mode, every other coalition in evaluation mode."""
    model, inputs = mixed_network(kind, fusion, norm)
    params, buffers = drawn(model)
    coalitions = all_subsets(3)
    signals, after = model(params, buffers, inputs, EVERYTHING, coalitions=coalitions)
    for s, heard in enumerate(coalitions.tolist()[:-1]):
        silenced = {m: x if h else torch.zeros_like(x) for (m, x), h in zip(inputs.items(), heard, strict=True)}
        slow = model(params, after, silenced, frozenset(), training=False)[0].logits
        assert torch.allclose(signals.muted[s], slow, rtol=1e-12, atol=1e-12)
    assert torch.allclose(signals.muted[-1], signals.logits, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_gradients_of_the_short_cut_are_those_of_the_slow_way(norm: str) -> None:
    model, inputs = mixed_network("mlp", "concat", norm)
    params, buffers = drawn(model)
    params = each(lambda p: p.requires_grad_(), params)
    weights = torch.linspace(-1, 1, 7, dtype=torch.float64)
    signals, after = model(params, buffers, inputs, frozenset({"muted"}), coalitions=all_subsets(3))
    fast = torch.autograd.grad((weights @ signals.muted.square().sum((1, 2))), leaves(params), allow_unused=True)
    slow = weights[-1] * model(params, buffers, inputs, frozenset())[0].logits.square().sum()
    for weight, heard in zip(weights[:-1], all_subsets(3).tolist(), strict=False):
        silenced = {m: x if h else torch.zeros_like(x) for (m, x), h in zip(inputs.items(), heard, strict=True)}
        slow = slow + weight * model(params, after, silenced, frozenset(), training=False)[0].logits.square().sum()
    for a, b in zip(fast, torch.autograd.grad(slow, leaves(params), allow_unused=True), strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("fusion", ["concat", "sum"])
def test_the_parts_of_an_additive_fusion_sum_to_the_prediction(fusion: str) -> None:
    model = network(4, fusion)
    params, buffers = drawn(model)
    signals, _ = model(params, buffers, batch(model, 0)[0], EVERYTHING, coalitions=all_subsets(4))
    assert torch.allclose(signals.unimodal.sum(0), signals.logits, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("wanted", [{"fused"}, {"features"}, {"unimodal"}, {"heads"}, {"muted"}, set()])
def test_only_what_is_asked_for_is_revealed(wanted: set[str]) -> None:
    model = network(2)
    params, buffers = drawn(model, frozenset(wanted))
    signals, _ = model(params, buffers, batch(model, 0)[0], frozenset(wanted), coalitions=all_subsets(2))
    revealed = {name for name, value in signals._asdict().items() if not isinstance(value, tuple)}
    assert revealed == wanted | {"logits"}
    assert bool(params.heads) == ("heads" in wanted)


@pytest.mark.parametrize("modalities", [1, 2, 7, 20])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_any_number_of_modalities_is_fused(modalities: int, fusion: str) -> None:
    model = network(modalities, fusion)
    params, buffers = drawn(model)
    inputs, target = batch(model, 0)
    logits = model(params, buffers, inputs, frozenset())[0].logits
    assert logits.shape == (len(target), 3)
    assert logits.isfinite().all()


def test_initial_weights_depend_on_the_seed_and_not_on_company() -> None:
    alone, together = network(1), network(3)
    assert apart(drawn(alone)[0].encoders["m0"], drawn(together)[0].encoders["m0"]) == 0
    assert apart(drawn(alone)[0].encoders["m0"], drawn(alone, seed=1)[0].encoders["m0"]) > 0
    with_heads, without = drawn(together)[0], drawn(together, frozenset())[0]
    assert apart(with_heads._replace(heads={}), without) == 0


def test_initial_weights_have_the_spread_of_torch() -> None:
    settings = {"fusion": "concat", "encoder": "mlp", "hidden": 64, "norm": "none", "dropout": 0.0}
    model = build(settings, {"a": (400,)}, 10, dense=False)
    weight = drawn(model)[0].encoders["a"]["0.weight"]
    reference = torch.nn.Linear(400, 64).weight.detach()
    assert weight.abs().max() <= 1 / 20
    assert float(weight.std()) == pytest.approx(float(reference.std()), rel=0.05)


def test_the_gru_is_the_gru_of_torch() -> None:
    model, inputs = mixed_network("gru", "concat")
    params = drawn(model)[0].encoders["one"]
    theirs = torch.nn.GRU(3, 8, batch_first=True, dtype=torch.float64)
    theirs.load_state_dict(
        dict(zip(("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"), params.values(), strict=True))
    )
    ours, _ = GRU((6, 3), 8)(params, {}, inputs["one"], Mode(training=True))
    assert torch.allclose(ours, theirs(inputs["one"])[0][:, -1], rtol=1e-12)


@pytest.mark.parametrize(("kind", "layer"), [("mlp", torch.nn.BatchNorm1d), ("cnn", torch.nn.BatchNorm2d)])
def test_batch_normalisation_is_that_of_torch(kind: str, layer: type[torch.nn.Module]) -> None:
    model, inputs = mixed_network(kind, "concat", "batch")
    params, buffers = drawn(model)
    ours, updated = model.encoders["one"](params.encoders["one"], buffers["one"], inputs["one"], Mode(training=True))
    p = params.encoders["one"]
    first = layer(p["0.norm.weight"].numel(), dtype=torch.float64)
    if kind == "mlp":
        first(torch.nn.functional.linear(inputs["one"], p["0.weight"], p["0.bias"]))
    else:
        first(torch.nn.functional.conv2d(inputs["one"][:, None], p["0.weight"], p["0.bias"], 2, 2))
    assert torch.allclose(updated["0.norm.mean"], first.running_mean, rtol=1e-12)
    assert torch.allclose(updated["0.norm.var"], first.running_var, rtol=1e-12)
    again, kept = model.encoders["one"](p, updated, inputs["one"], EVALUATION)
    assert apart(kept, updated) == 0
    assert not torch.allclose(ours, again)


def test_an_encoder_refuses_what_it_cannot_read() -> None:
    settings = {"fusion": "concat", "encoder": {"a": "cnn"}, "hidden": 8, "norm": "none", "dropout": 0.0}
    with pytest.raises(ValueError, match=r"cnn cannot read modality 'a' with samples of shape \(12,\)"):
        build(settings, {"a": (12,)}, 3, dense=False)
