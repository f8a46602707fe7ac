"""Convolutions of a pack: of each member by itself, in a loop.

`torch.func.vmap` makes one convolution of all, with a group for each member, and lays images out anew for it: on a CPU
that takes up to twice as long as one after another, whose results have the bits of a trial that trains alone.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

FORWARD, BACKWARD = "ablate::convolve", "ablate::convolve_back"


def convolve(x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int) -> Tensor:
    """Return torch's `conv2d` of images, [B, C, H, W] -> [B, O, H', W'], with a weight [O, C, side, side].

    That of one trial is torch's own; so are those of a pack on a GPU, which has room for all groups at once, and those
    that round to two bytes a number.
    """
    alone = not torch._C._are_functorch_transforms_active()
    if alone or x.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return F.conv2d(x, weight, bias, stride, padding)
    made: Tensor = Convolution.apply(x, weight, bias, stride, padding)  # type: ignore[no-untyped-call]
    return made


class Convolution(torch.autograd.Function):
    """Two operations that know how to be stacked, the second the derivative of the first."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int) -> Tensor:
        """Convolve."""
        made: Tensor = torch.ops.ablate.convolve.default(x, weight, bias, stride, padding)
        return made

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        """Keep the factors."""
        x, weight, _, *ctx.how = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, *slopes: Any) -> Any:
        """Return the derivatives by images, where they have one, weight and bias."""
        deep = ctx.needs_input_grad[0]
        by_x, *others = torch.ops.ablate.convolve_back.default(slopes[0], *ctx.saved_tensors, *ctx.how, deep)
        return by_x if deep else None, *others, None, None


def convolved(x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int) -> Tensor:
    """Return convolutions, all of whose arguments are stacked or none, as they are laid out in memory by default."""
    if weight.ndim == 4:
        return F.conv2d(x, weight, bias, stride, padding).contiguous()
    return torch.stack([convolved(*own, stride, padding) for own in zip(x, weight, bias, strict=True)])


def derived(
    slope: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int, deep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the derivatives of convolutions by images (nothing, [..., 0], unless ``deep``), weights and biases."""
    if slope.ndim > 4:
        parts = [derived(*own, stride, padding, deep) for own in zip(slope, x, weight, strict=True)]
        by_x, by_weight, by_bias = map(torch.stack, zip(*parts, strict=True))
        return by_x, by_weight, by_bias
    sides = [stride] * 2, [padding] * 2, [1, 1]
    by_x, by_weight, by_bias = torch.ops.aten.convolution_backward(
        slope, x, weight, [len(weight)], *sides, False, [0, 0], 1, [deep, True, True]
    )
    return by_x.contiguous() if deep else x.new_empty(0), by_weight.contiguous(), by_bias


def promised(x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int) -> Tensor:
    """Return `convolved` without numbers in it."""
    height, width = ((x.shape[i] + 2 * padding - weight.shape[i]) // stride + 1 for i in (-2, -1))
    return x.new_empty([*x.shape[:-3], weight.shape[-4], height, width])


def promised_back(
    slope: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int, deep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return `derived` without numbers in it."""
    by_x = x.new_empty(x.shape if deep else [*x.shape[:-4], 0])
    return by_x, weight.new_empty(weight.shape), weight.new_empty(weight.shape[:-3])


def stacked(info: Any, axes: tuple[int | None, ...], *given: Any) -> tuple[Any, Any]:
    """Return either operation of stacked arguments and of some that are one for all, and where results are stacked."""
    tensors = [
        each.expand(info.batch_size, *each.shape) if axis is None else each.movedim(axis, 0)
        for each, axis in zip(given, axes, strict=True)
        if isinstance(each, Tensor)
    ]
    rest = given[len(tensors) :]
    if len(rest) == 2:
        return torch.ops.ablate.convolve.default(*tensors, *rest), 0
    return torch.ops.ablate.convolve_back.default(*tensors, *rest), (0, 0, 0)


torch.library.define(FORWARD, "(Tensor x, Tensor weight, Tensor bias, int stride, int padding) -> Tensor")
torch.library.define(
    BACKWARD,
    "(Tensor slope, Tensor x, Tensor weight, int stride, int padding, bool deep) -> (Tensor, Tensor, Tensor)",
)
for name, made, fake in ((FORWARD, convolved, promised), (BACKWARD, derived, promised_back)):
    torch.library.impl(name, "CPU", made)
    torch.library.register_fake(name, fake)
    torch.library.register_vmap(name, stacked)
