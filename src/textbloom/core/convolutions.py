"""Convolutions that a CPU computes faster than by torch's own way in bfloat16; each can be differentiated twice.

This is the only file with autograd functions of its own. Onto maps of a few places oneDNN takes up to twice the time of
the matrix products that a convolution is (benchmarks/switches.py). And it takes twenty times as long for the gradient
with respect to a depthwise convolution's maps as for its values, although that is a convolution too, by the kernel
turned round.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.nn.grad import conv2d_input


def conv2d(maps: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """Convolution of maps [B, C, H, W] with weight [F, C, K, K], as a product: [B, F, h, w]."""
    result: Tensor = _Conv2d.apply(maps, weight, stride, padding)
    return result


def conv_transpose2d(maps: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """Transposed convolution of maps [B, F, h, w] with weight [F, C, K, K], its gradients as products: [B, C, H, W]."""
    result: Tensor = _ConvTranspose2d.apply(maps, weight, stride, padding)
    return result


def depthwise_conv2d(maps: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """Convolution of each channel of maps [B, C, H, W] with its own kernel of weight [C, 1, K, K]: [B, C, h, w].

    Only the maps have a gradient.
    """
    result: Tensor = _Depthwise.apply(maps, weight, bias, stride, padding)
    return result


class _Conv2d(Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(maps, weight)
        ctx.geometry = stride, padding
        return _product(_im2col(maps, weight.shape[-1], stride, padding), weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        maps, weight = ctx.saved_tensors
        of_maps = of_weight = None
        if ctx.needs_input_grad[0]:
            of_maps = conv2d_input(maps.shape, weight, gradient, *ctx.geometry)
        if ctx.needs_input_grad[1]:
            of_weight = _correlation(gradient, _im2col(maps, weight.shape[-1], *ctx.geometry))
        return of_maps, of_weight, None, None


class _ConvTranspose2d(Function):
    """The derivative of a convolution by its maps: what a convolution gives, this takes, and the other way round."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(maps, weight)
        ctx.geometry = stride, padding
        return F.conv_transpose2d(maps, weight, None, stride, padding)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        maps, weight = ctx.saved_tensors
        columns = _im2col(gradient, weight.shape[-1], *ctx.geometry)
        of_maps = _product(columns, weight) if ctx.needs_input_grad[0] else None
        of_weight = _correlation(maps, columns) if ctx.needs_input_grad[1] else None
        return of_maps, of_weight, None, None


def _im2col(maps: Tensor, side: int, stride: int, padding: int) -> Tensor:
    """What a kernel of `side` sees at each of its places: maps [B, C, H, W] to [B, h, w, side, side, C]."""
    padded = F.pad(maps.permute(0, 2, 3, 1), (0, 0, padding, padding, padding, padding))
    return padded.unfold(1, side, stride).unfold(2, side, stride).permute(0, 1, 2, 4, 5, 3).contiguous()


def _product(columns: Tensor, weight: Tensor) -> Tensor:
    """Columns [B, h, w, K, K, C] times weight [F, C, K, K]: [B, F, h, w]."""
    return (columns.flatten(3) @ weight.permute(0, 2, 3, 1).flatten(1).t()).permute(0, 3, 1, 2)


def _correlation(maps: Tensor, columns: Tensor) -> Tensor:
    """The sum over all places of maps [B, F, h, w] times their columns [B, h, w, K, K, C]: [F, C, K, K]."""
    of_places = maps.permute(0, 2, 3, 1).flatten(0, 2)
    return (of_places.t() @ columns.flatten(0, 2).flatten(1)).unflatten(1, columns.shape[3:]).permute(0, 3, 1, 2)


class _Depthwise(Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.geometry = maps.shape, stride, padding
        return F.conv2d(maps, weight, bias, stride, padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        (count, channels, height, width), stride, padding = ctx.geometry
        if stride > 1:
            # The places that a stride has passed over lie between the others again, and have no gradient.
            sides = (stride * side for side in gradient.shape[2:])
            spread = gradient.new_zeros(count, *sides, channels).permute(0, 3, 1, 2)
            spread[:, :, ::stride, ::stride] = gradient
            gradient = spread
        turned = weight.flip(2, 3).contiguous(memory_format=torch.channels_last)
        of_maps = F.conv2d(gradient, turned, padding=weight.shape[-1] - 1 - padding, groups=channels)
        return of_maps[:, :, :height, :width], None, None, None, None
