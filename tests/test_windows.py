"""Convolutions as products with windows equal torch's own, in values and in gradients."""

import pytest
import torch
import torch.nn.functional as F
from test_points import gradients
from torch import nn

from textbloom.models import windows
from textbloom.models.windows import WindowConv2d, WindowConvTranspose2d

GEOMETRIES = [(4, 2, 1), (3, 1, 1), (2, 2, 0)]  # of kernel, stride, padding
bf16 = torch.autocast("cpu", torch.bfloat16)


def double(*shape: int, memory_format: torch.memory_format = torch.contiguous_format) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.double).to(memory_format=memory_format).requires_grad_()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("side", "stride", "padding"), GEOMETRIES)
@pytest.mark.parametrize(
    ("windowed", "plain", "shapes"),
    [
        (windows.convolved, F.conv2d, ((3, 5, 8, 6), (7, 5))),
        (windows.transposed, F.conv_transpose2d, ((3, 7, 4, 3), (7, 5))),
    ],
)
def test_products_with_windows_are_the_convolution(windowed, plain, shapes, side, stride, padding, memory_format):
    maps, weight = double(*shapes[0], memory_format=memory_format), double(*shapes[1], side, side)
    result, expected = windowed(maps, weight, stride, padding), plain(maps, weight, None, stride, padding)
    torch.testing.assert_close(result, expected)
    torch.testing.assert_close(gradients(result, maps, weight), gradients(expected, maps, weight))


@pytest.mark.parametrize(
    ("layer", "plain", "maps"),
    [
        (WindowConv2d(6, 5, 4, 2, 1), nn.Conv2d(6, 5, 4, 2, 1, bias=False), (2, 6, 8, 8)),
        (WindowConv2d(6, 5, 3, 1, 1), nn.Conv2d(6, 5, 3, 1, 1, bias=False), (2, 6, 4, 4)),
        (WindowConvTranspose2d(6, 5, 4, 2, 1), nn.ConvTranspose2d(6, 5, 4, 2, 1, bias=False), (2, 6, 4, 4)),
    ],
)
def test_under_autocast_a_narrow_map_goes_through_windows_to_the_values_of_the_plain_layer(layer, plain, maps):
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(maps, requires_grad=True)
    with bf16:
        result = layer(x)
    expected = plain(x)
    assert "_Convolved" in result.grad_fn.name() or "_Transposed" in result.grad_fn.name()
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result.float(), expected, rtol=0.02, atol=0.02)
    own, other = gradients(result.float(), x, layer.weight), gradients(expected, x, plain.weight)
    torch.testing.assert_close(own, other, rtol=0.02, atol=0.05)


@pytest.mark.parametrize(("enabled", "side"), [(True, 32), (False, 8)])
def test_wide_maps_and_full_precision_take_the_plain_layer_to_the_bit(enabled, side):
    layer, plain = WindowConv2d(6, 5, 4, 2, 1), nn.Conv2d(6, 5, 4, 2, 1, bias=False)
    back, plain_back = WindowConvTranspose2d(5, 6, 4, 2, 1), nn.ConvTranspose2d(5, 6, 4, 2, 1, bias=False)
    plain.load_state_dict(layer.state_dict())
    plain_back.load_state_dict(back.state_dict())
    with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        maps = layer(torch.linspace(-1, 1, 2 * 6 * side * side).view(2, 6, side, side))
        expected = plain(torch.linspace(-1, 1, 2 * 6 * side * side).view(2, 6, side, side))
        assert torch.equal(maps, expected)
        assert torch.equal(back(maps), plain_back(expected))
