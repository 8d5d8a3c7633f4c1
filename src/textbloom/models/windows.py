"""Convolutions onto narrow maps, as matrix products with the maps' windows where that is faster.

In bfloat16 on a CPU, oneDNN's convolutions onto maps of 4 × 4 take up to twice the time of the matrix products that
they are, the gradients of their weights above all (benchmarks/switches.py). Elsewhere these layers are torch's own.
Values differ from torch's only by the order in which a sum is rounded.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_input

NARROW = 4  # largest side in places; at 8 the gather costs what the product wins


class WindowConv2d(nn.Conv2d):
    """A convolution without bias, maps [B, C, H, W] to [B, F, h, w]."""

    def __init__(self, channels: int, features: int, side: int, stride: int, padding: int) -> None:
        super().__init__(channels, features, side, stride, padding, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        side, stride, padding = self.kernel_size[0], self.stride[0], int(self.padding[0])
        if not _faster(maps, (max(maps.shape[2:]) + 2 * padding - side) // stride + 1):
            return super().forward(maps)
        return convolved(*_cast(maps, self.weight), stride, padding)


class WindowConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution without bias, maps [B, C, h, w] to [B, F, H, W]."""

    def __init__(self, channels: int, features: int, side: int, stride: int, padding: int) -> None:
        super().__init__(channels, features, side, stride, padding, bias=False)

    def forward(self, maps: Tensor, output_size: list[int] | None = None) -> Tensor:
        if not _faster(maps, max(maps.shape[2:])):
            return super().forward(maps, output_size)
        return transposed(*_cast(maps, self.weight), self.stride[0], int(self.padding[0]))


def convolved(maps: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """Convolution of maps [B, C, H, W] with weight [F, C, K, K]: [B, F, h, w]."""
    result: Tensor = _Convolved.apply(maps, weight, stride, padding)
    return result


def transposed(maps: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """Transposed convolution of maps [B, F, h, w] with weight [F, C, K, K]: [B, C, H, W]."""
    result: Tensor = _Transposed.apply(maps, weight, stride, padding)
    return result


class _Convolved(Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(maps, weight)
        ctx.geometry = stride, padding
        return _product(_windows(maps, weight.shape[-1], stride, padding), weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        maps, weight = ctx.saved_tensors
        of_maps = of_weight = None
        if ctx.needs_input_grad[0]:
            of_maps = conv2d_input(maps.shape, weight, gradient, *ctx.geometry)
        if ctx.needs_input_grad[1]:
            of_weight = _correlation(gradient, _windows(maps, weight.shape[-1], *ctx.geometry))
        return of_maps, of_weight, None, None


class _Transposed(Function):
    """The derivative of a convolution by its maps: what that convolves, this is given, and the other way round."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(maps, weight)
        ctx.geometry = stride, padding
        return F.conv_transpose2d(maps, weight, None, stride, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        maps, weight = ctx.saved_tensors
        windows = _windows(gradient, weight.shape[-1], *ctx.geometry)
        of_maps = _product(windows, weight) if ctx.needs_input_grad[0] else None
        of_weight = _correlation(maps, windows) if ctx.needs_input_grad[1] else None
        return of_maps, of_weight, None, None


def _windows(maps: Tensor, side: int, stride: int, padding: int) -> Tensor:
    """What a kernel of `side` sees at each of its places: maps [B, C, H, W] to [B, h, w, side, side, C]."""
    padded = F.pad(maps.permute(0, 2, 3, 1), (0, 0, padding, padding, padding, padding)).contiguous()
    places = [(length - side) // stride + 1 for length in padded.shape[1:3]]
    picture, row, column, channel = padded.stride()
    shape = (len(maps), *places, side, side, maps.shape[1])
    return padded.as_strided(shape, (picture, stride * row, stride * column, row, column, channel)).contiguous()


def _product(windows: Tensor, weight: Tensor) -> Tensor:
    """Windows [B, h, w, K, K, C] times weight [F, C, K, K]: [B, F, h, w]."""
    return (windows.flatten(3) @ weight.permute(0, 2, 3, 1).flatten(1).t()).permute(0, 3, 1, 2)


def _correlation(maps: Tensor, windows: Tensor) -> Tensor:
    """The sum over all places of maps [B, F, h, w] times their windows [B, h, w, K, K, C]: [F, C, K, K]."""
    of_places = maps.permute(0, 2, 3, 1).flatten(0, 2)
    return (of_places.t() @ windows.flatten(0, 2).flatten(1)).unflatten(1, windows.shape[3:]).permute(0, 3, 1, 2)


def _faster(maps: Tensor, side: int) -> bool:
    """Whether products with windows are the faster way to or from maps of `side` × `side` places."""
    autocast = torch.is_autocast_enabled(maps.device.type)
    dtype = torch.get_autocast_dtype(maps.device.type) if autocast else maps.dtype
    return side <= NARROW and maps.device.type == "cpu" and dtype is torch.bfloat16


def _cast(maps: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Both in bfloat16, as autocast would hand them to a convolution."""
    return maps.to(torch.bfloat16), weight.to(torch.bfloat16)
