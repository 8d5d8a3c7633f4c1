"""Convolutions computed as products equal torch's own, in values and in gradients, first and second."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from textbloom.core import convolutions
from textbloom.models import layers
from textbloom.models.layers import DoublingConv2d, MapToLogit, MatmulConv2d, MatmulConvTranspose2d, VectorToMap

GEOMETRIES = [(4, 2, 1), (3, 1, 1), (2, 2, 0)]  # of kernel, stride, padding
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def double(*shape, memory_format=torch.contiguous_format):
    return torch.randn(shape, dtype=torch.double).to(memory_format=memory_format).requires_grad_()


def gradients(result, *inputs):
    """Of a sum with distinct weights."""
    weights = torch.linspace(-1, 1, result.numel(), dtype=result.dtype).view_as(result)
    return torch.autograd.grad((result * weights).sum(), inputs)


@pytest.mark.parametrize("memory_format", LAYOUTS)
def test_a_map_of_a_vector_is_the_transposed_convolution_of_it(memory_format):
    layer = VectorToMap(7, 5, 4).double().to(memory_format=memory_format)
    reference = nn.ConvTranspose2d(7, 5, 4, 1, 0, bias=False).double()
    reference.load_state_dict(layer.state_dict())
    vectors = double(3, 7)
    maps, expected = layer(vectors), reference(vectors[:, :, None, None])
    torch.testing.assert_close(maps, expected)
    own, other = gradients(maps, vectors, layer.weight), gradients(expected, vectors, reference.weight)
    torch.testing.assert_close(own, other)


@pytest.mark.parametrize("memory_format", LAYOUTS)
@pytest.mark.parametrize(("vector", "bias"), [(0, False), (0, True), (6, False), (6, True)])
def test_a_logit_of_a_map_is_the_convolution_over_it_with_the_vector_at_every_place(vector, bias, memory_format):
    layer = MapToLogit(5, vector, 4, bias=bias).double().to(memory_format=memory_format)
    reference = nn.Conv2d(5 + vector, 1, 4, 1, 0, bias=bias).double()
    reference.load_state_dict(layer.state_dict())
    inputs = [double(3, 5, 4, 4)] + ([double(3, vector)] if vector else [])
    joined = torch.cat([inputs[0], *(v[:, :, None, None].expand(-1, -1, 4, 4) for v in inputs[1:])], 1)
    logits, expected = layer(*inputs), reference(joined).flatten()
    torch.testing.assert_close(logits, expected)
    own = gradients(logits, *inputs, *layer.parameters())
    torch.testing.assert_close(own, gradients(expected, *inputs, *reference.parameters()))


@pytest.mark.parametrize("memory_format", LAYOUTS)
@pytest.mark.parametrize(("height", "width"), [(3, 4), (5, 5), (6, 9)])  # the first goes the way of doubled maps
def test_a_doubling_convolution_is_the_convolution_of_doubled_maps_up_to_its_edges(height, width, memory_format):
    layer = DoublingConv2d(5, 7).double().to(memory_format=memory_format)
    maps = double(3, 5, height, width, memory_format=memory_format)
    own = layer(maps)
    expected = F.conv2d(maps.repeat_interleave(2, 2).repeat_interleave(2, 3), layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(own, expected)
    inputs = [maps, *layer.parameters()]
    torch.testing.assert_close(gradients(own, *inputs), gradients(expected, *inputs))


def test_a_doubling_convolution_can_be_differentiated_twice():
    layer = DoublingConv2d(2, 3).double()
    assert torch.autograd.gradgradcheck(layer, (double(1, 2, 5, 5),))


PRODUCTS = [
    (convolutions.conv2d, F.conv2d, ((3, 5, 8, 6), (7, 5))),
    (convolutions.conv_transpose2d, F.conv_transpose2d, ((3, 7, 4, 3), (7, 5))),
]


@pytest.mark.parametrize("memory_format", LAYOUTS)
@pytest.mark.parametrize(("side", "stride", "padding"), GEOMETRIES)
@pytest.mark.parametrize(("product", "plain", "shapes"), PRODUCTS)
def test_a_product_is_the_convolution(product, plain, shapes, side, stride, padding, memory_format):
    maps, weight = double(*shapes[0], memory_format=memory_format), double(*shapes[1], side, side)
    result, expected = product(maps, weight, stride, padding), plain(maps, weight, None, stride, padding)
    torch.testing.assert_close(result, expected)
    torch.testing.assert_close(gradients(result, maps, weight), gradients(expected, maps, weight))


@pytest.mark.parametrize("product", [convolutions.conv2d, convolutions.conv_transpose2d])
def test_a_product_can_be_differentiated_twice_as_a_gradient_penalty_does(product):
    maps, weight = double(2, 2, 4, 4), double(2, 2, 4, 4)

    def function(maps, weight):
        return product(maps, weight, 2, 1)

    assert torch.autograd.gradcheck(function, (maps, weight))
    assert torch.autograd.gradgradcheck(function, (maps, weight))


@pytest.mark.parametrize(
    ("layer", "plain", "maps"),
    [
        (MatmulConv2d(6, 5, 4, 2, 1), nn.Conv2d(6, 5, 4, 2, 1, bias=False), (2, 6, 8, 8)),
        (MatmulConv2d(6, 5, 3, 1, 1), nn.Conv2d(6, 5, 3, 1, 1, bias=False), (2, 6, 4, 4)),
        (MatmulConvTranspose2d(6, 5, 4, 2, 1), nn.ConvTranspose2d(6, 5, 4, 2, 1, bias=False), (2, 6, 4, 4)),
    ],
)
def test_under_autocast_a_narrow_map_takes_the_product_to_the_values_of_the_plain_layer(layer, plain, maps):
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(maps, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        result = layer(x)
    expected = plain(x)
    assert "_Conv" in result.grad_fn.name()
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result.float(), expected, rtol=0.02, atol=0.02)
    own, other = gradients(result.float(), x, layer.weight), gradients(expected, x, plain.weight)
    torch.testing.assert_close(own, other, rtol=0.02, atol=0.05)


@pytest.mark.parametrize(("enabled", "side"), [(True, 32), (False, 8)])
def test_wide_maps_and_full_precision_take_the_plain_layer_to_the_bit(enabled, side):
    layer, plain = MatmulConv2d(6, 5, 4, 2, 1), nn.Conv2d(6, 5, 4, 2, 1, bias=False)
    back, plain_back = MatmulConvTranspose2d(5, 6, 4, 2, 1), nn.ConvTranspose2d(5, 6, 4, 2, 1, bias=False)
    plain.load_state_dict(layer.state_dict())
    plain_back.load_state_dict(back.state_dict())
    with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        maps = layer(torch.linspace(-1, 1, 2 * 6 * side * side).view(2, 6, side, side))
        expected = plain(torch.linspace(-1, 1, 2 * 6 * side * side).view(2, 6, side, side))
        assert torch.equal(maps, expected)
        assert torch.equal(back(maps), plain_back(expected))


def test_a_glaring_pixel_has_a_gradient_in_mixed_precision_too():
    x = torch.full((1,), 4.0, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        layers.Tanh()(x.bfloat16()).backward()
    assert x.grad is not None and x.grad.item() == pytest.approx(1 - math.tanh(4.0) ** 2, rel=0.01)
