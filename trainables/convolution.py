"""Convolutions of a pack: one member after another, in a loop.

`torch.func.vmap` turns them into one convolution with a group for each member, and copies images into its layout: on a
CPU that takes up to twice as long as the loop, whose results are bit for bit those of a trial that trains alone.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

FORWARD, BACKWARD = "ablate::convolve", "ablate::convolve_backward"


def convolve(x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int) -> Tensor:
    """Return `torch.nn.functional.conv2d`, [B, C, H, W] -> [B, O, H', W'], with a weight [O, C, side, side].

    It is called for single trials; for packs on a GPU, which has room for all groups at once; and under bfloat16.
    """
    is_single = not torch._C._are_functorch_transforms_active()
    if is_single or x.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return F.conv2d(x, weight, bias, stride, padding)
    output: Tensor = Convolution.apply(x, weight, bias, stride, padding)  # type: ignore[no-untyped-call]
    return output


class Convolution(torch.autograd.Function):
    """Two operators with vmap rules, the second the derivative of the first."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int) -> Tensor:
        """Convolve."""
        output: Tensor = torch.ops.ablate.convolve.default(x, weight, bias, stride, padding)
        return output

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        """Save the factors of the products."""
        x, weight, _, *ctx.options = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Return the gradients of images, where they need one, weight and bias."""
        needs_grad_x = ctx.needs_input_grad[0]
        grad_x, *others = torch.ops.ablate.convolve_backward.default(
            grad_outputs[0], *ctx.saved_tensors, *ctx.options, needs_grad_x
        )
        return grad_x if needs_grad_x else None, *others, None, None


def convolve_kernel(x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int) -> Tensor:
    """Implement `convolve`: all tensors are stacked, or none is; the result is contiguous."""
    if weight.ndim == 4:
        return F.conv2d(x, weight, bias, stride, padding).contiguous()
    members = zip(x, weight, bias, strict=True)
    return torch.stack([convolve_kernel(*member, stride, padding) for member in members])


def backward_kernel(
    grad_output: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int, needs_grad_x: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of images (empty, [..., 0], unless ``needs_grad_x``), weights and biases."""
    if grad_output.ndim > 4:
        members = zip(grad_output, x, weight, strict=True)
        grads = [backward_kernel(*member, stride, padding, needs_grad_x) for member in members]
        grad_x, grad_weight, grad_bias = map(torch.stack, zip(*grads, strict=True))
        return grad_x, grad_weight, grad_bias
    options = [stride] * 2, [padding] * 2, [1, 1]
    grad_x, grad_weight, grad_bias = torch.ops.aten.convolution_backward(
        grad_output, x, weight, [len(weight)], *options, False, [0, 0], 1, [needs_grad_x, True, True]
    )
    return grad_x.contiguous() if needs_grad_x else x.new_empty(0), grad_weight.contiguous(), grad_bias


def fake_convolve(x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int) -> Tensor:
    """Return an uninitialised tensor of the shape of `convolve_kernel`, for tracing."""
    height, width = ((x.shape[i] + 2 * padding - weight.shape[i]) // stride + 1 for i in (-2, -1))
    return x.new_empty([*x.shape[:-3], weight.shape[-4], height, width])


def fake_backward(
    grad_output: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int, needs_grad_x: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return uninitialised tensors of the shapes of `backward_kernel`, for tracing."""
    grad_x = x.new_empty(x.shape if needs_grad_x else [*x.shape[:-4], 0])
    return grad_x, weight.new_empty(weight.shape), weight.new_empty(weight.shape[:-3])


def vmap_rule(info: Any, axes: tuple[int | None, ...], *arguments: Any) -> tuple[Any, Any]:
    """Implement either operator under vmap: stack tensors that are shared; return the results and their batch axes."""
    tensors = [
        tensor.expand(info.batch_size, *tensor.shape) if axis is None else tensor.movedim(axis, 0)
        for tensor, axis in zip(arguments, axes, strict=True)
        if isinstance(tensor, Tensor)
    ]
    options = arguments[len(tensors) :]
    if len(options) == 2:
        return torch.ops.ablate.convolve.default(*tensors, *options), 0
    return torch.ops.ablate.convolve_backward.default(*tensors, *options), (0, 0, 0)


torch.library.define(FORWARD, "(Tensor x, Tensor weight, Tensor bias, int stride, int padding) -> Tensor")
torch.library.define(
    BACKWARD,
    "(Tensor grad_output, Tensor x, Tensor weight, int stride, int padding, bool needs_grad_x)"
    " -> (Tensor, Tensor, Tensor)",
)
for name, kernel, fake in ((FORWARD, convolve_kernel, fake_convolve), (BACKWARD, backward_kernel, fake_backward)):
    torch.library.impl(name, "CPU", kernel)
    torch.library.register_fake(name, fake)
    torch.library.register_vmap(name, vmap_rule)
