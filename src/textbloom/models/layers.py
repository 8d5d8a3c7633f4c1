"""Drop-in replacements for torch's layers that are faster on some machines, or need another precision.

All of them have the parameters of the layers that they derive from; the values of a convolution differ from those only
by the order in which a sum is rounded, and they can be differentiated twice, as gradient penalties need.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textbloom.core import convolutions

NARROW = 4  # largest side of a map, in places, that goes through a product; at 8 the copies cost what the product wins


class VectorToMap(nn.ConvTranspose2d):
    """Vectors [B, C] to maps [B, F, K, K]: a transposed convolution of 1 × 1 maps, without bias."""

    def __init__(self, channels: int, features: int, side: int) -> None:
        super().__init__(channels, features, side, 1, 0, bias=False)

    def forward(self, vectors: Tensor, output_size: list[int] | None = None) -> Tensor:
        # Places come before channels, as they do in the memory of a channels-last map.
        maps = vectors @ self.weight.permute(0, 2, 3, 1).flatten(1)
        return maps.unflatten(1, (*self.kernel_size, self.out_channels)).permute(0, 3, 1, 2)


class MapToLogit(nn.Conv2d):
    """Maps [B, F, K, K], and vectors [B, P] that stand at every place of them, to one number each, [B].

    It is one convolution over the whole map joined with the vectors repeated at its K · K places. The vectors need not
    be repeated: the weights of a vector's entry add up over the places.
    """

    def __init__(self, features: int, vector: int, side: int, bias: bool = False) -> None:
        super().__init__(features + vector, 1, side, 1, 0, bias=bias)

    def forward(self, maps: Tensor, vectors: Tensor | None = None) -> Tensor:
        own, everywhere = self.weight[0].split([maps.shape[1], self.in_channels - maps.shape[1]])
        numbers = maps.permute(0, 2, 3, 1).flatten(1) @ own.permute(1, 2, 0).flatten()
        if vectors is not None:
            numbers = numbers + vectors @ everywhere.sum((1, 2))
        return numbers if self.bias is None else numbers + self.bias


# In bfloat16 on a CPU, oneDNN's convolutions onto maps of 4 × 4 take up to twice the time of the matrix products that
# they are, above all for the gradients of the weights (benchmarks/switches.py). Everywhere else the next two layers are
# torch's own.


class MatmulConv2d(nn.Conv2d):
    """A convolution without bias, maps [B, C, H, W] to [B, F, h, w]."""

    def __init__(self, channels: int, features: int, side: int, stride: int, padding: int) -> None:
        super().__init__(channels, features, side, stride, padding, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        side, stride, padding = self.kernel_size[0], self.stride[0], int(self.padding[0])
        if not _faster_as_product(maps, (max(maps.shape[2:]) + 2 * padding - side) // stride + 1):
            return super().forward(maps)
        return convolutions.conv2d(maps.to(torch.bfloat16), self.weight.to(torch.bfloat16), stride, padding)


class MatmulConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution without bias, maps [B, C, h, w] to [B, F, H, W]."""

    def __init__(self, channels: int, features: int, side: int, stride: int, padding: int) -> None:
        super().__init__(channels, features, side, stride, padding, bias=False)

    def forward(self, maps: Tensor, output_size: list[int] | None = None) -> Tensor:
        if not _faster_as_product(maps, max(maps.shape[2:])):
            return super().forward(maps, output_size)
        stride, padding = self.stride[0], int(self.padding[0])
        return convolutions.conv_transpose2d(maps.to(torch.bfloat16), self.weight.to(torch.bfloat16), stride, padding)


class DoublingConv2d(nn.Conv2d):
    """Nearest-neighbour doubling of maps [B, C, h, w], then a 3 × 3 convolution: [B, F, 2h, 2w].

    Two of the kernel's rows, and two of its columns, meet copies of the same place. Adding up their weights first
    leaves a transposed convolution of the map before doubling: 16 products a place instead of 36, and no copies.
    """

    def __init__(self, channels: int, features: int) -> None:
        super().__init__(channels, features, 3, 1, 1)

    def forward(self, maps: Tensor) -> Tensor:
        if max(maps.shape[2:]) <= NARROW:  # where oneDNN's transposed convolution takes twice the time
            return super().forward(doubled(maps))
        turned = F.pad(self.weight.flip(2, 3), (1, 1, 1, 1))
        rows = turned[:, :, 1:] + turned[:, :, :-1]
        sums = rows[..., 1:] + rows[..., :-1]
        return F.conv_transpose2d(maps, sums.transpose(0, 1), self.bias, stride=2, padding=1)


def doubled(maps: Tensor) -> Tensor:
    """Maps [B, C, h, w] with every place four times, [B, C, 2h, 2w]."""
    return F.interpolate(maps, scale_factor=2, mode="nearest")


class Tanh(nn.Tanh):
    """A generator's last layer, in float32 at least: in bfloat16 what is near 1 becomes 1, where tanh has no gradient.

    A pixel that once glares would stay so for good.
    """

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.to(torch.promote_types(input.dtype, torch.float32)))


def _faster_as_product(maps: Tensor, side: int) -> bool:
    """Whether a matrix product is the faster way to or from maps of `side` × `side` places."""
    autocast = torch.is_autocast_enabled(maps.device.type)
    dtype = torch.get_autocast_dtype(maps.device.type) if autocast else maps.dtype
    return side <= NARROW and maps.device.type == "cpu" and dtype is torch.bfloat16
