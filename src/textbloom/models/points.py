"""Convolutions from one point to a map and from a map to one point, as the matrix products that they are.

The same parameters and values as the layers they derive from, several times faster where a convolution routine is made
for large maps.
"""

from torch import Tensor, nn


class FromPoint(nn.ConvTranspose2d):
    """Vectors [B, C] to maps [B, F, K, K]: a transposed convolution of 1 × 1 maps, without bias."""

    def __init__(self, channels: int, features: int, side: int) -> None:
        super().__init__(channels, features, side, 1, 0, bias=False)

    def forward(self, vectors: Tensor, output_size: list[int] | None = None) -> Tensor:
        # Places before channels, as a map in channels-last lies in memory.
        maps = vectors @ self.weight.permute(0, 2, 3, 1).flatten(1)
        return maps.unflatten(1, (*self.kernel_size, self.out_channels)).permute(0, 3, 1, 2)


class ToPoint(nn.Conv2d):
    """Maps [B, F, K, K], and vectors [B, P] that stand at every place of them, to numbers [B].

    One convolution over the whole map with the vectors repeated at its K · K places: the weights of a vector's entry
    add up over the places.
    """

    def __init__(self, features: int, vector: int, side: int, bias: bool = False) -> None:
        super().__init__(features + vector, 1, side, 1, 0, bias=bias)

    def forward(self, maps: Tensor, vectors: Tensor | None = None) -> Tensor:
        own, everywhere = self.weight[0].split([maps.shape[1], self.in_channels - maps.shape[1]])
        numbers = maps.permute(0, 2, 3, 1).flatten(1) @ own.permute(1, 2, 0).flatten()
        if vectors is not None:
            numbers = numbers + vectors @ everywhere.sum((1, 2))
        return numbers if self.bias is None else numbers + self.bias
