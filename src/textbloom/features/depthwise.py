"""Depthwise convolutions whose gradients in bfloat16 take a CPU no longer than their values.

torch's own take twenty times as long for the maps' gradient, which is all that is asked of a frozen network. It is a
convolution itself, by the kernel turned round.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function


class FrozenDepthwiseConv2d(nn.Module):
    """A depthwise convolution `layer` of maps [B, C, H, W] that never changes; the maps have gradients, twice over."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)

    def forward(self, maps: Tensor) -> Tensor:
        layer, device = self.layer, maps.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else maps.dtype
        if device != "cpu" or dtype is not torch.bfloat16:
            result: Tensor = layer(maps)
            return result
        weight, bias = layer.weight.to(dtype), None if layer.bias is None else layer.bias.to(dtype)
        return depthwise_conv2d(maps.to(dtype), weight, bias, layer.stride[0], int(layer.padding[0]))


def depthwise_conv2d(maps: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """Convolution of each channel of maps [B, C, H, W] with its own kernel of weight [C, 1, K, K]: [B, C, h, w].

    Only the maps have a gradient.
    """
    result: Tensor = _Depthwise.apply(maps, weight, bias, stride, padding)
    return result


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
