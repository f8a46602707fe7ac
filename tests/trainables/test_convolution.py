"""Convolutions of a pack: bit for bit those of each member alone, forward and backward."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import vjp, vmap
from torch.nn.functional import conv2d

from trainables.convolution import convolve

HOW = {"stride": 2, "padding": 1}


def members(count: int, *, shared: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Return images [K, B, C, H, W], or one batch for all, with weights and biases of so many members."""
    torch.manual_seed(0)
    images = torch.randn(5, 3, 7, 6) if shared else torch.randn(count, 5, 3, 7, 6)
    return images, torch.randn(count, 4, 3, 3, 3), torch.randn(count, 4)


def derivatives(f: Any, *factors: Tensor) -> tuple[Tensor, ...]:
    """Return the output of a convolution, and its derivatives by all factors along a slope."""
    made, back = vjp(lambda *given: f(*given, **HOW), *factors)
    return made, *back(torch.linspace(-1, 1, made.numel()).view(made.shape))


@pytest.mark.parametrize("shared", [False, True])
def test_each_member_has_the_bits_of_its_own_convolution(shared: bool) -> None:
    images, weights, biases = members(3, shared=shared)
    packed = vmap(lambda *own: derivatives(convolve, *own), in_dims=(None if shared else 0, 0, 0))
    result = packed(images, weights, biases)
    for k in range(3):
        expected = derivatives(conv2d, images if shared else images[k], weights[k], biases[k])
        for one, other in zip(result, expected, strict=True):
            assert torch.equal(one[k], other)


def test_several_slopes_of_each_member() -> None:
    images, weights, biases = members(2)
    slopes = torch.randn(3, 2, 5, 4, 4, 3)

    def own(image: Tensor, weight: Tensor, bias: Tensor, slopes: Tensor) -> Any:
        _, back = vjp(lambda *given: convolve(*given, **HOW), image, weight, bias)
        return vmap(back)(slopes)

    result = vmap(own, in_dims=(0, 0, 0, 1))(images, weights, biases, slopes)
    for k in range(2):
        _, back = vjp(lambda *given: conv2d(*given, **HOW), images[k], weights[k], biases[k])
        for s in range(3):
            for one, other in zip(result, back(slopes[s, k]), strict=True):
                assert torch.allclose(one[k, s], other, atol=1e-5)


def test_operators_have_the_schema_and_shapes_that_they_declare() -> None:
    images, weights, biases = members(2)
    slope = torch.randn(2, 5, 4, 4, 3)
    checks = ("test_schema", "test_faketensor")
    for pick in (slice(None), 0):
        x, weight, bias, back = images[pick], weights[pick], biases[pick], slope[pick]
        torch.library.opcheck(torch.ops.ablate.convolve.default, (x, weight, bias, 2, 1), test_utils=checks)
        for needs_grad_x in (False, True):
            arguments = back, x, weight, 2, 1, needs_grad_x
            torch.library.opcheck(torch.ops.ablate.convolve_backward.default, arguments, test_utils=checks)
