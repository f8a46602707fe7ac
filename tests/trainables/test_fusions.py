"""The fusions: against values by hand and modules of torch, and independent of the order of modalities."""

from itertools import permutations

import pytest
import torch
from torch import Tensor

from tests.trainables.helpers import FUSIONS, max_difference
from trainables.fusions import Attention, Fusion, is_sum_pooling
from trainables.model import coalition_sums
from trainables.randomness import normal, uniform
from trainables.signals import Params, all_subsets

UNORDERED = ["gated", "film", "attention"]
COUNTS = pytest.mark.parametrize("modalities", [1, 2, 3, 6])


def random_weights(fusion: Fusion, names: list[str]) -> tuple[Params, dict[str, Tensor]]:
    """Return weights, and features of widths 4, 5, 6 ..."""
    widths = {m: 4 + int(m[1:]) for m in names}
    readouts, shared = fusion.init(widths, 3, lambda name, shape, bound: uniform(0, name, shape, bound))
    features = {m: normal((7, width), 0, m).double() for m, width in widths.items()}
    params = Params({m: {} for m in names}, readouts, {name: p.double() for name, p in shared.items()}, {})
    return params, features


def modality_names(modalities: int) -> list[str]:
    return [f"m{i}" for i in range(modalities)]


def projection(params: Params, features: dict[str, Tensor], m: str) -> Tensor:
    return features[m] @ params.shared[f"project.{m}.weight"].T + params.shared[f"project.{m}.bias"]


def pairs(names: list[str]) -> list[tuple[str, str]]:
    return list(permutations(names, 2)) or [(names[0], names[0])]


@COUNTS
def test_gates_are_those_of_ogm_ge_over_all_ordered_pairs(modalities: int) -> None:
    """OGM-GE, models/fusion_modules.py: output = sigmoid(fc_x(x)) * fc_y(y)."""
    params, features = random_weights(FUSIONS["gated"], modality_names(modalities))
    parts = {m: projection(params, features, m).chunk(2, -1) for m in features}
    by_hand = torch.stack([torch.sigmoid(parts[j][1]) * parts[m][0] for m, j in pairs(list(features))]).mean(0)
    assert torch.allclose(FUSIONS["gated"].fuse(params, features), by_hand, rtol=1e-10, atol=1e-12)


@COUNTS
def test_film_is_that_of_ogm_ge_over_all_ordered_pairs(modalities: int) -> None:
    """OGM-GE, models/fusion_modules.py: gamma, beta = fc(x); output = gamma * y + beta."""
    params, features = random_weights(FUSIONS["film"], modality_names(modalities))
    parts = {m: projection(params, features, m).chunk(3, -1) for m in features}  # beta, value, gamma
    by_hand = torch.stack([parts[j][2] * parts[m][1] + parts[j][0] for m, j in pairs(list(features))]).mean(0)
    assert torch.allclose(FUSIONS["film"].fuse(params, features), by_hand, rtol=1e-10, atol=1e-12)


@COUNTS
def test_attention_is_made_of_the_parts_of_torch(modalities: int) -> None:
    params, features = random_weights(FUSIONS["attention"], modality_names(modalities))
    tokens = torch.stack([projection(params, features, m) for m in features], 1)
    norm = torch.nn.LayerNorm(8, dtype=torch.float64)
    attention = torch.nn.MultiheadAttention(8, 4, batch_first=True, dtype=torch.float64)
    names = {
        "in_proj_weight": "qkv.weight", "in_proj_bias": "qkv.bias",
        "out_proj.weight": "mix.weight", "out_proj.bias": "mix.bias",
    }  # fmt: skip
    attention.load_state_dict({theirs: params.shared[ours] for theirs, ours in names.items()})
    normed = norm(tokens)
    by_torch = (tokens + attention(normed, normed, normed, need_weights=False)[0]).mean(1)
    assert torch.allclose(FUSIONS["attention"].fuse(params, features), by_torch, rtol=1e-10, atol=1e-12)


@COUNTS
@pytest.mark.parametrize("fusion", UNORDERED)
def test_the_order_of_modalities_does_not_matter(fusion: str, modalities: int) -> None:
    names = modality_names(modalities)
    forward, backward = (
        FUSIONS[fusion].fuse(*random_weights(FUSIONS[fusion], order)) for order in (names, names[::-1])
    )
    assert torch.allclose(forward, backward, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("fusion", UNORDERED)
def test_a_modality_s_projection_depends_on_its_name_and_not_on_other_modalities(fusion: str) -> None:
    alone, together = (random_weights(FUSIONS[fusion], names)[0].shared for names in (["m2"], modality_names(4)))
    assert max_difference(alone, {name: together[name] for name in alone}) == 0
    assert {name for name in together if name not in alone} == {
        f"project.m{i}.{kind}" for i in (0, 1, 3) for kind in ("weight", "bias")
    }


@COUNTS
@pytest.mark.parametrize("fusion", FUSIONS)
def test_leading_dimensions_are_kept(fusion: str, modalities: int) -> None:
    """Coalitions and positions in front of and behind the samples."""
    params, features = random_weights(FUSIONS[fusion], modality_names(modalities))
    flat = FUSIONS[fusion].fuse(params, features)
    deep = FUSIONS[fusion].fuse(params, {m: h.expand(2, 7, h.shape[-1])[:, :, None] for m, h in features.items()})
    assert deep.shape == (2, 7, 1, flat.shape[-1])
    assert torch.allclose(deep[1, :, 0], flat, rtol=1e-12)


@pytest.mark.parametrize("fusion", [name for name, fusion in FUSIONS.items() if is_sum_pooling(fusion)])
def test_a_coalition_s_sum_of_terms_is_what_its_features_fuse_to(fusion: str) -> None:
    pooling = FUSIONS[fusion]
    assert is_sum_pooling(pooling)
    params, features = random_weights(pooling, modality_names(3))
    muted = {m: torch.ones_like(h[:1]) for m, h in features.items()}
    total = coalition_sums(all_subsets(3), pooling.terms(params, features), pooling.terms(params, muted))
    fused_coalitions = pooling.fuse_total(params, total)
    for fused, members in zip(fused_coalitions, all_subsets(3).tolist(), strict=True):
        mixed = {m: h if on else muted[m].expand_as(h) for (m, h), on in zip(features.items(), members, strict=True)}
        assert torch.allclose(fused, pooling.fuse(params, mixed), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("modalities", [1, 2, 3])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_gradient_is_that_of_finite_differences(fusion: str, modalities: int) -> None:
    params, features = random_weights(FUSIONS[fusion], modality_names(modalities))

    def fused(*tensors: Tensor) -> Tensor:
        shared = dict(zip(params.shared, tensors, strict=False))
        inputs = dict(zip(features, tensors[len(shared) :], strict=True))
        return FUSIONS[fusion].fuse(params._replace(shared=shared), inputs)

    inputs = [tensor.requires_grad_() for tensor in (*params.shared.values(), *features.values())]
    assert torch.autograd.gradcheck(fused, inputs, fast_mode=True)


@pytest.mark.parametrize("hidden", [1, 5, 64])
def test_attention_takes_any_width(hidden: int) -> None:
    fused = Attention(hidden).fuse(*random_weights(Attention(hidden), modality_names(2)))
    assert fused.shape == (7, hidden)
    assert fused.isfinite().all()
