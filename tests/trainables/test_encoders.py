"""The encoders: equal to those of torch where it has them, and the same alone and in a pack."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainables.helpers import max_difference, stack
from trainables.encoders import CNN, GRU, MLP, Encoder, Transformer
from trainables.layers import EVALUATION, Mode, affine, sinusoidal_positions
from trainables.randomness import normal, uniform
from trainables.signals import Group

ENCODERS: dict[str, Encoder] = {
    "mlp": MLP((5,), 8),
    "mlp batch": MLP((5,), 8, "batch", dropout=0.3),
    "mlp layer": MLP((5,), 8, "layer"),
    "mlp dense": MLP((6, 3), 8, "batch", dense=True),
    "cnn": CNN((5, 6), 8, dropout=0.3),
    "cnn batch": CNN((2, 5, 6), 8, "batch"),
    "cnn layer": CNN((2, 5, 6), 8, "layer"),
    "gru": GRU((6, 3), 8, dropout=0.3),
    "gru dense": GRU((6, 3), 8, dense=True),
    "transformer": Transformer((6, 3), 8, dropout=0.3),
    "transformer dense": Transformer((6, 3), 8, dense=True),
    "transformer of an image": Transformer((2, 5, 6), 8),
}
ALL_ENCODERS = pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS.keys())


def random_weights(encoder: Encoder, seed: int = 0) -> tuple[Group, Group]:
    """Return weights and statistics, perturbed from their initial zeros and ones, float64."""

    def perturbed(name: str, tensor: Tensor) -> Tensor:
        return tensor.double() + uniform(seed, f"near.{name}", tuple(tensor.shape), 0.1)

    params = encoder.init(lambda name, shape, bound: uniform(seed, name, shape, bound))
    groups = params, encoder.buffers()
    return tuple({name: perturbed(name, tensor) for name, tensor in group.items()} for group in groups)


def random_input(encoder: Any, seed: int = 0, size: int = 7) -> Tensor:
    return normal((size, *encoder.shape), seed, "input").double()


def noise(purpose: str, like: Tensor) -> Tensor:
    return normal(tuple(like.shape), 0, purpose).to(like)


@ALL_ENCODERS
def test_a_feature_has_the_width_of_the_encoder_at_every_position_if_dense(encoder: Encoder) -> None:
    h, _ = encoder(*random_weights(encoder), random_input(encoder), EVALUATION)
    assert h.shape == ((7, 6, 8) if getattr(encoder, "dense", False) else (7, 8))
    alone, _ = encoder(*random_weights(encoder), random_input(encoder)[2:3], EVALUATION)
    assert torch.allclose(h[2:3], alone, rtol=1e-12)


@pytest.mark.parametrize("training", [True, False, "mixed"])
@ALL_ENCODERS
def test_eight_encoders_in_one_pack_are_eight_encoders(encoder: Encoder, training: bool | str) -> None:
    """Weights, statistics and inputs differ; with gradients and without."""
    flags = torch.arange(8) % 2 == 0 if isinstance(training, str) else torch.full((8,), training)
    members = [(*random_weights(encoder, seed), random_input(encoder, seed), flag) for seed, flag in enumerate(flags)]

    def encode(params: Group, buffers: Group, x: Tensor, flag: Tensor) -> tuple[Tensor, Any]:
        mode = Mode(flag if isinstance(training, str) else training, noise)
        h, updated = encoder(params, buffers, x, mode)
        return h.square().sum(), (h, updated)

    for f in (encode, torch.func.grad(encode, has_aux=True)):
        separate = [f(params, buffers, x, flag) for params, buffers, x, flag in members]
        assert max_difference(torch.func.vmap(f)(*stack(members)), stack(separate)) < 1e-10


@ALL_ENCODERS
def test_a_mode_given_as_a_tensor_is_the_same_mode(encoder: Encoder) -> None:
    params, buffers = random_weights(encoder)
    for flag in (True, False):
        known = encoder(params, buffers, random_input(encoder), Mode(flag, noise))
        traced = encoder(params, buffers, random_input(encoder), Mode(torch.tensor(flag), noise))
        assert max_difference(known, traced) == 0


@ALL_ENCODERS
def test_the_gradient_is_that_of_finite_differences(encoder: Encoder) -> None:
    params, buffers = random_weights(encoder)

    def encode(x: Tensor, *weights: Tensor) -> Tensor:
        return encoder(dict(zip(params, weights, strict=True)), buffers, x, Mode(True, noise))[0]

    inputs = [tensor.requires_grad_() for tensor in (random_input(encoder, size=4), *params.values())]
    assert torch.autograd.gradcheck(encode, inputs, fast_mode=True)


@pytest.mark.parametrize("dense", [False, True])
def test_the_gru_is_the_gru_of_torch(dense: bool) -> None:
    encoder = GRU((6, 3), 8, dense)
    params, x = random_weights(encoder)[0], random_input(encoder).requires_grad_()
    theirs = torch.nn.GRU(3, 8, batch_first=True, dtype=torch.float64)
    theirs.load_state_dict({f"{name}_l0": weight for name, weight in params.items()})
    reference = theirs(x)[0] if dense else theirs(x)[0][:, -1]
    ours, _ = encoder(params, {}, x, EVALUATION)
    assert torch.allclose(ours, reference, rtol=1e-12, atol=1e-12)
    slopes = [torch.autograd.grad(h.square().sum(), x)[0] for h in (ours, reference)]
    assert torch.allclose(*slopes, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("encoder", [Transformer((6, 3), 8, dense=True), Transformer((2, 5, 6), 8, dense=True)])
def test_the_transformer_is_made_of_the_layers_of_torch(encoder: Transformer) -> None:
    params, x = random_weights(encoder)[0], random_input(encoder)
    tokens = x if x.ndim == 3 else torch.stack([x[:, :, row].flatten(1) for row in range(5)], 1)
    h = tokens @ params["in.weight"].T + params["in.bias"] + sinusoidal_positions(tokens.shape[1], 8)
    names = {
        "self_attn.in_proj_": "qkv.", "self_attn.out_proj.": "mix.", "linear1.": "up.", "linear2.": "down.",
        "norm1.": "attend.norm.", "norm2.": "feed.norm.",
    }  # fmt: skip
    for layer in range(2):
        theirs = torch.nn.TransformerEncoderLayer(
            8, 4, 16, dropout=0.0, batch_first=True, norm_first=True, dtype=torch.float64
        )
        kinds = ("weight", "bias")
        state = {f"{name}{kind}": params[f"{layer}.{ours}{kind}"] for name, ours in names.items() for kind in kinds}
        theirs.load_state_dict(state)
        h = theirs(h)
    h = torch.nn.functional.layer_norm(h, (8,), params["out.norm.weight"], params["out.norm.bias"])
    assert torch.allclose(encoder(params, {}, x, EVALUATION)[0], h, rtol=1e-10, atol=1e-12)
    pooled = encoder._replace(dense=False)(params, {}, x, EVALUATION)[0]
    assert torch.allclose(pooled, h.mean(1), rtol=1e-10, atol=1e-12)


def test_the_transformer_knows_the_order_in_time() -> None:
    encoder = Transformer((6, 3), 8)
    params, x = random_weights(encoder)[0], random_input(encoder)
    forward, backward = (encoder(params, {}, one, EVALUATION)[0] for one in (x, x.flip(1)))
    assert not torch.allclose(forward, backward)


def first_layer(encoder: Encoder, params: Group, x: Tensor) -> Tensor:
    if isinstance(encoder, MLP):
        return affine(params, "0", x)
    return torch.nn.functional.conv2d(x, params["0.weight"], params["0.bias"], 2, 2)


@pytest.mark.parametrize(("name", "layer"), [("mlp batch", torch.nn.BatchNorm1d), ("cnn batch", torch.nn.BatchNorm2d)])
def test_batch_normalisation_is_that_of_torch(name: str, layer: type[torch.nn.Module]) -> None:
    encoder, x = ENCODERS[name], random_input(ENCODERS[name])
    params, buffers = random_weights(encoder)
    buffers = {key: value if key.endswith("mean") else value.abs() for key, value in buffers.items()}
    theirs: Any = layer(params["0.norm.weight"].numel(), dtype=torch.float64)
    theirs.running_mean.copy_(buffers["0.norm.mean"])
    theirs.running_var.copy_(buffers["0.norm.var"])
    theirs(first_layer(encoder, params, x))
    trained, updated = encoder(params, buffers, x, Mode(training=True))
    assert torch.allclose(updated["0.norm.mean"], theirs.running_mean, rtol=1e-12)
    assert torch.allclose(updated["0.norm.var"], theirs.running_var, rtol=1e-12)
    evaluated, after = encoder(params, updated, x, EVALUATION)
    assert max_difference(after, updated) == 0
    assert not torch.allclose(trained, evaluated)


@pytest.mark.parametrize("name", ["mlp layer", "cnn layer"])
def test_layer_normalisation_is_that_of_torch(name: str) -> None:
    encoder, x = ENCODERS[name], random_input(ENCODERS[name])
    params, buffers = random_weights(encoder)
    h = x
    for layer in ("0", "1"):
        scale, shift = params[f"{layer}.norm.weight"], params[f"{layer}.norm.bias"]
        if isinstance(encoder, MLP):
            theirs: Any = torch.nn.LayerNorm(8, dtype=torch.float64)
            h = affine(params, layer, h)
        else:
            theirs = torch.nn.GroupNorm(1, len(scale), dtype=torch.float64)
            h = torch.nn.functional.conv2d(h, params[f"{layer}.weight"], params[f"{layer}.bias"], 2, 2 - int(layer))
        theirs.load_state_dict({"weight": scale, "bias": shift})
        h = theirs(h).relu()
    h = h if isinstance(encoder, MLP) else affine(params, "2", h.flatten(1)).relu()
    assert buffers == {}
    assert torch.allclose(encoder(params, buffers, x, Mode(training=True))[0], h, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["mlp batch", "cnn", "gru", "transformer"])
def test_dropout_keeps_the_mean_and_is_off_in_evaluation(name: str) -> None:
    encoder: Any = ENCODERS[name]._replace(norm="none") if name == "mlp batch" else ENCODERS[name]  # type: ignore
    params, x = random_weights(encoder)[0], random_input(encoder)
    plain = encoder._replace(dropout=0.0)(params, {}, x, Mode(True, noise))[0]
    assert torch.equal(encoder(params, {}, x, EVALUATION)[0], plain)
    assert not torch.allclose(encoder(params, {}, x, Mode(True, noise))[0], plain)
    if name == "gru":  # the last thing that happens to the feature

        def draw(number: int) -> Tensor:
            return encoder(params, {}, x, Mode(True, lambda layer, h: normal(tuple(h.shape), number, layer).to(h)))[0]

        drops = torch.stack([draw(number) for number in range(400)])
        assert float((drops == 0).double().mean()) == pytest.approx(0.3, abs=0.01)
        assert torch.allclose(drops.mean(0), plain, atol=0.1)


@pytest.mark.parametrize("present", [None, torch.tensor([True])])
def test_a_single_value_is_normalised_by_the_running_statistics(present: Tensor | None) -> None:
    """As in evaluation; it has no variance, and the statistics are not updated."""
    encoder, x = ENCODERS["mlp batch"], random_input(ENCODERS["mlp batch"])[:1]
    params, buffers = random_weights(encoder)
    buffers = {key: value if key.endswith("mean") else value.abs() for key, value in buffers.items()}
    for training in (True, torch.tensor(True)):
        trained, after = encoder(params, buffers, x, Mode(training, None, present))
        assert torch.equal(trained, encoder(params, buffers, x, EVALUATION)[0])
        assert max_difference(after, buffers) == 0


@pytest.mark.parametrize("kind", [MLP((5,), 6, "batch"), CNN((8, 8), 6, "batch")])
def test_batch_statistics_are_of_samples_that_have_the_modality(kind: MLP | CNN) -> None:
    """As in a batch without the others; where no sample has it, the statistics are not updated."""
    draw = torch.Generator().manual_seed(0)
    params = {n: p.double() for n, p in kind.init(lambda n, s, b: torch.rand(s, generator=draw) - 0.5).items()}
    buffers = {name: b.double() for name, b in kind.buffers().items()}
    x = torch.randn(6, *kind.shape, generator=draw, dtype=torch.float64)
    present = torch.tensor([True, True, False, True, True, False])
    few, few_buffers = kind(params, buffers, x[present], Mode(training=True))
    all_, all_buffers = kind(params, buffers, x * present.view(-1, *[1] * (x.ndim - 1)), Mode(True, None, present))
    assert torch.allclose(all_[present], few, rtol=1e-12)
    for name, expected in few_buffers.items():
        assert torch.allclose(all_buffers[name], expected, rtol=1e-12)
    _, after = kind(params, buffers, x, Mode(True, None, torch.zeros(6, dtype=torch.bool)))
    assert all(after[name].equal(before) for name, before in buffers.items())
